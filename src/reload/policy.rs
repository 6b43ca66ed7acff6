//! From the configuration to the policy of telling, once it is known what `auto` means.
//!
//! Never asks for a version (`loki::version` does). What stays true: `auto` sends no signal.

use crate::{
    config::{App, CertConfig, Step, TellConfig},
    loki::{self, Version},
    model::reload::{Action, EventKind, ReloadPolicy},
};

/// Does any list say `auto` for an application whose version decides?
#[must_use]
pub fn needs_version(tell: &TellConfig) -> bool {
    tell.app == App::Loki && tell.on_cert_change.contains(&Step::Auto)
}

/// How the application of this certificate is told; `None` when nobody is.
#[must_use]
pub fn policy(certificate: &CertConfig, version: Option<Version>) -> Option<ReloadPolicy> {
    let tell = certificate.tell.as_ref()?;
    let probe = certificate.probe.as_ref();
    Some(ReloadPolicy {
        leaf: list(tell, &tell.on_cert_change, EventKind::Leaf, version),
        trust: list(tell, &tell.on_ca_change, EventKind::Trust, version),
        verify_timeout: tell.verify_timeout,
        probed: probe.is_some(),
        probe_interval: probe.map_or(tell.verify_timeout, |probe| probe.interval),
        slots: tell.slots,
        rollback: certificate.rollback,
    })
}

fn list(
    tell: &TellConfig,
    steps: &[Step],
    event: EventKind,
    version: Option<Version>,
) -> Vec<Action> {
    let task = tell.task.as_deref().unwrap_or("loki");
    let mut actions = Vec::new();
    for step in steps {
        match (step, tell.app) {
            (Step::Do(action), _) => actions.push(action.clone()),
            (Step::Auto, App::Loki) => actions.extend(loki::auto(version, event, task)),
            (Step::Auto, App::Generic) => actions.push(Action::None),
        }
    }
    actions
}
