//! Sets up tracing: text for people, JSON for machines, always on stderr.
//!
//! Never prints a secret: the secret types cannot be formatted; never waits for a reader. What stays
//! true: stdout belongs to results; colour only on a terminal and without `NO_COLOR`.

mod lines;
mod queue;

use std::{
    io::{self, IsTerminal as _, Write as _},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tracing::{Level, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{Layer as _, filter, layer::SubscriberExt as _, registry};

use self::{lines::Lines, queue::Queue};
use crate::config::{Environment, LogFormat, LoggingConfig};

/// How long the last lines may take at the end.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(300);

static LINES: Queue = Queue::new(queue::stderr, tell_dropped);
static STARTED: AtomicBool = AtomicBool::new(false);

/// Starts logging for the whole process. A second call changes nothing.
pub fn start(config: &LoggingConfig, environment: &Environment) {
    let colour = colour(environment, io::stderr().is_terminal());
    let subscriber = subscriber(config, colour, |line| LINES.push(line));
    // Fails only when logging was started already, as in tests.
    if tracing::subscriber::set_global_default(subscriber).is_ok() {
        STARTED.store(true, Ordering::Relaxed);
    }
}

/// Text for stderr behind all log lines: an error that ends the command, a panic.
pub fn last_words(text: &str) {
    if STARTED.load(Ordering::Relaxed) {
        LINES.push(text.as_bytes());
        finish();
    } else {
        // Nothing is left to tell when stderr is closed.
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }
}

/// The process is about to end: waits for the last lines, but not for a reader that takes nothing.
pub fn finish() {
    LINES.flush(FLUSH_TIMEOUT);
}

/// Log lines that were dropped since the start, because stderr took no more.
#[must_use]
pub fn dropped() -> u64 {
    LINES.dropped()
}

fn tell_dropped(lines: u64) {
    tracing::warn!(lines, "log lines were dropped because stderr took no more");
}

fn subscriber(
    config: &LoggingConfig,
    colour: bool,
    write: impl Fn(&[u8]) + Send + Sync + 'static,
) -> impl Subscriber + Send + Sync {
    let lines = Lines {
        format: config.format,
        colour: colour && config.format == LogFormat::Text,
        write,
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

    impl Written {
        fn write(&self, bytes: &[u8]) {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.extend_from_slice(bytes);
        }
    }

    fn written(format: LogFormat, level: Level) -> String {
        let sink = Written::default();
        let writer = sink.clone();
        let config = LoggingConfig { format, level };
        let subscriber = subscriber(&config, false, move |line| writer.write(line));
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
    fn foreign_text_makes_no_second_line_and_steers_nothing() {
        let text = "a\n2026 ERROR forged\r\0\u{1b}[2J\u{1b}[8m\u{9b}\u{202e}";
        for (format, colour) in [
            (LogFormat::Text, false),
            (LogFormat::Text, true),
            (LogFormat::Json, false),
        ] {
            let sink = Written::default();
            let writer = sink.clone();
            let config = LoggingConfig {
                format,
                level: Level::INFO,
            };
            let subscriber = subscriber(&config, colour, move |line| writer.write(line));
            tracing::subscriber::with_default(subscriber, || {
                tracing::info!(code = text, shown = %text, debug = ?text, "said: {text}");
            });
            let line = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
            assert_eq!(line.matches('\n').count(), 1, "{line:?}");
            for steers in ["\u{1b}[2J", "\u{1b}[8m"] {
                assert!(!line.contains(steers), "{line:?}");
            }
            for c in ['\r', '\0', '\u{9b}', '\u{202e}'] {
                assert!(!line.contains(c), "{line:?}");
            }
            assert_eq!(line.contains('\u{1b}'), colour, "{line:?}");
            if format == LogFormat::Json {
                let value: serde_json::Value = serde_json::from_str(&line).unwrap();
                assert_eq!(value["message"], format!("said: {text}"));
            }
        }
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
        let time = lines[0]["timestamp"].as_str().unwrap();
        assert_eq!(time.len(), "2026-11-29T10:00:00.123Z".len(), "{time}");
    }

    #[test]
    fn a_line_names_the_certificate_of_its_span_and_no_key_twice() {
        let line = |format| {
            let sink = Written::default();
            let writer = sink.clone();
            let config = LoggingConfig {
                format,
                level: Level::INFO,
            };
            let subscriber = subscriber(&config, false, move |line| writer.write(line));
            tracing::subscriber::with_default(subscriber, || {
                let span = tracing::info_span!("agent", certificate = %"ingester", other = 1);
                let _inside = span.enter();
                let _deeper = tracing::info_span!("mount").entered();
                tracing::warn!(
                    level = "odd",
                    code = "a-b",
                    text = "two words",
                    tries = 3_u32,
                    "no"
                );
            });
            String::from_utf8(sink.0.lock().unwrap().clone()).unwrap()
        };
        let json = line(LogFormat::Json);
        let (_, rest) = json.split_once(r#"Z","#).unwrap();
        assert_eq!(
            rest.trim_end(),
            r#""level":"WARN","message":"no","certificate":"ingester","code":"a-b","text":"two words","tries":3}"#
        );
        let text = line(LogFormat::Text);
        let (_, rest) = text.split_once("Z ").unwrap();
        assert_eq!(
            rest.trim_end(),
            r#"WARN  ingester: no level=odd code=a-b text="two words" tries=3"#
        );
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
