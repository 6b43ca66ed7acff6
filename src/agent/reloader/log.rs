//! The log lines about the application.
//!
//! Never decides. What stays true: an alert says what is served, what should be, what was tried and
//! what to do; nothing here holds a secret.

use std::time::Duration;

use tracing::{debug, error, info, warn};

use crate::{
    config::CertConfig,
    model::{
        duration,
        failure::Failure,
        reload::{
            Action, Delivery, Outcome, Quarantined, ReloadFailure, ReloadPolicy, ReloadRecord, Why,
        },
        repeats::{Repeats, Telling},
        time::Timestamp,
    },
    status::AppStatus,
};

pub(super) fn reloaded(
    action: &Action,
    record: &ReloadRecord,
    result: &Result<Delivery, ReloadFailure>,
    took: Duration,
    said: (&mut Repeats, Timestamp),
) {
    let (serial, generation, event) = (
        &record.about.serial,
        &record.about.generation,
        record.about.event.name(),
    );
    match result {
        Ok(Delivery::Delivered) => info!(
            %serial, %generation, event, attempt = record.reached(),
            "reloaded the application by {action} in {} ms", took.as_millis()
        ),
        Ok(Delivery::NotRunning) => info!(
            %serial, %generation, event,
            "{action}: the application is not running; it reads the new files at its start"
        ),
        Err(failure) => match said.0.tell(&format!("{action} {failure}"), said.1) {
            Telling::Whole => warn!(
                %serial, %generation, event, code = failure.code,
                "reload by {action} failed: {failure}"
            ),
            Telling::Summary(series) => warn!(
                %serial, %generation, event, code = failure.code,
                "reload by {action} failed (repeated {} times since {}): {failure}",
                series.times.saturating_sub(1), series.since
            ),
            Telling::Again(series) => debug!(
                %serial, %generation, event, code = failure.code,
                "reload by {action} failed (repeated {} times): {failure}",
                series.times.saturating_sub(1)
            ),
        },
    }
}

pub(super) fn done(record: &ReloadRecord) {
    info!(
        serial = %record.about.serial, generation = %record.about.generation,
        "the application was reloaded; without a probe it is not known which certificate it serves"
    );
}

pub(super) fn verified(record: &ReloadRecord, now: Timestamp) {
    let after = now.since(record.published_at);
    info!(
        serial = %record.about.serial, generation = %record.about.generation, reloaded = record.reached(),
        "verified: the application serves the published certificate, {} after its publication",
        brief(after)
    );
}

pub(super) fn lost(record: &ReloadRecord, app: &AppStatus) {
    warn!(
        serial = %record.about.serial, generation = %record.about.generation,
        "the application served the published certificate and now does not: {}; it is reloaded again",
        last(app)
    );
}

pub(super) fn unrecorded(said: &mut Option<String>, failure: &Failure) {
    let text = failure.to_string();
    if said.as_ref() != Some(&text) {
        warn!("the reload waits until it can be recorded: {text}");
        *said = Some(text);
    }
}

/// What failed, what to do, what was tried, what is served, what should be.
pub(super) fn alert(
    record: &ReloadRecord,
    policy: &ReloadPolicy,
    why: Why,
    app: &AppStatus,
    config: &CertConfig,
) -> String {
    let actions = policy.actions(record.about.event);
    let tried: Vec<String> = actions.iter().map(|action| format!("{action}")).collect();
    let failed = match record.attempt().map(|attempt| &attempt.outcome) {
        Some(Outcome::Failed(failed)) => format!(": {}", failed.message),
        _ => String::new(),
    };
    let todo = match why {
        Why::NotStarted => "start it, or correct the probe's address",
        Why::NotReloaded => "fix that; retries continue",
        _ => {
            "restart the application, and add nomad_restart as the last action of on_cert_change \
             and on_ca_change"
        }
    };
    let expires = record.old_expires_at.map_or_else(String::new, |expires| {
        format!("; the certificate that it served before expires at {expires}")
    });
    let seen = match &config.probe {
        Some(_) => last(app),
        None => "no probe is configured".to_owned(),
    };
    format!(
        "{why}{failed}; {todo}; tried: {}; {seen}; published: {} in {}{expires}",
        tried.join(", "),
        record.about.serial,
        config.files.dir.display(),
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
        "ALERT: {text}"
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
        "rolled back, because the application fails with the new certificate files: {}; the \
         previous ones ({}) are published again; the next certificate is requested at {} or later; \
         find out why the application fails, then run certagent renew",
        quarantined.why,
        back.unwrap_or("unknown"),
        quarantined.hold_until,
    );
}

pub(super) fn no_way_back(failure: &Failure) {
    error!(
        "the application fails with the new certificate files, and the rollback failed: {failure}"
    );
}

/// What the application was last seen to do.
pub(super) fn last(app: &AppStatus) -> String {
    match &app.last_probe {
        Some(probe) => match (&probe.message, &probe.serial) {
            (Some(message), _) => message.clone(),
            (None, Some(serial)) => format!("it serves {serial}"),
            (None, None) => probe.outcome.to_owned(),
        },
        None => "not probed yet".to_owned(),
    }
}

fn brief(span: Duration) -> String {
    if span < Duration::from_secs(10) {
        format!("{} ms", span.as_millis())
    } else {
        duration::brief(span)
    }
}
