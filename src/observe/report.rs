//! The status as JSON: what `certagent status --json` prints and `/ready` answers.
//!
//! Never holds a secret: its source has none. What stays true: a field that a newer or older
//! program does not know is left out or empty, never an error.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::status::{Readiness, Reason, View, attested, generations, readiness};
use crate::{
    model::{
        failure::{Failure, FailureClass, FailureRun},
        time::Timestamp,
    },
    status::{Forced, Status},
};

/// A moment, for people and for machines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// RFC 3339.
    pub time: String,
    /// Milliseconds since 1970.
    pub unix_millis: i64,
}

impl From<Timestamp> for Moment {
    fn from(at: Timestamp) -> Self {
        Self {
            time: at.to_string(),
            unix_millis: at.unix_millis(),
        }
    }
}

impl Moment {
    /// The moment for calculations.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        Timestamp::from_unix_millis(self.unix_millis)
    }

    /// How long it is from this moment until `later`; zero when that has passed.
    #[must_use]
    pub fn until(&self, later: &Self) -> Duration {
        self.at().until(later.at())
    }
}

/// What `/ready` answers.
#[derive(Clone, Debug, Serialize)]
pub struct Ready {
    /// Whether all certificates are.
    pub ready: bool,
    /// One by one.
    pub certificates: Vec<CertReady>,
}

/// One certificate in [`Ready`].
#[derive(Clone, Debug, Serialize)]
pub struct CertReady {
    name: String,
    ready: bool,
    reasons: Vec<Text>,
    degraded: Vec<Text>,
}

impl From<&View> for Ready {
    fn from(view: &View) -> Self {
        let each = view.statuses.iter().map(|status| {
            let found = readiness(status, view.now);
            CertReady {
                name: status.name.clone(),
                ready: found.is_ready(),
                reasons: texts(&found.reasons),
                degraded: texts(&found.degraded),
            }
        });
        let certificates: Vec<_> = each.collect();
        Self {
            ready: certificates.iter().all(|one| one.ready),
            certificates,
        }
    }
}

/// A reason: its stable name and its text for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the same in all reports")]
pub struct Text {
    pub code: String,
    pub message: String,
}

fn texts(reasons: &[Reason]) -> Vec<Text> {
    let each = reasons.iter().map(|reason| Text {
        code: reason.code.to_owned(),
        message: reason.message.clone(),
    });
    each.collect()
}

/// Everything about one agent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// Version of the running agent.
    pub version: String,
    /// When it started.
    pub started: Moment,
    /// When the report was made.
    pub now: Moment,
    /// Whether all certificates are ready.
    pub ready: bool,
    /// In the order of the configuration.
    pub certificates: Vec<CertReport>,
}

/// Everything about one certificate; see [`Status`] for the meaning of the fields.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "documented in status::Status")]
pub struct CertReport {
    pub name: String,
    pub ready: bool,
    pub reasons: Vec<Text>,
    pub degraded: Vec<Text>,
    pub live: Option<LiveReport>,
    pub due: Option<Moment>,
    pub next: Option<Moment>,
    pub runway_attempts: Option<u32>,
    pub staged: bool,
    /// `issued`, `published`, `reloaded`, `verified`, as far as they are known.
    pub generations: BTreeMap<String, String>,
    pub failure: Option<FailureReport>,
    pub looked: Option<LookReport>,
    pub counts: CountsReport,
    pub budget: BudgetReport,
    pub issuer_ahead_millis: Option<i64>,
    pub anchors: Vec<AnchorReport>,
    pub forced: Option<ForcedReport>,
    pub app: AppReport,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "documented in status::Live")]
pub struct LiveReport {
    pub generation: String,
    pub serial: String,
    pub not_before: Moment,
    pub not_after: Moment,
    pub obtained_at: Option<Moment>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "documented in model::failure")]
pub struct FailureReport {
    pub class: String,
    pub code: String,
    pub message: String,
    pub hint: Option<String>,
    pub in_a_row: u32,
    pub at: Moment,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "documented in status::HealthCheck")]
pub struct LookReport {
    pub at: Moment,
    /// Whether the issuer can serve.
    pub able: bool,
    pub trouble: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "documented in status::Counts")]
pub struct CountsReport {
    pub issuances: u64,
    pub looks: u64,
    pub published: u64,
    pub repairs: u64,
    pub failures: u64,
    pub failures_by_class: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "documented in status::Budget")]
