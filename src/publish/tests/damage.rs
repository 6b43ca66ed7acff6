//! Whatever another process does to the directory, opening it and repairing converges without an issuance.

use std::{
    io::Write,
    os::unix::fs::{PermissionsExt, symlink},
};

use proptest::prelude::*;

use super::*;
use crate::model::issuance_limit::Requests;

/// Where damage is done: our names, names like ours, and the live generation's files.
const TARGETS: [&str; 18] = [
    "CA.pem",
    "cert.pem",
    "key.pem",
    "..data",
    "..state.json",
    "..new",
    "..old",
    "..data.tmp",
    "..link.tmp",
    "..state.json.tmp",
    "..gen-000000000000007",
    "..gen-999999999999999",
    "LIVE",
    "LIVE/CA.pem",
    "LIVE/cert.pem",
    "LIVE/key.pem",
    "LIVE/key.pem",
    ".",
];

#[derive(Clone, Copy, Debug)]
enum Harm {
    Delete,
    Truncate,
    Garbage,
    Append,
    Chmod(u32),
    EmptyDir,
    FullDir,
    LinkNowhere,
    LinkOut,
    Fifo,
    /// Exchanges the names of two things.
    Swap(usize),
    CopyFrom(usize),
}

fn harm() -> impl Strategy<Value = (usize, Harm)> {
    let other = 0..TARGETS.len() - 1;
    let what = prop_oneof![
        Just(Harm::Delete),
        Just(Harm::Truncate),
        Just(Harm::Garbage),
        Just(Harm::Append),
        (0..0o1000_u32).prop_map(Harm::Chmod),
        Just(Harm::EmptyDir),
        Just(Harm::FullDir),
        Just(Harm::LinkNowhere),
        Just(Harm::LinkOut),
        Just(Harm::Fifo),
        other.clone().prop_map(Harm::Swap),
        other.prop_map(Harm::CopyFrom),
    ];
    (0..TARGETS.len(), what)
}

fn write(path: &Path, bytes: &[u8], append: bool) {
    let file = std::fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(!append)
        .append(append)
        .open(path);
    if let Ok(mut file) = file {
        let _maybe = file.write_all(bytes);
    }
}

fn delete(path: &Path) {
    let Ok(found) = path.symlink_metadata() else {
        return;
    };
    let _maybe = match found.is_dir() {
        true => std::fs::remove_dir_all(path),
        false => std::fs::remove_file(path),
    };
}

/// The path of a target at this moment; a live generation only while `..data` points at one.
fn path(dir: &Path, target: usize) -> PathBuf {
    let live = std::fs::read_link(dir.join("..data"))
        .ok()
        .filter(|target| target.to_string_lossy().starts_with("..gen-"))
        .unwrap_or_else(|| PathBuf::from("none"));
    match (TARGETS[target], TARGETS[target].strip_prefix("LIVE")) {
        (".", _) => dir.to_owned(),
        (_, Some(inside)) => dir.join(&live).join(inside.trim_start_matches('/')),
        (name, None) => dir.join(name),
    }
}

/// Does the harm, as far as it is possible at this moment. Never writes through a link that leads
/// out: the test itself would then be what changes the outside.
fn inflict(dir: &Path, outside: &Path, (target, harm): (usize, Harm)) {
    let victim = path(dir, target);
    let found = victim.symlink_metadata();
    let plain = found.as_ref().is_ok_and(std::fs::Metadata::is_file);
    match harm {
        Harm::Delete => delete(&victim),
        Harm::Truncate if plain => write(&victim, b"", false),
        Harm::Append if plain => write(&victim, b"more\n", true),
        Harm::Garbage if plain => write(&victim, b"garbage\n", false),
        Harm::Chmod(mode) if found.is_ok_and(|found| !found.is_symlink()) => {
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&victim, mode).unwrap();
        }
        Harm::Swap(other) if TARGETS[target] != "." => {
            let (other, between) = (path(dir, other), dir.join("between"));
            let _maybe = std::fs::rename(&victim, &between);
            let _maybe = std::fs::rename(&other, &victim);
            let _maybe = std::fs::rename(&between, &other);
            delete(&between);
        }
        Harm::CopyFrom(other) if plain => {
            let other = path(dir, other);
            // Reading a FIFO would hang.
            if other.is_file() {
                write(&victim, &std::fs::read(&other).unwrap(), false);
            }
        }
        _ if TARGETS[target] == "." => {}
        _ => replace(&victim, outside, harm),
    }
}

