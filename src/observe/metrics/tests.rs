//! The exposition against the table.

use std::collections::BTreeSet;

use super::*;
use crate::{
    observe::readiness::tests::{NOW, failing, healthy},
    status::{Forced, LastProbe, LastReload, LoadedTrust},
};

/// A certificate with a value for every metric.
fn full() -> View {
    let mut status = healthy();
    status.failure = Some(failing());
    status.counts.failures_by_class[3] = 1;
    status.issuance_limit.free_at = Some(NOW);
    status.manual_renewal = Some(Forced {
        number: 2,
        at: NOW,
        outcome: Ok("0a:0b".to_owned()),
        revoked: Vec::new(),
    });
    status.app.last_reload = Some(LastReload {
        generation: "001900000000000".to_owned(),
        at: NOW,
        times: 1,
        outcome: Some(Ok(())),
    });
    status.app.trust = LoadedTrust::UpTo("001900000000000".to_owned());
    status.app.last_probe = Some(LastProbe {
        at: NOW,
        outcome: "ok",
        serial: None,
        message: None,
    });
    status.app.reloads.insert(("nomad_restart", "ok"), 3);
    status.app.probes.insert("ok", 4);
    View {
        identity: crate::observe::view::AgentIdentity::default(),
        started: NOW,
        now: NOW,
        statuses: vec![status],
        log_lines_dropped: 1,
        vault_plain_http: true,
    }
}

fn sampled(text: &str) -> BTreeSet<String> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.split(['{', ' ']).next())
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_metric_of_the_table_has_a_sample_and_every_sample_is_in_the_table() {
    let text = exposition(full(), Format::OpenMetrics).unwrap();
    let table: BTreeSet<String> = METRICS.iter().map(Metric::name).collect();
    assert_eq!(sampled(&text), table);
    assert_eq!(table.len(), METRICS.len(), "no name twice");
    assert!(text.ends_with("# EOF\n"), "{text}");
}

#[test]
fn metrics_without_a_sample_are_described_all_the_same() {
    let view = View {
        statuses: Vec::new(),
        ..full()
    };
    let text = exposition(view, Format::OpenMetrics).unwrap();
    for metric in METRICS {
        let line = format!("# TYPE {} {}\n", metric.family(), metric.kind.name());
        assert!(text.contains(&line), "{line}");
    }
}

#[test]
fn samples_have_the_labels_and_values_of_the_status() {
    let text = exposition(full(), Format::OpenMetrics).unwrap();
    for line in [
        "certagent_certificate_not_after_timestamp_seconds{certificate=\"ingester\"} 1900777600.0",
        "certagent_certificate_info{certificate=\"ingester\",serial=\"0a:0b\",generation=\"001900000000000\"} 1",
        "certagent_failures_total{certificate=\"ingester\",class=\"denied\"} 1",
        "certagent_failures_total{certificate=\"ingester\",class=\"transport\"} 0",
        "certagent_generation{certificate=\"ingester\",stage=\"verified\"} 1900000000000",
        "certagent_vault_clock_offset_seconds{certificate=\"ingester\"} -1.5",
        "certagent_reloads_total{certificate=\"ingester\",action=\"nomad_restart\",outcome=\"ok\"} 3",
        "certagent_last_reload_successful{certificate=\"ingester\"} 1",
        "certagent_application_serves_current{certificate=\"ingester\"} 1",
        "# UNIT certagent_certificate_not_after_timestamp_seconds seconds",
    ] {
        assert!(text.lines().any(|one| one == line), "{line}\n{text}");
    }
    assert!(text.contains(r#"subject="CN=root, O=\"a\\b\"""#), "{text}");
}

#[test]
fn the_text_format_describes_each_metric_by_its_name_and_has_the_same_samples() {
    let samples = |format| {
        let text = exposition(full(), format).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(samples(Format::Text), samples(Format::OpenMetrics));
    let text = exposition(full(), Format::Text).unwrap();
    for metric in METRICS {
        let kind = match metric.kind {
            MetricKind::Info => "gauge",
            kind => kind.name(),
        };
        for line in [
            format!("# TYPE {} {kind}", metric.name()),
            format!("# HELP {} {}.", metric.name(), metric.help),
        ] {
            assert!(text.lines().any(|one| one == line), "{line}\n{text}");
        }
    }
    assert!(
        !text.contains("# UNIT") && !text.contains("# EOF"),
        "{text}"
    );
}

#[test]
fn openmetrics_is_for_those_that_name_it() {
    for (accept, format) in [
        ("", Format::Text),
        ("*/*", Format::Text),
        ("text/plain;version=0.0.4;q=1,*/*;q=0.1", Format::Text),
        (
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            Format::OpenMetrics,
        ),
    ] {
        assert_eq!(Format::accepted(accept), format, "{accept}");
    }
}

#[test]
fn names_follow_the_conventions() {
    for metric in METRICS {
        let name = metric.name();
        assert!(name.starts_with("certagent_"), "{name}");
        let timestamp = name.contains("timestamp");
        assert_eq!(timestamp, name.ends_with("_timestamp_seconds"), "{name}");
        assert!(
            metric.kind == MetricKind::Counter || !name.ends_with("_total"),
            "{name}"
        );
        assert!(!metric.help.ends_with('.'), "{name}");
    }
}
