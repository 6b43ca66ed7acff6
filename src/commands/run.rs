//! `certagent run`: the sidecar. Runs until a signal; SIGINT, SIGTERM and SIGQUIT mean finish.
//!
//! Never removes a file at its end, and no signal ends it without farewell. What stays true: the
//! first signal that means finish ends it with 0 within a second, the second one at once.

use std::{future::poll_fn, sync::Arc, task::Poll, time::Duration};

use anyhow::Context as _;
use tokio::{
    signal::unix::{self, Signal, SignalKind},
    sync::watch,
    task::JoinSet,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::Stopped;
use crate::{
    agent::{Agent, LocalApplication},
    cli::RunArgs,
    clock::SystemClock,
    config::{Config, Environment, ReloadStep},
    control::Force,
    exit::Exit,
    hardening,
    issuer::Issuer as _,
    model::reload::{Action, SignalTarget},
    observe::{
        http::Servers,
        notify::{Start, Supervisor},
        view::{AgentIdentity, AgentView},
    },
    reload::nomad::{Nomad, NomadConfig},
    reload::{ActionRunner, signal},
    status::Status,
    vault::Vault,
};

/// How long giving back the token may take: with the loops' own time less than a second.
const REVOKE_TIMEOUT: Duration = Duration::from_millis(300);

pub(super) async fn run(args: &RunArgs, environment: &Environment) -> anyhow::Result<Exit> {
    let config = super::configured_with(&args.flags, environment, |config| {
        hardening::apply(config, environment, false);
    })?;
    refuse_child(&config)?;
    let mut signals = FinishSignals::listen().context("cannot listen for signals")?;
    let wishes = Wishes::listen().context("cannot listen for signals")?;
    let sidecar = Sidecar::new(config, environment)?;
    let wishes = wishes.pass_on(sidecar.agent.force());
    let shutdown = CancellationToken::new();
    sidecar.started.cancel();
    let running = sidecar.run(shutdown.clone());
    tokio::pin!(running);
    let first = tokio::select! {
        exit = &mut running => return Ok(exit),
        name = signals.next() => name,
        never = wishes => never,
    };
    info!("{first}: finishing; the files stay");
    shutdown.cancel();
    tokio::select! {
        exit = &mut running => Ok(exit),
        name = signals.next() => {
            warn!("{name} again: ending at once");
            Ok(Exit::Failure)
        }
    }
}

/// The signals that do not mean finish.
struct Wishes {
    renew: Signal,
    /// Without us they would end the process at once, and leave its token and socket.
    ignored: Vec<(&'static str, Signal)>,
}

impl Wishes {
    fn listen() -> std::io::Result<Self> {
        let ignored = [
            ("SIGHUP", SignalKind::hangup()),
            ("SIGUSR2", SignalKind::user_defined2()),
            ("SIGALRM", SignalKind::alarm()),
        ];
        let ignored = ignored.map(|(name, kind)| Ok((name, unix::signal(kind)?)));
        Ok(Self {
            renew: unix::signal(SignalKind::user_defined1())?,
            ignored: ignored.into_iter().collect::<std::io::Result<_>>()?,
        })
    }

    /// SIGUSR1 is the wish for a renewal now, as `certagent renew` is; the others are none.
    async fn pass_on(mut self, force: Force) -> &'static str {
        loop {
            let ignored = poll_fn(|context| {
                for (name, signal) in &mut self.ignored {
                    if signal.poll_recv(context) == Poll::Ready(Some(())) {
                        return Poll::Ready(*name);
                    }
                }
                Poll::Pending
            });
            tokio::select! {
                Some(()) = self.renew.recv() => {
                    info!("SIGUSR1: renewing now, within the issuance limit");
                    force.all();
                }
                name = ignored => warn!(
                    "{name} is ignored; SIGUSR1 renews now, SIGTERM stops certagent, a new \
                     configuration needs a restart"
                ),
            }
        }
    }
}

/// Only `exec` has a child that could be signalled.
fn refuse_child(config: &Config) -> Result<(), Stopped> {
    let child = |step: &&ReloadStep| match step {
        ReloadStep::Do(Action::Signal { target, .. }) => *target == SignalTarget::Child,
        _ => false,
    };
    for one in &config.certificates {
        let reload = one.reload.iter();
        let mut steps =
            reload.flat_map(|reload| reload.on_cert_change.iter().chain(&reload.on_ca_change));
        if steps.any(|step| child(&step)) {
            return Err(Stopped::usage(
                format!("certificate {}: signal has no process to go to", one.name),
                "set reload.pid_file, or start the application with certagent exec",
            ));
        }
    }
    Ok(())
}

/// The agent and everything that goes with it, as `run` and `exec` start it.
pub(super) struct Sidecar {
    agent: Agent<Vault, SystemClock>,
    vault: Arc<Vault>,
    supervisor: Option<Supervisor>,
    servers: Servers,
    /// Requests to Vault leave this host without TLS.
    plain_http: bool,
    identity: AgentIdentity,
    /// Cancelled once everything but the certificates is there; the supervisor waits for it.
    pub(super) started: CancellationToken,
    /// Where `exec` tells of its command, so that it can be signalled; stays empty in `run`.
    pub(super) child: signal::ChildPid,
    /// When the first start counts as failed.
    pub(super) deadline: Instant,
}

impl Sidecar {
    /// Nothing is asked of the issuer before [`Sidecar::run`].
    ///
    /// # Errors
    /// What [`Vault::new`] and [`Servers::bind`] refuse.
    pub(super) fn new(config: Config, environment: &Environment) -> anyhow::Result<Self> {
        let vault = Arc::new(Vault::new(&config.vault, config.auth)?);
        info!(
            "certagent {} started: Vault {}, certificates: {}",
            env!("CARGO_PKG_VERSION"),
            config.vault.addresses.join(", "),
            config.certificates.len(),
        );
        if config.status.is_none() {
            info!(
                "no status socket, so `certagent status` can't ask this agent: give --status-socket PATH"
            );
        }
        for part in hardening::report() {
            debug!(
                "hardening: {} {}: {}",
                part.name,
                if part.active { "on" } else { "off" },
                part.detail
            );
        }
        let plain_http = config.vault.plain_addresses().next().is_some();
        let servers = Servers::bind(config.http.as_ref(), config.status.as_ref())?;
        let reloads = config
            .certificates
            .iter()
            .filter_map(|one| one.reload.as_ref());
        let kill_timeout = reloads.map(|reload| reload.kill_timeout).max();
        let nomad = NomadConfig::of(environment, kill_timeout.unwrap_or_default());
        let reloader = ActionRunner::new(nomad.and_then(Nomad::new), environment);
        let child = reloader.child();
        let agent = Agent::new(
            config.certificates,
            Arc::clone(&vault),
            Arc::new(SystemClock),
        );
        let agent = agent.with(Arc::new(LocalApplication::new(reloader)));
        Ok(Self {
            deadline: agent.startup_timeout(),
            agent,
            vault,
            servers,
            supervisor: Supervisor::from_environment(environment),
            started: CancellationToken::new(),
            child,
            plain_http,
            identity: AgentIdentity::of(environment),
        })
    }

    /// What each loop knows, in the order of the configuration.
    pub(super) fn statuses(&self) -> Vec<watch::Receiver<Status>> {
        self.agent.statuses()
    }

    /// As [`Agent::run`], with all that listens to it; gives the token back at the end.
    pub(super) async fn run(self, shutdown: CancellationToken) -> Exit {
        let mut around = JoinSet::new();
        let ending = shutdown.child_token();
        if let Some(supervisor) = self.supervisor {
            let start = Start {
                also: self.started,
                deadline: self.deadline,
            };
            let statuses = self.agent.statuses();
            around.spawn(supervisor.run(statuses, start, ending.clone()));
        }
        let seen = AgentView::new(
            self.agent.statuses(),
            self.agent.force(),
            Arc::new(SystemClock),
        )
        .with_plain_http(self.plain_http)
        .with_identity(self.identity);
        around.spawn(self.servers.run(seen, ending.clone()));
        let exit = self.agent.run(shutdown).await;
        ending.cancel();
        let _too_slow = timeout(REVOKE_TIMEOUT, async {
            self.vault.close().await;
            while around.join_next().await.is_some() {}
        })
        .await;
        exit
    }
}

/// The signals that mean finish.
pub(super) struct FinishSignals {
    interrupt: Signal,
    terminate: Signal,
    quit: Signal,
}

impl FinishSignals {
    pub(super) fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: unix::signal(SignalKind::interrupt())?,
            terminate: unix::signal(SignalKind::terminate())?,
            quit: unix::signal(SignalKind::quit())?,
        })
    }

    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.quit.recv() => "SIGQUIT",
        }
    }
}
