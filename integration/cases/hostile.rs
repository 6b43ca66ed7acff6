//! Another user of the host, in each place where Nomad lets one write: `alloc/` and `secrets/`.
//!
//! The agent runs as root, as under raw_exec, and the other one as `nobody`; so every test needs
//! root: `cargo test --test integration hostile:: -- --ignored`. What stays true: the key never
//! lies where the other could read it, a refusal names path and owner, and the files that are live
//! keep their bytes.

mod directories;
mod files;
mod hardening;
mod hooks;
mod network;
mod pipes;
mod process;
mod sockets;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use tempfile::TempDir;

use crate::rig::{Embedded, PATIENCE, Process, certagent, wait_for};

/// `nobody`, who owns Nomad's directories too.
const NOBODY: u32 = 65_534;

/// How long a test watches that nothing happens.
const A_WHILE: Duration = Duration::from_secs(3);

/// An allocation as Nomad makes it, and a server.
struct Allocation {
    temp: TempDir,
    server: Embedded,
}

impl Allocation {
    fn new() -> Self {
        assert!(rustix::process::geteuid().is_root(), "this test needs root");
        let temp = tempfile::tempdir().unwrap();
        mode(temp.path(), 0o755);
        for name in ["alloc", "secrets"] {
            let path = temp.path().join(name);
            fs::create_dir(&path).unwrap();
            mode(&path, 0o777);
            chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        Self {
            temp,
            server: Embedded::start(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    fn certs(&self) -> PathBuf {
        self.path("secrets/certs")
    }

    fn ready_file(&self) -> PathBuf {
        self.path("alloc/certagent/ready.json")
    }

    fn command(&self, name: &str, settings: &[&str]) -> Command {
        let mut command = certagent([name]);
        command
            .args(["--component", "ingester", "--mount", "pki_int"])
            .args(["--role", "internal", "--ip-sans", "127.0.0.1"])
            .args(settings);
        fit_out(&mut command, &self.server, self.temp.path());
        command
    }

    fn run(&self, settings: &[&str]) -> Process {
        Process::start(&mut self.command("run", settings))
    }

    /// Started, with files published and the ready file written.
    fn running(&self, settings: &[&str]) -> Process {
        let process = self.run(settings);
        wait_for("the certificate files and the ready file", PATIENCE, || {
            (self.live("key.pem").is_some() && self.ready_file().exists()).then_some(())
        });
        process
    }

    /// A live file, as root sees it.
    fn live(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.certs().join(name)).ok()
    }

    /// The live set as it is now.
    fn record(&self) -> LiveSet {
        LiveSet::of(&self.certs())
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
    }
}

/// The environment of a task of an allocation whose directories are below `home`.
fn fit_out(command: &mut Command, server: &Embedded, home: &Path) {
    command
        .env("PATH", "/usr/bin:/bin")
        .env("VAULT_ADDR", &server.address)
        .env("VAULT_TOKEN", &server.token)
        .env("NOMAD_ALLOC_DIR", home.join("alloc"))
        .env("NOMAD_SECRETS_DIR", home.join("secrets"));
}

/// Names, links and bytes below a certificate directory, as root sees them; without the agent's
/// record, which counts failures too.
#[derive(Debug, PartialEq, Eq)]
struct LiveSet(BTreeMap<PathBuf, Vec<u8>>);

impl LiveSet {
    fn of(directory: &Path) -> Self {
        let mut found = BTreeMap::new();
        let mut ahead = vec![directory.to_owned()];
        while let Some(next) = ahead.pop() {
            for entry in fs::read_dir(&next).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(directory).unwrap().to_owned();
                if name.to_string_lossy().starts_with("..state.json") {
                    continue;
                }
                let kind = fs::symlink_metadata(&path).unwrap().file_type();
                let bytes = match (kind.is_symlink(), kind.is_dir()) {
                    (true, _) => fs::read_link(&path)
                        .unwrap()
                        .into_os_string()
                        .into_encoded_bytes(),
                    (_, true) => Vec::new(),
                    _ => fs::read(&path).unwrap(),
                };
                if kind.is_dir() {
                    ahead.push(path.clone());
                }
                found.insert(name, bytes);
            }
        }
        assert!(
            found.contains_key(Path::new("key.pem")),
            "{:?}",
            found.keys()
        );
        Self(found)
    }

    /// After a refusal: not a byte, not a name is another. Shows names only.
    fn is_unchanged_in(&self, directory: &Path) {
        let now = Self::of(directory);
        let (before, after) = (self.0.keys(), now.0.keys());
        assert!(before.eq(after), "{:?} {:?}", self.0.keys(), now.0.keys());
        for (name, bytes) in &self.0 {
            assert!(now.0.get(name) == Some(bytes), "{} changed", name.display());
        }
    }
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
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
