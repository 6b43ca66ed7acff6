//! The log lines of the loop.
//!
//! Never decides. What stays true: one line says what failed, why, what happens next and what to do,
//! in this sequence; a success says until when it holds and when the next renewal is. An attempt has
//! one line, and one that repeats itself is counted (`model::repeats`).

use std::time::Duration;

use tracing::{debug, error, info, warn};

use super::holdings::LiveFiles;
use crate::{
    config::CertConfig,
    model::{
        decide::ActionReason,
        failure::{Failure, FailureClass, FailureRun},
        health::{self, IssuerHealth},
        issuance_limit::{self, IssuanceLimit},
        leaf::CertFacts,
        origin::{ChosenOrigin, KeyOrigin},
        repeats::{Repeats, Series, Telling},
        schedule::Due,
        time::Timestamp,
        verify::Verified,
    },
    publish::Repaired,
    status::{Budget, HealthCheck},
};

pub(super) fn reused(held: &LiveFiles, due: &Due) {
    info!(
        serial = %held.verified.leaf().serial,
        generation = %held.generation,
        "using the certificate files on disk, valid until {}; next renewal {}",
        held.verified.validity().not_after,
        due.at,
    );
}

/// At debug: what comes of it is the attempt's line.
pub(super) fn ordering(config: &CertConfig, origin: KeyOrigin, why: ActionReason) {
    let request = &config.request;
    debug!(
        path = %origin.path(request),
        "requesting a certificate for {}: {why}",
        request.names.common_name,
    );
}

pub(super) fn key_origin(accepted: &ChosenOrigin) {
    match &accepted.because {
        Some(code) => info!(
            %code,
            "the private key is {} from now on, because another request was refused",
            accepted.origin
        ),
        None => info!("the private key is {} again", accepted.origin),
    }
}

pub(super) fn published(held: &LiveFiles, due: &Due, failed: Option<Series>) {
    let after = failed.map_or_else(String::new, |series| {
        format!(
            "; {} attempts had failed since {}",
            series.times, series.since
        )
    });
    info!(
        serial = %held.verified.leaf().serial,
        generation = %held.generation,
        "published a certificate for {}, valid until {}; next renewal {}{after}",
        held.verified.leaf().common_name.as_deref().unwrap_or("(no common name)"),
        held.verified.validity().not_after,
        due.at,
    );
}

/// One attempt that brought nothing. The cause is said once; what repeats itself is counted.
pub(super) fn failed(
    run: &FailureRun,
    live: Option<&LiveFiles>,
    next: Timestamp,
    now: Timestamp,
    said: &mut Repeats,
) {
    let (class, code, attempt) = (run.last.class, run.last.code.as_str(), run.total);
    let expires = live.map(|held| held.verified.validity().not_after);
    let valid = expires.is_some_and(|expires| expires > now);
    let what = match expires {
        Some(_) => "renewal failed",
        None => "no certificate yet",
    };
    let state = match expires {
        Some(expires) if valid => format!("certificate valid until {expires}"),
        Some(expires) => format!("CERTIFICATE EXPIRED at {expires}"),
        None => "nothing is published".to_owned(),
    };
    let sooner = if health::watches(class) {
        format!(
            " or within {} of Vault's return",
            seconds(health::longest_recovery())
        )
    } else {
        String::new()
    };
    let hint = run
        .last
        .hint
        .as_deref()
        .map_or_else(String::new, |hint| format!("; {hint}"));
    let told = said.tell(&format!("{class} {code} {state}"), now);
    let repeated = match told {
        Telling::Whole => String::new(),
        Telling::Summary(series) | Telling::Again(series) => format!(
            " (repeated {} times since {})",
            series.times.saturating_sub(1),
            series.since
        ),
    };
    let text = format!(
        "{what}{repeated}: {}; {state}; next attempt {next}{sooner}{hint}",
        run.last.message
    );
    match told {
        Telling::Again(_) => debug!(%class, code, attempt, "{text}"),
        _ if valid => warn!(%class, code, attempt, "{text}"),
        _ => error!(%class, code, attempt, "{text}"),
    }
}

/// Each change is said once, however often Vault is checked.
pub(super) fn checked_health(
    found: &HealthCheck,
    before: Option<&HealthCheck>,
    said: &mut Repeats,
) {
    if before.is_some_and(|last| last.found == found.found) {
        return;
    }
    let back = match &found.found {
        Ok(IssuerHealth::Active) => "Vault is available again",
        Ok(IssuerHealth::Standby) => "a standby of Vault reports that it forwards requests",
        Err(why) => return debug!("Vault is not available yet: {why}"),
    };
    if said.first(back) {
        info!("{back}: the next attempt is brought forward");
    } else {
        debug!("{back}: the next attempt is brought forward");
    }
}

