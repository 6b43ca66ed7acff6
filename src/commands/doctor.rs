//! `certagent doctor`: prints what `doctor` found; nothing else.
//!
//! Never changes anything. What stays true: the exit code is that of the first stage at which
//! something fails, and 0 when there are warnings at most.

use serde_json::{Value, json};

use crate::{
    cli::{DoctorArgs, OutputFormat},
    clock::{Clock as _, SystemClock},
    config::{self, Environment},
    doctor::{self, CheckStatus, DoctorReport, Options, Row},
    exit::Exit,
    terminal::{Screen, Style, harmless},
};

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

/// Failures stand last, where the eye is when the text has run through.
fn as_text(report: &DoctorReport, args: &DoctorArgs, screen: Screen) -> String {
    let is_shown =
        |row: &&Row| args.verbose || matches!(row.status, CheckStatus::Warn | CheckStatus::Fail);
    let mut rows: Vec<&Row> = report.rows.iter().filter(is_shown).collect();
    rows.sort_by_key(|row| match row.status {
        CheckStatus::Skipped => 0,
        CheckStatus::Ok => 1,
        CheckStatus::Warn => 2,
        CheckStatus::Fail => 3,
    });
    let width = rows.iter().map(|row| row.check.code.len()).max();
    let width = width.unwrap_or(0);
    let mut text = String::new();
    for row in rows {
        let style = match row.status {
            CheckStatus::Ok => Style::Good,
            CheckStatus::Skipped => Style::Faint,
            CheckStatus::Warn => Style::Warning,
            CheckStatus::Fail => Style::Bad,
        };
        let status = screen.paint(style, &format!("{:4}", row.status.name()));
        text.push_str(&format!("{status}  {:width$}", row.check.code));
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
            text.push_str(&format!("        {subject}{}\n", harmless(&found.reason)));
            text.push_str(&format!("        -> {}\n", harmless(todo)));
        }
    }
    text.push_str(&summary(report, args.test_issue));
    text
}

fn summary(report: &DoctorReport, asked: bool) -> String {
    let many = |status: CheckStatus, one: &str, more: &str| {
        let count = report.count(status);
        format!("{count} {}", if count == 1 { one } else { more })
    };
    format!(
        "{}, {}, {} ok, {} not checked (-v shows them); {}\n",
        many(CheckStatus::Fail, "failure", "failures"),
        many(CheckStatus::Warn, "warning", "warnings"),
        report.count(CheckStatus::Ok),
        report.count(CheckStatus::Skipped),
        if asked {
            "one certificate for each block was requested and discarded"
        } else {
            "nothing was changed, no certificate was requested"
        }
    )
}
