//! Signals to a process on this machine, and to no other.
//!
//! Never signals by number alone: the process is held by a pidfd from the look to the send. What
//! stays true: a process that got the id of another one receives nothing, and neither does one
//! that does not catch the signal, which would end it.

use std::{
    collections::HashMap,
    ffi::OsStr,
    fs,
    os::fd::{AsRawFd as _, OwnedFd},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustix::{
    fs::Stat,
    io::Errno,
    process::{Pid, PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal},
};

use crate::{
    disk::{self, TrustedOwners},
    model::reload::{Delivery, ReloadFailure, SignalName, SignalTarget},
};

/// A pid file is written after the process has started; clocks are this exact.
const PID_FILE_SLACK: Duration = Duration::from_secs(60);
/// Bytes of the largest pid file; PostgreSQL's has some 100.
const MAX_FILE_BYTES: u64 = 64 * 1024;
/// Start times are counted in these (USER_HZ is 100 on every architecture Rust's std supports).
const TICKS_PER_SECOND: u64 = 100;

/// What a process is, beyond its id.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ProcessIdentity {
    pid: i32,
    /// Start time in ticks since boot. Two processes can be born within one tick: only a
    /// descriptor that was kept is exact.
    started: u64,
    /// Its program; `None` when we may not see it.
    program: Option<PathBuf>,
}

/// A process that is held: what is known of it, and a descriptor that means it and no other.
#[derive(Debug)]
struct Held {
    identity: ProcessIdentity,
    /// Bit n - 1: signal n is caught.
    caught: u64,
    /// Its effective user.
    uid: u32,
    fd: OwnedFd,
}

impl Held {
    /// Has the process that is held still its id? Then no other process has it.
    fn is_there(&self) -> bool {
        still_has(&self.fd, self.identity.pid)
    }
}

/// The child of `certagent exec`, as its owner reports it.
#[derive(Clone, Debug, Default)]
pub struct ChildPid(Arc<Mutex<Option<u32>>>);

impl ChildPid {
    /// It runs. Its owner has not waited for it yet, so the id is its own.
    pub fn started(&self, pid: u32) {
        *lock(&self.0) = Some(pid);
    }

    /// Its owner is about to wait for it, or has.
    pub fn ended(&self) {
        *lock(&self.0) = None;
    }
}

/// Sends signals and remembers whom it has seen.
#[derive(Debug, Default)]
pub struct SignalSender {
    child: ChildPid,
    seen: Mutex<HashMap<PathBuf, Held>>,
}

impl SignalSender {
    /// The slot for the child.
    #[must_use]
    pub fn child(&self) -> ChildPid {
        self.child.clone()
    }

    /// Looks at the process and remembers what it is.
    pub fn remember(&self, target: &SignalTarget) {
        if let Ok(Some(held)) = self.hold(target) {
            lock(&self.seen).insert(key(target), held);
        }
    }

    /// Sends, when it is the right process and it catches the signal.
    /// pidfd_send_signal(2); caught signals are `SigCgt` of proc_pid_status(5).
    ///
    /// # Errors
    /// Why nothing was sent.
    pub fn send(
        &self,
        target: &SignalTarget,
        signal: SignalName,
    ) -> Result<Delivery, ReloadFailure> {
        self.send_after(target, signal, || {})
    }

    /// `between`: what a test lets happen between the look and the send.
    fn send_after(
        &self,
        target: &SignalTarget,
        signal: SignalName,
        between: impl FnOnce(),
    ) -> Result<Delivery, ReloadFailure> {
        let number = Signal::from_named_raw(signal.number()).ok_or_else(|| {
            let text = format!("{signal} cannot be sent to a process");
            ReloadFailure::lasting("signal-name", text, "use another signal")
        })?;
        let Some(held) = self.hold(target)? else {
            return Ok(Delivery::NotRunning);
        };
        self.is_known(target, &held.identity)?;
        between();
        // It may have become another program since, under the same id.
        let Some(now) = hold(held.identity.pid)? else {
            return Ok(Delivery::NotRunning);
        };
        if now.identity != held.identity || !held.is_there() {
            return Err(stranger(held.identity.pid));
        }
        catches(&now, signal)?;
        match pidfd_send_signal(&held.fd, number) {
            Ok(()) => {}
            Err(Errno::SRCH) => return Ok(Delivery::NotRunning),
            Err(error) => {
                let text = format!("sending {signal} to process {}: {error}", held.identity.pid);
                let hint = "certagent and the application need the same user, or CAP_KILL";
                return Err(ReloadFailure::passing("signal-not-permitted", text, hint));
            }
        }
        lock(&self.seen).insert(key(target), held);
        Ok(Delivery::Delivered)
    }