pub struct BudgetReport {
    pub per_hour: u32,
    pub used: u32,
    pub free_at: Option<Moment>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "documented in status::Anchor")]
pub struct AnchorReport {
    pub subject: String,
    pub sha256: String,
    pub not_after: Moment,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "documented in status::Forced")]
pub struct ForcedReport {
    pub number: u64,
    pub at: Moment,
    pub serial: Option<String>,
    pub failure: Option<FailureReport>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "documented in status::App")]
pub struct AppReport {
    pub probed: bool,
    /// Whether the published generation is served; unknown without a probe.
    pub attested: Option<bool>,
    pub attested_at: Option<Moment>,
    pub told_at: Option<Moment>,
    pub told_times: u32,
    pub last_probe: Option<ProbeReport>,
    pub alarm: Option<String>,
    pub quarantined: Option<String>,
    pub rollbacks: u64,
    /// By `<action>/<outcome>`.
    pub reloads: BTreeMap<String, u64>,
    /// By outcome.
    pub probes: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "documented in status::LastProbe")]
pub struct ProbeReport {
    pub at: Moment,
    pub outcome: String,
    pub serial: Option<String>,
    pub message: Option<String>,
}

impl From<&View> for Report {
    fn from(view: &View) -> Self {
        let each = view.statuses.iter();
        let certificates: Vec<_> = each.map(|status| certificate(status, view.now)).collect();
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: view.started.into(),
            now: view.now.into(),
            ready: certificates.iter().all(|one| one.ready),
            certificates,
        }
    }
}

fn moment(at: Option<Timestamp>) -> Option<Moment> {
    at.map(Moment::from)
}

fn certificate(status: &Status, now: Timestamp) -> CertReport {
    let found: Readiness = readiness(status, now);
    let known = generations(status).into_iter();
    CertReport {
        name: status.name.clone(),
        ready: found.is_ready(),
        reasons: texts(&found.reasons),
        degraded: texts(&found.degraded),
        live: status.live.as_ref().map(|live| LiveReport {
            generation: live.generation.clone(),
            serial: live.serial.clone(),
            not_before: live.not_before.into(),
            not_after: live.not_after.into(),
            obtained_at: moment(live.obtained_at),
        }),
        due: moment(status.due),
        next: moment(status.next),
        runway_attempts: status.runway,
        staged: status.staged,
        generations: known
            .filter_map(|(stage, id)| Some((stage.to_owned(), id?.to_owned())))
            .collect(),
        failure: status.failure.as_ref().map(failing),
        looked: status.looked.as_ref().map(|look| LookReport {
            at: look.at.into(),
            able: look.found.is_ok(),
            trouble: look.found.clone().err(),
        }),
        counts: counts(status),
        budget: BudgetReport {
            per_hour: status.budget.per_hour,
            used: status.budget.used,
            free_at: moment(status.budget.free_at),
        },
        issuer_ahead_millis: status.issuer_ahead_millis,
        anchors: anchors(status),
        forced: status.forced.as_ref().map(ForcedReport::from),
        app: app(status),
    }
}

fn failing(run: &FailureRun) -> FailureReport {
    FailureReport {
        in_a_row: run.total,
        ..failure(&run.last, run.at)
    }
}

fn failure(failure: &Failure, at: Timestamp) -> FailureReport {
    FailureReport {
        class: failure.class.name().to_owned(),
        code: failure.code.clone(),
        message: failure.message.clone(),
        hint: failure.hint.clone(),
        in_a_row: 1,
        at: at.into(),
    }
}

impl From<&Forced> for ForcedReport {
    fn from(forced: &Forced) -> Self {
        Self {
            number: forced.number,
            at: forced.at.into(),
            serial: forced.outcome.as_ref().ok().cloned(),
            failure: forced
                .outcome
                .as_ref()
                .err()
                .map(|one| failure(one, forced.at)),
        }
    }
}

fn counts(status: &Status) -> CountsReport {
    let counts = &status.counts;
    let classes = FailureClass::ALL.iter().zip(counts.failures_by_class);
    CountsReport {
        issuances: counts.orders,
        looks: counts.looks,
        published: counts.published,
        repairs: counts.repairs,
        failures: counts.failures,
        failures_by_class: classes
            .map(|(class, times)| (class.name().to_owned(), times))
            .collect(),
    }
}

