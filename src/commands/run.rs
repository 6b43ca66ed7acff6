//! `certagent run`: the sidecar. Runs until a signal; SIGINT and SIGTERM both mean finish.
//!
//! Never removes a file at its end. What stays true: the first signal ends it with 0 within a
//! second, the second one at once.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    agent::Agent, cli::RunArgs, clock::SystemClock, config::Environment, exit::Exit,
    issuer::Issuer as _, vault::Vault,
};

/// How long giving back the token may take: with the loops' own time less than a second.
const FAREWELL: Duration = Duration::from_millis(300);

pub(super) async fn run(args: &RunArgs, environment: &Environment) -> anyhow::Result<Exit> {
    let config = super::configured(&args.flags, environment)?;
    let mut signals = Signals::listen().context("cannot listen for signals")?;
    let vault = Arc::new(Vault::new(&config.vault, config.auth)?);
    info!(
        version = env!("CARGO_PKG_VERSION"),
        certificates = config.certificates.len(),
        "certagent runs; issuer {}",
        config.vault.addresses.join(", ")
    );
    let shutdown = CancellationToken::new();
    let agent = Agent::new(
        config.certificates,
        Arc::clone(&vault),
        Arc::new(SystemClock),
    );
    let running = finish(agent, &vault, shutdown.clone());
    tokio::pin!(running);
    let first = tokio::select! {
        exit = &mut running => return Ok(exit),
        name = signals.next() => name,
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

async fn finish(
    agent: Agent<Vault, SystemClock>,
    vault: &Vault,
    shutdown: CancellationToken,
) -> Exit {
    let exit = agent.run(shutdown).await;
    let _too_slow = timeout(FAREWELL, vault.close()).await;
    exit
}

/// The signals that mean finish.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    pub(super) fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}
