//! What a status means at one moment: ready or not, what is wrong, what is served.
//!
//! Never reads a clock. What stays true: `/ready`, `/metrics`, the page and `certagent status` say the
//! same, because each asks here.

use serde::Serialize;

use crate::{
    model::{failure::Failure, reload::ReloadState, time::Timestamp},
    status::{Budget, Serving, Status},
};

/// Whether a certificate can be used, and what is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Readiness {
    /// Why it is not ready; empty means ready.
    pub reasons: Vec<Reason>,
    /// What is wrong although the application is served well: a person should check.
    pub degraded: Vec<Reason>,
}

impl Readiness {
    /// A valid set is published and, where a probe is set, seen to be served.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.reasons.is_empty()
    }
}

/// One reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// A short stable name, as `expired`.
    pub code: &'static str,
    /// For people.
    pub message: String,
}

impl Reason {
    fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

/// So many repairs in ten minutes are no accident.
const MANY_REPAIRS: usize = 5;

/// What `status` means at `now`.
#[must_use]
pub fn readiness(status: &Status, now: Timestamp) -> Readiness {
    Readiness {
        reasons: reasons(status, now),
        degraded: degraded(status),
    }
}

fn reasons(status: &Status, now: Timestamp) -> Vec<Reason> {
    let Some(live) = &status.live else {
        let text = match (&status.failure, &status.standby) {
            (_, Some(holder)) => format!("standing by: {holder}"),
            (Some(run), _) => format!("nothing is published: {}", run.last),
            (None, None) => "nothing is published yet".to_owned(),
        };
        return vec![Reason::new("nothing-published", text)];
    };
    let mut reasons = Vec::new();
    if now >= live.not_after {
        let text = format!("the published certificate expired at {}", live.not_after);
        reasons.push(Reason::new("expired", text));
    }
    if now < live.not_before {
        let text = format!(
            "the published certificate becomes valid at {}",
            live.not_before
        );
        reasons.push(Reason::new("not-yet-valid", text));
    }
    if serves_current(status) == Some(false) {
        let seen = status.app.last_probe.as_ref();
        let why = seen.and_then(|probe| probe.message.as_deref());
        let text = format!(
            "no probe saw the application serve generation {}{}",
            live.generation,
            why.map_or_else(String::new, |why| format!(": {why}"))
        );
        reasons.push(Reason::new("not-serving-current", text));
    }
    reasons
}

fn limited(status: &Status) -> String {
    let Budget {
        per_hour,
        used,
        refused,
        ..
    } = status.issuance_limit;
    if used >= per_hour {
        format!("{used} requests of the last hour brought nothing or were not due")
    } else {
        format!("{refused} answers of the last hour were refused, and the next try is paced")
    }
}

/// Whether a health check came to what the last attempt came to: behind what was tried, the address and
/// all that follows are equal.
fn same_cause(check: &str, last: &Failure) -> bool {
    let cause = check.split_once(" at ").map(|(_, cause)| cause);
    cause.is_some_and(|cause| last.to_string().ends_with(cause))
}

fn degraded(status: &Status) -> Vec<Reason> {
    let mut found = Vec::new();
    if let Some(run) = &status.failure {
        let mut text = format!("{} attempts failed in a row: {}", run.total, run.last);
        if let Some(check) = &status.last_health_check {
            let found = match &check.found {
                Ok(_) => "it is available again",
                Err(why) if same_cause(why, &run.last) => "the same",
                Err(why) => why,
            };
            text.push_str(&format!("; health check at {}: {found}", check.at));
        }
        found.push(Reason::new("failing", text));
    }
    if let Some(failure) = &status.files {
        let text = format!(
            "the certificate files can't be restored ({}): {failure}",
            failure.code
        );
        found.push(Reason::new("files", text));
    }
    if let Some(failure) = &status.extra_ca {
        let text = format!("{failure}; the last good content is used meanwhile");
        found.push(Reason::new("extra-ca", text));
    }
    let notes = status.trust.iter().filter(|note| note.is_degrading());
    found.extend(notes.map(|note| Reason::new(note.code(), note.to_string())));
    if status.repairs_lately >= MANY_REPAIRS {
        let text = format!(
            "the files were restored {} times in ten minutes: another process changes them",
            status.repairs_lately
        );
        found.push(Reason::new("files-changed", text));
    }
    if let Some(why) = &status.unwatched {
        let text = format!("changed files are noticed and restored later: {why}");
        found.push(Reason::new("not-watched", text));
    }
    if let Some(free) = status.issuance_limit.free_at {
        let text = format!(
            "no certificate is asked for before {free}: {}",
            limited(status)
        );
        found.push(Reason::new("issuance-limit", text));
    }
    if let Some(needed) = status.issuance_limit.needed {
        let text = format!(
            "the published certificate's life takes {needed} renewals an hour, \
             max_issuances_per_hour is {}: renewals that are due are made all the same",
            status.issuance_limit.per_hour
        );
        found.push(Reason::new("limit-too-small", text));
    }
    if let Some(why) = &status.app.reload_exhausted {
        found.push(Reason::new("reload-exhausted", why.clone()));
    } else if let Some(why) = failed_reload(status) {
        let text = format!("reload failed: {why}; retries continue");
        found.push(Reason::new("reload-failed", text));
    }
    if let Some(generation) = &status.app.rollback_active {
        let text = format!("generation {generation} was rolled back");
        found.push(Reason::new("rolled-back", text));
    }
    found
}

/// Why the last reload failed, while the application may still use the certificate files of before.
fn failed_reload(status: &Status) -> Option<&str> {
    let failed = status.app.reload == ReloadState::Failed && serves_current(status) != Some(true);
    let last = status.app.last_reload.as_ref().filter(|_| failed)?;
    last.outcome.as_ref()?.as_ref().err().map(String::as_str)
}

/// Whether the application was seen to serve the published generation; nothing without a probe or
/// before the first publication.
#[must_use]
pub fn serves_current(status: &Status) -> Option<bool> {
    let live = status.live.as_ref().filter(|_| status.app.probed)?;
    let seen = status.app.last_verified.as_ref();
    Some(seen.is_some_and(|seen| seen.generation == live.generation))
}

/// Which certificate the application serves. That it is an old one is said only when the last probe
/// saw another certificate than the published one.
#[must_use]
pub fn serving(status: &Status) -> Serving {
    let last = status.app.last_probe.as_ref().map(|probe| probe.outcome);
    match serves_current(status) {
        Some(true) => Serving::Current,
        Some(false) if last == Some("other") => Serving::Old,
        _ => Serving::Unknown,
    }
}

/// How far the generations have come: issued (and on disk), published, reloaded, verified by a probe.
/// Where no reload is needed, or no probe is configured, that stage has none.
#[must_use]
pub fn generations(status: &Status) -> [(&'static str, Option<&str>); 4] {
    let live = status.live.as_ref().map(|live| live.generation.as_str());
    let needed = status.app.reload != ReloadState::NotNeeded;
    let reloaded = status.app.reloaded.as_deref().filter(|_| needed);
    let verified = status.app.last_verified.as_ref();
    [
        ("issued", status.pending_generation.as_deref().or(live)),
        ("published", live),
        ("reloaded", reloaded),
        ("verified", verified.map(|seen| seen.generation.as_str())),
    ]
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        model::failure::{FailureClass, FailureRun},
        status::{Anchor, LastProbe, LastReload, LastVerified, Live, LoadedTrust},
    };

    pub(in crate::observe) const NOW: Timestamp = Timestamp::from_unix_secs(1_900_000_000);

    /// A healthy certificate of ten days, one day old, with a probe.
    pub(in crate::observe) fn healthy() -> Status {
        let day = Duration::from_secs(86_400);
        let mut status = Status::new("ingester", 10);
        status.live = Some(Live {
            generation: "001900000000000".to_owned(),
            serial: "0a:0b".to_owned(),
            issuer: "CN=root".to_owned(),
            issuer_sha256: "ab".repeat(32),
            anchor_sha256: "ab".repeat(32),
            not_before: NOW.minus(day),
            not_after: NOW.plus(day * 9),
            obtained_at: Some(NOW.minus(day)),
        });
        status.due = Some(NOW.plus(day * 5));
        status.next = status.due;
        status.renewal_attempts_remaining = Some(40);
        status.issuance_limit.used = 1;
        status.counts.issuance_requests = 1;
        status.counts.published = 1;
        status.vault_clock_offset_millis = Some(-1_500);
        status.anchors = vec![Anchor {
            subject: "CN=root, O=\"a\\b\"".to_owned(),
            sha256: "ab".repeat(32),
            not_before: NOW.minus(day),
            not_after: NOW.plus(day * 3_650),
            since: String::new(),
        }];
        status.app.probed = true;
        status.app.trust = LoadedTrust::UpTo("001900000000000".to_owned());
        status.app.last_verified = Some(LastVerified {
            generation: "001900000000000".to_owned(),
            at: NOW.minus(day),
        });
        status
    }

    pub(in crate::observe) fn failing() -> FailureRun {
        let last = Failure {
            class: FailureClass::Denied,
            code: "permission-denied".to_owned(),
            message: "no".to_owned(),
            hint: Some("look at the policy".to_owned()),
            retry_after: None,
        };
        FailureRun::after(None, last, NOW)
    }

    #[test]
    fn a_cause_that_the_health_check_repeats_is_said_once() {
        let last = Failure {
            message: "signing (POST pki/sign/internal) at http://a:1: connection refused"
                .to_owned(),
            ..failing().last
        };
        for (check, same) in [
            (
                "asking (GET sys/health) at http://a:1: connection refused; look at the policy",
                true,
            ),
            ("asking (GET sys/health) at http://a:1: 503 sealed", false),
            (
                "asking (GET sys/health) at http://b:1: connection refused; look at the policy",
                false,
            ),
            ("no address", false),
        ] {
            assert_eq!(same_cause(check, &last), same, "{check}");
        }
    }

    fn codes(reasons: &[Reason]) -> Vec<&'static str> {
        reasons.iter().map(|reason| reason.code).collect()
    }