fn anchors(status: &Status) -> Vec<AnchorReport> {
    let each = status.anchors.iter().map(|anchor| AnchorReport {
        subject: anchor.subject.clone(),
        sha256: anchor.sha256.clone(),
        not_after: anchor.not_after.into(),
    });
    each.collect()
}

fn app(status: &Status) -> AppReport {
    let app = &status.app;
    let reloads = app.reloads.iter();
    let probes = app.probes.iter();
    AppReport {
        probed: app.probed,
        attested: attested(status),
        attested_at: app.attested.as_ref().map(|seen| seen.at.into()),
        told_at: app.told.as_ref().map(|told| told.at.into()),
        told_times: app.told.as_ref().map_or(0, |told| told.times),
        last_probe: app.last_probe.as_ref().map(|last| ProbeReport {
            at: last.at.into(),
            outcome: last.outcome.to_owned(),
            serial: last.serial.clone(),
            message: last.message.clone(),
        }),
        alarm: app.alarm.clone(),
        quarantined: app.quarantined.clone(),
        rollbacks: app.rollbacks,
        reloads: reloads
            .map(|((action, outcome), times)| (format!("{action}/{outcome}"), *times))
            .collect(),
        probes: probes
            .map(|(outcome, times)| ((*outcome).to_owned(), *times))
            .collect(),
    }
}

/// The answer to `certagent renew`, certificate by certificate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Renewed {
    pub certificates: Vec<RenewedCert>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names say it")]
pub struct RenewedCert {
    pub name: String,
    pub serial: Option<String>,
    pub failure: Option<FailureReport>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::{
        metrics,
        status::tests::{NOW, failing as run, healthy},
    };

    fn view(status: Status) -> View {
        View {
            started: NOW,
            now: NOW,
            statuses: vec![status],
            log_lines_dropped: 0,
        }
    }

    #[test]
    fn a_report_comes_back_as_it_went() {
        let mut status = healthy();
        status.failure = Some(run());
        status.looked = Some(crate::status::HealthCheck {
            at: NOW,
            found: Err("sealed".to_owned()),
        });
        status.forced = Some(Forced {
            number: 1,
            at: NOW,
            outcome: Err(run().last),
        });
        let report = Report::from(&view(status));
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
        let older: Report =
            serde_json::from_str(r#"{"certificates":[{"name":"a"}],"new":1}"#).unwrap();
        assert_eq!(older.certificates[0].name, "a");
    }

    #[test]
    fn report_and_metrics_say_the_same() {
        let mut status = healthy();
        status.failure = Some(run());
        let view = view(status);
        let one = Report::from(&view).certificates.remove(0);
        let text = metrics::exposition(view).unwrap();
        let sample = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            let value = line.and_then(|line| line.rsplit(' ').next());
            value
                .unwrap_or_else(|| panic!("{name}\n{text}"))
                .parse::<f64>()
                .unwrap()
        };
        let live = one.live.unwrap();
        let pairs = [
            (
                "certagent_certificate_not_after_timestamp_seconds{",
                live.not_after.unix_millis,
            ),
            (
                "certagent_certificate_not_before_timestamp_seconds{",
                live.not_before.unix_millis,
            ),
            (
                "certagent_renewal_due_timestamp_seconds{",
                one.due.unwrap().unix_millis,
            ),
            (
                "certagent_next_action_timestamp_seconds{",
                one.next.unwrap().unix_millis,
            ),
            (
                "certagent_last_renewal_success_timestamp_seconds{",
                live.obtained_at.unwrap().unix_millis,
            ),
            (
                "certagent_vault_clock_offset_seconds{",
                one.issuer_ahead_millis.unwrap(),
            ),
            (
                "certagent_trust_anchor_not_after_timestamp_seconds{",
                one.anchors[0].not_after.unix_millis,
            ),
        ];
        for (name, millis) in pairs {
            assert_eq!(sample(name), millis as f64 / 1000.0, "{name}");
        }
        assert_eq!(
            sample("certagent_renewal_attempts_remaining{"),
            f64::from(one.runway_attempts.unwrap())
        );
        assert_eq!(
            sample("certagent_issuance_limit_used{"),
            f64::from(one.budget.used)
        );
        assert_eq!(
            sample("certagent_consecutive_failures{"),
            f64::from(one.failure.unwrap().in_a_row)
        );
        assert!(text.contains(&format!("serial=\"{}\"", live.serial)));
        assert!(one.ready);
    }
}
