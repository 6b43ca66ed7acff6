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
    let place = Allocation::shared();
    let mut process = place.running(&["--ttl", "1h"]);
    let script = "cd \"$1\"; mv certagent x; mkdir certagent; mkfifo certagent/ready.json";
    other_does(script, &[&place.path("alloc")]);
    process.wait_for_line("directory-foreign", PATIENCE);
    place.is_kept();
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
    let place = Allocation::shared();
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
    let place = Allocation::shared();
    let script = "mkdir \"$1/certagent\"; mkfifo \"$1/certagent/ready.json\"";
    other_does(script, &[&place.path("alloc")]);
    let mut command = place.command("exec", &["--ttl", "1h"]);
    let mut process = Process::start(command.args(["--", "sh", "-c", "exit 5"]));
    let status = process.wait(PATIENCE);
    assert_eq!(status.code(), Some(5), "{}", process.output());
    place.keep();
}

/// L15: a FIFO is a refusal with the path, and SIGTERM ends the process.
#[test]
#[ignore = "needs root"]
fn a_fifo_as_extra_anchors_is_refused_by_name() {
    let place = Allocation::shared();
    let path = place.path("secrets/fifo");
    fifo(&path);
    let path = path.to_str().unwrap();
    let mut process = place.run(&["--ttl", "1h", "--extra-ca", path]);
    let line = process.wait_for_line("not a regular file", PATIENCE);
    assert!(line.contains(path), "{line}");
    place.publishes();
    ends(process);
}

/// Each file that says as whom the agent asks: its name, what makes the agent read it, what is in it.
type Credential = (&'static str, &'static [&'static str], &'static str);

const JWT: &str = "e30.e30.c2ln";
const CREDENTIALS: [Credential; 5] = [
    ("token", &["--auth", "token_file", "--auth-path"], ""),
    ("jwt", &["--auth", "jwt", "--auth-path"], JWT),
    (
        "serviceaccount",
        &["--auth", "kubernetes", "--auth-role", "loki", "--auth-path"],
        JWT,
    ),
    (
        "secret-id",
        &[
            "--auth",
            "approle",
            "--auth-role-id",
            "r",
            "--auth-secret-id-path",
        ],
        "an-id",
    ),
    (
        "nomad_token",
        &[
            "--on-cert-change",
            "nomad_signal",
            "--reload-task",
            "loki",
            "--reload-signal",
        ],
        JWT,
    ),
];

/// How the other one gets at it, and the code of the refusal: `$1` is the file, `$2` a good one.
const ATTACKS: [(&str, &str); 4] = [
    ("rm -f \"$1\"; cat \"$2\" >\"$1\"", "file-foreign"),
    ("rm -f \"$1\"; ln -s \"$2\" \"$1\"", "link-foreign"),
    ("rm -f \"$1\"; mkfifo \"$1\"", "file-not-regular"),
    ("rm -f \"$1\"; mkdir \"$1\"", "file-not-regular"),
];

/// The command that reads that credential at that path.
fn reading(place: &Allocation, credential: Credential, path: &Path) -> Command {
    let (name, settings, _) = credential;
    let mut command = place.command("run", &[&["--ttl", "1h"], settings].concat());
    if name == "nomad_token" {
        let id = "11111111-2222-3333-4444-555555555555";
        command.arg("SIGHUP").env("NOMAD_ALLOC_ID", id);
    } else {
        command.arg(path).env_remove("VAULT_TOKEN");
    }
    command
}

/// Whoever writes the credential decides as whom the agent asks: what the other one put there, leads
/// to or could change is refused at once, by its path.
#[test]
#[ignore = "needs root"]
fn a_credential_file_of_another_user_is_not_sent() {
    // root's own, which the other one may write
    let open = "cat \"$2\" >\"$1\"; chmod 666 \"$1\"";
    let of_a_group = "cat \"$2\" >\"$1\"; chown 0:65534 \"$1\"; chmod 660 \"$1\"";
    for credential in CREDENTIALS {
        let (name, _, content) = credential;
        let refused = |script: &str, by: fn(&str, &[&Path]), code: &str, owner: &str| {
            let place = Allocation::shared();
            let (path, good) = (place.path("secrets").join(name), place.path("good"));
            fs::write(&good, content).unwrap();
            mode(&good, 0o644);
            by(script, &[&path, &good]);
            let mut process = Process::start(&mut reading(&place, credential, &path));
            let line = process.wait_for_line(code, PATIENCE);
            assert!(
                line.contains(name) && line.contains(owner),
                "{name}: {line}"
            );
            if name == "nomad_token" {
                place.publishes(); // the login does not need it
            }
            ends(process);
        };
        for (attack, code) in ATTACKS {
            refused(attack, other_does, code, "owner 65534");
        }
        refused(open, root_does, "file-open", "owner 0");
        refused(of_a_group, root_does, "file-open", "owner 0");
    }
}

/// A Vault Agent of another user writes the token: refused until `auth.file_uid` names that user,
/// and another user than that is refused then too.
#[test]
#[ignore = "needs root"]
fn a_token_of_the_user_of_file_uid_is_read() {
    let place = Allocation::shared();
    let (path, good) = (place.path("secrets/sink"), place.path("good"));
    fs::write(&good, &place.token).unwrap();
    mode(&good, 0o644);
    let sink = "cat \"$2\" >\"$1.new\"; chmod 640 \"$1.new\"; mv \"$1.new\" \"$1\"";
    other_does(sink, &[&path, &good]);
    let command = |uid: &str| {
        let mut command = reading(&place, CREDENTIALS[0], &path);
        command.env("CERTAGENT_AUTH_FILE_UID", uid);
        command
    };
    let mut process = Process::start(&mut command("10001"));
    process.wait_for_line("file-foreign", PATIENCE);
    ends(process);
    let mut process = Process::start(&mut command("65534"));
    place.publishes();
    place.renews(&mut process);
    // from a third user
    chown(&path, Some(10_001), Some(10_001)).unwrap();
    process.signal(rustix::process::Signal::USR1);
    process.wait_for_line("file-foreign", PATIENCE);
    place.is_kept();
    other_does(sink, &[&path, &good]);
    place.renews(&mut process);
    ends(process);
}

/// Root's own file behind root's own link is read; exchanged while files are published, its next
/// use is refused.
#[test]
#[ignore = "needs root"]
fn a_token_file_that_is_exchanged_later_is_not_sent() {
    let place = Allocation::shared();
    let (ours, link) = (place.path("ours"), place.path("token.link"));
    fs::write(&ours, &place.token).unwrap();
    symlink(&ours, &link).unwrap();
    let process = Process::start(&mut reading(&place, CREDENTIALS[0], &link));
    place.publishes();
    ends(process);
    let path = place.path("secrets/token");
    fs::copy(&ours, &path).unwrap();
    let mut process = Process::start(&mut reading(&place, CREDENTIALS[0], &path));
    process.wait_for_line("using the certificate files on disk", PATIENCE);
    for (attack, code) in ATTACKS {
        other_does("rm -rf \"$1\"", &[&path]);
        other_does(attack, &[&path, &ours]);
        process.signal(rustix::process::Signal::USR1);
        process.wait_for_line(code, PATIENCE);
        place.is_kept();
    }
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
    let place = Allocation::shared();
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
    let place = Allocation::shared();
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
