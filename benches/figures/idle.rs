//! What a process costs that has nothing to do: resident memory, alone and as one of eight on a host, and wake-ups.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use crate::{
    rig::{self, OpenBao, Process},
    start,
    table::{Figure, Goal},
};

/// Two periods of the agent's look at the wall clock.
const WATCHED: Duration = Duration::from_secs(60);
/// As many as Loki has components.
const AGENTS_ON_A_HOST: usize = 8;

/// Resident memory in KiB, from the kernel's own count. `field` is `VmRSS` (now) or `VmHWM` (peak).
pub(crate) fn memory(pid: u32, field: &str) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    number(&text, field) as f64
}

/// The proportional share of memory in KiB: a page that n processes map counts one n-th for each.
fn proportional_share(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    number(&text, "Pss") as f64
}

/// The mean proportional share in MiB of each of eight that run at the same time.
fn share_of_eight(start: impl Fn(&Path) -> Command) -> f64 {
    let running: Vec<_> = (0..AGENTS_ON_A_HOST)
        .map(|_| {
            let dir = rig::memory_dir();
            let process = settled(start(dir.path()), dir.path());
            (process, dir)
        })
        .collect();
    let shares = running
        .iter()
        .map(|(process, _)| proportional_share(process.pid()));
    shares.sum::<f64>() / AGENTS_ON_A_HOST as f64 / 1024.0
}

/// How often a thread of the process has gone to sleep of its own will.
fn wake_ups(pid: u32) -> u64 {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    threads
        .filter_map(|thread| std::fs::read_to_string(thread.unwrap().path().join("status")).ok())
        .map(|text| number(&text, "voluntary_ctxt_switches"))
        .sum()
}

fn number(text: &str, field: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|word| word.parse().ok())
        .unwrap_or_else(|| panic!("no {field} in the status"))
}

/// Starts it and waits until it has published and come to rest.
fn settled(mut command: Command, dir: &Path) -> Process {
    let process = Process::start(&mut command);
    rig::wait_for("a published set", rig::PATIENCE, || {
        start::is_published(dir).then_some(())
    });
    std::thread::sleep(Duration::from_secs(3));
    process
}

pub(crate) fn figures(rival: Option<&Path>) -> [Figure; 3] {
    let server = OpenBao::ready();
    let token = server.new_token("24h");
    let (here, there) = (rig::memory_dir(), rig::memory_dir());
    let mut processes = vec![settled(
        start::certagent(&server, &token, here.path()),
        here.path(),
    )];
    processes.extend(rival.map(|program| {
        let command = start::consul_template(program, &server, &token, there.path(), false);
        settled(command, there.path())
    }));

    let before: Vec<u64> = processes
        .iter()
        .map(|process| wake_ups(process.pid()))
        .collect();
    let began = Instant::now();
    std::thread::sleep(WATCHED);
    let minutes = began.elapsed().as_secs_f64() / 60.0;
    let wakes: Vec<f64> = processes
        .iter()
        .zip(before)
        .map(|(process, before)| (wake_ups(process.pid()) - before) as f64 / minutes)
        .collect();
    let resident: Vec<f64> = processes
        .iter()
        .map(|process| memory(process.pid(), "VmRSS") / 1024.0)
        .collect();
    drop(processes);
    let share = share_of_eight(|dir| start::certagent(&server, &token, dir));
    let share_there = rival.map(|program| {
        share_of_eight(|dir| start::consul_template(program, &server, &token, dir, false))
    });
    [
        Figure {
            name: "resident memory, idle",
            unit: "MiB",
            ours: resident[0],
            other: resident.get(1).copied(),
            goal: Goal::AtMost(7.0),
        },
        Figure {
            name: "proportional share of memory, each of eight on a host",
            unit: "MiB",
            ours: share,
            other: share_there,
            goal: Goal::AtMost(1.2),
        },
        Figure {
            name: "wake-ups a minute, idle",
            unit: "",
            ours: wakes[0],
            other: wakes.get(1).copied(),
            goal: Goal::AtMost(4.0),
        },
    ]
}