    /// The process that is meant; `None` when there is none.
    fn hold(&self, target: &SignalTarget) -> Result<Option<Held>, ReloadFailure> {
        match target {
            SignalTarget::Pid(pid) => hold(number(*pid)?),
            SignalTarget::PidFile(path) => by_file(path),
            SignalTarget::Child => match *lock(&self.child.0) {
                Some(pid) => hold(number(pid)?),
                None => Ok(None),
            },
        }
    }

    /// A process seen before under this id has to be the same; one with another id has at least
    /// to run the same program, because an application that restarts gets a new id.
    fn is_known(
        &self,
        target: &SignalTarget,
        found: &ProcessIdentity,
    ) -> Result<(), ReloadFailure> {
        let seen = lock(&self.seen);
        let Some(seen) = seen.get(&key(target)) else {
            return Ok(());
        };
        let same_id = seen.identity.pid == found.pid
            && (seen.identity.started != found.started || !seen.is_there());
        let restarted = matches!(target, SignalTarget::PidFile(_) | SignalTarget::Child);
        let other_program = matches!(target, SignalTarget::PidFile(_))
            && matches!((&seen.identity.program, &found.program), (Some(a), Some(b)) if a != b);
        if (same_id && !restarted) || other_program {
            return Err(stranger(found.pid));
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn key(target: &SignalTarget) -> PathBuf {
    match target {
        SignalTarget::Pid(pid) => PathBuf::from(pid.to_string()),
        SignalTarget::PidFile(path) => path.clone(),
        SignalTarget::Child => PathBuf::from("child"),
    }
}

fn number(pid: u32) -> Result<i32, ReloadFailure> {
    match i32::try_from(pid) {
        Ok(number) if number > 0 && number != getpid().as_raw_pid() => Ok(number),
        _ => {
            let text = format!("process id {pid} is not that of an application");
            Err(ReloadFailure::lasting("pid-invalid", text, ""))
        }
    }
}

fn stranger(pid: i32) -> ReloadFailure {
    let text = format!("process {pid} is not the application any more; nothing was sent");
    ReloadFailure::passing("pid-reused", text, "check the pid or pid file")
}

/// The process whose id the file holds.
fn by_file(path: &Path) -> Result<Option<Held>, ReloadFailure> {
    let place = path.display();
    let found = match disk::read_ours(path, MAX_FILE_BYTES, &TrustedOwners::OWN) {
        Ok(found) => found,
        Err(refusal) if refusal.is_missing() => return Ok(None),
        Err(refusal) => {
            let text = format!("reading pid file {place}: {refusal}");
            let hint = refusal.hint().unwrap_or_default();
            return Err(ReloadFailure::passing("pid-file-unreadable", text, hint));
        }
    };
    let text = found.text().unwrap_or_default();
    // PostgreSQL writes more lines below.
    let first = text.lines().next().unwrap_or_default().trim();
    let Ok(pid) = first.parse::<u32>() else {
        let text = format!("pid file {place} does not begin with a process id");
        return Err(ReloadFailure::passing("pid-file-invalid", text, ""));
    };
    let held = hold(number(pid)?)?;
    let writer = found.stat.st_uid;
    if let Some(held) = &held
        && !TrustedOwners::OWN.owns(writer)
        && writer != held.uid
    {
        let text = format!(
            "pid file {place} was written by user {writer} and names process {pid} of user {}; nothing was sent",
            held.uid
        );
        let hint = "have it written by root, by certagent's user or by the user of the process";
        return Err(ReloadFailure::passing("pid-file-foreign", text, hint));
    }
    if let Some(held) = &held
        && is_younger(held, &found.stat)
    {
        let text = format!("process {pid} is younger than the pid file {place}; nothing was sent");
        let hint = "the application exited and left its pid file behind";
        return Err(ReloadFailure::passing("pid-reused", text, hint));
    }
    Ok(held)
}

/// Did the process start after the file was written? Says no when the clocks can't tell.
fn is_younger(held: &Held, file: &Stat) -> bool {
    let since = u64::try_from(file.st_mtime).map(Duration::from_secs).ok();
    let written = since.and_then(|since| UNIX_EPOCH.checked_add(since));
    let (Some(written), Some(boot)) = (written, boot_time()) else {
        return false;
    };
    let ticks = held.identity.started.saturating_mul(1000);
    let since_boot = Duration::from_millis(ticks.checked_div(TICKS_PER_SECOND).unwrap_or(0));
    // Whoever may write the file may give it any time.
    let latest = written.checked_add(PID_FILE_SLACK);
    let (Some(started), Some(latest)) = (boot.checked_add(since_boot), latest) else {
        return false;
    };
    // A file from before the boot was written with another clock.
    written > boot && started > latest
}

#[expect(clippy::disallowed_methods, reason = "/proc is the kernel's")]
fn boot_time() -> Option<SystemTime> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("btime "))?;
    UNIX_EPOCH.checked_add(Duration::from_secs(line.trim().parse().ok()?))
}

/// Takes hold of a process and reads what it is; `None` when there is none with that id.
fn hold(pid: i32) -> Result<Option<Held>, ReloadFailure> {
    let Some(id) = Pid::from_raw(pid) else {
        return Ok(None);
    };
    let fd = match pidfd_open(id, PidfdFlags::empty()) {
        Ok(fd) => fd,
        Err(Errno::SRCH | Errno::NOENT | Errno::INVAL) => return Ok(None),
        Err(error) => {
            let text = format!("opening process {pid}: {error}");
            return Err(ReloadFailure::passing("pid-unusable", text, ""));
        }
    };
    let read = read(pid);
    // As long as the descriptor's process has its id, no other process has: what was read is its own.
    if !still_has(&fd, pid) {
        return Ok(None);
    }
    match read {
        Some((_, _, 'Z' | 'X')) => Ok(None),
        Some((identity, status, _)) => Ok(Some(Held {
            identity,
            caught: status.caught,
            uid: status.uid,
            fd,
        })),
        None => {
            let text = format!("cannot read what process {pid} is; nothing was sent");
            let hint = "certagent needs to see it in /proc";
            Err(ReloadFailure::passing("pid-unreadable", text, hint))
        }
    }
}

/// What `/proc/<pid>/status` says of a process.
struct ProcessStatus {
    caught: u64,
    /// The effective user.
    uid: u32,
}

/// Identity, status and state letter of `/proc/<pid>` (proc(5)).
#[expect(clippy::disallowed_methods, reason = "/proc is the kernel's")]
fn read(pid: i32) -> Option<(ProcessIdentity, ProcessStatus, char)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in brackets may hold anything; the fields after it can't.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let state = fields.first()?.chars().next()?;
    let started = fields.get(19)?.parse().ok()?;
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name| text.lines().find_map(|line| line.strip_prefix(name));
    let caught = u64::from_str_radix(field("SigCgt:")?.trim(), 16).ok()?;
    // real, effective, saved, file system
    let uid = field("Uid:")?.split_whitespace().nth(1)?.parse().ok()?;
    let program = fs::read_link(format!("/proc/{pid}/exe")).ok().map(plain);
    let identity = ProcessIdentity {
        pid,
        started,
        program,
    };
    Some((identity, ProcessStatus { caught, uid }, state))
}

