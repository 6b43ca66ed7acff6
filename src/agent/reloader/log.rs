//! The log lines about the application.
//!
//! Never decides. What stays true: an alert says what is served, what should be, what was tried and
//! what to do; nothing here holds a secret.

use std::time::Duration;

use tracing::{error, info, warn};

use crate::{
    config::CertConfig,
    model::{
        duration,
        failure::Failure,
        reload::{
            Action, Delivery, Outcome, Quarantined, ReloadFailure, ReloadPolicy, ReloadRecord, Why,
        },
        time::Timestamp,
    },
    status::AppStatus,
};

pub(super) fn reloaded(
    action: &Action,
    record: &ReloadRecord,
    result: &Result<Delivery, ReloadFailure>,
    took: Duration,
) {
    let (serial, generation, event) = (
        &record.about.serial,
        &record.about.generation,
        record.about.event.name(),
    );
    match result {
        Ok(Delivery::Delivered) => info!(
            %serial, %generation, event, attempt = record.reached(),
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

pub(super) fn done(record: &ReloadRecord) {
    info!(
        serial = %record.about.serial, generation = %record.about.generation,
        "the application was told; no probe is configured that could show that it serves the set"
    );
}

pub(super) fn verified(record: &ReloadRecord, now: Timestamp) {
    let after = now.since(record.published_at);
    info!(
        serial = %record.about.serial, generation = %record.about.generation, told = record.reached(),
        "attested: the application serves the published certificate, {} after its publication",
        brief(after)
    );
}

pub(super) fn lost(record: &ReloadRecord, app: &AppStatus) {
    warn!(
        serial = %record.about.serial, generation = %record.about.generation,
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
pub(super) fn alert(
    record: &ReloadRecord,
    policy: &ReloadPolicy,
    why: Why,
    app: &AppStatus,
    config: &CertConfig,
) -> String {
    let actions = policy.actions(record.about.event);
    let tried: Vec<String> = actions.iter().map(|action| format!("{action:?}")).collect();
    let failed = match record.attempt().map(|attempt| &attempt.outcome) {
        Some(Outcome::Failed(failed)) => format!("; the last attempt: {}", failed.message),
        _ => String::new(),
    };
    let todo = match why {
        Why::NotStarted => "start it, or correct the probe's address",
        Why::NotReloaded => "mend what the last attempt says; it is tried again and again",
        _ => {
            "restart it by hand, and let the lists on_cert_change and on_ca_change end with nomad_restart"
        }
    };
    let ends = record.old_expires_at.map_or_else(String::new, |ends| {
        format!("; what it served before ends at {ends}")
    });
    let seen = match &config.probe {
        Some(_) => last(app),
        None => "nobody looks at what it serves".to_owned(),
    };
    format!(
        "{why}: {seen}; published is {} in {}{ends}; tried: {}{failed}; {todo}",
        record.about.serial,
        config.files.dir.display(),
        tried.join(", "),
    )
}

/// The alert of an earlier process.
pub(super) fn still(record: &ReloadRecord, since: Timestamp) -> String {
    format!(
        "the published certificate {} was not served before the restart of certagent either, \
         since {since}",
        record.about.serial
    )
}

pub(super) fn raise(record: &ReloadRecord, text: &str) {
    error!(
        serial = %record.about.serial, generation = %record.about.generation, event = record.about.event.name(),
        "ALARM: {text}"
    );
}

pub(super) fn rolled_back(record: &ReloadRecord, quarantined: &Quarantined) {
    let back = record
        .about
        .previous
        .as_ref()
        .map(|one| one.serial.as_str());
    error!(
        serial = %quarantined.serial, generation = %quarantined.generation,
        "the application broke on the new set: {}; the set before ({}) is published again; the new \
         one is not tried again, and another is asked for at {} at the earliest; find out what \
         the application does not like, then: certagent renew",
        quarantined.why,
        back.unwrap_or("unknown"),
        quarantined.hold_until,
    );
}

pub(super) fn no_way_back(failure: &Failure) {
    error!("the application broke on the new set, and there is no way back: {failure}");
}

/// What the application was last seen to do.
pub(super) fn last(app: &AppStatus) -> String {
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
