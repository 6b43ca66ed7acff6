//! Would the process that shall be signalled live through it?
//!
//! Never sends a signal; reads `/proc` alone. What stays true: a process that does not catch a
//! signal is named before the signal ends it.
//!
//! A Go program shows every signal as caught, because its runtime does; Loki is therefore known by
//! its name.

use std::path::{Path, PathBuf};

use super::{
    CheckOutcome, DoctorFacts, DoctorFinding,
    facts::{Process, ProcessFacts},
};
use crate::{
    config::{Config, ReloadStep},
    disk,
    model::reload::{Action, SignalTarget},
};

/// Bytes of the largest pid file; PostgreSQL's has some 100.
const MAX_STATUS_BYTES: u64 = 64 * 1024;

impl ProcessFacts {
    /// The process of the command line, and those that the configuration tells by a signal.
    pub(super) fn look(
        pid_file: Option<&Path>,
        signal: Option<&str>,
        config: Option<&Config>,
    ) -> Vec<Self> {
        let named = pid_file.map(|pid_file| {
            let signal = signal.unwrap_or("SIGHUP").parse();
            (pid_file.to_owned(), signal, read(pid_file))
        });
        let certificates = config.iter().flat_map(|config| &config.certificates);
        let reloads = certificates.filter_map(|one| one.reload.as_ref());
        let steps =
            reloads.flat_map(|reload| reload.on_cert_change.iter().chain(&reload.on_ca_change));
        let configured = steps.filter_map(|step| match step {
            ReloadStep::Do(Action::Signal { target, signal }) => match target {
                SignalTarget::PidFile(path) => Some((path.clone(), Ok(*signal), read(path))),
                SignalTarget::Pid(pid) => {
                    let place = PathBuf::from(format!("/proc/{pid}"));
                    Some((place, Ok(*signal), by_id(*pid)))
                }
                // It is started with the agent.
                SignalTarget::Child => None,
            },
            ReloadStep::Do(_) | ReloadStep::Auto => None,
        });
        let mut all: Vec<Self> = Vec::new();
        for (pid_file, signal, found) in named.into_iter().chain(configured) {
            let known = |one: &Self| one.pid_file == pid_file && one.signal == signal;
            if !all.iter().any(known) {
                all.push(Self {
                    pid_file,
                    signal,
                    found,
                });
            }
        }
        all
    }
}

fn read(pid_file: &Path) -> Result<Process, String> {
    let found = disk::read(pid_file, MAX_STATUS_BYTES).map_err(|refusal| refusal.to_string())?;
    let pid: u32 = found
        .text()
        .unwrap_or_default()
        .split_whitespace()
        .next()
        .and_then(|word| word.parse().ok())
        .filter(|pid| *pid > 0)
        .ok_or_else(|| "it contains no process id".to_owned())?;
    by_id(pid)
}

#[expect(clippy::disallowed_methods, reason = "/proc is the kernel's")]
fn by_id(pid: u32) -> Result<Process, String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))
        .map_err(|_| format!("no process {pid} is running here"))?;
    let field = |name: &str| {
        let mut lines = status.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
    };
    let caught = field("SigCgt").and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    Ok(Process {
        pid,
        name: field("Name").unwrap_or_default().trim().to_owned(),
        caught: caught.ok_or_else(|| format!("/proc/{pid}/status has no SigCgt"))?,
    })
}

fn each(
    facts: &DoctorFacts,
    judge: impl Fn(&ProcessFacts, &Process) -> CheckOutcome,
) -> CheckOutcome {
    if facts.processes.is_empty() {
        return CheckOutcome::skipped(
            "no reload sends a signal to a process; --pid-file names one",
        );
    }
    CheckOutcome::all(facts.processes.iter().map(|process| match &process.found {
        Ok(found) => judge(process, found),
        Err(_) => CheckOutcome::skipped("there is no such process"),
    }))
}

pub(super) fn missing(facts: &DoctorFacts) -> CheckOutcome {
    let lost = facts.processes.iter().filter_map(|process| {
        let why = process.found.as_ref().err()?;
        Some(DoctorFinding::new(
            process.pid_file.display().to_string(),
            why.clone(),
        ))
    });
    let lost: Vec<_> = lost.collect();
    if lost.is_empty() {
        return each(facts, |_, _| CheckOutcome::Fine);
    }
    CheckOutcome::Wrong(lost)
}

pub(super) fn not_caught(facts: &DoctorFacts) -> CheckOutcome {
    each(facts, |wanted, process| {
        let signal = match &wanted.signal {
            Ok(signal) => *signal,
            Err(why) => return CheckOutcome::wrong("--signal", why.clone()),
        };
        let bit = u32::try_from(signal.number() - 1).unwrap_or(u32::MAX);
        let caught = 1_u64.checked_shl(bit);
        if caught.is_some_and(|bit| process.caught & bit != 0) {
            return CheckOutcome::Fine;
        }
        let reason = format!(
            "process {} ({}) does not catch {signal}: the signal kills it or is ignored",
            process.pid, process.name
        );
        CheckOutcome::wrong(wanted.pid_file.display().to_string(), reason)
    })
}

pub(super) fn hangs_up_loki(facts: &DoctorFacts) -> CheckOutcome {
    each(facts, |wanted, process| {
        let hangup = wanted
            .signal
            .as_ref()
            .ok()
            .filter(|signal| signal.number() == 1);
        let Some(warning) = hangup.and_then(|signal| signal.warning(&process.name)) else {
            return CheckOutcome::Fine;
        };
        let reason = format!("process {} is {}: {warning}", process.pid, process.name);
        CheckOutcome::wrong(wanted.pid_file.display().to_string(), reason)
    })
}
