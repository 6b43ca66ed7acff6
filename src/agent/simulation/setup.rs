//! The configuration of the agent in a schedule.
//!
//! Never changes while a schedule runs.

use std::time::Duration;

use tempfile::TempDir;

use super::schedule::Schedule;
use crate::{
    agent::tests::{
        reload::{probe, reload, restart},
        rig,
    },
    config::{CertConfig, ReloadStep},
    model::{issuance_limit::IssuanceLimit, reload::Action, request::Mode, schedule::MinRemaining},
    testing::planted::Planted,
};

/// What the agent of a schedule shall do.
pub(super) fn config(schedule: &Schedule, temp: &TempDir, planted: Option<Planted>) -> CertConfig {
    let mut config = rig::config(temp, "main");
    let life = schedule.life;
    config.request.ttl = life;
    config.request.mode = if schedule.signs() {
        Mode::Sign
    } else {
        Mode::Issue
    };
    config.renew.min_remaining = MinRemaining::Derived(Duration::from_secs(300));
    config.renew.max_issuances_per_hour = match planted {
        Some(Planted::LimitOfAsked) => {
            IssuanceLimit::Configured(IssuanceLimit::Derived { ttl: life }.per_hour(None))
        }
        _ => IssuanceLimit::Derived { ttl: life },
    };
    config.ready_file = Some(temp.path().join("main/ready.json"));
    config.extra_ca = schedule
        .has_extra_anchors()
        .then(|| temp.path().join("main/extra.pem"));
    let signal = Action::NomadSignal {
        task: "loki".to_owned(),
        signal: "SIGHUP".parse().unwrap(),
    };
    let mut told = reload(vec![ReloadStep::Do(signal), restart()], vec![restart()]);
    told.lock = schedule.takes_lock().then(|| "nomad/lock".to_owned());
    config.reload = Some(told);
    config.probe = schedule.probes().then(|| probe(life / 20));
    config
}
