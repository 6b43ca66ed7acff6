//! The processes that certagent starts and waits for itself.
//!
//! Never ends one. What stays true: from before its first moment until it is reaped a process that
//! was started here is in the list, so the reaper of orphans cannot take its exit status away. No
//! other place may start processes (clippy.toml).

use std::{
    io,
    ops::{Deref, DerefMut},
    process::ExitStatus,
    sync::{Mutex, MutexGuard, PoisonError},
};

use rustix::process::Pid;
use tokio::process::{Child, Command};

use crate::hardening;

/// Process-wide, as the kernel's table of children is.
static OWN: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// The list; nothing is started while it is held.
pub(super) fn list() -> MutexGuard<'static, Vec<Pid>> {
    OWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A process that its owner waits for.
#[derive(Debug)]
pub struct Own {
    child: Child,
    pid: Pid,
}

/// Starts a process that the caller waits for.
///
/// # Errors
/// As [`Command::spawn`].
#[expect(clippy::disallowed_methods, reason = "the one place that may")]
pub fn spawn(command: &mut Command) -> io::Result<Own> {
    let mut list = list();
    let child = hardening::with_first_limits(|| command.spawn())?;
    let pid = child.id().and_then(|id| i32::try_from(id).ok());
    let pid = pid
        .and_then(Pid::from_raw)
        .ok_or_else(|| io::Error::other("a process without a number"))?;
    list.push(pid);
    Ok(Own { child, pid })
}

impl Own {
    /// Its number; it may be another's once it was waited for.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// As [`Child::wait`].
    ///
    /// # Errors
    /// As there.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }
}

/// For its pipes.
impl Deref for Own {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.child
    }
}

impl DerefMut for Own {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.child
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let mut list = list();
        // one entry only: its number may have become that of another one of ours
        if let Some(at) = list.iter().position(|pid| *pid == self.pid) {
            list.swap_remove(at);
        }
    }
}
