//! The status as JSON: what `certagent status -o json` prints and `/ready` answers.
//!
//! Never holds a secret: its source has none. What stays true: it is [`Status`] itself, and what that
//! means at one moment.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    readiness::{Readiness, generations, readiness, serves_current, serving},
    view::{AgentIdentity, View},
};
use crate::{
    hardening::{self, Part},
    model::time::Timestamp,
    status::{Anchor, AppStatus, FailureReport, Moment, RevocationReport, Serving, Status},
};

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
    #[serde(flatten)]
    readiness: Readiness,
}

impl From<&View> for Ready {
    fn from(view: &View) -> Self {
        let each = view.statuses.iter().map(|status| {
            let readiness = readiness(status, view.now);
            CertReady {
                name: status.name.clone(),
                ready: readiness.is_ready(),
                readiness,
            }
        });
        let certificates: Vec<_> = each.collect();
        Self {
            ready: certificates.iter().all(|one| one.ready),
            certificates,
        }
    }
}

/// Everything about one agent.
#[derive(Clone, Debug, Serialize)]
pub struct Report<'a> {
    /// Version of the running agent.
    pub version: &'static str,
    /// Which agent it is.
    #[serde(flatten)]
    pub identity: &'a AgentIdentity,
    /// When it started.
    pub started: Moment,
    /// When the report was made.
    pub now: Moment,
    /// What the process gave up, and why not.
    pub hardening: &'static [Part],
    /// Whether all certificates are ready.
    pub ready: bool,
    /// In the order of the configuration.
    pub certificates: Vec<CertReport<'a>>,
}

/// Everything about one certificate.
#[derive(Clone, Debug, Serialize)]
pub struct CertReport<'a> {
    #[serde(flatten)]
    status: &'a Status,
    anchors: Vec<AnchorReport<'a>>,
    ready: bool,
    #[serde(flatten)]
    readiness: Readiness,
    /// `issued`, `published`, `reloaded`, `verified`, as far as they are known.
    generations: BTreeMap<&'static str, &'a str>,
    app: AppReport<'a>,
}

#[derive(Clone, Debug, Serialize)]
struct AnchorReport<'a> {
    #[serde(flatten)]
    anchor: &'a Anchor,
    /// Whether the application has loaded it: reloaded, restarted or probed since; unknown without either.
    loaded: Option<bool>,
}

#[derive(Clone, Debug, Serialize)]
struct AppReport<'a> {
    #[serde(flatten)]
    app: &'a AppStatus,
    /// Whether the application has loaded the anchors as they are: those that left are out, too.
    trust_loaded: Option<bool>,
    /// Whether the published generation is served; unknown without a probe.
    serves_current: Option<bool>,
    serving: Serving,
    verified_at: Option<Moment>,
    last_reload_at: Option<Moment>,
    last_reload_attempts: u32,
    /// Whether it succeeded; unknown while it is under way, or when there was none.
    last_reload_successful: Option<bool>,
}

impl<'a> From<&'a View> for Report<'a> {
    fn from(view: &'a View) -> Self {
        let each = view.statuses.iter();
        let certificates: Vec<_> = each.map(|status| certificate(status, view.now)).collect();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            identity: &view.identity,
            started: view.started.into(),
            now: view.now.into(),
            hardening: hardening::report(),
            ready: certificates.iter().all(|one| one.ready),
            certificates,
        }
    }
}

