//! Tells systemd, or whoever stands in for it, how the service is (sd_notify(3)).
//!
//! Never reads the environment itself and never stops the agent: a message that cannot be sent is a
//! warning. What stays true: READY=1 is sent once there is something to use; the watchdog is fed
//! from the runtime that does the work, so that a hang starves it; without a socket nothing wakes up.

mod status_line;

use std::{
    future::pending,
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixDatagram},
    },
    process,
    sync::Arc,
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
    time::{Instant, Interval, MissedTickBehavior, interval, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::{config::Environment, status::Status};

/// A supervisor that does not read is not waited for any longer than this.
const SEND_TIMEOUT: Duration = Duration::from_millis(200);

/// The supervisor that asked to be notified.
#[derive(Clone, Debug)]
pub struct Supervisor {
    address: SocketAddr,
    watchdog: Option<Duration>,
}

/// When the service counts as started.
#[derive(Clone, Debug)]
pub struct Start {
    /// Something else that has to happen first, such as the start of the application.
    pub also: CancellationToken,
    /// From then on one published certificate is enough; before, all certificates need one.
    pub deadline: Instant,
}

impl Supervisor {
    /// From `NOTIFY_SOCKET`, a path or `@` and an abstract name, `WATCHDOG_USEC` and `WATCHDOG_PID`.
    /// `None` when no supervisor asked, or with a warning in a way that cannot be done.
    /// sd_notify(3) and sd_watchdog_enabled(3).
    #[must_use]
    pub fn from_environment(environment: &Environment) -> Option<Self> {
        let of = |name: &str| environment.get(name).filter(|text| !text.is_empty());
        let name = of("NOTIFY_SOCKET")?;
        let address = match parse(name) {
            Ok(address) => address,
            Err(error) => {
                warn!(
                    "NOTIFY_SOCKET {name:?} cannot be used: {error}; the supervisor is not notified"
                );
                return None;
            }
        };
        let meant = of("WATCHDOG_PID").is_none_or(|pid| pid.parse() == Ok(process::id()));
        let watchdog = of("WATCHDOG_USEC")
            .filter(|_| meant)
            .and_then(|text| text.parse().ok())
            .filter(|micros| *micros > 0)
            .map(Duration::from_micros);
        Some(Self { address, watchdog })
    }

    /// Tells how the certificates are until `cancel`, then says that the service stops.
    /// sd_notify(3): `READY=1`, `STATUS=`, `WATCHDOG=1`, `STOPPING=1`.
    pub async fn run(
        self,
        statuses: Vec<watch::Receiver<Status>>,
        start: Start,
        cancel: CancellationToken,
    ) {
        let changed = Arc::new(Notify::new());
        let _listeners = listen(&statuses, &changed);
        let mut feeding = self.watchdog.map(feeder);
        let mut reloaded = Told::default();
        loop {
            for message in reloaded.news(&statuses, &start) {
                self.send(&message);
            }
            tokio::select! {
                () = cancel.cancelled() => break,
                () = changed.notified() => {}
                () = start.also.cancelled(), if !start.also.is_cancelled() => {}
                () = sleep_until(start.deadline), if Instant::now() < start.deadline => {}
                () = tick(&mut feeding) => self.send("WATCHDOG=1"),
            }
        }
        self.send("STOPPING=1\nSTATUS=finishing; the files stay");
    }

    fn send(&self, message: &str) {
        debug!("to the supervisor: {}", message.replace('\n', " "));
        if let Err(error) = self.try_send(message) {
            warn!("cannot notify the supervisor on NOTIFY_SOCKET: {error}");
        }
    }

    /// A new socket each time: messages are rare, and the supervisor may have been replaced.
    fn try_send(&self, message: &str) -> io::Result<()> {
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(SEND_TIMEOUT))?;
        socket.connect_addr(&self.address)?;
        socket.send(message.as_bytes()).map(|_all| ())
    }
}

fn parse(name: &str) -> io::Result<SocketAddr> {
    if let Some(name) = name.strip_prefix('@') {
        SocketAddr::from_abstract_name(name)
    } else if name.starts_with('/') {
        SocketAddr::from_pathname(name)
    } else {
        Err(io::Error::other("neither a path nor @ and a name"))
    }
}

/// One small task per certificate. They end with the value that is returned.
fn listen(statuses: &[watch::Receiver<Status>], changed: &Arc<Notify>) -> JoinSet<()> {
    let mut listeners = JoinSet::new();
    for status in statuses {
        let (mut status, changed) = (status.clone(), Arc::clone(changed));
        listeners.spawn(async move {
            while status.changed().await.is_ok() {
                changed.notify_one();
            }
        });
    }
    listeners
}

/// Twice as often as asked for, as sd_watchdog_enabled(3) advises.
fn feeder(limit: Duration) -> Interval {
    let mut feeder = interval((limit / 2).max(Duration::from_millis(1)));
    feeder.set_missed_tick_behavior(MissedTickBehavior::Delay);
    feeder
}

async fn tick(feeding: &mut Option<Interval>) {
    match feeding {
        Some(interval) => {
            interval.tick().await;
        }
        None => pending().await,
    }
}

/// What the supervisor knows already.
#[derive(Debug, Default)]
struct Told {
    ready: bool,
    status: String,
    generations: Vec<Option<String>>,
}

impl Told {
    /// What is to be said now, in this order.
    fn news(&mut self, statuses: &[watch::Receiver<Status>], start: &Start) -> Vec<String> {
        let all: Vec<Status> = statuses.iter().map(|one| one.borrow().clone()).collect();
        let status = status_line::status(&all);
        let generations = |all: &[Status]| -> Vec<Option<String>> {
            let lives = all.iter().map(|one| one.live.as_ref());
            lives
                .map(|live| live.map(|live| live.generation.clone()))
                .collect()
        };
        let generations = generations(&all);
        let mut news = Vec::new();
        if !self.ready {
            let lives = generations.iter().flatten().count();
            let late = Instant::now() >= start.deadline;
            let usable = lives == all.len() || (late && lives > 0);
            if usable && start.also.is_cancelled() {
                self.ready = true;
                news.push(format!("READY=1\nSTATUS={status}"));
            }
        } else if generations != self.generations {
            // What depends on the files may reload now; sd_notify(3) wants READY=1 after it.
            let now = monotonic_micros();
            news.push(format!(
                "RELOADING=1\nMONOTONIC_USEC={now}\nSTATUS={status}"
            ));
            news.push(format!("READY=1\nSTATUS={status}"));
        }
        if news.is_empty() && status != self.status {
            news.push(format!("STATUS={status}"));
        }
        (self.status, self.generations) = (status, generations);
        news
    }
}

/// Now on the clock that systemd compares with, in microseconds.
fn monotonic_micros() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1_000
}

#[cfg(test)]
mod tests;
