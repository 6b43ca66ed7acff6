//! `certagent doctor`: prints what `doctor` found; nothing else.
//!
//! Never changes anything. What stays true: the exit code is that of the first stage at which
//! something fails, and 0 when there are warnings at most.

use serde_json::{Value, json};

use crate::{
    cli::{DoctorArgs, OutputFormat},
    clock::{Clock as _, SystemClock},
    config::{self, Environment},
    doctor::{self, CheckStatus, DoctorReport, Options, Row, table::headed},
    exit::Exit,
    terminal::{Screen, Style, harmless},
};

/// What each code means; the page has a heading for each.
const PAGE: &str = "docs/doctor.md";

/// The check without which there is nothing else to check.
const UNUSABLE: &str = "config-invalid";

pub(super) async fn run(args: &DoctorArgs, environment: &Environment) -> anyhow::Result<Exit> {
    let variable = |name: &str| environment.get(name).map(String::as_str);
    let file = args.flags.file(environment);
    let loaded = config::load_noted(file, environment, &args.flags);
    let options = Options {
        test_issue: args.test_issue,
        as_user: args.as_user,
        pid_file: args.pid_file.clone(),
        signal: args.signal.clone(),
    };
    let gathering = Box::pin(doctor::gather(
        loaded,
        environment,
        options,
        SystemClock.now(),
    ));
    let screen = Screen::stderr(variable);
    let waiting = Box::pin(screen.wait_for("checking", gathering));
    let facts = waiting.await;
    let report = doctor::examine(&facts);
    if args.output == OutputFormat::Json {
        super::print(&format!("{:#}\n", as_json(&report, args.test_issue)))?;
    } else {
        super::print(&as_text(&report, args, Screen::stdout(variable)))?;
    }
    Ok(report.exit())
}

fn as_json(report: &DoctorReport, asked: bool) -> Value {
    let row = |row: &Row| {
        json!({
            "code": row.check.code,
            "status": row.status,
            "exit": row.check.exit.code(),
            "means": row.check.means,
            "todo": row.check.todo,
            "page": format!("{PAGE}#{}", row.check.code),
            "found": row.found,
            "skipped": row.skipped,
        })
    };
    json!({
        "ok": report.count(CheckStatus::Fail) == 0,
        "exit": report.exit().code(),
        "test_issued": asked,
        "checks": report.rows.iter().map(row).collect::<Vec<_>>(),
    })
}

/// Failures stand last, where the eye is when the text has run through. Without a usable configuration
/// nothing else says anything.
fn as_text(report: &DoctorReport, args: &DoctorArgs, screen: Screen) -> String {
    let unusable = |row: &Row| row.check.code == UNUSABLE && row.status == CheckStatus::Fail;
    let only = report.rows.iter().any(unusable) && !args.verbose;
    let shown = |row: &Row| match row.status {
        CheckStatus::Warn | CheckStatus::Fail => !only || unusable(row),
        CheckStatus::Ok | CheckStatus::Skipped => args.verbose,
    };
    let mut parts: Vec<(&str, Vec<&Row>)> = headed()
        .into_iter()
        .map(|(heading, checks)| {
            let here = |row: &&Row| checks.iter().any(|check| check.code == row.check.code);
            let mut rows: Vec<_> = report.rows.iter().filter(here).collect();
            rows.retain(|row| shown(row));
            rows.sort_by_key(|row| weight(row.status));
            (heading, rows)
        })
        .filter(|(_, rows)| !rows.is_empty())
        .collect();
    parts.sort_by_key(|(_, rows)| rows.iter().any(|row| row.status == CheckStatus::Fail));
    let codes = parts.iter().flat_map(|(_, rows)| rows.iter());
    let width = codes.map(|row| row.check.code.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (heading, rows) in parts {
        text.push_str(&format!("{}\n", screen.paint(Style::Strong, heading)));
        for row in rows {
            text.push_str(&lines(row, width, screen));
        }
        text.push('\n');
    }
    text.push_str(&summary(report, only, args.test_issue));
    text
}

/// Its status, its code, what it means, what was found, what to do, and where more is said.
fn lines(row: &Row, width: usize, screen: Screen) -> String {
    let style = match row.status {
        CheckStatus::Ok => Style::Good,
        CheckStatus::Skipped => Style::Faint,
        CheckStatus::Warn => Style::Warning,
        CheckStatus::Fail => Style::Bad,
    };
    let status = screen.paint(style, &format!("{:4}", row.status.name()));
    let mut text = format!("{status}  {:width$}", row.check.code);
    match &row.skipped {
        Some(why) => text.push_str(&format!("  not checked: {}\n", harmless(why))),
        None if row.found.is_empty() => text.push('\n'),
        None => text.push_str(&format!("  {}\n", row.check.means)),
    }
    for found in &row.found {
        let subject = match found.subject.as_str() {
            "" => String::new(),
            subject => format!("{}: ", harmless(subject)),
        };
        let todo = found.todo.as_deref().unwrap_or(row.check.todo);
        let code = found
            .code
            .map_or_else(String::new, |code| format!("{code}: "));
        let reason = harmless(&found.reason);
        text.push_str(&format!("        {subject}{code}{reason}\n"));
        text.push_str(&format!("        -> {}\n", harmless(todo)));
    }
    if !row.found.is_empty() {
        let link = format!("{PAGE}#{}", row.check.code);
        text.push_str(&format!("        {}\n", screen.paint(Style::Faint, &link)));
    }
    text
}

fn weight(status: CheckStatus) -> u8 {
    match status {
        CheckStatus::Skipped => 0,
        CheckStatus::Ok => 1,
        CheckStatus::Warn => 2,
        CheckStatus::Fail => 3,
    }
}

/// Failures first, by name.
fn summary(report: &DoctorReport, only: bool, asked: bool) -> String {
    let many = |status: CheckStatus, one: &str, more: &str| {
        let rows = report.rows.iter().filter(|row| row.status == status);
        let codes: Vec<_> = rows.map(|row| row.check.code).collect();
        let word = if codes.len() == 1 { one } else { more };
        match codes.len() {
            0 => format!("no {more}"),
            count => format!("{count} {word} ({})", codes.join(", ")),
        }
    };
    let failures = many(CheckStatus::Fail, "failure", "failures");
    let done = if asked {
        "one certificate for each block was requested and discarded"
    } else {
        "nothing was changed, no certificate was requested"
    };
    if only {
        return format!("{failures}; the other checks need a usable configuration; {done}\n");
    }
    format!(
        "{failures}, {}, {} ok, {} not checked (-v shows them); {done}\n",
        many(CheckStatus::Warn, "warning", "warnings"),
        report.count(CheckStatus::Ok),
        report.count(CheckStatus::Skipped),
    )
}
