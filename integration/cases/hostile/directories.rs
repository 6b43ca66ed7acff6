//! The certificate directory and the ready file's, made or exchanged by the other one.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, symlink},
    process::Stdio,
};

use super::*;

const GROUP_READS: &[&str] = &["--ttl", "1h", "--key-perms", "0640"];

/// H1: whoever may write in `secrets/` makes the directory first.
#[test]
#[ignore = "needs root"]
fn a_directory_that_another_user_made_never_gets_a_key() {
    let makings = [
        "mkdir \"$1\"",
        "mkdir \"$1\"; chmod 2777 \"$1\"",
        "mkdir \"$1\"; chmod 0700 \"$1\"",
        "mkdir \"$1\"; chmod 1777 \"$1\"",
        "mkdir \"$1\" \"$1/..gen-000000000000001\"; ln -s ..gen-000000000000001 \"$1/..data\"",
    ];
    for making in makings {
        let place = Allocation::shared();
        other_does(making, &[&place.certs()]);
        let mut process = place.run(GROUP_READS);
        let line = process.wait_for_line("belongs to another user", PATIENCE);
        assert!(line.contains("directory-foreign"), "{line}");
        assert!(line.contains("owner 65534"), "{line}");
        std::thread::sleep(A_WHILE);
        holds_no_key(&place.certs());
        ends(process);
    }
}

/// H1: it is exchanged while the agent runs; renewals do not go into it, and once it is gone they
/// go on.
#[test]
#[ignore = "needs root"]
fn a_directory_that_is_exchanged_gets_nothing_and_its_end_is_the_end_of_the_trouble() {
    let place = Allocation::shared();
    let mut process = place.running(&["--ttl", "20s", "--key-perms", "0640"]);
    let moved = place.path("secrets/x");
    other_does(
        "mkdir \"$3\"; chmod 2777 \"$3\"; mv \"$1\" \"$2\"; i=0; \
         until mv -T \"$3\" \"$1\"; do mv \"$1\" \"$2.again$i\" || true; i=$((i+1)); done",
        &[&place.certs(), &moved, &place.path("secrets/theirs")],
    );
    process.wait_for_line("directory-foreign", PATIENCE);
    std::thread::sleep(Duration::from_secs(16));
    holds_no_key(&place.certs());
    place.is_kept_in(&moved);
    other_does("rmdir \"$1\"", &[&place.certs()]);
    wait_for("files again", PATIENCE, || place.live("key.pem"));
    place.renews(&mut process);
    ends(process);
}

/// H1: setgid and default access lists above do not reach the key.
#[test]
#[ignore = "needs root"]
fn a_setgid_parent_gives_the_key_to_no_group() {
    let place = Allocation::shared();
    mode(&place.path("secrets"), 0o2777);
    let process = place.running(GROUP_READS);
    let key = fs::metadata(place.certs().join("key.pem")).unwrap();
    assert_eq!((key.gid(), key.mode() & 0o7777), (0, 0o640));
    assert_eq!(fs::metadata(place.certs()).unwrap().gid(), 0);
    let denied = other("cat \"$1\"", &[&place.certs().join("key.pem")]);
    assert!(!denied.status.success());
    ends(process);
}

/// H1: a default access list of `secrets/` names the other one.
#[test]
#[ignore = "needs root"]
fn a_default_access_list_gives_the_key_to_nobody() {
    let place = Allocation::shared();
    let secrets = place.path("secrets");
    // user::rwx user:65534:rwx group::rwx mask::rwx other::rwx (acl(5), linux/posix_acl_xattr.h)
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in [
        (0x01_u16, 7_u16, u32::MAX),
        (0x02, 7, NOBODY),
        (0x04, 7, u32::MAX),
        (0x10, 7, u32::MAX),
        (0x20, 7, u32::MAX),
    ] {
        list.extend(tag.to_le_bytes());
        list.extend(permissions.to_le_bytes());
        list.extend(id.to_le_bytes());
    }
    let name = "system.posix_acl_default";
    rustix::fs::setxattr(&secrets, name, &list, rustix::fs::XattrFlags::empty()).unwrap();
    let process = place.running(GROUP_READS);
    for path in ["certs", "certs/..data/", "certs/..data/key.pem"] {
        for name in [name, "system.posix_acl_access"] {
            let mut none = [0_u8; 256];
            let found = rustix::fs::getxattr(secrets.join(path), name, &mut none);
            assert_eq!(found, Err(rustix::io::Errno::NODATA), "{path} {name}");
        }
    }
    let denied = other("cat \"$1\"", &[&place.certs().join("key.pem")]);
    assert!(!denied.status.success());
    ends(process);
}

