//! The status for people: one line a certificate, and below it what is wrong.

use crate::{
    fleet::report::{ReportedAgent, ReportedCert},
    model::{duration, foreign::shortened},
    status::{KeyOriginReport, Moment},
    terminal::{Screen, Style, harmless},
};

const HEAD: [&str; 7] = [
    "NAME", "STATE", "LEFT", "RENEWS", "SERIAL", "RELOAD", "SERVING",
];

/// Events below one certificate; JSON has all that the agent keeps.
const MAX_SHOWN_EVENTS: usize = 6;

/// Bytes of a serial that tell certificates apart on a screen.
const SERIAL_CHARS: usize = 17;

pub(super) fn render(report: &ReportedAgent, screen: Screen) -> String {
    let now = &report.now;
    let rows: Vec<[String; 7]> = report
        .certificates
        .iter()
        .map(|one| row(one, now))
        .collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0).max(HEAD[column].len())
    };
    let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
    let up = duration::brief(report.started.until(now));
    let mut text = format!(
        "certagent {}, up {up}, certificates: {}\n\n",
        harmless(&report.version),
        rows.len()
    );
    let line = |cells: [&str; 7], style: Option<(usize, Style)>, all: Option<Style>| {
        let padded = cells.iter().zip(&widths).enumerate();
        let cells: Vec<String> = padded
            .map(|(index, (cell, width))| {
                let cell = format!("{cell:width$}");
                match (style, all) {
                    (Some((at, style)), _) if at == index => screen.paint(style, &cell),
                    (_, Some(style)) => screen.paint(style, &cell),
                    _ => cell,
                }
            })
            .collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    text.push_str(&line(HEAD, None, Some(Style::Faint)));
    for (one, row) in report.certificates.iter().zip(&rows) {
        let cells = row.each_ref().map(String::as_str);
        text.push_str(&line(cells, Some((1, style(one))), None));
        let mut said: Vec<&str> = Vec::new();
        // what degrades stands in both lists
        let lists = [&one.reasons, &one.degraded, &one.trust_warnings];
        for reason in lists.into_iter().flatten() {
            if !said.contains(&reason.message.as_str()) {
                said.push(&reason.message);
                text.push_str(&format!("    {}\n", harmless(&reason.message)));
            }
        }
        if let Some(note) = one.key_origin.as_ref().and_then(key_note) {
            text.push_str(&format!("    {}\n", harmless(&note)));
        }
        if rows.len() == 1 || !one.ready || !one.degraded.is_empty() {
            text.push_str(&events(one, now, screen));
        }
    }
    text
}

/// The last things that happened, the newest last.
fn events(one: &ReportedCert, now: &Moment, screen: Screen) -> String {
    let from = one.events.len().saturating_sub(MAX_SHOWN_EVENTS);
    let lines = one.events.iter().skip(from).map(|event| {
        let times = match event.times {
            0 | 1 => String::new(),
            times => format!(" ({times} times)"),
        };
        let ago = format!("{} ago", duration::brief(event.at.until(now)));
        let line = format!(
            "    {ago:>10}  {:<11}  {}{times}",
            harmless(&event.event).replace('_', " "),
            shortened(&event.detail, SERIAL_CHARS + 15),
        );
        format!("{}\n", screen.paint(Style::Faint, line.trim_end()))
    });
    lines.collect()
}

/// Where the key is made, when a refusal has led there.
fn key_note(origin: &KeyOriginReport) -> Option<String> {
    let code = origin.because.as_ref()?;
    let key = &origin.key;
    Some(format!(
        "note: the private key is {key}: another request was refused ({code})"
    ))
}

fn style(one: &ReportedCert) -> Style {
    match (one.ready, one.degraded.is_empty()) {
        (true, true) => Style::Good,
        (true, false) => Style::Warning,
        (false, _) => Style::Bad,
    }
}

