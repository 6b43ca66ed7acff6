//! Commands of the operator that do not end when they are told to.

use super::*;

/// A time to sleep that no other process has.
fn mark(number: u32) -> String {
    format!("6{}{number}", std::process::id())
}

/// Processes with that argument, and their states.
fn with(mark: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).into_owned());
    lines
        .filter(|line| line.starts_with("sleep") && line.contains(mark))
        .collect()
}

/// Children of a process that have ended and that it has not noticed.
fn zombies(parent: u32) -> usize {
    let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let stats = entries.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    let parent = format!(" Z {parent} ");
    stats.filter(|stat| stat.contains(&parent)).count()
}

/// L13: in a session of its own, below another one, and with a parent that is gone.
#[test]
fn a_hook_with_sessions_of_its_own_leaves_no_process_behind() {
    let place = Allocation::new();
    let marks = [mark(1), mark(2), mark(3)];
    let [direct, below, orphan] = &marks;
    let script = format!(
        "setsid sleep {direct} & setsid sh -c 'setsid sleep {below} & wait' & \
         setsid sh -c 'setsid sleep {orphan} & exit' ; echo started; wait"
    );
    let mut process = place.run(&[
        "--ttl",
        "1h",
        "--on-cert-change",
        "exec",
        "--reload-exec-timeout",
        "1s",
        "--reload-command",
        "sh",
        "--reload-command",
        "-c",
        "--reload-command",
        &script,
    ]);
    place.publishes();
    process.wait_for_line("started", PATIENCE);
    wait_for("all of them", PATIENCE, || {
        marks
            .iter()
            .all(|mark| !with(mark).is_empty())
            .then_some(())
    });
    process.wait_for_line("was killed", PATIENCE);
    for mark in &marks {
        assert_eq!(with(mark), [""; 0], "{}", process.output());
    }
    assert_eq!(zombies(process.pid()), 0);
    ends(process);
}
