//! What real applications serve after a publication, and one that behaves badly on purpose.
//!
//! Each is started by its test on loopback, in a directory of its own, and ends with it.

mod certs;
mod loki;
mod nginx;
pub(crate) mod postgres;
pub(crate) mod stubborn;

use std::time::Duration;

use certagent::{
    config::ProbeTarget,
    model::served::Served,
    probe::{Identity, probe},
};

pub(crate) use certs::Authority;

/// A look at that address with our own certificate, by the name that every set here has.
pub(crate) fn target(address: &str) -> ProbeTarget {
    ProbeTarget {
        address: address.to_owned(),
        server_name: "127.0.0.1".to_owned(),
        alpn: Vec::new(),
        mtls: true,
        starttls: None,
        grpc_health: false,
        timeout: Duration::from_secs(10),
    }
}

/// One look: what was served, and the verdict by its code.
pub(crate) fn look(
    target: &ProbeTarget,
    identity: &Identity,
) -> (Option<Served>, Result<(), &'static str>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    match runtime.block_on(probe(target, identity)) {
        Ok(served) => {
            let verdict = identity.serves_current(&served).map_err(|no| no.code);
            (Some(served), verdict)
        }
        Err(failure) => (None, Err(failure.code)),
    }
}

/// Starts a server that can't take port 0: again on another port when the first one was taken.
fn on_a_free_port<T>(mut start: impl FnMut(u16) -> Result<T, String>) -> T {
    let mut last = String::new();
    for _ in 0..5 {
        match start(crate::rig::free_ports().0) {
            Ok(started) => return started,
            Err(output) => last = output,
        }
    }
    panic!("it does not start:\n{last}")
}

/// A server with processes of its own: it is asked to end them before it is killed.
struct Family {
    process: crate::rig::Process,
    goodbye: rustix::process::Signal,
}

impl Drop for Family {
    fn drop(&mut self) {
        let began = std::time::Instant::now();
        if self.process.ended().is_none() {
            self.process.signal(self.goodbye);
        }
        while self.process.ended().is_none() && began.elapsed() < crate::rig::PATIENCE {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Waits until the server is seen, or has ended.
fn up(
    process: &mut crate::rig::Process,
    target: &ProbeTarget,
    identity: &Identity,
) -> Result<(), String> {
    crate::rig::wait_for("the server", Duration::from_secs(60), || {
        if process.ended().is_some() {
            return Some(Err(process.output()));
        }
        look(target, identity).0.map(|_| Ok(()))
    })
}

/// Waits until that certificate is verified.
fn verified(target: &ProbeTarget, identity: &Identity) {
    let mut last = None;
    let limit = Duration::from_secs(60);
    let began = std::time::Instant::now();
    while began.elapsed() < limit {
        let seen = look(target, identity);
        if seen.1.is_ok() {
            return;
        }
        last = Some(seen);
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("not verified within {limit:?}: {last:?}");
}
