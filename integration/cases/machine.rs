//! What the machine may lack or refuse: watches, inodes, ids, a name that can be replaced. Each in
//! namespaces of its own, where the agent is root.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::Value;

use crate::rig::{PATIENCE, Place, Process, free_ports, http::request, tool, wait_for};

/// `certagent run` behind a script: `$1` is the directory above the certificate directory.
fn agent(place: &Place, script: &str, settings: &[&str]) -> Process {
    let agent = place.agent(settings);
    let script = format!("set -e; mkdir -p \"$1\"; {script}; shift; exec \"$@\"");
    let mut command = Command::new(tool("userns"));
    command
        .args(["-Urm", "sh", "-c", &script, "sh"])
        .arg(place.path("secrets"))
        .arg(agent.get_program())
        .args(agent.get_args())
        .env_clear()
        .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin");
    place.fit_out(&mut command);
    Process::start(&mut command)
}

/// A path as the agent sees it.
fn seen_by(process: &Process, path: &Path) -> PathBuf {
    let root = format!("/proc/{}/root", process.pid());
    Path::new(&root).join(path.strip_prefix("/").unwrap())
}

/// Which of the three files can be read there.
fn readable(certs: &Path) -> usize {
    let names = ["CA.pem", "cert.pem", "key.pem"].iter();
    names
        .filter(|name| fs::read(certs.join(name)).is_ok())
        .count()
}

/// F24: no inotify instance is left.
#[test]
#[ignore = "needs userns"]
fn without_a_watch_the_limit_is_named_and_files_are_restored_within_seconds() {
    let place = Place::new();
    let address = format!("127.0.0.1:{}", free_ports().0);
    let none = "echo 0 >/proc/sys/user/max_inotify_instances";
    let mut process = agent(&place, none, &["--ttl", "1h", "--http-listen", &address]);
    process.wait_for_line("fs.inotify.max_user_instances", PATIENCE);
    let cert = place.certs().join("cert.pem");
    wait_for("files", PATIENCE, || {
        (readable(&place.certs()) == 3).then_some(())
    });
    let url = format!("http://{address}");
    wait_for("the reason", PATIENCE, || {
        let ready = request(&url, None, "GET", "/ready", &[], None).ok()?.text;
        (ready.contains("not-watched") && ready.contains("max_user_instances")).then_some(())
    });
    fs::remove_file(&cert).unwrap();
    wait_for("a repair", Duration::from_secs(15), || fs::read(&cert).ok());
}

/// F25: space, and no inodes; at each step of a publication. Never is a part of the set readable, and
/// once there are inodes it is published without another issuance.
#[test]
#[ignore = "needs userns"]
fn without_inodes_no_part_of_a_set_is_visible() {
    for inodes in [3, 6, 9, 11] {
        let place = Place::new();
        let socket = place.path("run/status.sock");
        let small = format!("mount -t tmpfs -o mode=0750,nr_inodes={inodes} none \"$1\"");
        let settings = ["--ttl", "1h", "--status-socket", socket.to_str().unwrap()];
        let mut process = agent(&place, &small, &settings);
        let line = process.wait_for_line("no inode is left", PATIENCE);
        assert!(line.contains("nr_inodes"), "{line}");
        assert!(!line.contains("free some space"), "{line}");
        let certs = seen_by(&process, &place.certs());
        for _ in 0..20 {
            assert_eq!(readable(&certs), 0, "{inodes}: {}", process.output());
            std::thread::sleep(Duration::from_millis(100));
        }
        let more = Command::new("nsenter")
            .args(["--user", "--mount", "--preserve-credentials", "--target"])
            .arg(process.pid().to_string())
            .args(["mount", "-o", "remount,nr_inodes=100"])
            .arg(place.path("secrets"))
            .output();
        let more = more.unwrap();
        assert!(more.status.success(), "{more:?}");
        wait_for("files", PATIENCE, || (readable(&certs) == 3).then_some(()));
        let status = place.ask(&["status", "-o", "json", "--socket", socket.to_str().unwrap()]);
        let status: Value = serde_json::from_slice(&status.stdout).unwrap();
        let requests = &status["certificates"][0]["counts"]["issuance_requests"];
        assert_eq!(requests, 1, "{inodes}: {status}");
        assert!(process.ended().is_none());
    }
}

/// F31: a container runtime bound a single file. Nothing is exchanged around it.
#[test]
#[ignore = "needs userns"]
fn a_file_that_is_a_mount_point_is_named_and_no_part_is_published() {
    let place = Place::new();
    let bind = "cd \"$1\"; mkdir -p certs; echo old >f; touch certs/cert.pem; \
                mount --bind f certs/cert.pem; cd /";
    let mut process = agent(&place, bind, &["--ttl", "1h"]);
    let line = process.wait_for_line("mount-point", PATIENCE);
    assert!(
        line.contains("cert.pem") && line.contains("bind the directory"),
        "{line}"
    );
    let certs = seen_by(&process, &place.certs());
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(fs::read_to_string(certs.join("cert.pem")).unwrap(), "old\n");
    assert_eq!(readable(&certs), 1, "{}", process.output());
    let names = fs::read_dir(&certs)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let generations = names.filter(|name| name.to_string_lossy().starts_with("..gen-"));
    assert!(generations.count() <= 1, "{}", process.output());
}

/// F43: an owner that the user namespace does not know.
#[test]
#[ignore = "needs userns"]
fn an_owner_that_is_not_mapped_is_named() {
    let place = Place::new();
    let mut process = agent(&place, "true", &["--ttl", "1h", "--uid", "12345"]);
    let line = process.wait_for_line("CAP_CHOWN", PATIENCE);
    assert!(
        line.contains("uid 12345") && line.contains("user namespace"),
        "{line}"
    );
    assert_eq!(readable(&place.certs()), 0);
}

/// No umask makes a file wider or narrower than it was configured.
#[test]
fn modes_do_not_depend_on_the_umask() {
    for umask in ["000", "077", "777"] {
        let place = Place::new();
        let agent = place.agent(&["--ttl", "1h"]);
        let mut shell = Command::new("sh");
        shell.args(["-c", "umask $1; shift; exec \"$@\"", "sh", umask]);
        shell
            .arg(agent.get_program())
            .args(agent.get_args())
            .env_clear();
        place.fit_out(&mut shell);
        let process = Process::start(&mut shell);
        let certs = place.certs();
        wait_for("files", PATIENCE, || (readable(&certs) == 3).then_some(()));
        let mode = |name: &str| {
            let found = fs::metadata(certs.join(name)).unwrap();
            found.permissions().mode() & 0o7777
        };
        let found = ["", "..data/", "CA.pem", "cert.pem", "key.pem"].map(mode);
        assert_eq!(found, [0o750, 0o750, 0o644, 0o644, 0o600], "umask {umask}");
        drop(process);
    }
}
