//! The report for people.
//!
//! Never decides a verdict. What stays true: text from a certificate can't steer the terminal.

use std::time::Duration;

use super::report::{InspectedCertificate, InspectedKind, Inspection, Verdict};
use crate::{
    model::duration,
    terminal::{Screen, Style, harmless},
};

pub(super) fn render(report: &Inspection, screen: Screen) -> String {
    let mut text = heading(report, screen);
    match report.kind {
        InspectedKind::Directory => text.push_str(&set(report, screen)),
        InspectedKind::File => text.push_str(&file(report, screen)),
    }
    text.push_str(&verdict(report, screen));
    text
}

fn heading(report: &Inspection, screen: Screen) -> String {
    let path = screen.paint(Style::Strong, &harmless(&report.path));
    match &report.generation {
        Some(generation) => format!("{path}  generation {}\n", harmless(generation)),
        None => format!("{path}\n"),
    }
}

fn set(report: &Inspection, screen: Screen) -> String {
    let Some(leaf) = report.certificates.first() else {
        return String::new();
    };
    let mut rows = certificate(leaf, screen);
    rows.push(("chain", chain(report)));
    rows.push(("key", key(report)));
    if let Some(at) = &report.obtained_at {
        rows.push(("obtained", at.clone()));
    }
    if let Some(at) = &report.due_at {
        rows.push(("renewal", format!("planned for {at}")));
    }
    screen.table(&rows)
}

fn file(report: &Inspection, screen: Screen) -> String {
    let mut text = String::new();
    for (index, one) in report.certificates.iter().enumerate() {
        if index > 0 {
            text.push('\n');
        }
        text.push_str(&screen.table(&certificate(one, screen)));
    }
    if report.key.is_some() {
        text.push_str(&screen.table(&[("key", key(report))]));
    }
    text
}

fn certificate(one: &InspectedCertificate, screen: Screen) -> Vec<(&'static str, String)> {
    let names: Vec<String> = [&one.dns, &one.ips, &one.uris, &one.other_names]
        .into_iter()
        .flatten()
        .map(|name| harmless(name))
        .collect();
    let usage = [
        (one.ca, "CA"),
        (one.server_auth, "server"),
        (one.client_auth, "client"),
    ];
    let usage: Vec<_> = usage
        .iter()
        .filter_map(|(yes, name)| yes.then_some(*name))
        .collect();
    let left = duration::brief(Duration::from_secs(one.seconds_left));
    let mut rows = vec![("subject", harmless(&one.subject))];
    if !names.is_empty() {
        rows.push(("names", names.join(", ")));
    }
    rows.extend([
        ("serial", one.serial.clone()),
        ("issuer", harmless(&one.issuer)),
        (
            "valid",
            format!("{} until {}", one.not_before, one.not_after),
        ),
        ("left", format!("{}, {left}", screen.bar(one.life_left))),
        ("usage", usage.join(", ")),
        ("public key", one.key.clone()),
        ("sha256", one.sha256.clone()),
    ]);
    rows
}

/// From the leaf up: what is in cert.pem, then the anchors of CA.pem, one a line.
fn chain(report: &Inspection) -> String {
    let mut lines: Vec<String> = report
        .certificates
        .iter()
        .skip(1)
        .map(|one| format!("{} (in cert.pem)", harmless(&one.subject)))
        .collect();
    lines.extend(report.anchors.iter().map(|one| {
        let subject = harmless(&one.subject);
        format!("{subject} (in CA.pem, until {})", one.not_after)
    }));
    if lines.is_empty() {
        lines.push("none".to_owned());
    }
    lines.join("\n")
}

fn key(report: &Inspection) -> String {
    let Some(key) = &report.key else {
        return "none that can be read".to_owned();
    };
    let fits = match key.fits {
        Some(true) => ", belongs to the certificate",
        Some(false) => ", does NOT belong to the certificate",
        None => "",
    };
    format!("{}{fits}", key.kind)
}

fn verdict(report: &Inspection, screen: Screen) -> String {
    let (style, word) = match report.verdict {
        Verdict::Valid => (Style::Good, "valid"),
        Verdict::Warning => (Style::Warning, "valid, with warnings"),
        Verdict::Invalid => (Style::Bad, "invalid"),
    };
    let mut lines = vec![screen.paint(style, word)];
    let problems = report.problems.iter();
    lines.extend(problems.map(|one| format!("{} [{}]", harmless(&one.message), one.code)));
    lines.extend(report.warnings.iter().map(|one| harmless(one)));
    screen.table(&[("verdict   ", lines.join("\n"))])
}
