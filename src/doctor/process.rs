//! Would the process that shall be signalled live through it?
//!
//! Never sends a signal; reads `/proc` alone. What stays true: a process that does not catch a
//! signal is named before the signal ends it.
//!
//! A Go program shows every signal as caught, because its runtime does; Loki is therefore told by
//! its name.

use std::path::{Path, PathBuf};

use super::{Facts, Outcome};
use crate::model::tell::SignalName;

/// The process that the pid file names.
#[derive(Debug)]
pub(super) struct ProcessFacts {
    pid_file: PathBuf,
    signal: Result<SignalName, String>,
    found: Result<Process, String>,
}

#[derive(Debug)]
struct Process {
    pid: u32,
    /// `comm` of /proc: the first 15 bytes of the program's name.
    name: String,
    /// `SigCgt` of /proc: bit n-1 is signal n.
    caught: u64,
}

impl ProcessFacts {
    /// None when there is no pid file to look at.
    pub(super) fn look(pid_file: Option<&Path>, signal: Option<&str>) -> Option<Self> {
        let pid_file = pid_file?;
        Some(Self {
            pid_file: pid_file.to_owned(),
            signal: signal.unwrap_or("SIGHUP").parse(),
            found: read(pid_file),
        })
    }
}

fn read(pid_file: &Path) -> Result<Process, String> {
    let text = std::fs::read_to_string(pid_file).map_err(|error| error.to_string())?;
    let pid: u32 = text
        .split_whitespace()
        .next()
        .and_then(|word| word.parse().ok())
        .filter(|pid| *pid > 0)
        .ok_or_else(|| "it holds no process id".to_owned())?;
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

fn process(facts: &Facts) -> Result<(&ProcessFacts, &Process), Outcome> {
    let none = || Outcome::skipped("no process is to be signalled; --pid-file names one");
    let process = facts.process.as_ref().ok_or_else(none)?;
    match &process.found {
        Ok(found) => Ok((process, found)),
        Err(_) => Err(Outcome::skipped("there is no such process")),
    }
}

pub(super) fn missing(facts: &Facts) -> Outcome {
    match &facts.process {
        Some(ProcessFacts {
            pid_file,
            found: Err(why),
            ..
        }) => Outcome::wrong(pid_file.display().to_string(), why.clone()),
        _ => match process(facts) {
            Ok(_) => Outcome::Fine,
            Err(skipped) => skipped,
        },
    }
}

pub(super) fn not_caught(facts: &Facts) -> Outcome {
    let (wanted, process) = match process(facts) {
        Ok(found) => found,
        Err(skipped) => return skipped,
    };
    let signal = match &wanted.signal {
        Ok(signal) => *signal,
        Err(why) => return Outcome::wrong("--signal", why.clone()),
    };
    let bit = u32::try_from(signal.number() - 1).unwrap_or(u32::MAX);
    if 1_u64
        .checked_shl(bit)
        .is_some_and(|bit| process.caught & bit != 0)
    {
        return Outcome::Fine;
    }
    let reason = format!(
        "process {} ({}) does not catch {}: it ends when it gets it, or never sees it",
        process.pid, process.name, signal
    );
    Outcome::wrong(wanted.pid_file.display().to_string(), reason)
}

pub(super) fn hangs_up_loki(facts: &Facts) -> Outcome {
    let (wanted, process) = match process(facts) {
        Ok(found) => found,
        Err(skipped) => return skipped,
    };
    let signal = wanted
        .signal
        .as_ref()
        .ok()
        .filter(|signal| signal.number() == 1);
    let warning = signal.and_then(|signal| signal.warning(&process.name));
    match warning {
        Some(warning) => {
            let reason = format!("process {} is {}: {warning}", process.pid, process.name);
            Outcome::wrong(wanted.pid_file.display().to_string(), reason)
        }
        None => Outcome::Fine,
    }
}
