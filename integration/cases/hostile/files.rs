//! Files that the agent reads and the other one may put there: FIFOs, devices, ids of others.

use std::{os::unix::fs::symlink, time::Instant};

use super::*;

fn fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// H3: a FIFO in the place of the ready file, by each way to put it there.
#[test]
#[ignore = "needs root"]
fn a_fifo_in_the_place_of_the_ready_file_stops_nothing() {
    let place = Allocation::new();
    let mut process = place.running(&["--ttl", "1h"]);
    let before = place.record();
    let script = "cd \"$1\"; mv certagent x; mkdir certagent; mkfifo certagent/ready.json";
    other_does(script, &[&place.path("alloc")]);
    process.wait_for_line("directory-foreign", PATIENCE);
    before.is_unchanged_in(&place.certs());
    place.renews(&mut process);
    ends(process);
    // as at a start
    let mut process = place.run(&["--ttl", "20s"]);
    process.wait_for_line("directory-foreign", PATIENCE);
    place.renews(&mut process);
    ends(process);
    // in a directory of our own it is replaced
    fs::remove_dir_all(place.path("alloc/certagent")).unwrap();
    fs::create_dir(place.path("alloc/certagent")).unwrap();
    fifo(&place.ready_file());
    let mut process = place.run(&["--ttl", "20s"]);
    wait_for("a ready file", PATIENCE, || {
        place
            .ready_file()
            .symlink_metadata()
            .ok()?
            .is_file()
            .then_some(())
    });
    place.renews(&mut process);
    ends(process);
}

/// H3: `wait` ends in its time, whatever lies there.
#[test]
#[ignore = "needs root"]
fn wait_ends_in_its_time_at_a_fifo_a_device_and_a_directory() {
    let place = Allocation::new();
    let makings = [
        "mkfifo \"$1\"",
        "ln -s /dev/zero \"$1\"",
        "ln -s \"$1\" \"$1\"",
        "mkdir \"$1\"",
        "head -c 10000000 /dev/zero >\"$1\"",
    ];
    for making in makings {
        let path = place.path("alloc/there");
        other_does(making, &[&path]);
        let mut command = certagent(["wait", "--timeout", "1s", "--ready-file"]);
        let began = Instant::now();
        let mut process = Process::start(command.arg(&path));
        let status = process.wait(Duration::from_secs(8));
        assert_eq!(status.code(), Some(7), "{making} {}", process.output());
        assert!(began.elapsed() < Duration::from_secs(6), "{making}");
        other_does("rm -rf \"$1\"", &[&path]);
    }
}

/// H3: `exec` starts its command although the ready file can't be written.
#[test]
#[ignore = "needs root"]
fn exec_starts_its_command_beside_a_fifo() {
    let place = Allocation::new();
    let script = "mkdir \"$1/certagent\"; mkfifo \"$1/certagent/ready.json\"";
    other_does(script, &[&place.path("alloc")]);
    let mut command = place.command("exec", &["--ttl", "1h"]);
    let mut process = Process::start(command.args(["--", "sh", "-c", "exit 5"]));
    let status = process.wait(PATIENCE);
    assert_eq!(status.code(), Some(5), "{}", process.output());
}

/// L15 and the token file: a FIFO is a refusal with the path, and SIGTERM ends the process.
#[test]
#[ignore = "needs root"]
fn fifos_as_token_and_extra_anchors_are_refused_by_name() {
    let place = Allocation::new();
    let path = place.path("secrets/fifo");
    fifo(&path);
    let path = path.to_str().unwrap();
    for as_token in [false, true] {
        let mut command = match as_token {
            true => place.command("run", &["--ttl", "1h", "--auth", "token_file"]),
            false => place.command("run", &["--ttl", "1h", "--extra-ca", path]),
        };
        if as_token {
            command
                .env_remove("VAULT_TOKEN")
                .env("VAULT_TOKEN_PATH", path);
        }
        let mut process = Process::start(&mut command);
        let line = process.wait_for_line("not a regular file", PATIENCE);
        assert!(line.contains(path), "{line}");
        ends(process);
    }
}

