//! Which actions the lists of a certificate stand for now.
//!
//! Never tells. What stays true: a list stays the same while its steps are taken; Loki is asked for
//! its version anew for each publication.

use std::time::Duration;

use tracing::debug;

use super::Reloader;
use crate::{
    clock::Clock,
    config::CertConfig,
    loki::Version,
    model::reload::{Action, EventKind, ReloadPolicy, ReloadRecord},
    reload::policy,
};

/// How long the proof may take where nothing else is said.
const PATIENCE: Duration = Duration::from_secs(60);

/// The lists for one round of telling about one publication.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    mark: (String, i64, u32),
    policy: ReloadPolicy,
}

impl<I, C: Clock> Reloader<I, C> {
    /// The policy for `row`.
    pub(super) async fn policy(&mut self, row: &ReloadRecord) -> ReloadPolicy {
        let mark = (row.serial.clone(), row.published_at, row.round);
        if let Some(plan) = self.plan.as_ref().filter(|plan| plan.mark == mark) {
            return plan.policy.clone();
        }
        if row.attested_at.is_some() {
            // nobody is told: the lists do not matter
            return policy_of(&self.config, None);
        }
        let policy = policy_of(&self.config, self.version(row.event).await);
        self.plan = Some(Plan {
            mark,
            policy: policy.clone(),
        });
        policy
    }

    /// Loki's version, where `auto` depends on it.
    async fn version(&self, event: EventKind) -> Option<Version> {
        let tell = self.config.tell.as_ref()?;
        // for new anchors no version makes a difference
        if event != EventKind::Leaf || !policy::needs_version(tell) {
            return None;
        }
        let url = tell.version_url.as_ref()?;
        match self.context.application.version(url).await {
            Ok(version) => Some(version),
            Err(why) => {
                debug!("Loki's version is not known: {why}");
                None
            }
        }
    }
}

/// Without a word about telling nobody is told; what is served may still be looked at.
fn policy_of(config: &CertConfig, version: Option<Version>) -> ReloadPolicy {
    policy::policy(config, version).unwrap_or_else(|| {
        let probe = config.probe.as_ref();
        ReloadPolicy {
            leaf: vec![Action::None],
            trust: vec![Action::None],
            attest_within: PATIENCE,
            probed: probe.is_some(),
            probe_every: probe.map_or(PATIENCE, |probe| probe.every),
            slots: None,
            rollback: config.rollback,
        }
    })
}
