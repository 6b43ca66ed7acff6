//! Sockets below a directory that belongs to the other one.

use std::{
    fs,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    process::Stdio,
    time::Instant,
};

use super::*;

/// The mode of a file of root's that the other one would like to change.
const SHUT: u32 = 0o640;

/// H4: the other one owns the directory above the sockets and puts a tree of links in the place of
/// the one that the agent just made, again and again, while agents start.
#[test]
#[ignore = "needs root"]
fn no_mode_of_a_file_of_root_is_changed_by_a_race_for_the_socket() {
    let place = Allocation::shared();
    let file = place.path("rootfile");
    fs::write(&file, "root's").unwrap();
    mode(&file, SHUT);
    let theirs = place.path("alloc/certagent");
    other_does(
        "mkdir \"$1\" \"$1/trap\" \"$1/trap/.n\"; ln -s \"$2\" \"$1/trap/.n/s\"",
        &[&theirs, &file],
    );
    let race = "cd \"$1\"; while :; do \
                mv -T run old 2>/dev/null && mv -T trap run 2>/dev/null && mv -T run trap 2>/dev/null; \
                rm -rf old 2>/dev/null; done";
    let mut racer = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .args(["sh", "-c", race, "sh"])
        .arg(&theirs)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let socket = theirs.join("run/h.sock");
    let listen = format!("unix://{}", socket.display());
    let began = Instant::now();
    let mut starts = 0;
    while began.elapsed() < Duration::from_secs(20) {
        let mut agent = place.run(&["--ttl", "1h", "--http-listen", &listen]);
        std::thread::sleep(Duration::from_millis(60));
        assert!(agent.ended().is_none_or(|status| status.code().is_some()));
        drop(agent);
        starts += 1;
        if !place.knows_files() && place.live("key.pem").is_some() {
            place.keep();
        }
        assert_eq!(
            fs::metadata(&file).unwrap().mode() & 0o7777,
            SHUT,
            "after {starts} starts"
        );
    }
    racer.kill().unwrap();
    racer.wait().unwrap();
    assert!(starts > 20, "{starts} starts");
    assert_eq!(fs::metadata(&file).unwrap().uid(), 0);
}

/// H4: the socket's own directory is somebody else's: refused, with the owner.
#[test]
#[ignore = "needs root"]
fn a_socket_in_a_directory_of_somebody_else_is_refused() {
    let place = Allocation::shared();
    let run = place.path("alloc/certagent/run");
    other_does("mkdir -p \"$1\"", &[&run]);
    let listen = format!("unix://{}/h.sock", run.display());
    let mut agent = place.run(&["--ttl", "1h", "--http-listen", &listen]);
    agent.wait_for_line("belongs to another user (owner 65534", PATIENCE);
    assert_eq!(fs::read_dir(&run).unwrap().count(), 0);
}

/// Nomad's own arrangement works: the directories are made below a shared `alloc/`.
#[test]
#[ignore = "needs root"]
fn below_a_shared_directory_the_socket_is_made_and_has_its_mode() {
    let place = Allocation::shared();
    let socket = place.path("alloc/certagent/run/h.sock");
    let listen = format!("unix://{}", socket.display());
    let agent = place.running(&["--ttl", "1h", "--http-listen", &listen]);
    let found = fs::symlink_metadata(&socket).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.mode() & 0o7777, 0o666);
    ends(agent);
    assert!(!socket.exists());
}
