//! Starts what the tests need: the built binary, OpenBao, the embedded PKI; ends it by id.
//!
//! Never shares a server between tests and never uses a fixed port. What stays true: every process
//! started here is killed and reaped when its owner is dropped.
#![allow(
    dead_code,
    unused_imports,
    reason = "shared by the tests and the benchmark, each uses a part"
)]

mod differences;
#[cfg(feature = "dev")]
mod embedded;
pub(crate) mod http;
pub(crate) mod liar;
mod openbao;
#[cfg(feature = "dev")]
mod place;
mod process;
mod proxy;

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

pub(crate) use differences::{Difference, Product};
#[cfg(feature = "dev")]
pub(crate) use embedded::Embedded;
pub(crate) use liar::Liar;
pub(crate) use openbao::{Claims, OpenBao, Options, Stored, jwt};
#[cfg(feature = "dev")]
pub(crate) use place::{Place, set_mode};
pub(crate) use process::Process;
pub(crate) use proxy::Proxy;

/// The user without privileges, who owns Nomad's directories too.
pub(crate) const NOBODY: u32 = 65_534;

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

/// Path of a program by its name in `integration/tools/programs.py`; a missing one fails the test.
///
/// # Panics
/// In a test without `#[ignore = "needs NAME"]`: a plain `cargo test` names what it leaves out.
pub(crate) fn tool(name: &str) -> PathBuf {
    assert!(
        env!("CARGO_CRATE_NAME") != "integration" || takes_ignored(std::env::args()), // a benchmark has no such attribute
        "a test that uses {name} must have #[ignore = \"needs {name}\"]"
    );
    find_tool(name).unwrap_or_else(|why| panic!("{why}"))
}

/// True when the test program was told to run ignored tests.
fn takes_ignored(mut arguments: impl Iterator<Item = String>) -> bool {
    arguments.any(|argument| matches!(&*argument, "--ignored" | "--include-ignored"))
}

/// As [`tool`], but a missing one is the line that says what to do.
pub(crate) fn find_tool(name: &str) -> Result<PathBuf, String> {
    let finder = concat!(env!("CARGO_MANIFEST_DIR"), "/integration/tools/programs.py");
    let output = Command::new("python3").arg(finder).arg(name).output();
    let output = output.map_err(|error| format!("python3, which looks for {name}: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        Ok(text(&output.stdout).into())
    } else {
        Err(text(&output.stderr))
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_run_of_ignored_tests_uses_programs() {
        let taken = |arguments: &[&str]| takes_ignored(arguments.iter().map(|&one| one.to_owned()));
        assert!(taken(&["program", "--ignored"]) && taken(&["program", "x", "--include-ignored"]));
        assert!(!taken(&["program", "ignored"]) && !taken(&[]));
    }
}