/// H1: others may write in it, and it is not the agent's yet: refused. Once it holds the agent's
/// files it is closed again.
#[test]
#[ignore = "needs root"]
fn an_open_directory_is_refused_and_one_that_was_opened_is_closed() {
    let place = Allocation::shared();
    fs::create_dir(place.certs()).unwrap();
    mode(&place.certs(), 0o777);
    let mut process = place.run(GROUP_READS);
    let line = process.wait_for_line("others may write", PATIENCE);
    assert!(
        line.contains("directory-open") && line.contains("mode 0777"),
        "{line}"
    );
    ends(process);
    holds_no_key(&place.certs());
    mode(&place.certs(), 0o755);
    let process = place.running(GROUP_READS);
    mode(&place.certs(), 0o777);
    wait_for("it is closed", PATIENCE, || {
        let mode = fs::metadata(place.certs()).ok()?.mode();
        (mode & 0o7777 == 0o755).then_some(())
    });
    ends(process);
}

/// H1: a loop re-points `..data` as soon as it is repaired. It can't: the directory is closed.
#[test]
#[ignore = "needs root"]
fn no_link_of_the_other_one_gets_into_the_directory() {
    let place = Allocation::shared();
    let process = place.running(&["--ttl", "1h"]);
    let script = "for turn in $(seq 300); do ln -sfn /tmp \"$1/..data\" 2>/dev/null && exit 3; \
                  mv \"$2\" \"$1/..data\" 2>/dev/null && exit 4; done; exit 0";
    other_does(script, &[&place.certs(), &place.path("alloc/x")]);
    let target = fs::read_link(place.certs().join("..data")).unwrap();
    assert!(target.to_string_lossy().starts_with("..gen-"), "{target:?}");
    ends(process);
}

/// H1: the other one exchanges the whole directory in a loop while the agent renews.
#[test]
#[ignore = "needs root"]
fn no_key_gets_into_a_directory_that_is_exchanged_in_a_loop() {
    let place = Allocation::shared();
    let mut process = place.running(&["--ttl", "10s", "--key-perms", "0640"]);
    let script = "set +e; mkdir \"$2\"; chmod 2777 \"$2\"; end=$(($(date +%s) + 15)); \
                  while [ $(date +%s) -lt $end ]; do \
                  mv -T \"$1\" \"$1.x\" && mv -T \"$2\" \"$1\"; \
                  mv -T \"$1\" \"$2\" && mv -T \"$1.x\" \"$1\"; done 2>/dev/null; exit 0";
    let theirs = place.path("secrets/theirs");
    other_does(script, &[&place.certs(), &theirs]);
    assert!(process.ended().is_none(), "{}", process.output());
    for name in ["theirs", "certs", "certs.x"] {
        let path = place.path("secrets").join(name);
        let Ok(found) = fs::metadata(&path) else {
            continue;
        };
        if found.uid() == NOBODY {
            holds_no_key(&path);
        }
    }
    ends(process);
}

/// M10: the ready file's directory becomes a link into a directory that only root may write.
#[test]
#[ignore = "needs root"]
fn root_writes_no_ready_file_through_a_link_of_another_user() {
    let place = Allocation::shared();
    let mut process = place.running(&["--ttl", "1h"]);
    let etc = place.path("etc");
    fs::create_dir(&etc).unwrap();
    let theirs = "mv \"$1/certagent\" \"$1/x\"; ln -s \"$2\" \"$1/certagent\"";
    other_does(theirs, &[&place.path("alloc"), &etc]);
    process.wait_for_line("link-foreign", PATIENCE);
    place.is_kept();
    place.renews(&mut process);
    assert_eq!(fs::read_dir(&etc).unwrap().count(), 0);
    ends(process);
}

/// M10: the same with a directory of somebody else's, made before the agent starts.
#[test]
#[ignore = "needs root"]
fn a_foreign_directory_gets_no_ready_file_and_stops_no_renewal() {
    let place = Allocation::shared();
    other_does("mkdir \"$1/certagent\"", &[&place.path("alloc")]);
    let mut process = place.run(&["--ttl", "20s"]);
    process.wait_for_line("directory-foreign", PATIENCE);
    wait_for("files", PATIENCE, || place.live("key.pem"));
    place.keep();
    place.renews(&mut process);
    assert!(!place.ready_file().exists());
    ends(process);
}

