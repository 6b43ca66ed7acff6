//! What the agent's loops have published about themselves, at one moment, and what it means.
//!
//! Never keeps anything: every look reads the loops' own values. What stays true: `/ready`,
//! `/metrics` and `certagent status` all come from one [`View`], so they cannot disagree.

use std::sync::Arc;

use serde::Serialize;
use tokio::sync::watch;

use crate::{
    clock::Clock, config::Environment, control::Force, model::time::Timestamp, status::Status,
};

/// The way to the agent: its values, and wishes for renewals.
#[derive(Clone)]
pub struct AgentView {
    identity: Arc<AgentIdentity>,
    started: Timestamp,
    statuses: Arc<[watch::Receiver<Status>]>,
    force: Force,
    clock: Arc<dyn Clock>,
    vault_plain_http: bool,
}

impl AgentView {
    /// The agent starts now, by `clock`.
    #[must_use]
    pub fn new(
        statuses: Vec<watch::Receiver<Status>>,
        force: Force,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            identity: Arc::default(),
            started: clock.now(),
            statuses: statuses.into(),
            force,
            clock,
            vault_plain_http: false,
        }
    }

    /// Requests to Vault leave this host without TLS.
    #[must_use]
    pub fn with_plain_http(mut self, plain: bool) -> Self {
        self.vault_plain_http = plain;
        self
    }

    /// As this one of many.
    #[must_use]
    pub fn with_identity(mut self, identity: AgentIdentity) -> Self {
        self.identity = Arc::new(identity);
        self
    }

    /// Everything as of this moment.
    #[must_use]
    pub fn view(&self) -> View {
        View {
            identity: AgentIdentity::clone(&self.identity),
            started: self.started,
            now: self.clock.now(),
            statuses: self
                .statuses
                .iter()
                .map(|status| status.borrow().clone())
                .collect(),
            log_lines_dropped: super::log::dropped(),
            vault_plain_http: self.vault_plain_http,
        }
    }

    /// Wishes for renewals.
    pub(super) fn force(&self) -> &Force {
        &self.force
    }

    /// The values of the certificate with that name.
    pub(super) fn of(&self, name: &str) -> Option<watch::Receiver<Status>> {
        let mut all = self.statuses.iter();
        all.find(|status| status.borrow().name == name).cloned()
    }
}

/// Which one of many agents this is; a part that is not known is empty.
#[derive(Clone, Debug, Default, Serialize)]
pub struct AgentIdentity {
    /// Id of the allocation, else the host's name.
    pub instance: String,
    /// Name of the host.
    pub node: String,
    /// The task of Nomad that it runs in.
    pub task: String,
}

impl AgentIdentity {
    /// Who we are by Nomad's word.
    /// Nomad, "Runtime environment settings".
    #[must_use]
    pub fn of(environment: &Environment) -> Self {
        let variable = |name: &str| environment.get(name).cloned().unwrap_or_default();
        let node = rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned();
        let instance = variable("NOMAD_ALLOC_ID");
        Self {
            instance: if instance.is_empty() {
                node.clone()
            } else {
                instance
            },
            node,
            task: variable("NOMAD_TASK_NAME"),
        }
    }
}

/// All certificates at one moment.
#[derive(Clone, Debug)]
pub struct View {
    /// Which agent it is.
    pub identity: AgentIdentity,
    /// When the agent started.
    pub started: Timestamp,
    /// The moment.
    pub now: Timestamp,
    /// In the order of the configuration.
    pub statuses: Vec<Status>,
    /// Log lines that stderr did not take, since the start.
    pub log_lines_dropped: u64,
    /// Requests to Vault leave this host without TLS.
    pub vault_plain_http: bool,
}
