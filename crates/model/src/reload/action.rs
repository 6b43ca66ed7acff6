//! What can be done to make an application load new files, and the names of signals.
//!
//! Never does it (`reload.rs` does). What stays true: a [`SignalName`] is one that Nomad's drivers
//! know by exactly these letters; another spelling would make them send SIGINT.

use std::{collections::BTreeMap, fmt, path::PathBuf, str::FromStr, time::Duration};

/// One way to tell an application.
#[derive(Clone, PartialEq, Eq)]
pub enum Action {
    /// Nothing: it looks at the files by itself.
    None,
    /// A signal to a task of the same allocation, through Nomad's Task API.
    NomadSignal {
        /// Name of the task.
        task: String,
        /// What to send.
        signal: SignalName,
    },
    /// A restart of a task of the same allocation, through Nomad's Task API.
    NomadRestart {
        /// Name of the task.
        task: String,
    },
    /// A signal to a process on this machine.
    Signal {
        /// Which process.
        target: SignalTarget,
        /// What to send.
        signal: SignalName,
    },
    /// A command.
    Exec {
        /// Program and arguments; no shell.
        argv: Vec<String>,
        /// Killed after this long.
        timeout: Duration,
        /// Added to its environment.
        env: BTreeMap<String, String>,
    },
    /// An HTTP request.
    Http {
        /// `POST`, `PUT` or `GET`.
        method: String,
        /// Plain `http://` on loopback.
        url: String,
        /// Statuses that mean success; any 2xx when empty.
        expect: Vec<u16>,
        /// Limit for request and answer.
        timeout: Duration,
    },
}

impl Action {
    /// The word used in configuration, logs and metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::NomadSignal { .. } => "nomad_signal",
            Self::NomadRestart { .. } => "nomad_restart",
            Self::Signal { .. } => "signal",
            Self::Exec { .. } => "exec",
            Self::Http { .. } => "http",
        }
    }

    /// Does it touch the application, so that it has to wait for its turn?
    #[must_use]
    pub fn touches(&self) -> bool {
        *self != Self::None
    }
}

/// Environment and URL may hold what is not for logs.
impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// For log lines; as `Debug` it shows neither environment nor URL.
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NomadSignal { task, signal } => write!(f, "{signal} to the task {task}"),
            Self::NomadRestart { task } => write!(f, "restart of the task {task}"),
            Self::Signal { target, signal } => write!(f, "{signal} to {target}"),
            Self::None | Self::Exec { .. } | Self::Http { .. } => f.write_str(self.name()),
        }
    }
}

/// Which process on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignalTarget {
    /// This process id.
    Pid(u32),
    /// The process id in this file, read anew each time.
    PidFile(PathBuf),
    /// The child that `certagent exec` started.
    Child,
}

impl fmt::Display for SignalTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pid(pid) => write!(f, "process {pid}"),
            Self::PidFile(path) => write!(f, "the process of {}", path.display()),
            Self::Child => f.write_str("the child"),
        }
    }
}

/// The signals Nomad's drivers know (`helper/signals.SignalLookup` in its source), with
/// their Linux numbers. SIGCHLD and SIGURG are missing there on purpose.
const SIGNALS: [(&str, i32); 28] = [
    ("SIGABRT", 6),
    ("SIGALRM", 14),
    ("SIGBUS", 7),
    ("SIGCONT", 18),
    ("SIGFPE", 8),
    ("SIGHUP", 1),
    ("SIGILL", 4),
    ("SIGINT", 2),
    ("SIGIO", 29),
    ("SIGIOT", 6),
    ("SIGKILL", 9),
    ("SIGPIPE", 13),
    ("SIGPROF", 27),
    ("SIGQUIT", 3),
    ("SIGSEGV", 11),
    ("SIGSTOP", 19),
    ("SIGSYS", 31),
    ("SIGTERM", 15),
    ("SIGTRAP", 5),
    ("SIGTSTP", 20),
    ("SIGTTIN", 21),
    ("SIGTTOU", 22),
    ("SIGUSR1", 10),
    ("SIGUSR2", 12),
    ("SIGWINCH", 28),
    ("SIGXCPU", 24),
    ("SIGXFSZ", 25),
    ("SIGNULL", 0),
];

