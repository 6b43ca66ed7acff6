//! Which actions the lists of a certificate stand for now.
//!
//! Never reloads. What stays true: a list stays the same while its steps are taken; Loki is asked for
//! its version anew for each publication.

use tracing::debug;

use super::Reloader;
use crate::{
    clock::Clock,
    model::reload::{EventKind, ReloadPolicy, ReloadRecord},
    reload::loki::Version,
    reload::policy,
};

/// The lists for one round of reloads for one publication.
#[derive(Clone, Debug)]
pub(super) struct ReloadPlan {
    round: ReloadRecord,
    policy: ReloadPolicy,
}

impl<I, C: Clock> Reloader<I, C> {
    /// The policy for `record`.
    pub(super) async fn policy(&mut self, record: &ReloadRecord) -> ReloadPolicy {
        let plan = self.plan.as_ref();
        if let Some(plan) = plan.filter(|plan| plan.round.is_same(record)) {
            return plan.policy.clone();
        }
        if record.is_verified() {
            // there is nothing to do: the lists do not matter
            return policy::policy(&self.config, None);
        }
        let policy = policy::policy(&self.config, self.version(record.about.event).await);
        self.plan = Some(ReloadPlan {
            round: record.clone(),
            policy: policy.clone(),
        });
        policy
    }

    /// Loki's version, where `auto` depends on it.
    async fn version(&self, event: EventKind) -> Option<Version> {
        let reload = self.config.reload.as_ref()?;
        // for new anchors no version makes a difference
        if event != EventKind::Leaf || !policy::needs_version(reload) {
            return None;
        }
        let url = reload.version_url.as_ref()?;
        match self.context.application.version(url).await {
            Ok(version) => Some(version),
            Err(why) => {
                debug!("Loki's version is not known: {why}");
                None
            }
        }
    }
}
