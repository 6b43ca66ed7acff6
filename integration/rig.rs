//! Starts what the tests need: the built binary, OpenBao, the embedded PKI; ends it by id.
//!
//! Never shares a server between tests and never uses a fixed port. What stays true: every process
//! started here is killed and reaped when its owner is dropped.
#![allow(
    dead_code,
    unused_imports,
    reason = "shared by the tests and the benchmark, each uses a part"
)]

#[path = "rig/embedded.rs"]
mod embedded;
#[path = "rig/http.rs"]
pub(crate) mod http;
#[path = "rig/openbao.rs"]
mod openbao;
#[path = "rig/process.rs"]
mod process;

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

pub(crate) use embedded::Embedded;
pub(crate) use openbao::{Claims, OpenBao, Options, Stored, jwt};
pub(crate) use process::Process;

/// Nothing on loopback takes longer than this, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The built binary, with an empty environment: whatever the test needs, it sets.
pub(crate) fn certagent<I, S>(arguments: I) -> Command
where
    I: IntoIterator<Item = S>,
    S: AsRef<std::ffi::OsStr>,
{
    let mut command = Command::new(env!("CARGO_BIN_EXE_certagent"));
    command.args(arguments).env_clear();
    command
}

/// Asks until there is an answer; panics with `what` when the time is over.
pub(crate) fn wait_for<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(began.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until the file exists and returns its content.
pub(crate) fn wait_for_file(path: &Path, limit: Duration) -> Vec<u8> {
    wait_for(&format!("file {}", path.display()), limit, || {
        std::fs::read(path).ok()
    })
}

/// Finds a test tool; `None` only when `CERTAGENT_SKIP` (comma list) names it, else a missing tool
/// fails the test, so that nobody believes it ran.
///
/// Looked for in: the variable (such as `CERTAGENT_BAO`), `.cache/tools/bin`, `PATH`.
pub(crate) fn tool(name: &str, program: &str, variable: &str) -> Option<PathBuf> {
    let skipped = std::env::var("CERTAGENT_SKIP").unwrap_or_default();
    if skipped.split(',').any(|entry| entry.trim() == name) {
        return None;
    }
    let found = find_tool(program, variable);
    assert!(
        found.is_some(),
        "{program} not found: run `integration/tools/install {name}`, or set {variable} to its path, \
         or CERTAGENT_SKIP={name} to leave these tests out"
    );
    found
}

/// As [`tool`], but a missing one is `None`.
pub(crate) fn find_tool(program: &str, variable: &str) -> Option<PathBuf> {
    if let Some(path) = std::env::var_os(variable) {
        let path = PathBuf::from(path);
        assert!(
            path.is_file(),
            "{variable} names {}, which is no file",
            path.display()
        );
        return Some(path);
    }
    let cached = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(".cache/tools/bin")
        .join(program);
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::iter::once(cached)
        .chain(std::env::split_paths(&path).map(|directory| directory.join(program)))
        .find(|candidate| candidate.is_file())
}

/// A temporary directory in memory, as Nomad's secrets directory is one; on disk where there is none.
pub(crate) fn memory_dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

/// Two neighbouring ports that were free a moment ago (OpenBao takes the second for its cluster).
pub(crate) fn free_ports() -> (u16, u16) {
    use std::net::TcpListener;
    wait_for("two free ports", PATIENCE, || {
        let first = TcpListener::bind("127.0.0.1:0").ok()?;
        let port = first.local_addr().ok()?.port();
        let next = port.checked_add(1)?;
        TcpListener::bind(("127.0.0.1", next)).ok()?;
        Some((port, next))
    })
}
