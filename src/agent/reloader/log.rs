//! The log lines about the application, and what a probe means.
//!
//! Never decides. What stays true: an alarm says what is served, what should be, what was tried and
//! what to do; nothing here holds a secret.

use std::time::Duration;

use tracing::{error, info, warn};

use super::Seen;
use crate::{
    config::CertConfig,
    model::{
        duration,
        failure::Failure,
        reload::{
            Action, Delivery, Finding, Quarantined, ReloadFailure, ReloadPolicy, ReloadRecord, Why,
        },
        served::Served,
        time::Timestamp,
    },
    probe::{Identity, ProbeFailure},
    status::{App, LastProbe},
};

/// Makes a decision's and a reader's view of a look.
pub(super) fn seen(
    result: &Result<Served, ProbeFailure>,
    identity: &Identity,
    at: Timestamp,
) -> Seen {
    let served = match result {
        Ok(served) => served,
        Err(failure) => return unseen(failure, at),
    };
    let (outcome, message, finding) = match identity.attest(served) {
        Ok(()) => ("ok", None, shows(served)),
        Err(why) => {
            let finding = match why.code {
                "serves-older" | "serves-other" => shows(served),
                "not-healthy" | "client-unanswered" => Finding::Unhealthy,
                _ => Finding::Refused,
            };
            let outcome = match finding {
                Finding::Serves { .. } => "other",
                _ => why.code,
            };
            let message = format!("{}; {}", why.message, why.hint);
            (outcome, Some(message), finding)
        }
    };
    Seen {
        finding,
        status: LastProbe {
            at,
            outcome,
            serial: Some(served.serial.clone()),
            message,
        },
    }
}

fn shows(served: &Served) -> Finding {
    Finding::Serves {
        serial: served.serial.clone(),
        sha256: served.sha256.clone(),
    }
}

/// A peer that speaks, but not so that a certificate comes, is broken; one that does not is down.
fn unseen(failure: &ProbeFailure, at: Timestamp) -> Seen {
    let finding = match failure.code {
        "probe-tls" | "probe-not-tls" | "probe-alpn" | "probe-starttls" => Finding::Refused,
        _ => Finding::Down,
    };
    Seen {
        finding,
        status: LastProbe {
            at,
            outcome: failure.code,
            serial: None,
            message: Some(format!("{failure}; {}", failure.hint)),
        },
    }
}

pub(super) fn told(
    action: &Action,
    row: &ReloadRecord,
    result: &Result<Delivery, ReloadFailure>,
    took: Duration,
) {
    let (serial, generation, event) = (&row.serial, &row.generation, row.event.name());
    match result {
        Ok(Delivery::Delivered) => info!(
            %serial, %generation, event, attempt = row.told,
            "told the application by {action:?}, which took {} ms", took.as_millis()
        ),
        Ok(Delivery::NotRunning) => info!(
            %serial, %generation, event,
            "{action:?}: the application is not running; it reads the new files at its start"
        ),
        Err(failure) => warn!(
            %serial, %generation, event, code = failure.code,
            "could not tell the application by {action:?}: {failure}"
        ),
    }
}

pub(super) fn done(row: &ReloadRecord) {
    info!(
        serial = %row.serial, generation = %row.generation,
        "the application was told; no probe is configured that could show that it serves the set"
    );
}

pub(super) fn attested(row: &ReloadRecord, now: Timestamp) {
    let after = now.since(Timestamp::from_unix_millis(row.published_at));
    info!(
        serial = %row.serial, generation = %row.generation, told = row.told,
        "attested: the application serves the published certificate, {} after its publication",
        brief(after)
    );
}

pub(super) fn lost(row: &ReloadRecord, app: &App) {
    warn!(
        serial = %row.serial, generation = %row.generation,
        "the application served the published certificate and now does not: {}; it is told again",
        last(app)
    );
}

pub(super) fn unrecorded(said: &mut Option<String>, failure: &Failure) {
    let text = failure.to_string();
    if said.as_ref() != Some(&text) {
        warn!("the application is told once that can be recorded: {text}");
        *said = Some(text);
    }
}

/// What is served, what should be, what was tried, what to do.
pub(super) fn alarm(
    row: &ReloadRecord,
    policy: &ReloadPolicy,
    why: Why,
    app: &App,
    config: &CertConfig,
) -> String {
    let actions = policy.actions(row.event);
    let tried: Vec<String> = actions.iter().map(|action| format!("{action:?}")).collect();
    let failed = match &row.failed {
        Some(failed) => format!("; the last attempt: {}", failed.message),
        None => String::new(),
    };
    let todo = match why {
        Why::NotStarted => "start it, or correct the probe's address",
        Why::NotTold => "mend what the last attempt says; it is tried again and again",
        _ => "restart it by hand, and let the lists on_leaf and on_trust end with nomad_restart",
    };
    let ends = row.old_ends_at.map(Timestamp::from_unix_millis);
    let ends = ends.map_or_else(String::new, |ends| {
        format!("; what it served before ends at {ends}")
    });
    let seen = match &config.probe {
        Some(_) => last(app),
        None => "nobody looks at what it serves".to_owned(),
    };
    format!(
        "{why}: {seen}; published is {} in {}{ends}; tried: {}{failed}; {todo}",
        row.serial,
        config.files.dir.display(),
        tried.join(", "),
    )
}

/// The alarm of an earlier process.
pub(super) fn still(row: &ReloadRecord) -> String {
    let since = Timestamp::from_unix_millis(row.alarm_at.unwrap_or(row.published_at));
    format!(
        "the published certificate {} was not served before the restart of certagent either, \
         since {since}",
        row.serial
    )
}

pub(super) fn raise(row: &ReloadRecord, text: &str) {
    error!(
        serial = %row.serial, generation = %row.generation, event = row.event.name(),
        "ALARM: {text}"
    );
}

/// What the application did with the new set, as the reason to go back.
pub(super) fn broke(app: &App) -> String {
    last(app)
}

pub(super) fn rolled_back(row: &ReloadRecord, quarantined: &Quarantined) {
    let until = Timestamp::from_unix_millis(quarantined.hold_until);
    let back = row.previous.as_ref().map(|one| one.serial.as_str());
    error!(
        serial = %quarantined.serial, generation = %quarantined.generation,
        "the application broke on the new set: {}; the set before ({}) is published again; the new \
         one is not tried again, and another is asked for at {until} at the earliest; find out what \
         the application does not like, then: certagent renew",
        quarantined.why,
        back.unwrap_or("unknown"),
    );
}

pub(super) fn no_way_back(failure: &Failure) {
    error!("the application broke on the new set, and there is no way back: {failure}");
}

fn last(app: &App) -> String {
    match &app.last_probe {
        Some(probe) => match (&probe.message, &probe.serial) {
            (Some(message), _) => message.clone(),
            (None, Some(serial)) => format!("it serves {serial}"),
            (None, None) => probe.outcome.to_owned(),
        },
        None => "nobody has looked at what it serves yet".to_owned(),
    }
}

fn brief(span: Duration) -> String {
    if span < Duration::from_secs(10) {
        format!("{} ms", span.as_millis())
    } else {
        duration::brief(span)
    }
}
