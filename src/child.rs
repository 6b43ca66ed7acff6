//! The one process that `certagent exec` starts: environment, signals, end; and orphans as PID 1.
//!
//! Never starts it again. What stays true: a signal reaches the very process that was started, by
//! pidfd, and never another one that has got its number; its exit code is handed on as a shell does;
//! whoever starts a process here waits for it, so that the reaper leaves it alone.

mod family;
mod forward;
mod own;
mod reap;
mod variables;

use std::{
    ffi::{OsStr, OsString},
    io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::process::ExitStatusExt as _,
    },
    process::ExitStatus,
    sync::Arc,
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::process::Command;

pub use family::Family;
pub use forward::{Incoming, Signals};
pub use own::{Own, spawn};
pub use reap::reap_orphans;
pub use variables::{Clash, Variables};

/// The command could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start {}: {source}", program.display())]
pub struct StartError {
    program: OsString,
    source: io::Error,
}

impl StartError {
    /// The exit code that shells use: 127 when there is no such program, else 126.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self.source.kind() {
            io::ErrorKind::NotFound => 127,
            _ => 126,
        }
    }

    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self.source.kind() {
            io::ErrorKind::NotFound => {
                "give its whole path, or check PATH; a script's interpreter may be missing too"
            }
            io::ErrorKind::PermissionDenied => "check its mode, and noexec on its file system",
            _ => "check the error of the system",
        }
    }
}

/// A running child.
#[derive(Debug)]
pub struct Child {
    own: Own,
    handle: Handle,
}

impl Child {
    /// Starts it on our own stdin, stdout, stderr and process group.
    ///
    /// # Errors
    /// [`StartError`]; nothing runs then.
    pub fn start(
        program: &OsStr,
        arguments: &[OsString],
        variables: &Variables,
    ) -> Result<Self, StartError> {
        let failed = |source| StartError {
            program: program.to_owned(),
            source,
        };
        let mut command = Command::new(program);
        command.args(arguments);
        variables.apply(&mut command);
        let mut own = spawn(&mut command).map_err(failed)?;
        match Handle::of(own.pid()) {
            Ok(handle) => Ok(Self { own, handle }),
            Err(error) => {
                let _ended = own.start_kill();
                Err(failed(error))
            }
        }
    }

    /// The way to signal it; may be kept and used after its end.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Waits for its end and reaps it. May be dropped and called again.
    ///
    /// # Errors
    /// When the system does not tell, which is a bug.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.own.wait().await
    }
}

/// Names the process that was started, whatever happens to its number afterwards.
#[derive(Clone, Debug)]
pub struct Handle {
    pid: Pid,
    pidfd: Arc<OwnedFd>,
}

impl Handle {
    /// `pid` is a child of ours that is not reaped yet, so its number cannot be another's.
    fn of(pid: Pid) -> io::Result<Self> {
        let pidfd = Arc::new(pidfd_open(pid, PidfdFlags::empty())?);
        Ok(Self { pid, pidfd })
    }

    /// Its number, for messages and for reading `/proc`.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Sends a signal to it.
    ///
    /// # Errors
    /// `NotFound` when it has exited.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        pidfd_send_signal(self.pidfd.as_fd(), signal).map_err(|error| match error {
            rustix::io::Errno::SRCH => io::Error::new(io::ErrorKind::NotFound, "it has expired"),
            other => other.into(),
        })
    }
}

/// The exit code that stands for an end: its own, or 128 and the number of the signal, as shells do.
#[must_use]
pub fn exit_code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(255)
}

/// The exit code of something that a signal killed.
#[must_use]
pub fn signal_code(signal: Signal) -> u8 {
    u8::try_from(128 + signal.as_raw()).unwrap_or(255)
}

#[cfg(test)]
mod tests;
