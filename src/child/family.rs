//! Everything that a program started, also in sessions of its own, so that all of it can be killed.
//!
//! Never touches what certagent started for another purpose. What stays true: while nothing else of
//! ours runs, orphans of the program are adopted (prctl(2), PR_SET_CHILD_SUBREAPER) and none
//! escapes; beside the command of `exec` or another program they could be theirs, so then only what
//! descends from the program is killed.

use std::{collections::HashSet, fs};

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, getpid, kill_process, set_child_subreaper, waitid,
};

use super::own;

/// Looks for members that were started meanwhile, at most.
const MAX_ROUNDS: usize = 10;

/// A program and its descendants.
#[derive(Debug)]
pub struct Family {
    leader: Pid,
    /// When it was started, in ticks since boot; its descendants are not older.
    since: u64,
    /// Nothing else of ours ran then, so orphans are adopted.
    adopts: bool,
}

/// What the kernel says of a process: number, parent, start (proc_pid_stat(5), fields 1, 4, 22).
struct Process {
    pid: Pid,
    parent: Option<Pid>,
    started: u64,
}

impl Family {
    /// Of a program that was just started here.
    #[must_use]
    pub fn of(leader: Pid) -> Self {
        let found = processes();
        let started = found.iter().find(|one| one.pid == leader);
        let family = Self {
            leader,
            since: started.map_or(u64::MAX, |one| one.started),
            adopts: only(leader) && set_child_subreaper(Some(getpid())).is_ok(),
        };
        // what an earlier one left behind and has exited since
        reap(&found);
        family
    }

    /// Stops all of it, so that none starts another one, and kills it then.
    pub fn kill(&self) {
        let mut all = HashSet::new();
        for _ in 0..MAX_ROUNDS {
            let found = self.members(&processes());
            let new: Vec<Pid> = found.into_iter().filter(|pid| !all.contains(pid)).collect();
            if new.is_empty() {
                break;
            }
            for pid in &new {
                let _gone = kill_process(*pid, Signal::STOP);
            }
            all.extend(new);
        }
        for pid in all {
            let _gone = kill_process(pid, Signal::KILL);
        }
    }

    /// Takes note of the ends of those that were adopted; true when none is left.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        let found = processes();
        reap(&found);
        self.members(&found).is_empty()
    }

    /// All but the leader.
    fn members(&self, all: &[Process]) -> HashSet<Pid> {
        let mut found = HashSet::from([self.leader]);
        if self.adopts && only(self.leader) {
            let adopted = all.iter().filter(|one| one.parent == Some(getpid()));
            found.extend(
                adopted
                    .filter(|one| one.started >= self.since)
                    .map(|one| one.pid),
            );
        }
        loop {
            let known = found.len();
            let below = all
                .iter()
                .filter(|one| one.parent.is_some_and(|pid| found.contains(&pid)));
            let below: Vec<Pid> = below.map(|one| one.pid).collect();
            found.extend(below);
            if found.len() == known {
                found.remove(&self.leader);
                return found;
            }
        }
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        if self.adopts {
            let _as_before = set_child_subreaper(None);
        }
    }
}

/// Nothing of ours runs but it.
fn only(leader: Pid) -> bool {
    own::list().iter().all(|pid| *pid == leader)
}

/// Takes note of the end of every child that nothing waits for.
fn reap(all: &[Process]) {
    let own = own::list();
    let children = all.iter().filter(|one| one.parent == Some(getpid()));
    for child in children.filter(|one| !own.contains(&one.pid)) {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let _not_yet = waitid(WaitId::Pid(child.pid), options);
    }
}

#[expect(clippy::disallowed_methods, reason = "/proc is the kernel's")]
fn processes() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let numbers = names.filter_map(|name| number(&name));
    let all = numbers.filter_map(|pid| {
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid())).ok()?;
        read(pid, &stat)
    });
    all.collect()
}

/// The name before the fields may hold anything, brackets too.
fn read(pid: Pid, stat: &str) -> Option<Process> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let parent = number(fields.nth(1)?);
    let started = fields.nth(17)?.parse().ok()?;
    Some(Process {
        pid,
        parent,
        started,
    })
}

fn number(text: &str) -> Option<Pid> {
    text.parse().ok().and_then(Pid::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parent_and_start_are_read_behind_any_name() {
        let stat = "8 (a) b) S 7 8 8 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 12345 1 2";
        let found = read(Pid::from_raw(8).unwrap(), stat).unwrap();
        assert_eq!(found.parent, Pid::from_raw(7));
        assert_eq!(found.started, 12_345);
        assert!(read(Pid::from_raw(8).unwrap(), "8 (a").is_none());
    }

    #[test]
    fn descendants_are_found_and_strangers_are_not() {
        let pid = |raw| Pid::from_raw(raw).unwrap();
        let all = [(7, 1, 5), (8, 7, 6), (9, 8, 7), (10, 1, 8), (11, 9, 9)];
        let all = all.map(|(one, parent, started)| Process {
            pid: pid(one),
            parent: Pid::from_raw(parent),
            started,
        });
        let family = Family {
            leader: pid(7),
            since: 5,
            adopts: false,
        };
        assert_eq!(family.members(&all), HashSet::from([8, 9, 11].map(pid)));
    }
}
