//! `certagent status`: what the running agent knows, as a table or as JSON.
//!
//! Never reads the agent's files: it asks the agent. What stays true: 0 means that every certificate
//! is ready.

mod text;

use std::{path::Path, time::Duration};

use anyhow::Context as _;
use tokio::time::{sleep, timeout};

use super::{Stopped, ask};
use crate::{
    cli::{OutputFormat, StatusArgs},
    config::Environment,
    exit::Exit,
    fleet::report::ReportedAgent,
    terminal::Screen,
};

/// How often `--watch` asks.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// An agent that runs answers at once; one that is stopped takes the connection and says nothing.
pub(super) const QUESTION_TIMEOUT: Duration = Duration::from_secs(5);

/// To the upper left corner, and clear what is below (ECMA-48).
const CLEAR: &str = "\x1b[H\x1b[J";

pub(super) async fn run(args: &StatusArgs, environment: &Environment) -> anyhow::Result<Exit> {
    let socket = ask::socket(args.socket.as_deref(), environment)?;
    let screen = Screen::stdout(|name| environment.get(name).map(String::as_str));
    loop {
        let asking = timeout(QUESTION_TIMEOUT, ask::ask(&socket, "GET", "/status"));
        let answer = asking.await.map_err(|_| silent(&socket))??;
        anyhow::ensure!(
            answer.status == 200,
            "the agent refused with {}",
            answer.status
        );
        let report: ReportedAgent =
            serde_json::from_str(&answer.body).context("the agent's answer is damaged")?;
        super::print(&match (args.output, args.watch) {
            (OutputFormat::Json, true) => format!("{}\n", answer.body.trim_end()),
            // the agent's own fields, also those that this program does not know
            (OutputFormat::Json, false) => format!(
                "{:#}\n",
                serde_json::from_str::<serde_json::Value>(&answer.body)?
            ),
            (OutputFormat::Text, true) if screen.is_terminal() => {
                format!("{CLEAR}{}", text::render(&report, screen))
            }
            (OutputFormat::Text, _) => text::render(&report, screen),
        })?;
        if !args.watch {
            return Ok(if report.ready {
                Exit::Done
            } else {
                Exit::Failure
            });
        }
        sleep(WATCH_INTERVAL).await;
    }
}

fn silent(socket: &Path) -> Stopped {
    Stopped {
        exit: Exit::TimedOut,
        message: format!(
            "no answer at {} within {QUESTION_TIMEOUT:?}",
            socket.display()
        ),
        hint: Some(
            "is the agent stopped (SIGSTOP, a frozen cgroup), or the machine busy?".to_owned(),
        ),
    }
}
