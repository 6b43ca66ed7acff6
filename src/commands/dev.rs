//! `certagent dev`: the embedded PKI, and the real agent against it with a short lifetime.
//!
//! Never listens beyond loopback. What stays true: the agent is the one of `certagent run`, set up
//! through the same environment variables as in a Nomad task.

mod show;
mod stage;

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use certagent_dev::DevServer;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};
use tokio_util::sync::CancellationToken;

use self::{
    show::{Show, Summary},
    stage::Stage,
};
use super::{Stopped, print, run::FinishSignals};
use crate::{
    agent::Agent,
    cli::DevArgs,
    clock::{Clock as _, SystemClock},
    config::{self, Environment, Flags, LogFormat, LoggingConfig},
    exit::Exit,
    issuer::Issuer as _,
    model::duration,
    observe::log,
    terminal::Screen,
    vault::Vault,
};

/// How often the workload's JWT is written anew; each is valid twice as long.
const IDENTITY_TTL: Duration = Duration::from_secs(3600);

/// When to end without a signal.
struct Limits {
    time: Option<Duration>,
    renewals: Option<u64>,
}

pub(super) async fn run(args: &DevArgs, environment: &Environment) -> anyhow::Result<Exit> {
    let ttl = parsed("--ttl", &args.ttl)?;
    let limits = Limits {
        time: args
            .time
            .as_ref()
            .map(|text| parsed("--for", text))
            .transpose()?,
        renewals: args.renewals,
    };
    if !args.listen.ip().is_loopback() {
        return Err(Stopped::usage(
            format!(
                "the embedded PKI listens on loopback only, not on {}",
                args.listen
            ),
            "use 127.0.0.1:PORT or [::1]:PORT",
        )
        .into());
    }
    // Warnings and failures only: the rest is shown line by line on stdout.
    let logging = LoggingConfig {
        format: LogFormat::Text,
        level: tracing::Level::WARN,
    };
    log::start(&logging, environment);
    let mut signals = FinishSignals::listen().context("cannot listen for signals")?;
    let server = DevServer::bind(args.listen)
        .await
        .with_context(|| format!("cannot start the embedded PKI on {}", args.listen))?;
    let stage = Stage::new(args.dir.as_deref(), environment, &server)?;
    let stop = CancellationToken::new();
    let work = async {
        match args.pki_only {
            true => serve(server, &stage, &limits, &stop).await,
            false => demonstrate(server, &stage, ttl, &limits, environment, &stop).await,
        }
    };
    tokio::pin!(work);
    let ended = tokio::select! {
        ended = &mut work => ended,
        _ = signals.next() => {
            stop.cancel();
            work.await
        }
    };
    stage.clear();
    ended
}

fn parsed(flag: &str, text: &str) -> anyhow::Result<Duration> {
    duration::parse(text).map_err(|error| {
        Stopped::usage(
            format!("{flag}: {error}"),
            "write durations as 30s, 5m or 1h",
        )
        .into()
    })
}

/// `--pki-only`: how to log in, then nothing but answers until the end.
async fn serve(
    server: DevServer,
    stage: &Stage,
    limits: &Limits,
    stop: &CancellationToken,
) -> anyhow::Result<Exit> {
    let workload = server.workload().clone();
    stage.write_identity(&workload, SystemClock.now(), IDENTITY_TTL * 2)?;
    print(&stage.login_help(&server))?;
    let serving = server.run(stop.clone());
    tokio::pin!(serving);
    let mut renew = interval_at(Instant::now() + IDENTITY_TTL, IDENTITY_TTL);
    renew.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let until = Instant::now() + limits.time.unwrap_or(Duration::MAX / 4);
    loop {
        tokio::select! {
            served = &mut serving => {
                served.context("the embedded PKI stopped")?;
                return Ok(Exit::Done);
            }
            _ = renew.tick() => stage.write_identity(&workload, SystemClock.now(), IDENTITY_TTL * 2)?,
            () = sleep(until.saturating_duration_since(Instant::now())), if limits.time.is_some() => {
                return Ok(Exit::Done);
            }
        }
    }
}

/// The agent against the embedded PKI, shown as it happens; a summary at the end.
async fn demonstrate(
    server: DevServer,
    stage: &Stage,
    ttl: Duration,
    limits: &Limits,
    environment: &Environment,
    stop: &CancellationToken,
) -> anyhow::Result<Exit> {
    let workload = server.workload().clone();
    stage.write_identity(&workload, SystemClock.now(), IDENTITY_TTL * 2)?;
    let settings = stage.settings(&server, ttl);
    let config = config::load(None, &settings, &Flags::default())?;
    let vault = Arc::new(Vault::new(&config.vault, config.auth)?);
    let agent = Agent::new(
        config.certificates,
        Arc::clone(&vault),
        Arc::new(SystemClock),
    );
    let mut statuses = agent.statuses();
    let Some(status) = statuses.pop() else {
        anyhow::bail!("the demonstration has no certificate");
    };
    let screen = Screen::stdout(|name| environment.get(name).map(String::as_str));
    let requests = server.log();
    print(&show::opening(screen, &server.url(), stage, ttl))?;
    // The server outlives the agent, which gives its token back at the end.
    let pki_stop = CancellationToken::new();
    let serving = server.run(pki_stop.clone());
    let mut show = Show::new(screen, requests, status);
    let agent_stop = stop.child_token();
    let acting = async {
        let exit = agent.run(agent_stop.clone()).await;
        let _too_slow = tokio::time::timeout(Duration::from_millis(300), vault.close()).await;
        exit
    };
    let telling = async {
        let reloaded = show.tell(limits, stop).await;
        agent_stop.cancel();
        reloaded
    };
    let both = async { tokio::join!(acting, telling) };
    let (exit, reloaded) = tokio::select! {
        served = serving => {
            served.context("the embedded PKI stopped")?;
            anyhow::bail!("the embedded PKI stopped by itself");
        }
        ended = both => ended,
    };
    reloaded?;
    let Summary { text } = show.summary(stage);
    print(&text)?;
    Ok(exit)
}
