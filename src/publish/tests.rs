//! Tests of publication: what a reader sees, crashes at every step, damage of every kind.

use std::{os::unix::fs::PermissionsExt, path::Path};

use tempfile::TempDir;

use super::*;

mod crash;
mod damage;

pub(super) fn set(tag: &str) -> Rendered {
    Rendered {
        ca: format!("ca {tag}\n"),
        cert: format!("cert {tag}\n"),
        key: Secret::new(format!("key {tag}\n")),
    }
}

pub(super) fn files(dir: &Path) -> Files {
    Files {
        dir: dir.join("certs"),
        cert_perms: 0o644,
        key_perms: 0o600,
        uid: None,
        gid: None,
    }
}

/// On the memory file system where there is one: no test here is about the disk's speed.
pub(super) fn temp() -> TempDir {
    let memory = Path::new("/dev/shm");
    match memory.is_dir() {
        true => tempfile::tempdir_in(memory).unwrap(),
        false => tempfile::tempdir().unwrap(),
    }
}

/// What a reader gets that resolves `..data` once.
pub(super) fn resolved(dir: &Path) -> Option<Rendered> {
    let live = sets_in(dir).into_iter().find(|set| set.live)?;
    Some(Rendered {
        ca: live.ca,
        cert: live.cert,
        key: live.key,
    })
}

pub(super) fn names(dir: &Path) -> Vec<String> {
    Place::open_followed(dir).unwrap().names().unwrap()
}

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path)
        .unwrap()
        .permissions()
        .mode()
        & 0o7777
}

#[test]
fn a_published_set_is_read_through_the_plain_names_with_the_configured_modes() {
    let temp = temp();
    let files = files(temp.path());
    let certs = CertDir::open(&files).unwrap();
    let published = certs.publish_texts(&set("a")).unwrap();
    for name in NAMES {
        let text = std::fs::read_to_string(files.dir.join(name)).unwrap();
        assert_eq!(text, set("a").content(name));
    }
    assert_eq!(mode(&files.dir), 0o750);
    assert_eq!(mode(&published.dir), 0o750);
    assert_eq!(mode(&published.dir.join("key.pem")), 0o600);
    assert_eq!(mode(&published.dir.join("cert.pem")), 0o644);
    assert!(certs.drift_from(&set("a")).unwrap().is_none());
}

#[test]
fn at_most_three_generations_exist_and_the_previous_one_stays_readable() {
    let temp = temp();
    let files = files(temp.path());
    let certs = CertDir::open(&files).unwrap();
    for turn in 0..6 {
        certs.publish_texts(&set(&turn.to_string())).unwrap();
    }
    let sets = certs.sets_on_disk();
    assert_eq!(sets.len(), 2);
    assert!(sets[0].live && sets[0].cert == "cert 5\n");
    assert!(!sets[1].live && sets[1].cert == "cert 4\n");
    let staged = certs.stage_texts(&set("s")).unwrap();
    assert_eq!(certs.sets_on_disk().len(), MAX_GENERATIONS);
    certs.activate(&staged).unwrap();
    assert_eq!(resolved(&files.dir), Some(set("s")));
}
