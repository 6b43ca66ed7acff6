//! Another user of the host, in each place where Nomad lets one write: `alloc/` and `secrets/`.
//!
//! The agent runs as root, as under raw_exec, and the other one as `nobody`; so every test needs
//! root: `cargo test --test integration hostile:: -- --ignored`. What stays true: the key never
//! lies where the other could read it, a refusal names path and owner, and a case ends with the
//! certificate files as they were last published, byte for byte ([`Allocation`] sees to it).

mod directories;
mod files;
mod hardening;
mod hooks;
mod live_set;
mod network;
mod pipes;
mod process;
mod sockets;

use std::{
    cell::{Cell, RefCell},
    fs,
    ops::{Deref, DerefMut},
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use self::live_set::LiveSet;
use crate::rig::{NOBODY, PATIENCE, Place, Process, certagent, set_mode as mode, wait_for};

/// How long a test watches that nothing happens.
const A_WHILE: Duration = Duration::from_secs(3);

/// An allocation as Nomad makes it. When the case ends, its certificate files have to be those of
/// the last publication that the case waited for: [`Self::keep`].
struct Allocation {
    place: Place,
    kept: RefCell<Option<LiveSet>>,
    /// It renews while the case runs: its lifetime is seconds.
    renews: Cell<bool>,
}

impl Deref for Allocation {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.place
    }
}

impl DerefMut for Allocation {
    fn deref_mut(&mut self) -> &mut Place {
        &mut self.place
    }
}

impl Drop for Allocation {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.is_kept();
        }
    }
}

impl Allocation {
    fn new() -> Self {
        Self {
            place: Place::allocation(),
            kept: RefCell::default(),
            renews: Cell::default(),
        }
    }

    /// For a case with another user.
    fn shared() -> Self {
        assert!(rustix::process::geteuid().is_root(), "this test needs root");
        Self::new()
    }

    fn ready_file(&self) -> PathBuf {
        self.path("alloc/certagent/ready.json")
    }

    fn command(&self, name: &str, settings: &[&str]) -> Command {
        let mut command = self.one(name);
        command.args(settings);
        let short = |pair: &[&str]| pair[0] == "--ttl" && pair[1].ends_with('s');
        self.renews
            .set(self.renews.get() || settings.windows(2).any(short));
        command
    }

    fn run(&self, settings: &[&str]) -> Process {
        Process::start(&mut self.command("run", settings))
    }

    /// Started, with files published and the ready file written.
    fn running(&self, settings: &[&str]) -> Process {
        let process = self.run(settings);
        self.publishes();
        process
    }

    /// Waits until files are published and the ready file is written.
    fn publishes(&self) {
        wait_for("the certificate files and the ready file", PATIENCE, || {
            (self.live("key.pem").is_some() && self.ready_file().exists()).then_some(())
        });
        self.keep();
    }

    /// A live file, as root sees it.
    fn live(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.certs().join(name)).ok()
    }

    /// From here on the certificate files stay what they are now.
    fn keep(&self) {
        *self.kept.borrow_mut() = Some(LiveSet::of(&self.certs()));
    }

    fn knows_files(&self) -> bool {
        self.kept.borrow().is_some()
    }

    /// They are what they were.
    fn is_kept(&self) {
        self.is_kept_in(&self.certs());
    }

    /// As [`Self::is_kept`], where another user has moved them to.
    fn is_kept_in(&self, certs: &Path) {
        match &*self.kept.borrow() {
            Some(kept) if self.renews.get() => kept.is_unchanged_in(certs),
            Some(kept) => kept.is_the_same_in(certs),
            None => assert!(
                self.live("key.pem").is_none(),
                "files that no case waited for"
            ),
        }
    }

    /// A renewal that is asked for happens although the other one did something.
    fn renews(&self, process: &mut Process) {
        process.signal(rustix::process::Signal::USR1);
        let before = fs::read_to_string(self.certs().join("cert.pem")).unwrap();
        wait_for("a renewal", PATIENCE, || {
            assert!(process.ended().is_none(), "{}", process.output());
            let now = fs::read_to_string(self.certs().join("cert.pem")).ok()?;
            (now != before).then_some(())
        });
        self.keep();
    }
}

/// That command as a user without privileges, by a script that begins it.
fn unprivileged(place: &Place, command: &Command, script: &str) -> Command {
    let mut other = Command::new("setpriv");
    if rustix::process::geteuid().is_root() {
        other.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    }
    other
        .args(["sh", "-c", script, "sh"])
        .arg(command.get_program());
    other.args(command.get_args()).env_clear();
    place.fit_out(&mut other);
    other
}

/// A shell command of the other user.
fn other(script: &str, arguments: &[&Path]) -> Output {
    Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .args(["sh", "-ec", script, "sh"])
        .args(arguments)
        .output()
        .unwrap()
}

fn other_does(script: &str, arguments: &[&Path]) {
    let output = other(script, arguments);
    assert!(output.status.success(), "{script}: {output:?}");
}

fn root_does(script: &str, arguments: &[&Path]) {
    let mut command = Command::new("sh");
    let output = command.args(["-ec", script, "sh"]).args(arguments).output();
    assert!(output.unwrap().status.success(), "{script}");
}

/// Ends in time, whatever lies in its way.
fn ends(mut process: Process) {
    process.signal(rustix::process::Signal::TERM);
    let status = process.wait(Duration::from_secs(10));
    assert_eq!(status.code(), Some(0), "{}", process.output());
}

/// No file below that directory holds a private key that the other one could read.
fn holds_no_key(directory: &Path) {
    let script = "! grep -rl 'PRIVATE KEY' \"$1\" 2>/dev/null";
    other_does(script, &[directory]);
    let mut found = Command::new("grep");
    let found = found.args(["-rl", "PRIVATE KEY"]).arg(directory).output();
    assert_eq!(found.unwrap().stdout, b"", "in {}", directory.display());
}
