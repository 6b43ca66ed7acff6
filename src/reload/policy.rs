//! From the configuration to the policy of telling, once it is known what `auto` means.
//!
//! Never asks for a version (`loki::version` does). What stays true: `auto` sends no signal.

use std::time::Duration;

use crate::{
    config::{App, CertConfig, ReloadConfig, ReloadStep},
    model::reload::{Action, EventKind, ReloadPolicy},
    reload::loki::{self, Version},
};

/// How long the proof may take where nothing else is said.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(60);

/// Does any list say `auto` for an application whose version decides?
#[must_use]
pub fn needs_version(reload: &ReloadConfig) -> bool {
    reload.app == App::Loki && reload.on_cert_change.contains(&ReloadStep::Auto)
}

/// How the application of this certificate is reloaded. Without a `reload` block there is no action;
/// what is served may still be probed.
#[must_use]
pub fn policy(certificate: &CertConfig, version: Option<Version>) -> ReloadPolicy {
    let (reload, probe) = (certificate.reload.as_ref(), certificate.probe.as_ref());
    let verify_timeout = reload.map_or(VERIFY_TIMEOUT, |reload| reload.verify_timeout);
    let steps = |of: fn(&ReloadConfig) -> &[ReloadStep], event| {
        reload.map_or_else(Vec::new, |reload| list(reload, of(reload), event, version))
    };
    ReloadPolicy {
        leaf: steps(|reload| &reload.on_cert_change, EventKind::Leaf),
        trust: steps(|reload| &reload.on_ca_change, EventKind::Trust),
        verify_timeout,
        probed: probe.is_some(),
        probe_interval: probe.map_or(verify_timeout, |probe| probe.interval),
        stagger: reload.and_then(|reload| reload.stagger),
        rollback: certificate.rollback,
    }
}

fn list(
    reload: &ReloadConfig,
    steps: &[ReloadStep],
    event: EventKind,
    version: Option<Version>,
) -> Vec<Action> {
    let task = reload.task.as_deref().unwrap_or("loki");
    let mut actions = Vec::new();
    for step in steps {
        match (step, reload.app) {
            (ReloadStep::Do(action), _) => actions.push(action.clone()),
            (ReloadStep::Auto, App::Loki) => actions.extend(loki::auto(version, event, task)),
            (ReloadStep::Auto, App::Generic) => actions.push(Action::None),
        }
    }
    actions
}
