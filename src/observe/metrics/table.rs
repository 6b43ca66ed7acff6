//! The rows of the table of metrics.

use super::{
    Metric,
    MetricKind::{self, Counter, Gauge, Info},
    Samples, seconds,
};
use crate::{
    model::failure::FailureClass,
    observe::{
        readiness::{generations, readiness, serves_current},
        view::View,
    },
    status::Status,
};

const CERT: &[&str] = &["certificate"];
const SECONDS: Option<&str> = Some("seconds");
const PLAIN: Option<&str> = None;

/// Every metric, in the order of the exposition: name, kind, unit, labels, help, how to read it.
#[rustfmt::skip]
pub const METRICS: &[Metric] = &[
    row("certagent_build", Info, PLAIN, &["version"],
        "Version of the running program",
        |_, out| out.whole(&[env!("CARGO_PKG_VERSION")], 1_u32)),
    row("certagent_start_timestamp", Gauge, SECONDS, &[],
        "When the agent started",
        |view, out| out.moment(&[], Some(view.started))),
    row("certagent_log_lines_dropped", Counter, PLAIN, &[],
        "Log lines that were dropped because stderr took no more",
        |view, out| out.whole(&[], view.log_lines_dropped)),
    row("certagent_vault_plain_http", Gauge, PLAIN, &[],
        "1 when requests to Vault leave this host without TLS, which the configuration allows",
        |view, out| out.yes_or_no(&[], view.vault_plain_http)),
    row("certagent_ready", Gauge, PLAIN, CERT,
        "1 while valid certificate files are published and, with a probe, the application serves them",
        |view, out| each(view, |one| out.yes_or_no(&[&one.name], readiness(one, view.now).is_ready()))),
    row("certagent_degraded", Gauge, PLAIN, CERT,
        "Number of things that are wrong with a certificate besides not being ready, as listed in /ready",
        |view, out| each(view, |one| out.whole(&[&one.name], count(readiness(one, view.now).degraded.len())))),

    row("certagent_certificate", Info, PLAIN, &["certificate", "serial", "generation"],
        "The published certificate",
        |view, out| live(view, |one, live| out.whole(&[&one.name, &live.serial, &live.generation], 1_u32))),
    row("certagent_certificate_not_before_timestamp", Gauge, SECONDS, CERT,
        "Start of validity of the published certificate",
        |view, out| live(view, |one, live| out.moment(&[&one.name], Some(live.not_before)))),
    row("certagent_certificate_not_after_timestamp", Gauge, SECONDS, CERT,
        "End of validity of the published certificate",
        |view, out| live(view, |one, live| out.moment(&[&one.name], Some(live.not_after)))),
    row("certagent_renewal_due_timestamp", Gauge, SECONDS, CERT,
        "When the published certificate is due for renewal",
        |view, out| each(view, |one| out.moment(&[&one.name], one.due))),
    row("certagent_next_action_timestamp", Gauge, SECONDS, CERT,
        "When the agent acts next, as decided at its last check",
        |view, out| each(view, |one| out.moment(&[&one.name], one.next))),
    row("certagent_last_renewal_success_timestamp", Gauge, SECONDS, CERT,
        "When the published certificate came from Vault",
        |view, out| live(view, |one, live| out.moment(&[&one.name], live.obtained_at))),
    row("certagent_renewal_attempts_remaining", Gauge, PLAIN, CERT,
        "Attempts left before the published certificate expires; while nothing fails, those planned from the due time on",
        |view, out| each(view, |one| if let Some(left) = one.renewal_attempts_remaining { out.whole(&[&one.name], left) })),
    row("certagent_publish_pending", Gauge, PLAIN, CERT,
        "1 while issued certificate files wait to be published",
        |view, out| each(view, |one| out.yes_or_no(&[&one.name], one.publish_pending))),
    row("certagent_generation", Gauge, PLAIN, &["certificate", "stage"],
        "Newest generation that was issued, published, reloaded (only where a reload is needed) and verified (only with a probe)",
        |view, out| each(view, |one| stages(one, out))),

    row("certagent_logins", Counter, PLAIN, &[],
        "Successful logins to Vault; more than usual when tokens are revoked",
        |view, out| out.whole(&[], view.statuses.iter().map(|one| one.counts.logins).max().unwrap_or(0))),
    row("certagent_issuance_requests", Counter, PLAIN, CERT,
        "Issuance requests sent to Vault",
        |view, out| each(view, |one| out.whole(&[&one.name], one.counts.issuance_requests))),
    row("certagent_vault_health_checks", Counter, PLAIN, CERT,
        "Health checks sent while Vault was unavailable",
        |view, out| each(view, |one| out.whole(&[&one.name], one.counts.health_checks))),
    row("certagent_published", Counter, PLAIN, CERT,
        "Publications of certificate files, for new certificates and new trust anchors alike",
        |view, out| each(view, |one| out.whole(&[&one.name], one.counts.published))),
    row("certagent_repairs", Counter, PLAIN, CERT,
        "Times that changed files were restored",
        |view, out| each(view, |one| out.whole(&[&one.name], one.counts.repairs))),
    row("certagent_failures", Counter, PLAIN, &["certificate", "class"],
        "Failed attempts by class",
        |view, out| each(view, |one| failures(one, out))),
    row("certagent_consecutive_failures", Gauge, PLAIN, CERT,
        "Failed attempts since the last success",
        |view, out| each(view, |one| out.whole(&[&one.name], one.failure.as_ref().map_or(0, |run| run.total)))),
    row("certagent_manual_renewals", Counter, PLAIN, CERT,
        "Renewals that were requested by hand or by a script, successful or not",
        |view, out| each(view, |one| out.whole(&[&one.name], one.manual_renewal.as_ref().map_or(0, |last| last.number)))),

    row("certagent_issuance_limit", Gauge, PLAIN, CERT,
        "Issuance requests allowed in an hour that are not due, or bring nothing",
        |view, out| each(view, |one| out.whole(&[&one.name], one.issuance_limit.per_hour))),
    row("certagent_issuance_limit_used", Gauge, PLAIN, CERT,
        "Issuance requests in the last hour that were not due, or brought nothing",
        |view, out| each(view, |one| out.whole(&[&one.name], one.issuance_limit.used))),
    row("certagent_issuance_limit_reset_timestamp", Gauge, SECONDS, CERT,
        "When the next issuance request is allowed; only while the issuance limit is reached or refused answers are paced",
        |view, out| each(view, |one| out.moment(&[&one.name], one.issuance_limit.free_at))),
    row("certagent_vault_clock_offset", Gauge, SECONDS, CERT,
        "How far Vault's clock was ahead of the agent's at its last answer",
        |view, out| each(view, |one| if let Some(ahead) = one.vault_clock_offset_millis { out.number(&[&one.name], seconds(ahead)) })),
    row("certagent_trust_anchors", Gauge, PLAIN, CERT,
        "Trust anchors in the published CA.pem",
        |view, out| each(view, |one| out.whole(&[&one.name], count(one.anchors.len())))),
    row("certagent_trust_anchor_not_after_timestamp", Gauge, SECONDS, &["certificate", "sha256", "subject"],
        "End of validity of a trust anchor in the published CA.pem",
        |view, out| each(view, |one| anchors(one, out))),
    row("certagent_trust_anchor_loaded", Gauge, PLAIN, &["certificate", "sha256"],
        "1 once the application has loaded a trust anchor of the published CA.pem, 0 before; only where it is reloaded or probed",
        |view, out| each(view, |one| loaded(one, out))),
    row("certagent_certificate_anchor", Info, PLAIN, &["certificate", "sha256"],
        "Trust anchor in which the chain of the published certificate ends",
        |view, out| live(view, |one, live| out.whole(&[&one.name, &live.anchor_sha256], 1_u32))),

    row("certagent_application_serves_current", Gauge, PLAIN, CERT,
        "1 while a probe sees the application serve the published generation; only with a probe",
        |view, out| each(view, |one| if let Some(seen) = serves_current(one) { out.yes_or_no(&[&one.name], seen) })),
    row("certagent_application_verified_timestamp", Gauge, SECONDS, CERT,
        "When a probe first saw the generation that is served",
        |view, out| each(view, |one| out.moment(&[&one.name], one.app.last_verified.as_ref().map(|seen| seen.at)))),
    row("certagent_last_reload_timestamp", Gauge, SECONDS, CERT,
        "When the newest reload of the application began",
        |view, out| each(view, |one| out.moment(&[&one.name], one.app.last_reload.as_ref().map(|last| last.at)))),
    row("certagent_last_reload_successful", Gauge, PLAIN, CERT,
        "1 when the newest reload of the application succeeded, 0 when it failed",
        |view, out| each(view, |one| if let Some(done) = reload_result(one) { out.yes_or_no(&[&one.name], done) })),
    row("certagent_reloads", Counter, PLAIN, &["certificate", "action", "outcome"],
        "Reloads of the application, successful or not, by action and outcome",
        |view, out| each(view, |one| for ((action, outcome), times) in &one.app.reloads { out.whole(&[&one.name, action, outcome], *times) })),
    row("certagent_probes", Counter, PLAIN, &["certificate", "outcome"],
        "Probes of what the application serves, by outcome",
        |view, out| each(view, |one| for (outcome, times) in &one.app.probes { out.whole(&[&one.name, outcome], *times) })),
    row("certagent_last_probe_success", Gauge, PLAIN, CERT,
        "1 when the last probe saw the published certificate",
        |view, out| each(view, |one| if let Some(last) = &one.app.last_probe { out.yes_or_no(&[&one.name], last.outcome == "ok") })),
    row("certagent_last_probe_timestamp", Gauge, SECONDS, CERT,
        "When the application was last probed",
        |view, out| each(view, |one| out.moment(&[&one.name], one.app.last_probe.as_ref().map(|last| last.at)))),
    row("certagent_reload_exhausted", Gauge, PLAIN, CERT,
        "1 when every reload action was tried without success; retries continue",
        |view, out| each(view, |one| out.yes_or_no(&[&one.name], one.app.reload_exhausted.is_some()))),
    row("certagent_rollbacks", Counter, PLAIN, CERT,
        "Generations that were rolled back because the application did not serve them",
        |view, out| each(view, |one| out.whole(&[&one.name], one.app.rollbacks))),
    row("certagent_rollback_active", Gauge, PLAIN, CERT,
        "1 while a generation is set aside after a rollback",
        |view, out| each(view, |one| out.yes_or_no(&[&one.name], one.app.rollback_active.is_some()))),
];

