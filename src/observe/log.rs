//! Sets up tracing: text for people, JSON for machines, always on stderr.
//!
//! Never prints a secret: the secret types cannot be formatted. What stays true: stdout belongs to
//! results; colour only on a terminal and without `NO_COLOR`.

use std::io::{self, IsTerminal as _};

use tracing::{Level, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer as _, filter, fmt, fmt::MakeWriter, layer::SubscriberExt as _, registry,
};

use crate::config::{Environment, LogFormat, LoggingConfig};

/// Starts logging for the whole process. A second call changes nothing.
pub fn start(config: &LoggingConfig, environment: &Environment) {
    let colour = colour(environment, io::stderr().is_terminal());
    // Fails only when logging was started already, as in tests.
    let _ = tracing::subscriber::set_global_default(subscriber(config, colour, io::stderr));
}

fn subscriber<W>(config: &LoggingConfig, colour: bool, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let lines = fmt::layer()
        .with_writer(writer)
        .with_ansi(colour)
        .with_target(false);
    let lines = match config.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    // Foreign crates may log headers and bodies when asked for everything.
    let foreign = LevelFilter::from_level(config.level.min(Level::WARN));
    let targets = filter::Targets::new()
        .with_target("certagent", config.level)
        .with_default(foreign);
    registry().with(lines.with_filter(targets))
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
    use std::sync::{Arc, Mutex, PoisonError};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(format: LogFormat, level: Level) -> String {
        let sink = Written::default();
        let writer = sink.clone();
        let config = LoggingConfig { format, level };
        let subscriber = subscriber(&config, false, move || writer.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(certificate = "a", "published");
            tracing::trace!("looked");
            tracing::debug!(target: "hyper::client", "x-vault-token: hunter2");
            tracing::warn!(target: "hyper::client", "closed");
        });
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn foreign_crates_never_log_below_warn() {
        let text = written(LogFormat::Text, Level::TRACE);
        assert!(text.contains("published") && text.contains("looked") && text.contains("closed"));
        assert!(!text.contains("hunter2"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn the_level_cuts_off_what_is_less_important() {
        let text = written(LogFormat::Text, Level::ERROR);
        assert_eq!(text, "");
        assert!(!written(LogFormat::Text, Level::INFO).contains("looked"));
    }

    #[test]
    fn json_lines_are_objects_with_fields() {
        let text = written(LogFormat::Json, Level::INFO);
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["message"], "published");
        assert_eq!(lines[0]["certificate"], "a");
        assert_eq!(lines[0]["level"], "INFO");
    }

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