/// The name of a signal, as `SIGHUP`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SignalName {
    name: &'static str,
    number: i32,
}

impl SignalName {
    /// Its number on Linux (x86, Arm, RISC-V); 0 for `SIGNULL`.
    #[must_use]
    pub fn number(self) -> i32 {
        self.number
    }

    /// What is known to be wrong with sending it to this application, for a warning.
    #[must_use]
    pub fn warning(self, app: &str) -> Option<String> {
        let name = self.name;
        match name {
            "SIGHUP" if app == "loki" => Some(
                "SIGHUP kills Loki at once, without cleanup: it has no reload; \
                 use auto, none or nomad_restart"
                    .to_owned(),
            ),
            "SIGKILL" | "SIGSTOP" | "SIGABRT" | "SIGSEGV" | "SIGNULL" => {
                Some(format!("{name} makes no application load new files"))
            }
            "SIGTERM" | "SIGINT" | "SIGQUIT" => Some(format!(
                "{name} kills most applications, which Nomad counts as a failure; use nomad_restart"
            )),
            _ => None,
        }
    }
}

impl FromStr for SignalName {
    type Err = String;

    /// # Errors
    /// Says which name was probably meant.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(&(name, number)) = SIGNALS.iter().find(|(name, _)| *name == text) {
            return Ok(Self { name, number });
        }
        let upper = text.to_ascii_uppercase();
        let near = SIGNALS
            .iter()
            .find(|(name, _)| *name == upper || name.strip_prefix("SIG") == Some(upper.as_str()));
        Err(match near {
            Some((name, _)) => {
                format!("not the name of a signal; write {name} (Nomad would send SIGINT instead)")
            }
            None => "not the name of a signal such as SIGHUP or SIGUSR1".to_owned(),
        })
    }
}

impl fmt::Display for SignalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name)
    }
}

impl fmt::Debug for SignalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exact_names_of_signals_are_taken() {
        assert_eq!("SIGUSR1".parse::<SignalName>().unwrap().number(), 10);
        for wrong in ["HUP", "sighup", "Sighup", "hup"] {
            let error = wrong.parse::<SignalName>().unwrap_err();
            assert!(error.contains("write SIGHUP"), "{wrong}: {error}");
        }
        for wrong in ["", "1", "SIGCHLD", "SIGURG", "SIGFOO", " SIGHUP"] {
            assert!(wrong.parse::<SignalName>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_hangup_for_loki_is_warned_about() {
        let hup: SignalName = "SIGHUP".parse().unwrap();
        assert!(hup.warning("loki").unwrap().contains("kills Loki"));
        assert_eq!(hup.warning("generic"), None);
    }

    #[test]
    fn an_action_reads_as_words() {
        let signal: SignalName = "SIGHUP".parse().unwrap();
        let to = |target| Action::Signal { target, signal }.to_string();
        assert_eq!(
            to(SignalTarget::PidFile("/run/a.pid".into())),
            "SIGHUP to the process of /run/a.pid"
        );
        assert_eq!(to(SignalTarget::Pid(7)), "SIGHUP to process 7");
        assert_eq!(to(SignalTarget::Child), "SIGHUP to the child");
        let task = "loki".to_owned();
        assert_eq!(
            Action::NomadRestart { task }.to_string(),
            "restart of the task loki"
        );
    }

    #[test]
    fn debug_shows_neither_environment_nor_url() {
        let exec = Action::Exec {
            argv: vec!["reload".to_owned(), "hunter2".to_owned()],
            timeout: Duration::from_secs(1),
            env: BTreeMap::from([("PASSWORD".to_owned(), "hunter2".to_owned())]),
        };
        let http = Action::Http {
            method: "POST".to_owned(),
            url: "http://127.0.0.1/reload?key=hunter2".to_owned(),
            expect: Vec::new(),
            timeout: Duration::from_secs(1),
        };
        assert_eq!(format!("{exec:?} {http:?}"), "exec http");
    }
}