    #[test]
    fn a_healthy_certificate_is_ready_and_nothing_is_wrong() {
        let found = readiness(&healthy(), NOW);
        assert!(found.is_ready() && found.degraded.is_empty(), "{found:?}");
    }

    #[test]
    fn ready_means_published_valid_and_served_where_a_probe_is_set() {
        type Change = fn(&mut Status);
        let cases: [(Change, &[&str]); 6] = [
            (|one| one.live = None, &["nothing-published"]),
            (
                |one| one.live.as_mut().unwrap().not_after = NOW,
                &["expired"],
            ),
            (
                |one| one.live.as_mut().unwrap().not_before = NOW.plus(Duration::from_secs(1)),
                &["not-yet-valid"],
            ),
            (|one| one.app.last_verified = None, &["not-serving-current"]),
            (
                |one| one.live.as_mut().unwrap().generation = "001900000000001".to_owned(),
                &["not-serving-current"],
            ),
            (
                |one| {
                    one.app.last_verified = None;
                    one.app.probed = false;
                },
                &[],
            ),
        ];
        for (index, (change, wanted)) in cases.into_iter().enumerate() {
            let mut status = healthy();
            change(&mut status);
            let found = readiness(&status, NOW);
            assert_eq!(codes(&found.reasons), wanted, "case {index}");
            assert_eq!(found.is_ready(), wanted.is_empty());
        }
    }

