//! What this test binary does when it is started again as the other process.

use std::{
    fs::File,
    io::{self, Read},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use certagent::publish::{CertDir, Step, Witness, sets_in};
use rustix::{
    fs::{AtFlags, Mode, OFlags, openat},
    process::{Signal, getpid, kill_process, umask},
};

use super::{files, sets};

/// Names the role; absent in the test run itself.
pub(super) const ROLE: &str = "CERTAGENT_TEST_PUBLISH_ROLE";
/// The directory of the test.
pub(super) const DIR: &str = "CERTAGENT_TEST_PUBLISH_DIR";
/// At which step to be killed.
pub(super) const STEP: &str = "CERTAGENT_TEST_PUBLISH_STEP";

#[test]
fn child() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let temp = PathBuf::from(std::env::var_os(DIR).unwrap());
    match role.as_str() {
        "before" | "after" => killed(&temp, role == "after"),
        "read" => read(&temp),
        "umask" => under_umask_0(&temp),
        "full" => full(&temp),
        _ => panic!("no such role: {role}"),
    }
}

/// Kills the process for real, without any chance to clean up.
struct Killer {
    at: usize,
    after: bool,
    count: AtomicUsize,
}

impl Killer {
    fn here(&self, after: bool) -> io::Result<()> {
        if self.after == after && self.count.load(Ordering::Relaxed) == self.at {
            kill_process(getpid(), Signal::KILL)?;
        }
        Ok(())
    }
}

impl Witness for Killer {
    fn before(&self, _: Step<'_>) -> io::Result<()> {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.here(false)
    }

    fn after(&self, _: Step<'_>) -> io::Result<()> {
        self.here(true)
    }
}

fn killed(temp: &Path, after: bool) {
    let killer = Killer {
        at: std::env::var(STEP).unwrap().parse().unwrap(),
        after,
        count: AtomicUsize::new(0),
    };
    let certs = CertDir::open_witnessed(&files(temp), Some(Arc::new(killer))).unwrap();
    certs.publish(&sets::load(temp)[2]).unwrap();
}

/// Resolves `..data` once and reads the three files beneath it, as fast as it can.
fn read(temp: &Path) {
    let sets = sets::load(temp);
    let certs = files(temp).dir;
    let dir = File::open(&certs).unwrap();
    let (mut reads, mut mixed, mut vanished, mut changes) = (0_u64, 0_u64, 0_u64, 0_u64);
    let mut last = None;
    std::fs::write(temp.join("reading"), "").unwrap();
    while reads % 64 != 0 || !temp.join("stop").exists() {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let resolved = openat(&dir, "..data", flags, Mode::empty());
        let texts = ["CA.pem", "cert.pem", "key.pem"]
            .map(|name| resolved.as_ref().ok().and_then(|dir| text(dir, name)));
        reads += 1;
        let [Some(ca), Some(cert), Some(key)] = texts else {
            // Its generation was removed: two further swaps went by. A reader starts again.
            vanished += 1;
            continue;
        };
        let whole = sets.iter().position(|set| {
            ca == set.ca_pem() && cert == set.cert_pem() && key == set.key_pem().expose()
        });
        mixed += u64::from(whole.is_none());
        changes += u64::from(whole != last);
        last = whole;
    }
    println!("\nreads={reads} mixed={mixed} vanished={vanished} changes={changes}");
}

fn text(dir: &OwnedFd, name: &str) -> Option<String> {
    let fd = openat(dir, name, OFlags::RDONLY, Mode::empty()).ok()?;
    let mut text = String::new();
    File::from(fd).read_to_string(&mut text).unwrap();
    Some(text)
}

/// Looks at the key's mode before and after every step.
struct HealthChecker {
    dir: File,
    steps: Arc<AtomicUsize>,
}

impl HealthChecker {
    fn look(&self) -> io::Result<()> {
        if let Ok(found) = rustix::fs::statat(&self.dir, "..new/key.pem", AtFlags::empty()) {
            assert_eq!(found.st_mode & 0o7777 & !0o600, 0);
            self.steps.fetch_add(1, Ordering::Relaxed);
        }
        if let Ok(found) = rustix::fs::statat(&self.dir, "..new", AtFlags::empty()) {
            assert_eq!(found.st_mode & 0o7777 & !0o750, 0);
        }
        Ok(())
    }
}

impl Witness for HealthChecker {
    fn before(&self, _: Step<'_>) -> io::Result<()> {
        self.look()
    }

    fn after(&self, _: Step<'_>) -> io::Result<()> {
        self.look()
    }
}

fn under_umask_0(temp: &Path) {
    umask(Mode::empty());
    let sets = sets::load(temp);
    let steps = Arc::new(AtomicUsize::new(0));
    let looker = HealthChecker {
        dir: File::open(files(temp).dir).unwrap(),
        steps: Arc::clone(&steps),
    };
    let certs = CertDir::open_witnessed(&files(temp), Some(Arc::new(looker))).unwrap();
    for turn in 0..1_000 {
        certs.publish(&sets[turn % 2]).unwrap();
    }
    println!("\nsteps={}", steps.load(Ordering::Relaxed));
}

/// Fills the small file system until publication is refused, then makes room.
fn full(temp: &Path) {
    let sets = sets::load(temp);
    let small = temp.join("small");
    let certs = CertDir::open(&files(&small)).unwrap();
    certs.publish(&sets[0]).unwrap();
    let live = |set: usize| {
        let live = sets_in(&files(&small).dir).into_iter().find(|set| set.live);
        live.is_some_and(|live| {
            live.cert == sets[set].cert_pem() && &live.key == sets[set].key_pem()
        })
    };
    let mut refused = 0;
    // From a disk with no page left to one with room for all.
    for free in 0..8 {
        let ballast = vec![0; 4096 * (12 - free)];
        let _full = std::fs::write(small.join("ballast"), ballast);
        match certs.publish(&sets[1]) {
            Ok(_) => break,
            Err(error) => {
                assert_eq!(error.code(), "disk-full", "{error}");
                assert!(live(0), "the old set stays");
                assert!(
                    !files(&small).dir.join("..new").exists(),
                    "nothing half-done stays"
                );
                refused += 1;
            }
        }
        std::fs::remove_file(small.join("ballast")).unwrap();
    }
    let _absent = std::fs::remove_file(small.join("ballast"));
    certs.publish(&sets[1]).unwrap();
    assert!(live(1));
    println!("\nrefused={refused}");
}