const fn row(
    stem: &'static str,
    kind: MetricKind,
    unit: Option<&'static str>,
    labels: &'static [&'static str],
    help: &'static str,
    read: fn(&View, &mut Samples),
) -> Metric {
    Metric {
        stem,
        kind,
        unit,
        labels,
        help,
        read,
    }
}

fn each(view: &View, read: impl FnMut(&Status)) {
    view.statuses.iter().for_each(read);
}

fn live(view: &View, mut read: impl FnMut(&Status, &crate::status::Live)) {
    each(view, |one| {
        if let Some(live) = &one.live {
            read(one, live);
        }
    });
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// Ids are milliseconds with fifteen digits at most, so a double holds them exactly.
fn stages(one: &Status, out: &mut Samples) {
    for (stage, generation) in generations(one) {
        if let Some(Ok(id)) = generation.map(str::parse::<u64>) {
            out.whole(&[&one.name, stage], id);
        }
    }
}

fn reload_result(one: &Status) -> Option<bool> {
    let last = one.app.last_reload.as_ref()?;
    last.outcome.as_ref().map(Result::is_ok)
}

/// All classes from the start, so that the first failure is an increase.
fn failures(one: &Status, out: &mut Samples) {
    for (class, times) in FailureClass::ALL.iter().zip(one.counts.failures_by_class) {
        out.whole(&[&one.name, class.name()], times);
    }
}

fn loaded(one: &Status, out: &mut Samples) {
    for anchor in &one.anchors {
        if let Some(loaded) = one.app.trust.includes(&anchor.since) {
            out.yes_or_no(&[&one.name, &anchor.sha256], loaded);
        }
    }
}

fn anchors(one: &Status, out: &mut Samples) {
    for anchor in &one.anchors {
        let labels = [&*one.name, &anchor.sha256, &anchor.subject];
        out.moment(&labels, Some(anchor.not_after));
    }
}