/// Puts something else in its place.
fn replace(victim: &Path, outside: &Path, harm: Harm) {
    let node = rustix::fs::Mode::from_raw_mode(0o600);
    match harm {
        Harm::EmptyDir | Harm::FullDir => {
            delete(victim);
            let _maybe = std::fs::create_dir_all(victim);
            if matches!(harm, Harm::FullDir) {
                write(&victim.join("theirs"), b"theirs", false);
                write(&victim.join("key.pem"), b"not a key", false);
            }
        }
        Harm::Garbage => {
            delete(victim);
            write(victim, b"garbage\n", false);
        }
        Harm::LinkNowhere => {
            delete(victim);
            let _maybe = symlink("nowhere", victim);
        }
        Harm::LinkOut => {
            delete(victim);
            let _maybe = symlink(outside, victim);
        }
        Harm::Fifo => {
            delete(victim);
            let _maybe = rustix::fs::mkfifoat(rustix::fs::CWD, victim, node);
        }
        _ => {}
    }
}

fn converges(harms: &[(usize, Harm)]) {
    let temp = temp();
    let files = files(temp.path());
    let outside = temp.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    for name in NAMES {
        write(&outside.join(name), b"outside", false);
    }
    let certs = CertDir::open(&files).unwrap();
    certs.publish_texts(&set("older")).unwrap();
    certs.publish_texts(&set("ours")).unwrap();
    for harm in harms {
        inflict(&files.dir, &outside, *harm);
    }
    // Not possible where the harm was to our own rights.
    write(&files.dir.join("foreign"), b"theirs", false);
    let kept = files.dir.join("foreign").is_file();
    // Once as at a start, once as in the running process.
    let certs = CertDir::open(&files).unwrap();
    certs.repair_from(&set("ours")).unwrap();
    let drift = certs.drift_from(&set("ours")).unwrap();
    assert!(drift.is_none(), "{drift:?}");
    assert_eq!(resolved(&files.dir), Some(set("ours")));
    for name in NAMES {
        let text = std::fs::read_to_string(files.dir.join(name)).unwrap();
        assert_eq!(text, set("ours").content(name));
        let text = std::fs::read_to_string(outside.join(name)).unwrap();
        assert_eq!(text, "outside", "{name} was reached through a link");
    }
    assert!(!kept || files.dir.join("foreign").is_file());
    assert!(
        certs.repair_from(&set("ours")).unwrap().drift.is_none(),
        "repair is idempotent"
    );
    let _whatever = certs.load_record();
    certs.save_record(&Record::default()).unwrap();
    certs.publish_texts(&set("next")).unwrap();
    assert!(certs.sets_on_disk().len() <= MAX_GENERATIONS);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn any_damage_is_put_right_without_an_issuance(harms in prop::collection::vec(harm(), 1..6)) {
        converges(&harms);
    }
}

#[test]
fn a_changed_mode_is_set_back_without_a_new_generation() {
    let temp = temp();
    let files = files(temp.path());
    let certs = CertDir::open(&files).unwrap();
    let published = certs.publish_texts(&set("a")).unwrap();
    let key = published.dir.join("key.pem");
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o644)).unwrap();
    let repaired = certs.repair_from(&set("a")).unwrap();
    assert_eq!(repaired.generation, None);
    assert_eq!(repaired.drift.findings.len(), 1);
    assert_eq!(repaired.drift.findings[0].to_string(), "key.pem: mode");
    assert_eq!(mode(&key), 0o600);
}

#[test]
fn a_directory_in_the_place_of_a_file_is_moved_aside_with_its_content() {
    let temp = temp();
    let files = files(temp.path());
    let certs = CertDir::open(&files).unwrap();
    let theirs = files.dir.join("cert.pem");
    std::fs::create_dir(&theirs).unwrap();
    write(&theirs.join("note"), b"keep me", false);
    certs.publish_texts(&set("a")).unwrap();
    let kept = files.dir.join("displaced-cert.pem-0/note");
    assert_eq!(std::fs::read(kept).unwrap(), b"keep me");
    assert!(certs.drift_from(&set("a")).unwrap().is_none());
}