pub(super) fn limited(live: Option<&LiveFiles>, budget: &Budget, free: Timestamp) {
    let ends = live.map_or_else(
        || "nothing is published".to_owned(),
        |held| {
            format!(
                "the published certificate is valid until {}",
                held.verified.validity().not_after
            )
        },
    );
    if budget.used >= budget.per_hour {
        warn!(
            "no certificate is requested before {free}: {} requests of the last hour were not due or \
             brought nothing, the limit is {}; {ends}; find out why so many were needed, or raise \
             max_issuances_per_hour; `certagent renew` asks at once",
            budget.used, budget.per_hour
        );
    } else {
        warn!(
            "no certificate is requested before {free}: {} answers of the last hour were refused, so \
             the next requests are paced; {ends}; a change of the mount's issuers and `certagent \
             renew` bring the next request at once",
            budget.refused
        );
    }
}

/// Said at each publication: what was configured can't be kept.
pub(super) fn over_limit(due: &Due, limit: IssuanceLimit) {
    if let Some(needed) = due.over_limit(limit) {
        warn!(
            "a life of {} takes {needed} renewals an hour, max_issuances_per_hour is {}: renewals \
             that are due are made all the same; look at the role's max_ttl and at the end of the \
             CA, or raise the limit",
            seconds(due.counted_life),
            limit.per_hour(Some(due.counted_life)),
        );
    }
}

/// Why a renewal that was asked for can't be now.
pub(super) fn not_now(until: Timestamp, why: ActionReason) -> Failure {
    let (class, code) = match why {
        ActionReason::IssuanceLimit => (FailureClass::IssuanceLimit, "issuance_limit"),
        ActionReason::ManualLimit => (FailureClass::IssuanceLimit, "manual_limit"),
        ActionReason::Quarantine => (FailureClass::Local, "quarantine"),
        ActionReason::Retry(class) => (class, "retry"),
        _ => (FailureClass::Local, "staged"),
    };
    Failure {
        class,
        code: code.to_owned(),
        message: format!("no certificate is requested before {until}: {why}"),
        hint: (why == ActionReason::ManualLimit).then(|| {
            format!(
                "{} manual renewals may follow each other at once, then one in {}; renewals that \
                 are due are made all the same",
                issuance_limit::MANUAL_AT_ONCE,
                seconds(issuance_limit::MANUAL_PACE)
            )
        }),
        retry_after: None,
    }
}

pub(super) fn not_forced(failure: &Failure) {
    warn!(
        class = %failure.class, code = failure.code,
        "the manual renewal failed: {failure}; the published certificate files are unchanged"
    );
}

pub(super) fn standing_by(failure: &Failure) {
    warn!(
        code = failure.code,
        "{}: standing by, to take over when it ends; nothing is published meanwhile",
        failure.message
    );
}

pub(super) fn not_yet_valid(verified: &Verified, now: Timestamp) {
    warn!(
        "the new certificate becomes valid at {}, {} from now, and is published then; compare this \
         machine's clock with Vault's",
        verified.starts_at(),
        seconds(now.until(verified.starts_at())),
    );
}

pub(super) fn clocks_apart(theirs: Timestamp, ours: Timestamp) {
    let (apart, which) = if theirs > ours {
        (theirs.since(ours), "behind")
    } else {
        (ours.since(theirs), "ahead of")
    };
    warn!(
        "this machine's clock is {} {which} Vault's; correct it, certificates may become valid \
         late or expire early",
        seconds(apart)
    );
}

pub(super) fn repaired(repaired: &Repaired) {
    let what: Vec<String> = repaired
        .drift
        .findings
        .iter()
        .map(ToString::to_string)
        .collect();
    warn!(
        "published files were changed by another process ({}); restored",
        what.join(", ")
    );
}

pub(super) fn trust_changed(before: &[Vec<u8>], after: &[Vec<u8>]) {
    let name =
        |der: &Vec<u8>| CertFacts::read(der).map_or_else(|_| "?".to_owned(), |ca| ca.subject);
    let list = |from: &[Vec<u8>], without: &[Vec<u8>]| {
        let names = from.iter().filter(|der| !without.contains(der)).map(name);
        let names: Vec<String> = names.collect();
        if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        }
    };
    info!(
        "CA.pem has {} anchors now; added: {}; removed: {}; certificate and key are unchanged",
        after.len(),
        list(after, before),
        list(before, after),
    );
}

fn seconds(span: Duration) -> String {
    format!("{} s", span.as_secs())
}
