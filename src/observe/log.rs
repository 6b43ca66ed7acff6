//! Sets up tracing: text for people, JSON for machines, always on stderr.
//!
//! Never prints a secret: the secret types cannot be formatted. What stays true: stdout belongs to
//! results; colour only on a terminal and without `NO_COLOR`.

use std::io::{self, IsTerminal as _};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{Layer as _, filter, fmt, layer::SubscriberExt as _, registry};

use crate::config::{Environment, LogFormat, LoggingConfig};

/// Starts logging for the whole process. A second call changes nothing.
pub fn start(config: &LoggingConfig, environment: &Environment) {
    let colour = colour(environment, io::stderr().is_terminal());
    let lines = fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(colour)
        .with_target(false);
    let lines = match config.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    // Foreign crates may log request headers and bodies when asked for everything.
    let ours = filter::Targets::new()
        .with_target("certagent", config.level)
        .with_default(LevelFilter::from_level(
            config.level.min(tracing::Level::WARN),
        ));
    let subscriber = registry().with(lines.with_filter(ours));
    // Fails only when logging was started already, as in tests.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// May the output be coloured? `NO_COLOR` counts when it is not empty (no-color.org), as do the
/// Vault and OpenBao clients' own variables for it.
#[must_use]
pub fn colour(environment: &Environment, terminal: bool) -> bool {
    let no = ["NO_COLOR", "BAO_CLI_NO_COLOR", "VAULT_CLI_NO_COLOR"];
    terminal
        && no
            .iter()
            .all(|name| environment.get(*name).is_none_or(String::is_empty))
        && environment.get("TERM").is_none_or(|term| term != "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_needs_a_terminal_and_no_objection() {
        let plain = Environment::new();
        let with =
            |name: &str, value: &str| Environment::from([(name.to_owned(), value.to_owned())]);
        assert!(colour(&plain, true));
        assert!(!colour(&plain, false));
        assert!(!colour(&with("NO_COLOR", "1"), true));
        assert!(colour(&with("NO_COLOR", ""), true));
        assert!(!colour(&with("TERM", "dumb"), true));
    }
}