/// The rest of the way may be links of root's: an operator's choice of another disk.
#[test]
#[ignore = "needs root"]
fn links_of_root_in_directories_of_root_are_followed() {
    let place = Allocation::shared();
    fs::rename(place.path("secrets"), place.path("elsewhere")).unwrap();
    symlink("elsewhere", place.path("secrets")).unwrap();
    let process = place.running(&["--ttl", "1h"]);
    assert!(place.path("elsewhere/certs/key.pem").exists());
    ends(process);
}

/// L14: a file system is mounted over the directory, and taken away again.
#[test]
#[ignore = "needs root"]
fn a_mount_over_the_directory_is_noticed_within_two_seconds() {
    let place = Allocation::shared();
    let plain = place.command("run", &["--ttl", "1h"]);
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--propagation", "private"])
        .arg(plain.get_program())
        .args(plain.get_args())
        .env_clear();
    for (name, value) in plain.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    let mut process = Process::start(&mut command);
    place.publishes();
    process.wait_for_line("published a certificate", PATIENCE);
    std::thread::sleep(A_WHILE);
    let pid = process.pid().to_string();
    let inside = |script: &str| {
        let output = Command::new("nsenter")
            .args(["--mount", "--target", &pid, "sh", "-ec", script, "sh"])
            .arg(place.certs())
            .output();
        output.unwrap()
    };
    // lazily: the holder keeps its lock file open
    for change in [
        "mount -t tmpfs -o mode=0750 none \"$1\"",
        "umount -l \"$1\"",
    ] {
        assert!(inside(change).status.success(), "{change}");
        wait_for(change, Duration::from_secs(2), || {
            let there = inside("cat \"$1/cert.pem\" \"$1/key.pem\"");
            there.status.success().then_some(())
        });
    }
    ends(process);
}

/// L7: the application owns the directory and makes a tree under a leftover's name that is deeper
/// than there are descriptors.
#[test]
#[ignore = "needs root"]
fn a_deep_tree_under_our_name_stops_no_renewal() {
    let place = Allocation::shared();
    let settings = ["--ttl", "20s", "--uid", "65534", "--gid", "65534"];
    let mut process = place.running(&settings);
    // Made under another name first: the agent begins to remove them at once.
    let script = "cd \"$1\"; for name in ..new ..data.tmp ..state.json.tmp; do \
                  (mkdir deep; cd deep; i=0; while [ $i -lt 1200 ]; do mkdir a; cd a; i=$((i+1)); done); \
                  until mv -T deep $name; do sleep 0.01; done; done";
    other_does(script, &[&place.certs()]);
    let pid = process.pid().to_string();
    let limited = Command::new("prlimit")
        .args(["--pid", &pid, "--nofile=64:64"])
        .stdout(Stdio::null())
        .status();
    assert!(limited.unwrap().success());
    place.renews(&mut process);
    place.renews(&mut process);
    ends(process);
}

/// L4: the application owns the directory and links a file of root's in; it stays root's.
#[test]
#[ignore = "needs root"]
fn a_file_of_root_with_another_name_in_our_directory_is_not_given_away() {
    let place = Allocation::shared();
    let settings = ["--ttl", "1h", "--uid", "65534", "--gid", "65534"];
    let process = place.running(&settings);
    let live = fs::canonicalize(place.certs().join("..data")).unwrap();
    let ours = place.path("secrets/ours");
    // as if fs.protected_hardlinks were off
    fs::copy(live.join("key.pem"), &ours).unwrap();
    chown(&ours, Some(0), Some(0)).unwrap();
    mode(&ours, 0o600);
    fs::remove_file(live.join("key.pem")).unwrap();
    fs::hard_link(&ours, live.join("key.pem")).unwrap();
    wait_for("a new generation", PATIENCE, || {
        let now = fs::canonicalize(place.certs().join("..data")).ok()?;
        (now != live).then_some(())
    });
    place.keep();
    let found = fs::metadata(&ours).unwrap();
    assert_eq!((found.uid(), found.mode() & 0o7777), (0, 0o600));
    ends(process);
}