    #[test]
    fn a_certificate_that_holds_is_ready_while_its_renewal_fails() {
        let mut status = healthy();
        status.failure = Some(failing());
        status.issuance_limit.free_at = Some(NOW.plus(Duration::from_secs(60)));
        status.app.reload_exhausted = Some("the list of actions is used up".to_owned());
        status.app.rollback_active = Some("001900000000001".to_owned());
        status.repairs_lately = MANY_REPAIRS - 1;
        assert_eq!(readiness(&status, NOW).degraded.len(), 4, "few repairs");
        status.repairs_lately = MANY_REPAIRS;
        status.files = Some(failing().last);
        status.unwatched = Some("fs.inotify.max_user_instances".to_owned());
        let found = readiness(&status, NOW);
        assert!(found.is_ready());
        assert_eq!(
            codes(&found.degraded),
            [
                "failing",
                "files",
                "files-changed",
                "not-watched",
                "issuance-limit",
                "reload-exhausted",
                "rolled-back"
            ]
        );
        assert!(found.degraded[0].message.contains("look at the policy"));
    }

    #[test]
    fn a_reload_that_fails_is_degraded_from_its_first_failure_and_no_generation_is_reloaded() {
        let mut status = healthy();
        status.app.probed = false;
        status.app.last_verified = None;
        status.app.reload = ReloadState::Failed;
        status.app.last_reload = Some(LastReload {
            generation: "001900000000000".to_owned(),
            at: NOW,
            times: 0,
            outcome: Some(Err("no token".to_owned())),
        });
        let found = readiness(&status, NOW);
        assert!(found.is_ready());
        assert_eq!(codes(&found.degraded), ["reload-failed"]);
        assert!(found.degraded[0].message.contains("no token"));
        let stages = |status: &Status| {
            let known = generations(status).map(|(stage, id)| id.map(|_| stage));
            known.into_iter().flatten().collect::<Vec<_>>()
        };
        assert_eq!(stages(&status), ["issued", "published"]);
        status.app.reloaded = Some("001800000000000".to_owned());
        let stage = generations(&status)[2];
        assert_eq!(stage, ("reloaded", Some("001800000000000")), "not moved");
        status.app.reload = ReloadState::NotNeeded;
        assert_eq!(stages(&status), ["issued", "published"], "none is needed");
    }

    #[test]
    fn an_old_certificate_is_reported_only_when_a_probe_saw_one() {
        let mut status = healthy();
        assert_eq!(serving(&status), Serving::Current);
        status.app.last_verified = None;
        assert_eq!(serving(&status), Serving::Unknown, "no probe yet");
        for (outcome, wanted) in [
            ("other", Serving::Old),
            ("probe-connect", Serving::Unknown),
            ("not-healthy", Serving::Unknown),
        ] {
            status.app.last_probe = Some(LastProbe {
                at: NOW,
                outcome,
                serial: None,
                message: None,
            });
            assert_eq!(serving(&status), wanted, "{outcome}");
        }
        status.app.probed = false;
        assert_eq!(serving(&status), Serving::Unknown, "no probe is configured");
    }

    #[test]
    fn what_the_last_probe_saw_is_in_the_reason() {
        let mut status = healthy();
        status.app.last_verified = None;
        status.app.last_probe = Some(LastProbe {
            at: NOW,
            outcome: "other",
            serial: Some("01".to_owned()),
            message: Some("it serves 01".to_owned()),
        });
        let found = readiness(&status, NOW);
        assert!(found.reasons[0].message.ends_with(": it serves 01"));
    }
}
