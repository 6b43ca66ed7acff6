//! What the process closes to others before it reads anything, and what it gives up itself once it
//! knows its configuration.
//!
//! Never fails the start: what the kernel can't do is reported. What stays true: neither a process
//! of the same user nor a core dump shows a token of the environment or a key in memory; programs
//! that certagent starts are as they would be without it, so what they would inherit is left out
//! where there are any.

mod landlock;
mod places;
mod privileges;

use std::{io, sync::OnceLock};

use serde::Serialize;

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};

use crate::config::{Config, Environment};

/// The limit of core dumps that certagent was started with.
static CORE: OnceLock<Rlimit> = OnceLock::new();

/// What came of each part; empty until [`apply`].
static REPORT: OnceLock<Vec<Part>> = OnceLock::new();

/// Could the memory be closed?
static CLOSED: OnceLock<bool> = OnceLock::new();

/// One thing that the process gave up, or why it did not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Part {
    /// `memory`, `no_new_privs`, `capabilities` or `landlock`.
    pub name: &'static str,
    /// Is it effective?
    pub active: bool,
    /// How far, or why not.
    pub detail: String,
}

impl Part {
    fn new(name: &'static str, active: bool, detail: impl Into<String>) -> Self {
        Self {
            name,
            active,
            detail: detail.into(),
        }
    }
}

/// Why programs matter: they would inherit it (prctl(2), landlock(7)).
const PROGRAMS: &str = "certagent starts programs here, which would inherit it";

/// Gives up what is not needed from here on; before any other thread exists, for each thread has its
/// own (capabilities(7), landlock(7)). `command`: certagent is about to start one.
pub fn apply(config: &Config, environment: &Environment, command: bool) {
    let memory = CLOSED.get().copied().unwrap_or(false);
    let mut parts = vec![Part::new(
        "memory",
        memory,
        "no core dump, closed to the same user",
    )];
    if !config.hardening {
        let off = |name| Part::new(name, false, "the configuration says off");
        parts.extend(["no_new_privs", "capabilities", "landlock"].map(off));
    } else if command || places::starts_programs(config) {
        parts.push(Part::new("no_new_privs", false, PROGRAMS));
        parts.push(privileges::drop(&places::needed(config, true), true));
        parts.push(Part::new("landlock", false, PROGRAMS));
    } else {
        parts.push(privileges::no_new());
        parts.push(privileges::drop(&places::needed(config, false), false));
        parts.push(landlock::restrict(&places::Places::of(config, environment)));
    }
    let _already = REPORT.set(parts);
}

/// What came of each part.
#[must_use]
pub fn report() -> &'static [Part] {
    REPORT.get().map(Vec::as_slice).unwrap_or_default()
}

/// Why this kernel can't do all of it; nothing when it can.
#[must_use]
pub fn missing() -> Option<&'static str> {
    landlock::missing()
}

/// Closes `/proc/PID/environ` and `mem` to the same user, and core dumps (prctl(2),
/// PR_SET_DUMPABLE; core(5)). The kernel takes it back for each program that is started from here.
///
/// # Errors
/// What the system says; what could be closed is closed.
pub fn close() -> io::Result<()> {
    let closed = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let before = CORE.get_or_init(|| getrlimit(Resource::Core));
    let limited = setrlimit(Resource::Core, no_core(before));
    let both = closed.and(limited);
    let _already = CLOSED.set(both.is_ok());
    both.map_err(io::Error::from)
}

/// Starts a process under the limits that certagent was started with: its core dump is not ours.
/// Meanwhile the kernel still writes none of certagent itself.
pub(crate) fn with_first_limits<T>(start: impl FnOnce() -> T) -> T {
    let Some(before) = CORE.get() else {
        return start();
    };
    // lowering and raising a soft limit within the hard one needs no privilege
    let _raised = setrlimit(Resource::Core, *before);
    let started = start();
    let _lowered = setrlimit(Resource::Core, no_core(before));
    started
}

/// The soft limit only: without privileges the hard one could not be given back to a child.
fn no_core(before: &Rlimit) -> Rlimit {
    Rlimit {
        current: Some(0),
        maximum: before.maximum,
    }
}