fn row(one: &ReportedCert, now: &Moment) -> [String; 7] {
    let state = match (one.ready, one.degraded.is_empty()) {
        (true, true) => "ready",
        (true, false) => "degraded",
        (false, _) => "not ready",
    };
    let none = || "-".to_owned();
    let left = one.live.as_ref().map_or_else(none, |live| {
        // Vault dates a certificate back; the share is of the life that it has here
        let from = live.obtained_at.as_ref().unwrap_or(&live.not_before);
        let (left, life) = (now.until(&live.not_after), from.until(&live.not_after));
        let share = 100.0 * left.as_secs_f64() / life.as_secs_f64().max(1.0);
        format!("{} ({share:.0} %)", duration::brief(left))
    });
    let renews = one.due.as_ref().map_or_else(none, |due| {
        if due.unix_millis <= now.unix_millis {
            "due".to_owned()
        } else {
            format!("in {}", duration::brief(now.until(due)))
        }
    });
    let serial = one.live.as_ref().map_or_else(none, |live| {
        let serial = harmless(&live.serial);
        match serial.get(..SERIAL_CHARS) {
            Some(start) if serial.len() > SERIAL_CHARS => format!("{start}.."),
            _ => serial,
        }
    });
    let word = |word: &str| match word {
        "" => none(),
        word => harmless(word),
    };
    [
        harmless(&one.name),
        state.to_owned(),
        left,
        renews,
        serial,
        word(&one.app.reload),
        word(&one.app.serving),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fleet::report::{ReportedApp, ReportedEvent, ReportedLive, ReportedReason},
        model::time::Timestamp,
    };

    fn report() -> ReportedAgent {
        let now = Timestamp::from_unix_secs(1_900_000_000);
        let hours = |count: u64| std::time::Duration::from_secs(count * 3600);
        let good = ReportedCert {
            name: "ingester".to_owned(),
            ready: true,
            live: Some(ReportedLive {
                serial: "0a:0b:0c:0d:0e:0f:10:11".to_owned(),
                not_before: now.minus(hours(24)).into(),
                not_after: now.plus(hours(72)).into(),
                ..ReportedLive::default()
            }),
            due: Some(now.plus(hours(40)).into()),
            events: vec![ReportedEvent::default()],
            app: ReportedApp {
                reload: "failed".to_owned(),
                serving: "current".to_owned(),
                ..ReportedApp::default()
            },
            key_origin: Some(KeyOriginReport {
                order: "issue".to_owned(),
                key: "made by Vault".to_owned(),
                because: Some("permission-denied".to_owned()),
            }),
            ..ReportedCert::default()
        };
        let bad = ReportedCert {
            name: "ruler".to_owned(),
            reasons: vec![ReportedReason {
                message: "nothing is published: \x1b[2J".to_owned(),
            }],
            events: vec![ReportedEvent {
                at: now.minus(std::time::Duration::from_secs(90)).into(),
                event: "failed".to_owned(),
                detail: "connect-refused\n".to_owned(),
                times: 12,
            }],
            ..ReportedCert::default()
        };
        ReportedAgent {
            version: "0.1.0".to_owned(),
            started: now.minus(hours(2)).into(),
            now: now.into(),
            ready: false,
            certificates: vec![good, bad],
            ..ReportedAgent::default()
        }
    }

    #[test]
    fn an_older_or_newer_agent_is_understood() {
        let answer = r#"{"certificates":[{"name":"a","new":1}],"new":1}"#;
        let report: ReportedAgent = serde_json::from_str(answer).unwrap();
        assert!(render(&report, Screen::PLAIN).contains("not ready"));
    }

    #[test]
    fn the_table_lines_up_and_says_what_is_wrong() {
        let text = render(&report(), Screen::PLAIN);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("certagent 0.1.0, up 2h"), "{text}");
        let column = |name: &str| lines[2].find(name).unwrap();
        assert!(lines[3][column("STATE")..].starts_with("ready "), "{text}");
        assert!(
            lines[3][column("LEFT")..].starts_with("3d (75 %)"),
            "{text}"
        );
        assert!(
            lines[3][column("SERIAL")..].starts_with("0a:0b:0c:0d:0e:0f.."),
            "{text}"
        );
        assert!(
            lines[3][column("RELOAD")..].starts_with("failed "),
            "{text}"
        );
        assert!(lines[3].ends_with("current"), "{text}");
        assert!(
            lines[4].contains("made by Vault: another request was refused"),
            "{text}"
        );
        assert!(
            lines[5][column("STATE")..].starts_with("not ready"),
            "{text}"
        );
        assert_eq!(lines[6], "    nothing is published: \\u001b[2J");
        assert_eq!(
            lines[7],
            "    1m 30s ago  failed       connect-refused\\n (12 times)"
        );
        assert_eq!(
            lines.len(),
            8,
            "a healthy one of several shows no events: {text}"
        );
    }
}
