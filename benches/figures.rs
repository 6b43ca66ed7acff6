//! The figures of docs/performance.md: prints one table, ratios measured in the same run.
//!
//! usage: `cargo bench --no-default-features` (all, on the binary that ships), with `-- --write` (also writes
//! docs/performance.md), with `-- start idle size many` (some). Needs OpenBao; compares with consul-template when
//! it is installed (`integration/tools/install openbao consul-template`).
//! What stays true: no figure is written by hand, and a missed goal ends with code 1.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark ends loudly, prints its table, and drives processes and clocks itself"
)]

#[path = "figures/idle.rs"]
mod idle;
#[path = "figures/many.rs"]
mod many;
#[path = "../integration/rig/mod.rs"]
mod rig;
#[path = "figures/start.rs"]
mod start;
#[path = "figures/table.rs"]
mod table;

use std::{path::Path, process::ExitCode};

use table::{Figure, Goal};

const MIB: f64 = 1024.0 * 1024.0;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let chosen: Vec<&str> = arguments
        .iter()
        .map(String::as_str)
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    let wanted = |name: &str| chosen.is_empty() || chosen.contains(&name);
    let write = arguments.iter().any(|argument| argument == "--write");

    let rival = rig::find_tool("consul-template");
    if let Err(why) = &rival {
        eprintln!("its column stays empty: {why}");
    }
    let rival = rival.as_deref().ok();
    let mut figures = Vec::new();
    if wanted("size") {
        figures.push(size(rival));
    }
    if wanted("start") {
        eprintln!("measuring: time to a published set ...");
        figures.push(start::figure(rival));
    }
    if wanted("idle") {
        eprintln!("measuring: idle for a minute ...");
        figures.extend(idle::figures(rival));
    }
    if wanted("many") {
        eprintln!("measuring: 1,000 certificates in one process ...");
        figures.extend(many::figures());
    }
    print!("{}", table::text(&figures));
    if write {
        assert!(chosen.is_empty(), "--write wants all figures");
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/performance.md");
        table::write(&file, &figures);
        eprintln!("written: {}", file.display());
    }
    if figures.iter().all(Figure::is_met) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The stripped release binary.
fn size(rival: Option<&Path>) -> Figure {
    let of = |path: &Path| std::fs::metadata(path).unwrap().len() as f64 / MIB;
    Figure {
        name: "release binary, stripped",
        unit: "MiB",
        ours: of(Path::new(env!("CARGO_BIN_EXE_certagent"))),
        other: rival.map(of),
        goal: Goal::AtMost(6.0),
    }
}
