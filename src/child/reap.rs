//! What PID 1 owes its orphans: their end is taken note of, or they stay as zombies for ever.
//!
//! Never touches a process that certagent started itself. What stays true: nothing runs unless a
//! child of ours has changed; as any other process there are no orphans and this does nothing.

use std::{fs, io, path::Path, process, time::Duration};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::sleep,
};
use tracing::{debug, warn};

use super::own;

/// Ends that come close together are taken together.
const REAP_INTERVAL: Duration = Duration::from_millis(20);

/// Reaps orphans for ever when this process is PID 1, else returns at once.
/// wait(2), "Notes": orphans are adopted by init.
pub async fn reap_orphans() {
    if process::id() != 1 {
        return;
    }
    let mut changed = match signal(SignalKind::child()) {
        Ok(changed) => changed,
        Err(error) => {
            warn!("cannot wait for orphaned processes, they stay as zombies: {error}");
            return;
        }
    };
    loop {
        match sweep() {
            Ok(0) => {}
            Ok(count) => debug!("reaped {count} orphans"),
            Err(error) => warn!("cannot list the children of PID 1 in /proc: {error}"),
        }
        if changed.recv().await.is_none() {
            return;
        }
        sleep(REAP_INTERVAL).await;
    }
}

/// Reaps every exited child that is not our own; says how many.
fn sweep() -> io::Result<usize> {
    let own = own::list();
    let children = children(Path::new("/proc"))?;
    let foreign = children.into_iter().filter(|pid| !own.contains(pid));
    // Not exited, or not ours after all: the answer is none, and nothing is taken.
    let ended = foreign.filter(|pid| {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        matches!(waitid(WaitId::Pid(*pid), options), Ok(Some(_)))
    });
    Ok(ended.count())
}

/// Our children: the kernel's list (`CONFIG_PROC_CHILDREN`), else the parent of every process.
///
/// Orphans belong to the first thread of PID 1.
#[expect(clippy::disallowed_methods, reason = "/proc is the kernel's")]
fn children(proc: &Path) -> io::Result<Vec<Pid>> {
    match fs::read_to_string(proc.join("1/task/1/children")) {
        Ok(list) => Ok(list.split_whitespace().filter_map(parse).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => by_parent(proc),
        Err(error) => Err(error),
    }
}

#[expect(clippy::disallowed_methods, reason = "/proc is the kernel's")]
fn by_parent(proc: &Path) -> io::Result<Vec<Pid>> {
    let entries = fs::read_dir(proc)?.filter_map(Result::ok);
    let children = entries.filter_map(|entry| {
        let pid = parse(entry.file_name().to_str()?)?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        (parent(&stat) == Some("1")).then_some(pid)
    });
    Ok(children.collect())
}

/// Field 4 of proc_pid_stat(5). The name before it may hold anything, brackets too.
fn parent(stat: &str) -> Option<&str> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)
}

fn parse(text: &str) -> Option<Pid> {
    text.parse().ok().and_then(Pid::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proc() -> tempfile::TempDir {
        let proc = tempfile::tempdir().unwrap();
        let stats = [
            ("1", "1 (certagent) S 0 1 1"),
            ("7", "7 (sh) Z 1 7 7"),
            ("8", "8 (a) b) R 4 2) S 1 8 8"),
            ("9", "9 (sleep) S 7 9 9"),
            ("self", "1 (certagent) S 1 1 1"),
        ];
        for (name, stat) in stats {
            fs::create_dir(proc.path().join(name)).unwrap();
            crate::publish::file::replace(
                &proc.path().join(name).join("stat"),
                stat.as_bytes(),
                0o600,
            )
            .unwrap();
        }
        proc
    }

    #[test]
    fn children_are_found_without_the_kernels_list_too() {
        let proc = proc();
        let numbers = |proc: &Path| {
            let mut found: Vec<i32> = children(proc)
                .unwrap()
                .into_iter()
                .map(Pid::as_raw_pid)
                .collect();
            found.sort_unstable();
            found
        };
        assert_eq!(numbers(proc.path()), [7, 8]);
        let list = proc.path().join("1/task/1");
        fs::create_dir_all(&list).unwrap();
        crate::publish::file::replace(&list.join("children"), b"7 12 ", 0o600).unwrap();
        assert_eq!(numbers(proc.path()), [7, 12]);
        assert!(children(Path::new("/nowhere")).is_err());
    }
}
