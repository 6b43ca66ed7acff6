//! Crash at every step, and a reader in another process in a hot loop.
//!
//! The other process is this test binary again: the test `child` does nothing unless the variable
//! [`ROLE`] names what to do. The library's own witness of steps is the only way to crash at one of
//! them; the built binary has none.
#![allow(
    clippy::print_stdout,
    reason = "the other process reports on stdout, and the figures are worth reading"
)]

mod child;
mod sets;

use std::{
    collections::BTreeSet,
    fs,
    os::unix::{
        fs::{PermissionsExt, symlink},
        process::ExitStatusExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use certagent::{
    config::Files,
    publish::{CertDir, MAX_GENERATIONS, sets_in},
    watch::Watch,
};
use child::{DIR, ROLE, STEP};
use tempfile::TempDir;

use crate::rig;

/// On the memory file system, as a Nomad secrets directory is.
fn temp() -> TempDir {
    let memory = Path::new("/dev/shm");
    match memory.is_dir() {
        true => tempfile::tempdir_in(memory).unwrap(),
        false => tempfile::tempdir().unwrap(),
    }
}

fn files(temp: &Path) -> Files {
    Files {
        dir: temp.join("certs"),
        cert_perms: 0o644,
        key_perms: 0o600,
        uid: None,
        gid: None,
    }
}

/// This test binary, set to play a role in `temp`.
fn child(role: &str, temp: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["cases::publish::child::child", "--exact", "--nocapture"])
        .env(ROLE, role)
        .env(DIR, temp)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// The number after `word=` in a child's output.
fn figure(output: &str, word: &str) -> u64 {
    let found = output
        .split_whitespace()
        .find_map(|part| part.strip_prefix(word)?.strip_prefix('='));
    found
        .and_then(|number| number.parse().ok())
        .unwrap_or_else(|| panic!("no {word} in: {output}"))
}

#[test]
fn a_process_killed_at_any_step_leaves_the_old_or_the_new_set() {
    let temp = temp();
    let sets = sets::make(temp.path(), 4);
    let mut kills = 0;
    for when in ["before", "after"] {
        for step in 1.. {
            let files = files(temp.path());
            let _absent = fs::remove_dir_all(&files.dir);
            let certs = CertDir::open(&files).unwrap();
            certs.publish(&sets[0]).unwrap();
            certs.publish(&sets[1]).unwrap();
            let command = child(when, temp.path())
                .env(STEP, step.to_string())
                .output();
            let output = command.unwrap();
            let killed = output.status.signal() == Some(9);
            assert!(killed || output.status.success(), "{output:?}");

            let live = sets_in(&files.dir)
                .into_iter()
                .find(|set| set.live)
                .unwrap();
            let whole = sets.iter().position(|set| {
                (set.ca_pem(), set.cert_pem(), set.key_pem()) == (&live.ca, &live.cert, &live.key)
            });
            let expected: &[_] = match killed {
                true => &[Some(1), Some(2)],
                false => &[Some(2)],
            };
            assert!(expected.contains(&whole), "{when} step {step}: {whole:?}");
            let certs = CertDir::open(&files).unwrap();
            certs.publish(&sets[3]).unwrap();
            assert!(certs.drift(&sets[3]).unwrap().is_none());
            only_ours(&files.dir);
            if !killed {
                break;
            }
            kills += 1;
        }
    }
    assert!(kills >= 40, "publication has steps: {kills}");
}

fn only_ours(dir: &Path) {
    let names: BTreeSet<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let generations = names
        .iter()
        .filter(|name| name.starts_with("..gen-"))
        .count();
    assert!(generations <= MAX_GENERATIONS, "{names:?}");
    assert_eq!(names.len(), generations + 4, "{names:?}");
}

/// On the memory file system. Of twenty swaps one is a full publication with all its steps, one
/// activates the other generation, the rest are step 5 alone: link beside, rename over.
#[test]
fn a_reader_that_resolves_once_never_sees_a_mix_in_100_000_swaps() {
    const SWAPS: usize = 100_000;
    let temp = temp();
    let sets = sets::make(temp.path(), 8);
    let files = files(temp.path());
    let certs = CertDir::open(&files).unwrap();
    certs.publish(&sets[0]).unwrap();
    let reader = child("read", temp.path()).spawn().unwrap();
    rig::wait_for_file(&temp.path().join("reading"), rig::PATIENCE);
    let began = Instant::now();
    let mut previous = certs.publish(&sets[1]).unwrap();
    let mut live = certs.publish(&sets[2]).unwrap();
    for turn in 0..SWAPS {
        match turn % 20 {
            0 => {
                let published = certs.publish(&sets[turn / 20 % sets.len()]).unwrap();
                (previous, live) = (live, published);
                continue;
            }
            10 => drop(certs.activate(&previous.generation).unwrap()),
            _ => {
                let beside = files.dir.join("..data.tmp");
                symlink(previous.dir.file_name().unwrap(), &beside).unwrap();
                fs::rename(&beside, files.dir.join("..data")).unwrap();
            }
        }
        (previous, live) = (live, previous);
    }
    let took = began.elapsed();
    fs::write(temp.path().join("stop"), "").unwrap();
    let output = reader.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    println!(
        "{SWAPS} swaps in {took:.1?}: {}",
        text.lines().find(|l| l.contains("reads=")).unwrap()
    );
    assert_eq!(figure(&text, "mixed"), 0, "{text}");
    assert!(
        figure(&text, "reads") > 5_000,
        "the reader was there: {text}"
    );
    assert!(figure(&text, "changes") > 200, "and saw the swaps: {text}");
}

#[test]
fn the_key_is_never_readable_beyond_its_mode_at_any_instant_under_umask_0() {
    let temp = temp();
    let _sets = sets::make(temp.path(), 2);
    let dir = files(temp.path()).dir;
    CertDir::open(&files(temp.path())).unwrap();
    let mut writer = child("umask", temp.path()).spawn().unwrap();
    let (mut samples, mut unfinished) = (0_u32, 0_u32);
    while writer.try_wait().unwrap().is_none() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            // What was just removed or renamed is no sample.
            let Ok(found) = fs::metadata(path.join("key.pem")) else {
                continue;
            };
            let mode = found.permissions().mode() & 0o7777;
            assert_eq!(mode & !0o600, 0, "{} {mode:o}", path.display());
            samples += 1;
            unfinished += u32::from(path.ends_with("..new"));
        }
    }
    let output = writer.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    println!("{samples} samples from outside, {unfinished} of them unfinished; {text}");
    assert!(samples > 1_000, "{samples}");
    assert!(
        figure(&text, "steps") > 1_000,
        "each step was looked at from inside too"
    );
}