/// An upgraded program is still the same one.
fn plain(program: PathBuf) -> PathBuf {
    let text = program.to_string_lossy();
    match text.strip_suffix(" (deleted)") {
        Some(name) => PathBuf::from(name),
        None => program,
    }
}

/// Does the process of this descriptor exist under that id? (`Pid:` is -1 once it was reaped.)
#[expect(clippy::disallowed_methods, reason = "/proc is the kernel's")]
fn still_has(fd: &OwnedFd, pid: i32) -> bool {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()));
    info.is_ok_and(|info| {
        info.lines()
            .find_map(|line| line.strip_prefix("Pid:"))
            .is_some_and(|text| text.trim().parse() == Ok(pid))
    })
}

/// Refuses a signal that would end the process.
fn catches(held: &Held, signal: SignalName) -> Result<(), ReloadFailure> {
    let pid = held.identity.pid;
    let program = held.identity.program.as_deref().and_then(Path::file_name);
    // Go's runtime catches every signal, also those that then end the program.
    if signal.to_string() == "SIGHUP" && program == Some(OsStr::new("loki")) {
        let text = format!("process {pid} is Loki, which SIGHUP kills; nothing was sent");
        let hint = "use auto, none or nomad_restart";
        return Err(ReloadFailure::lasting("signal-kills", text, hint));
    }
    let bit = u32::try_from(signal.number().saturating_sub(1)).unwrap_or(u32::MAX);
    if held.caught.checked_shr(bit).unwrap_or(0) & 1 == 1 {
        return Ok(());
    }
    let text =
        format!("process {pid} does not catch {signal}, which would kill it; nothing was sent");
    let hint = "the application may not be ready yet, or does not know this signal";
    Err(ReloadFailure::passing("signal-not-caught", text, hint))
}

#[cfg(test)]
mod tests;
