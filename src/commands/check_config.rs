//! `certagent check-config`: what is effective, with the source of every value, or all problems.
//!
//! Never connects anywhere and never shows a secret.

use serde_json::{Value, json};

use crate::{
    cli::{CheckConfigArgs, OutputFormat},
    config::{self, Effective, Environment, Loaded, Problems, SettingText},
    exit::Exit,
};

pub(super) fn run(args: &CheckConfigArgs, environment: &Environment) -> anyhow::Result<Exit> {
    let file = args.flags.file(environment);
    match config::load_all(file, environment, &args.flags) {
        Ok(loaded) if args.output == OutputFormat::Json => {
            super::print(&format!("{:#}\n", good(&loaded)))?
        }
        Ok(loaded) => super::print(&table(&loaded))?,
        Err(problems) if args.output == OutputFormat::Json => {
            super::print(&format!("{:#}\n", bad(&problems)))?;
            return Ok(Exit::Usage);
        }
        Err(problems) => return Err(problems.into()),
    }
    Ok(Exit::Done)
}

fn good(loaded: &Loaded) -> Value {
    let settings: Vec<_> = loaded
        .table
        .iter()
        .map(|row| {
            json!({
                "key": row.key,
                "certificate": row.certificate,
                "value": row.values,
                "source": row.source.to_string(),
            })
        })
        .collect();
    json!({ "ok": true, "settings": settings, "notes": loaded.notes, "problems": [] })
}

fn bad(problems: &Problems) -> Value {
    let list: Vec<_> = problems
        .list()
        .iter()
        .map(|problem| {
            json!({
                "key": problem.key,
                "source": problem.source.as_ref().map(ToString::to_string),
                "message": problem.message,
            })
        })
        .collect();
    json!({ "ok": false, "settings": [], "notes": [], "problems": list })
}

fn table(loaded: &Loaded) -> String {
    let rows: Vec<[String; 3]> = loaded
        .table
        .iter()
        .map(|row| [key(row), value(row), row.source.to_string()])
        .collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0).clamp(5, 60)
    };
    let (first, second) = (width(0), width(1));
    let mut text = format!("{:first$}  {:second$}  SOURCE\n", "KEY", "VALUE");
    for [key, value, source] in &rows {
        text.push_str(&format!("{key:first$}  {value:second$}  {source}\n"));
    }
    for note in &loaded.notes {
        text.push_str(&format!("note: {note}\n"));
    }
    text
}

fn key(row: &Effective) -> String {
    match &row.certificate {
        Some(name) => row.key.replacen('.', &format!(".{name}."), 1),
        None => row.key.clone(),
    }
}

fn value(row: &Effective) -> String {
    if row.values.is_empty() {
        return "-".to_owned();
    }
    let values: Vec<_> = row.values.iter().map(SettingText::as_str).collect();
    values.join(", ").replace('\n', "\\n")
}
