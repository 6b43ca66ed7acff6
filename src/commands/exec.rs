//! `certagent exec -- CMD…`: certificates first, then the command, as its parent to the end.
//!
//! Never starts the command again and never answers for it: its signals are passed on, its exit code
//! is ours. What stays true: it runs only while every certificate was published; the agent ends
//! after it, never before it.

use std::{future::pending, process::ExitCode, time::Duration};

use anyhow::Context as _;
use rustix::process::Signal;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep_until, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::{Stopped, run::Sidecar};
use crate::{
    child::{Child, Handle, Incoming, Signals, Variables, exit_code, reap_orphans, signal_code},
    cli::ExecArgs,
    config::Environment,
    exit::Exit,
    hardening,
    model::duration,
    reload::signal,
    status::Status,
};

pub(super) async fn run(args: &ExecArgs, environment: &Environment) -> anyhow::Result<ExitCode> {
    let kill_after = duration::parse(&args.kill_after).map_err(|error| {
        Stopped::usage(
            format!("--kill-after: {error}"),
            "write durations as 30s, 5m or 1h; 0 is never",
        )
    })?;
    let config = super::configured_with(&args.flags, environment, |config| {
        hardening::apply(config, environment, true);
    })?;
    let variables = Variables::of(&config.certificates)
        .map_err(|clash| Stopped::usage(clash.to_string(), "rename one of them"))?
        .without_passwords(environment);
    let mut signals = Signals::listen().context("cannot listen for signals")?;
    let mut reaping = JoinSet::new();
    reaping.spawn(reap_orphans());
    let sidecar = Sidecar::new(config, environment)?;
    let mut parent = Parent {
        statuses: sidecar.statuses(),
        deadline: sidecar.deadline,
        started: sidecar.started.clone(),
        place: sidecar.child.clone(),
        agent: JoinSet::new(),
        kill_after,
    };
    let shutdown = CancellationToken::new();
    parent.agent.spawn(sidecar.run(shutdown.clone()));
    let code = parent.attend(args, &variables, &mut signals).await;
    shutdown.cancel();
    while parent.agent.join_next().await.is_some() {}
    code.map(ExitCode::from)
}

/// What is around the command.
struct Parent {
    statuses: Vec<watch::Receiver<Status>>,
    deadline: Instant,
    started: CancellationToken,
    place: signal::ChildPid,
    agent: JoinSet<Exit>,
    kill_after: Duration,
}

impl Parent {
    /// From nothing to the end of the command; the exit code.
    async fn attend(
        &mut self,
        args: &ExecArgs,
        variables: &Variables,
        signals: &mut Signals,
    ) -> anyhow::Result<u8> {
        tokio::select! {
            // first: its code is the one that `run` would end with
            biased;
            Some(ended) = self.agent.join_next() => {
                return Ok(ended.unwrap_or(Exit::Failure).code());
            }
            Incoming { signal, name, .. } = ending(signals) => {
                info!("{name} before the command was started: finishing; the files stay");
                return Ok(signal_code(signal));
            }
            published = published(&self.statuses, self.deadline) => if let Err(exit) = published {
                return Ok(exit.code());
            }
        }
        let Some((program, arguments)) = args.command.split_first() else {
            return Ok(Exit::Usage.code()); // the command line asks for one
        };
        let started = Child::start(program, arguments, variables);
        let child = match started {
            Ok(child) => child,
            Err(refused) => {
                error!("{refused}; {}", refused.hint());
                return Ok(refused.code());
            }
        };
        let pid = child.handle().pid().as_raw_pid();
        info!(pid, "started {}", program.display());
        self.place.started(pid.unsigned_abs());
        self.started.cancel();
        self.tend(child, signals).await
    }

    /// Passes signals on until the command ends.
    async fn tend(&mut self, mut child: Child, signals: &mut Signals) -> anyhow::Result<u8> {
        let handle = child.handle();
        let mut kill_at: Option<Instant> = None;
        loop {
            tokio::select! {
                status = child.wait() => {
                    // before anybody else has a turn: its number is free from now on
                    self.place.ended();
                    let status = status.context("cannot find out how the command exited")?;
                    info!("the command exited: {status}");
                    return Ok(exit_code(status));
                }
                incoming = signals.next() => {
                    pass_on(&handle, incoming);
                    if incoming.signal == Signal::TERM && !self.kill_after.is_zero() {
                        kill_at = kill_at.or_else(|| Instant::now().checked_add(self.kill_after));
                    }
                }
                () = until(kill_at) => {
                    warn!("the command did not exit within {:?} after SIGTERM: SIGKILL", self.kill_after);
                    let _ended = handle.signal(Signal::KILL);
                    kill_at = None;
                }
                Some(_) = self.agent.join_next() => {
                    error!("the agent stopped; the command continues with the present files");
                }
            }
        }
    }
}

fn pass_on(handle: &Handle, incoming: Incoming) {
    let name = incoming.name;
    if incoming.shared {
        debug!("{name} came from the terminal, which sent it to the command too");
        return;
    }
    match handle.signal(incoming.signal) {
        Ok(()) => info!("{name} passed on to the command"),
        Err(error) => debug!("{name} not passed on: {error}"),
    }
}

/// The next signal that ends what has not begun. Others are for the command, which is not there yet.
async fn ending(signals: &mut Signals) -> Incoming {
    loop {
        let incoming = signals.next().await;
        if incoming.ends() {
            return incoming;
        }
        debug!("{} before the command was started: ignored", incoming.name);
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => pending().await,
    }
}

/// Returns when every certificate is published: the command may need them all. After the deadline of
/// the first start, one that has failed by then is an error, with the code of its failure.
async fn published(statuses: &[watch::Receiver<Status>], deadline: Instant) -> Result<(), Exit> {
    let all = async {
        for status in statuses {
            let mut status = status.clone();
            if status.wait_for(|one| one.live.is_some()).await.is_err() {
                // the agent exited, which is logged elsewhere
                pending::<()>().await;
            }
        }
    };
    tokio::pin!(all);
    if timeout_at(deadline, &mut all).await.is_ok() {
        return Ok(());
    }
    for status in statuses {
        let mut status = status.clone();
        let Ok(settled) = status.wait_for(Status::settled).await else {
            return pending().await;
        };
        if let Some(class) = settled.failed_with() {
            error!(
                "no certificate {} within startup_timeout; the command needs it and is not started",
                settled.name
            );
            return Err(class.into());
        }
    }
    all.await;
    Ok(())
}