#[test]
fn a_garbage_record_is_an_empty_one_and_can_be_replaced() {
    let temp = temp();
    let files = files(temp.path());
    let certs = CertDir::open(&files).unwrap();
    write(&files.dir.join("..state.json"), b"\xff{", false);
    assert_eq!(certs.load_record(), Record::default());
    let state = Record {
        fingerprint: "f".to_owned(),
        requests: Requests {
            counted: [1, 2].map(Timestamp::from_unix_millis).into(),
            ..Requests::default()
        },
        ..Record::default()
    };
    certs.save_record(&state).unwrap();
    assert_eq!(CertDir::open(&files).unwrap().load_record(), state);
    assert_eq!(mode(&files.dir.join("..state.json")), 0o640);
}

#[test]
fn a_link_or_a_file_in_the_place_of_the_directory_is_refused_and_untouched() {
    let temp = temp();
    let files = files(temp.path());
    let elsewhere = temp.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    symlink(&elsewhere, &files.dir).unwrap();
    let refused = CertDir::open(&files).err().unwrap();
    assert_eq!(refused.code(), "dir-not-real");
    assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), 0);
}

#[test]
fn two_publishers_never_work_in_one_directory_at_the_same_time() {
    let temp = temp();
    let files = files(temp.path());
    let certs = CertDir::open(&files).unwrap();
    let held = certs.enter().unwrap();
    let refused = certs.publish_texts(&set("a")).unwrap_err();
    assert_eq!(refused.code(), "dir-in-use");
    drop(held);
    certs.publish_texts(&set("a")).unwrap();
}

#[test]
fn the_previous_generation_ends_after_its_grace_and_a_staged_one_does_not() {
    let temp = temp();
    let files = files(temp.path());
    let certs = CertDir::open(&files).unwrap();
    certs.publish_texts(&set("old")).unwrap();
    certs.publish_texts(&set("live")).unwrap();
    certs.stage_texts(&set("staged")).unwrap();
    let link = files.dir.join("..data").symlink_metadata().unwrap();
    let switched = Timestamp::from(link.modified().unwrap());
    certs
        .end_grace(switched.plus(PREVIOUS_RETENTION / 2))
        .unwrap();
    assert_eq!(certs.sets_on_disk().len(), 3);
    certs
        .end_grace(switched.plus(PREVIOUS_RETENTION * 2))
        .unwrap();
    let left: Vec<_> = certs
        .sets_on_disk()
        .into_iter()
        .map(|set| set.cert)
        .collect();
    assert_eq!(left, ["cert live\n", "cert staged\n"]);
}

#[test]
fn leftovers_of_a_crash_are_gone_after_open() {
    let temp = temp();
    let files = files(temp.path());
    CertDir::open(&files)
        .unwrap()
        .publish_texts(&set("a"))
        .unwrap();
    std::fs::create_dir(files.dir.join("..new")).unwrap();
    write(&files.dir.join("..new/key.pem"), b"half", false);
    symlink("..gen-000000000000001", files.dir.join("..data.tmp")).unwrap();
    let certs = CertDir::open(&files).unwrap();
    let left = names(&files.dir);
    assert!(
        left.iter()
            .all(|name| name != "..new" && name != "..data.tmp"),
        "{left:?}"
    );
    certs.publish_texts(&set("b")).unwrap();
    assert_eq!(resolved(&files.dir), Some(set("b")));
}

#[test]
fn a_set_that_was_only_made_unreadable_is_found_at_start() {
    let temp = temp();
    let files = files(temp.path());
    let live = CertDir::open(&files)
        .unwrap()
        .publish_texts(&set("a"))
        .unwrap()
        .dir;
    for path in [live.join("key.pem"), live, files.dir.clone()] {
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o000)).unwrap();
    }
    let certs = CertDir::open(&files).unwrap();
    assert_eq!(resolved(&files.dir), Some(set("a")));
    assert_eq!(mode(&files.dir), 0o750);
    let repaired = certs.repair_from(&set("a")).unwrap();
    assert_eq!(repaired.generation, None, "{:?}", repaired.drift);
    assert!(certs.drift_from(&set("a")).unwrap().is_none());
}
