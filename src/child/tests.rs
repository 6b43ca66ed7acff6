//! Real child processes: their end, their signals, what is reaped.

use std::{os::unix::process::ExitStatusExt as _, time::Duration};

use super::*;

fn start(script: &str) -> Child {
    let arguments = ["-c", script].map(OsString::from);
    Child::start(OsStr::new("/bin/sh"), &arguments, &Variables::default()).unwrap()
}

#[test]
fn an_end_becomes_the_code_that_a_shell_would_give() {
    for (raw, code) in [(0, 0), (3 << 8, 3), (255 << 8, 255), (9, 137), (15, 143)] {
        assert_eq!(exit_code(ExitStatus::from_raw(raw)), code, "{raw}");
    }
    assert_eq!(signal_code(Signal::TERM), 143);
}

#[tokio::test]
async fn a_signal_reaches_the_child_and_nobody_after_its_end() {
    let mut child = start("kill -STOP $$; exit 3");
    let handle = child.handle();
    handle.signal(Signal::CONT).unwrap();
    handle.signal(Signal::KILL).unwrap();
    let status = child.wait().await.unwrap();
    assert_eq!(exit_code(status), 137);
    let late = handle.signal(Signal::TERM).unwrap_err();
    assert_eq!(late.kind(), io::ErrorKind::NotFound);
}

#[tokio::test]
async fn a_command_that_cannot_be_started_has_the_shells_code_and_names_itself() {
    let start = |program: &str| {
        let refused = Child::start(OsStr::new(program), &[], &Variables::default()).unwrap_err();
        assert!(refused.to_string().contains(program), "{refused}");
        refused.code()
    };
    assert_eq!(start("/nowhere/at-all"), 127);
    assert_eq!(start("certagent-no-such-program"), 127);
    assert_eq!(start("/etc/passwd"), 126);
}

#[tokio::test]
async fn what_is_started_here_is_in_the_list_until_it_is_dropped() {
    let mut child = start("exit 0");
    let pid = child.handle().pid();
    assert!(own::list().contains(&pid));
    child.wait().await.unwrap();
    drop(child);
    assert!(!own::list().contains(&pid));
}

#[tokio::test]
async fn a_process_that_is_not_pid_1_reaps_nothing() {
    let ended = tokio::time::timeout(Duration::from_secs(5), reap_orphans());
    ended.await.expect("it returns at once");
}