/// Whoever writes the credential decides as whom the agent asks: a file and a link of the other one
/// are refused at once, root's own file behind root's own link is read.
#[test]
#[ignore = "needs root"]
fn a_credential_file_of_another_user_is_not_sent() {
    let place = Allocation::new();
    let path = place.path("secrets/token");
    let ours = place.path("their.token");
    fs::write(&ours, &place.server.token).unwrap();
    let command = |method: &str, path: &Path| {
        let mut command = place.command("run", &["--ttl", "1h", "--auth", method]);
        command
            .env_remove("VAULT_TOKEN")
            .env("CERTAGENT_AUTH_PATH", path);
        command
    };
    let word = PathBuf::from(&place.server.token);
    let theirs = "rm -f \"$1\"; echo \"$2\" >\"$1\"";
    let link = "rm -f \"$1\"; ln -s \"$3\" \"$1\"";
    for (script, code) in [(theirs, "file-foreign"), (link, "link-foreign")] {
        other_does(script, &[&path, &word, &ours]);
        for method in ["token_file", "jwt"] {
            let mut process = Process::start(&mut command(method, &path));
            let line = process.wait_for_line(code, PATIENCE);
            assert!(line.contains("secrets/token"), "{line}");
            assert!(line.contains("owner 65534"), "{line}");
            assert!(!place.ready_file().exists() && place.live("key.pem").is_none());
            ends(process);
        }
    }
    let link = place.path("token.link");
    symlink(&ours, &link).unwrap();
    let process = Process::start(&mut command("token_file", &link));
    wait_for("files", PATIENCE, || place.live("key.pem"));
    ends(process);
    // exchanged while a set is live: the next use of it is refused
    fs::remove_file(&path).unwrap();
    fs::copy(&ours, &path).unwrap();
    fs::remove_dir_all(place.certs()).unwrap();
    fs::remove_dir_all(place.path("alloc/certagent")).unwrap();
    let mut process = Process::start(&mut command("token_file", &path));
    wait_for("files", PATIENCE, || {
        place.ready_file().exists().then_some(())
    });
    let before = place.record();
    other_does(theirs, &[&path, &word]);
    process.signal(rustix::process::Signal::USR1);
    process.wait_for_line("file-foreign", PATIENCE);
    before.is_unchanged_in(&place.certs());
    ends(process);
}

/// A daemon of root's that catches SIGUSR1 and writes down when it came.
fn daemon(place: &Allocation) -> (Process, PathBuf) {
    let said = place.path("said");
    let script = format!(
        "trap 'echo told >>{}' USR1; echo ready; while :; do sleep 0.1; done",
        said.display()
    );
    let mut process = Process::start(Command::new("sh").args(["-c", &script]));
    process.wait_for_line("ready", PATIENCE);
    (process, said)
}

const SIGNAL: [&str; 5] = [
    "--on-cert-change",
    "signal",
    "--reload-signal",
    "SIGUSR1",
    "--reload-pid-file",
];

/// M7: the other one names a daemon of root's; nothing is sent. Written by root, it is.
#[test]
#[ignore = "needs root"]
fn a_pid_file_of_another_user_names_no_daemon_of_root() {
    let place = Allocation::new();
    let (daemon, said) = daemon(&place);
    let path = place.path("alloc/app.pid");
    let pid = PathBuf::from(daemon.pid().to_string());
    let ours = place.path("their.pid");
    fs::write(&ours, daemon.pid().to_string()).unwrap();
    let theirs = "rm -f \"$1\"; echo \"$2\" >\"$1\"";
    let link = "rm -f \"$1\"; ln -s \"$3\" \"$1\"";
    for (script, code) in [(theirs, "pid-file-foreign"), (link, "pid-file-unreadable")] {
        other_does(script, &[&path, &pid, &ours]);
        let settings = [&["--ttl", "1h"], &SIGNAL[..], &[path.to_str().unwrap()]].concat();
        let mut process = place.running(&settings);
        let line = process.wait_for_line(code, PATIENCE);
        assert!(line.contains("app.pid"), "{line}");
        place.renews(&mut process);
        assert!(!said.exists());
        ends(process);
    }
    fs::remove_file(&path).unwrap();
    fs::write(&path, daemon.pid().to_string()).unwrap();
    let settings = [&["--ttl", "1h"], &SIGNAL[..], &[path.to_str().unwrap()]].concat();
    let process = place.running(&settings);
    wait_for("the signal", PATIENCE, || said.exists().then_some(()));
    ends(process);
}

/// M7: a FIFO and an endless device as pid file.
#[test]
#[ignore = "needs root"]
fn a_pid_file_that_is_no_file_stops_nothing() {
    let place = Allocation::new();
    let path = place.path("app.pid");
    for device in [false, true] {
        match device {
            true => symlink("/dev/zero", &path).unwrap(),
            false => fifo(&path),
        }
        let settings = [&["--ttl", "1h"], &SIGNAL[..], &[path.to_str().unwrap()]].concat();
        let mut process = place.running(&settings);
        process.wait_for_line("pid-file-unreadable", PATIENCE);
        place.renews(&mut process);
        ends(process);
        fs::remove_file(&path).unwrap();
    }
}
