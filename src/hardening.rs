//! What the process closes to others before it reads anything.
//!
//! Never decides and never fails the start. What stays true: neither a process of the same user nor
//! a core dump shows a token of the environment or a key in memory; processes that certagent
//! starts get their own memory and the limits that certagent was started with.

use std::{io, sync::OnceLock};

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};

/// The limit of core dumps that certagent was started with.
static CORE: OnceLock<Rlimit> = OnceLock::new();

/// Closes `/proc/PID/environ` and `mem` to the same user, and core dumps (prctl(2),
/// PR_SET_DUMPABLE; core(5)). The kernel takes it back for each program that is started from here.
///
/// # Errors
/// What the system says; what could be closed is closed.
pub fn close() -> io::Result<()> {
    let closed = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let before = CORE.get_or_init(|| getrlimit(Resource::Core));
    let limited = setrlimit(Resource::Core, no_core(before));
    closed.and(limited).map_err(io::Error::from)
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