fn certificate(status: &Status, now: Timestamp) -> CertReport<'_> {
    let readiness = readiness(status, now);
    let (app, known) = (&status.app, generations(status).into_iter());
    let last = app.last_reload.as_ref();
    let anchors = status.anchors.iter().map(|anchor| AnchorReport {
        anchor,
        loaded: app.trust.includes(&anchor.since),
    });
    CertReport {
        status,
        anchors: anchors.collect(),
        ready: readiness.is_ready(),
        readiness,
        generations: known.filter_map(|(stage, id)| Some((stage, id?))).collect(),
        app: AppReport {
            app,
            trust_loaded: app.trust.includes(&status.anchors_since),
            serves_current: serves_current(status),
            serving: serving(status),
            verified_at: app.last_verified.as_ref().map(|seen| seen.at.into()),
            last_reload_at: last.map(|last| last.at.into()),
            last_reload_attempts: last.map_or(0, |last| last.times),
            last_reload_successful: last.and_then(|last| Some(last.outcome.as_ref()?.is_ok())),
        },
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
    pub revoked: Vec<RevocationReport>,
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::{
        model::origin::ChosenOrigin,
        observe::{
            metrics,
            readiness::tests::{NOW, failing as run, healthy},
        },
        status::{Forced, HealthCheck},
    };

    fn view(status: Status) -> View {
        View {
            identity: AgentIdentity::default(),
            started: NOW,
            now: NOW,
            statuses: vec![status],
            log_lines_dropped: 0,
            vault_plain_http: false,
        }
    }

    /// The names of an object, sorted, with a space between.
    fn names(value: &Value) -> String {
        let mut names: Vec<&str> = value
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        names.sort_unstable();
        names.join(" ")
    }

    #[test]
    fn the_names_in_the_report_are_the_documented_ones() {
        let mut status = healthy();
        status.failure = Some(run());
        status.last_health_check = Some(HealthCheck {
            at: NOW,
            found: Err("sealed".to_owned()),
        });
        let request = crate::model::request::Request::example();
        status.key_origin = Some(ChosenOrigin::first(&request));
        status.manual_renewal = Some(Forced {
            number: 1,
            at: NOW,
            outcome: Err(run().last),
            revoked: Vec::new(),
        });
        status.app.reloads.insert(("signal", "ok"), 2);
        let view = view(status);
        let report = serde_json::to_value(Report::from(&view)).unwrap();
        assert_eq!(
            names(&report),
            "certificates hardening instance node now ready started task version"
        );
        let one = &report["certificates"][0];
        for (at, wanted) in [
            (
                "",
                "anchors app counts degraded due events failure generations issuance_limit \
                 key_origin last_health_check live manual_renewal name next publish_pending ready \
                 reasons renewal_attempts_remaining trust_warnings vault_clock_offset_millis",
            ),
            (
                "/live",
                "anchor_sha256 generation issuer issuer_sha256 not_after not_before obtained_at serial",
            ),
            ("/due", "time unix_millis"),
            ("/failure", "at class code hint in_a_row message"),
            ("/last_health_check", "able at trouble"),
            ("/manual_renewal", "at failure number revoked serial"),
            ("/key_origin", "because key order"),
            ("/issuance_limit", "free_at per_hour used"),
            (
                "/counts",
                "failures failures_by_class health_checks issuance_requests published repairs",
            ),
            ("/anchors/0", "loaded not_after not_before sha256 subject"),
            (
                "/app",
                "last_probe last_reload_at last_reload_attempts last_reload_successful probe probed probes reload \
                 reload_exhausted reloads rollback_active rollbacks serves_current serving trust_loaded verified_at",
            ),
            ("/app/reloads", "signal/ok"),
            ("/degraded/0", "code message"),
        ] {
            assert_eq!(names(one.pointer(at).unwrap()), wanted, "{at}");
        }
    }

    #[test]
    fn report_and_metrics_say_the_same() {
        let mut status = healthy();
        status.failure = Some(run());
        let view = view(status);
        let report = serde_json::to_value(Report::from(&view)).unwrap();
        let one = &report["certificates"][0];
        let text = metrics::exposition(view, metrics::Format::OpenMetrics).unwrap();
        let sample = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            let value = line.and_then(|line| line.rsplit(' ').next());
            value
                .unwrap_or_else(|| panic!("{name}\n{text}"))
                .parse::<f64>()
                .unwrap()
        };
        let pairs = [
            (
                "certagent_certificate_not_after_timestamp_seconds{",
                "/live/not_after/unix_millis",
            ),
            (
                "certagent_certificate_not_before_timestamp_seconds{",
                "/live/not_before/unix_millis",
            ),
            (
                "certagent_renewal_due_timestamp_seconds{",
                "/due/unix_millis",
            ),
            (
                "certagent_next_action_timestamp_seconds{",
                "/next/unix_millis",
            ),
            (
                "certagent_last_renewal_success_timestamp_seconds{",
                "/live/obtained_at/unix_millis",
            ),
            (
                "certagent_vault_clock_offset_seconds{",
                "/vault_clock_offset_millis",
            ),
            (
                "certagent_trust_anchor_not_after_timestamp_seconds{",
                "/anchors/0/not_after/unix_millis",
            ),
        ];
        let number = |at: &str| one.pointer(at).and_then(Value::as_f64).unwrap();
        for (name, at) in pairs {
            assert_eq!(sample(name), number(at) / 1000.0, "{name}");
        }
        assert_eq!(
            sample("certagent_renewal_attempts_remaining{"),
            number("/renewal_attempts_remaining")
        );
        assert_eq!(
            sample("certagent_issuance_limit_used{"),
            number("/issuance_limit/used")
        );
        assert_eq!(
            sample("certagent_consecutive_failures{"),
            number("/failure/in_a_row")
        );
        assert!(text.contains(&format!("serial={}", one["live"]["serial"])));
        assert_eq!(one["ready"], true);
    }
}
