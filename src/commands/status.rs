//! `certagent status`: what the running agent knows, as a table or as JSON.
//!
//! Never reads the agent's files: it asks the agent. What stays true: 0 means that every certificate
//! is ready.

mod text;

use std::time::Duration;

use tokio::time::sleep;

use super::ask;
use crate::{
    cli::{OutputFormat, StatusArgs},
    config::Environment,
    exit::Exit,
    terminal::{CLEAR_SCREEN, Screen},
};

/// How often `--watch` asks.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

pub(super) async fn run(args: &StatusArgs, environment: &Environment) -> anyhow::Result<Exit> {
    let socket = ask::socket(args.socket.as_deref(), environment)?;
    let screen = Screen::stdout(|name| environment.get(name).map(String::as_str));
    loop {
        let (report, body) = ask::status(&socket).await?;
        let read = super::print_on(&match (args.output, args.watch) {
            (OutputFormat::Json, true) => format!("{}\n", body.trim_end()),
            // the agent's own fields, also those that this program does not know
            (OutputFormat::Json, false) => {
                format!("{:#}\n", serde_json::from_str::<serde_json::Value>(&body)?)
            }
            (OutputFormat::Text, true) if screen.is_terminal() => {
                format!("{CLEAR_SCREEN}{}", text::render(&report, screen))
            }
            (OutputFormat::Text, _) => text::render(&report, screen),
        })?;
        if !args.watch || !read {
            return Ok(if report.ready {
                Exit::Done
            } else {
                Exit::Failure
            });
        }
        sleep(WATCH_INTERVAL).await;
    }
}
