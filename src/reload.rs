//! Performs one action on the application: Nomad's Task API, a signal, a command, a request.
//!
//! Never decides whether or when (`model/reload.rs` does), and never believes that it was enough
//! (a probe does). What stays true: every action has a time limit, and a failure says whether the
//! application may have been reached all the same.

mod hook;
mod http;
pub mod loki;
pub mod nomad;
pub mod policy;
// Numbers from outside end up here, and an overflow ends the process.
#[deny(clippy::arithmetic_side_effects)]
pub mod signal;

#[cfg(test)]
mod tests;

use std::{path::PathBuf, time::Duration};

use self::nomad::Nomad;
use crate::{
    config::Environment,
    disk,
    model::{
        cover::KeyTraces,
        reload::{Action, Delivery, EventKind, ReloadFailure},
        secret::Secret,
    },
};

/// Bytes of the largest file that is looked at.
const LARGEST: u64 = 1024 * 1024;

/// What the application is reloaded for.
#[derive(Clone, Debug)]
pub struct Event {
    /// Name of the certificate.
    pub certificate: String,
    /// What changed.
    pub kind: EventKind,
    /// Id of the live generation.
    pub generation: String,
    /// Serial of its leaf: lower hex with colons.
    pub serial: String,
    /// The directory that holds `CA.pem`, `cert.pem` and `key.pem`.
    pub dir: PathBuf,
}

impl Event {
    /// The variables that a command finds in its environment; the paths as in `child`'s.
    #[must_use]
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        let file = |name: &str| self.dir.join(name).display().to_string();
        vec![
            ("CERTAGENT_NAME", self.certificate.clone()),
            ("CERTAGENT_EVENT", self.kind.name().to_owned()),
            ("CERTAGENT_GENERATION", self.generation.clone()),
            ("CERTAGENT_SERIAL", self.serial.clone()),
            ("CERTAGENT_DIR", self.dir.display().to_string()),
            ("CERTAGENT_CA_FILE", file("CA.pem")),
            ("CERTAGENT_CERT_FILE", file("cert.pem")),
            ("CERTAGENT_KEY_FILE", file("key.pem")),
        ]
    }

    /// What the output of a command must not show of the live key; nothing where there is none.
    fn key_traces(&self) -> KeyTraces {
        let text = |name: &str| {
            let content = disk::read(&self.dir.join(name), LARGEST).ok();
            Secret::new(
                content
                    .and_then(|one| Some(one.text()?.to_owned()))
                    .unwrap_or_default(),
            )
        };
        KeyTraces::of(text("key.pem").expose(), text("cert.pem").expose())
    }
}

/// Performs actions. One for a process: it remembers which processes it has seen.
#[derive(Debug)]
pub struct ActionRunner {
    nomad: Option<Nomad>,
    /// Why there is no Nomad, for the message.
    no_nomad: Option<ReloadFailure>,
    signals: signal::SignalSender,
    /// What commands inherit: everything but secrets.
    inherited: Environment,
    /// Texts that no output of a command may show.
    secrets: Vec<Secret>,
}

impl ActionRunner {
    /// `nomad`: the Task API, or why there is none. `environment` is the process's own.
    #[must_use]
    pub fn new(nomad: Result<Nomad, ReloadFailure>, environment: &Environment) -> Self {
        let (nomad, no_nomad) = match nomad {
            Ok(nomad) => (Some(nomad), None),
            Err(failure) => (None, Some(failure)),
        };
        let (inherited, secrets) = hook::split(environment);
        Self {
            nomad,
            no_nomad,
            signals: signal::SignalSender::default(),
            inherited,
            secrets,
        }
    }

    /// Where `exec` puts its child, so that it can be signalled.
    #[must_use]
    pub fn child(&self) -> signal::ChildPid {
        self.signals.child()
    }

    /// Looks at the process that an action means and remembers it, so that another one that gets
    /// its id later is known for a stranger. Does nothing for other actions.
    pub fn remember(&self, action: &Action) {
        if let Action::Signal { target, .. } = action {
            self.signals.remember(target);
        }
    }

    /// Performs `action`; returns when it is done.
    ///
    /// # Errors
    /// Why the application was not, or perhaps not, reloaded.
    pub async fn perform(&self, action: &Action, event: &Event) -> Result<Delivery, ReloadFailure> {
        match action {
            Action::None => Ok(Delivery::Delivered),
            Action::NomadSignal { task, signal } => self.nomad()?.signal(task, *signal).await,
            Action::NomadRestart { task } => self.nomad()?.restart(task).await,
            Action::Signal { target, signal } => self.signals.send(target, *signal),
            Action::Exec { argv, timeout, env } => {
                let key = event.key_traces();
                let own = hook::secrets_of(env);
                let secrets: Vec<Secret> = self.secrets.iter().cloned().chain(own).collect();
                let order = hook::HookCommand {
                    argv,
                    limit: *timeout,
                    variables: hook::variables(&self.inherited, event, env),
                    hidden: hook::Hidden {
                        secrets: &secrets,
                        key: &key,
                    },
                };
                hook::run(order).await
            }
            Action::Http {
                method,
                url,
                expect,
                timeout,
            } => http::send(method, url, expect, *timeout).await,
        }
    }

    /// How long [`ActionRunner::perform`] takes at most.
    #[must_use]
    pub fn limit(&self, action: &Action) -> Duration {
        const MIN_TIMEOUT: Duration = Duration::from_secs(1);
        match action {
            Action::None | Action::Signal { .. } => MIN_TIMEOUT,
            Action::Exec { timeout, .. } | Action::Http { timeout, .. } => *timeout + MIN_TIMEOUT,
            Action::NomadSignal { .. } => self.nomad.as_ref().map_or(MIN_TIMEOUT, Nomad::limit),
            Action::NomadRestart { .. } => self
                .nomad
                .as_ref()
                .map_or(MIN_TIMEOUT, Nomad::restart_limit),
        }
    }

    /// The Task API.
    ///
    /// # Errors
    /// Why there is none.
    pub fn nomad(&self) -> Result<&Nomad, ReloadFailure> {
        self.nomad.as_ref().ok_or_else(|| {
            self.no_nomad.clone().unwrap_or_else(|| {
                ReloadFailure::lasting("nomad-missing", "there is no Nomad here".to_owned(), "")
            })
        })
    }
}