#[tokio::test]
async fn damage_is_seen_by_the_watcher_and_repaired_within_two_seconds() {
    let temp = temp();
    let set = &sets::make(temp.path(), 1)[0];
    let certs = CertDir::open(&files(temp.path())).unwrap();
    certs.publish(set).unwrap();
    let dir = files(temp.path()).dir;
    let (watch, mut changes) = Watch::new().unwrap();
    watch.follow(&dir, &certs.watched()).unwrap();
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 6] = [
        ("truncate", |dir| {
            fs::write(dir.join("cert.pem"), "").unwrap()
        }),
        ("delete", |dir| {
            fs::remove_file(dir.join("..data/key.pem")).unwrap()
        }),
        ("chmod", |dir| {
            let open = fs::Permissions::from_mode(0o666);
            fs::set_permissions(dir.join("key.pem"), open).unwrap();
        }),
        ("swap", |dir| {
            fs::rename(dir.join("..data/CA.pem"), dir.join("..data/cert.pem")).unwrap();
        }),
        ("link", |dir| fs::remove_file(dir.join("..data")).unwrap()),
        ("everything", |dir| fs::remove_dir_all(dir).unwrap()),
    ];
    for (name, harm) in harms {
        harm(&dir);
        let began = Instant::now();
        while !certs.drift(set).unwrap().is_none() {
            let left = Duration::from_secs(2).saturating_sub(began.elapsed());
            let seen = tokio::time::timeout(left, changes.next()).await;
            assert!(
                seen.is_ok_and(|seen| seen.contains(&dir)),
                "{name} was not seen"
            );
            certs.repair(set).unwrap();
            watch.follow(&dir, &certs.watched()).unwrap();
        }
        assert!(began.elapsed() < Duration::from_secs(2), "{name}");
    }
}

/// A real full disk: a memory file system of 48 KiB in a mount namespace of its own.
#[test]
#[ignore = "needs userns"]
fn a_full_tmpfs_keeps_the_old_set_and_is_usable_when_there_is_room_again() {
    let unshare = rig::tool("userns");
    let temp = temp();
    let _sets = sets::make(temp.path(), 2);
    let small: PathBuf = temp.path().join("small");
    fs::create_dir(&small).unwrap();
    let output = Command::new(unshare)
        .args(["-U", "-r", "-m", "sh", "-ec"])
        .arg("mount -t tmpfs -o size=48k none \"$1\"; exec \"$2\" cases::publish::child::child --exact --nocapture")
        .arg("sh")
        .args([&small, &std::env::current_exe().unwrap()])
        .env(ROLE, "full")
        .env(DIR, temp.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(figure(&text, "refused") > 0, "{text}");
}
