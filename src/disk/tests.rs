//! What is touched and what is not, each refusal by its code.
#![expect(
    clippy::disallowed_methods,
    reason = "plays the others, who touch paths as they like"
)]

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink},
    path::PathBuf,
};

use rustix::fs::{CWD, mkfifoat};
use tempfile::TempDir;

use super::*;

const LIMIT: u64 = 100;
/// Another user: `nobody`.
const OTHER: u32 = 65_534;

fn temp() -> (TempDir, PathBuf) {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().canonicalize().unwrap();
    (temp, path)
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn fifo(path: &Path) {
    mkfifoat(CWD, path, Mode::RWXU).unwrap();
}

fn checked(path: &Path, trust: &TrustedOwners) -> Result<Directory, PathRefusal> {
    Directory::find(path, Last::Real, trust)?.checked(trust)
}

#[test]
fn only_regular_files_of_a_bounded_size_are_read_and_nothing_is_waited_for() {
    let (_keep, dir) = temp();
    fifo(&dir.join("fifo"));
    fs::create_dir(dir.join("dir")).unwrap();
    fs::write(dir.join("large"), [b'x'; 101]).unwrap();
    fs::write(dir.join("file"), "text").unwrap();
    symlink("file", dir.join("link")).unwrap();
    symlink("fifo", dir.join("to-fifo")).unwrap();
    symlink("/dev/zero", dir.join("zero")).unwrap();
    symlink("round", dir.join("round")).unwrap();
    let table = [
        ("fifo", "file-not-regular"),
        ("to-fifo", "file-not-regular"),
        ("zero", "file-not-regular"),
        ("dir", "file-not-regular"),
        ("large", "file-too-large"),
        ("round", "disk-error"),
        ("none", "disk-error"),
    ];
    for (name, code) in table {
        let path = dir.join(name);
        assert_eq!(read(&path, LIMIT).unwrap_err().code(), code, "{name}");
        let ours = read_ours(&path, LIMIT, &TrustedOwners::OWN).unwrap_err();
        assert_eq!(ours.code(), code, "{name}");
        assert!(ours.to_string().contains(name), "{ours}");
    }
    for name in ["file", "link"] {
        assert_eq!(read(&dir.join(name), LIMIT).unwrap().text(), Some("text"));
        let ours = read_ours(&dir.join(name), LIMIT, &TrustedOwners::OWN).unwrap();
        assert_eq!(ours.text(), Some("text"));
    }
    assert!(read(&dir.join("none"), LIMIT).unwrap_err().is_missing());
    assert!(read(Path::new("/proc/self/status"), 1 << 20).is_ok());
}

#[test]
fn a_file_with_another_name_decides_nothing() {
    let (_keep, dir) = temp();
    fs::write(dir.join("a"), "1").unwrap();
    fs::hard_link(dir.join("a"), dir.join("b")).unwrap();
    let refused = read_ours(&dir.join("a"), LIMIT, &TrustedOwners::OWN).unwrap_err();
    assert_eq!(refused.code(), "file-linked");
}

#[test]
fn a_directory_that_others_may_write_is_refused_unless_it_is_sticky_or_the_groups() {
    let (_keep, dir) = temp();
    let path = dir.join("d");
    fs::create_dir(&path).unwrap();
    let group = fs::metadata(&path).unwrap().gid();
    let ours = TrustedOwners {
        uid: None,
        gid: Some(group),
    };
    let table = [
        (0o750, TrustedOwners::OWN, true),
        (0o2750, TrustedOwners::OWN, true),
        (0o770, TrustedOwners::OWN, false),
        (0o770, ours, true),
        (0o777, ours, false),
        (0o777, TrustedOwners::OWN, false),
        (0o1777, TrustedOwners::OWN, true),
    ];
    for (mode, trust, taken) in table {
        chmod(&path, mode);
        let found = checked(&path, &trust);
        assert_eq!(found.is_ok(), taken, "{mode:o} {found:?}");
        let alone = Directory::find(&path, Last::Real, &trust).and_then(|d| d.exclusive(&trust));
        assert_eq!(alone.is_ok(), taken && mode & 0o002 == 0, "{mode:o}");
        if let Err(refusal) = found {
            assert_eq!(refusal.code(), "directory-open");
            let words = format!("mode {mode:04o}");
            assert!(refusal.to_string().contains(&words), "{refusal}");
        }
    }
}

#[test]
fn a_link_is_followed_only_where_nobody_else_could_have_put_it() {
    let (_keep, dir) = temp();
    fs::create_dir(dir.join("real")).unwrap();
    fs::create_dir(dir.join("shared")).unwrap();
    symlink("real", dir.join("link")).unwrap();
    symlink("../real", dir.join("shared/link")).unwrap();
    let find = |name: &str, last| Directory::find(&dir.join(name), last, &TrustedOwners::OWN);
    assert!(find("link", Last::Followed).is_ok());
    assert!(find("link/.", Last::Followed).is_ok());
    let real = find("link", Last::Real).unwrap_err();
    assert_eq!(real.code(), "dir-not-real");
    chmod(&dir.join("shared"), 0o777);
    let refused = find("shared/link", Last::Followed).unwrap_err();
    assert_eq!(refused.code(), "link-foreign");
    assert!(refused.to_string().contains("shared/link"), "{refused}");
    chmod(&dir.join("shared"), 0o1777);
    assert!(find("shared/link", Last::Followed).is_ok());
}

#[test]
fn what_is_made_has_our_group_and_mode_whatever_is_above() {
    let (_keep, dir) = temp();
    chmod(&dir, 0o2777);
    let made = Directory::make(&dir.join("a/b"), Last::Real, 0o750, &TrustedOwners::OWN).unwrap();
    assert_eq!(made.stat().st_mode & 0o7777, 0o750);
    assert_eq!(made.stat().st_gid, own_gid());
    let found = fs::metadata(dir.join("a")).unwrap();
    assert_eq!(found.mode() & 0o7777, 0o750);
    fs::write(dir.join("file"), "").unwrap();
    let refused = Directory::make(&dir.join("file/b"), Last::Real, 0o750, &TrustedOwners::OWN);
    assert_eq!(refused.unwrap_err().code(), "dir-not-real");
}

#[test]
fn a_mode_is_set_through_a_descriptor_without_a_right_to_open() {
    let (_keep, dir) = temp();
    let path = dir.join("d");
    fs::create_dir(&path).unwrap();
    chmod(&path, 0o000);
    let mut found = Directory::find(&path, Last::Real, &TrustedOwners::OWN).unwrap();
    fs::rename(&path, dir.join("moved")).unwrap();
    symlink("/", &path).unwrap();
    found.set_mode(0o700).unwrap();
    assert_eq!(
        fs::metadata(dir.join("moved")).unwrap().mode() & 0o7777,
        0o700
    );
}

#[test]
#[ignore = "needs root"]
fn what_belongs_to_somebody_else_is_refused_and_named() {
    let (_keep, dir) = temp();
    let path = dir.join("theirs");
    fs::create_dir(&path).unwrap();
    chown(&path, Some(OTHER), Some(OTHER)).unwrap();
    let refused = checked(&path, &TrustedOwners::OWN).unwrap_err();
    assert_eq!(refused.code(), "directory-foreign");
    assert!(refused.to_string().contains("owner 65534"), "{refused}");
    let configured = TrustedOwners {
        uid: Some(OTHER),
        gid: None,
    };
    assert!(checked(&path, &configured).is_ok());

    symlink("theirs", dir.join("link")).unwrap();
    rustix::fs::chownat(
        CWD,
        dir.join("link"),
        Some(rustix::fs::Uid::from_raw(OTHER)),
        None,
        rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
    )
    .unwrap();
    let refused =
        Directory::find(&dir.join("link"), Last::Followed, &TrustedOwners::OWN).unwrap_err();
    assert_eq!(refused.code(), "link-foreign");
    let refused =
        Directory::make(&dir.join("link/x"), Last::Real, 0o755, &TrustedOwners::OWN).unwrap_err();
    assert_eq!(refused.code(), "link-foreign");
    assert!(!path.join("x").exists());
}
