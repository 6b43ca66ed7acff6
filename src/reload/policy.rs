//! From the configuration to the policy of telling, once it is known what `auto` means.
//!
//! Never asks for a version (`loki::version` does). What stays true: `auto` sends no signal.

use crate::{
    config::{App, CertConfig, ReloadConfig, Step},
    loki::{self, Version},
    model::reload::{Action, EventKind, ReloadPolicy},
};

/// Does any list say `auto` for an application whose version decides?
#[must_use]
pub fn needs_version(reload: &ReloadConfig) -> bool {
    reload.app == App::Loki && reload.on_cert_change.contains(&Step::Auto)
}

/// How the application of this certificate is told; `None` when nobody is.
#[must_use]
pub fn policy(certificate: &CertConfig, version: Option<Version>) -> Option<ReloadPolicy> {
    let reload = certificate.reload.as_ref()?;
    let probe = certificate.probe.as_ref();
    Some(ReloadPolicy {
        leaf: list(reload, &reload.on_cert_change, EventKind::Leaf, version),
        trust: list(reload, &reload.on_ca_change, EventKind::Trust, version),
        verify_timeout: reload.verify_timeout,
        probed: probe.is_some(),
        probe_interval: probe.map_or(reload.verify_timeout, |probe| probe.interval),
        stagger: reload.stagger,
        rollback: certificate.rollback,
    })
}

fn list(
    reload: &ReloadConfig,
    steps: &[Step],
    event: EventKind,
    version: Option<Version>,
) -> Vec<Action> {
    let task = reload.task.as_deref().unwrap_or("loki");
    let mut actions = Vec::new();
    for step in steps {
        match (step, reload.app) {
            (Step::Do(action), _) => actions.push(action.clone()),
            (Step::Auto, App::Loki) => actions.extend(loki::auto(version, event, task)),
            (Step::Auto, App::Generic) => actions.push(Action::None),
        }
    }
    actions
}
