//! An issuer, a directory, and agents in it: what most cases begin with.
//!
//! Never shares a directory between cases. What stays true: a command of a place has no other
//! environment than the place's own.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;
use tempfile::TempDir;

use super::{Embedded, NOBODY, OpenBao, certagent, memory_dir};

/// One directory and the issuer that agents in it ask.
pub(crate) struct Place {
    home: TempDir,
    /// The issuer's, `http://host:port`.
    pub(crate) address: String,
    /// It may issue there.
    pub(crate) token: String,
    environment: BTreeMap<String, OsString>,
    embedded: Option<Embedded>,
}

impl Place {
    /// With an embedded PKI of its own.
    pub(crate) fn new() -> Self {
        let embedded = Embedded::start();
        let mut place = Self::beside(&embedded);
        place.embedded = Some(embedded);
        place
    }

    /// As [`Self::new`], with the directories of a Nomad allocation, which every user may write.
    pub(crate) fn allocation() -> Self {
        let mut place = Self::new();
        set_mode(place.home(), 0o755);
        for (name, variable) in [
            ("alloc", "NOMAD_ALLOC_DIR"),
            ("secrets", "NOMAD_SECRETS_DIR"),
        ] {
            let path = place.path(name);
            fs::create_dir(&path).unwrap();
            set_mode(&path, 0o777);
            if rustix::process::geteuid().is_root() {
                chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
            }
            place.set(variable, path);
        }
        place.set("PATH", "/usr/bin:/bin");
        place
    }

    /// With an OpenBao that others use too.
    pub(crate) fn at(server: &OpenBao) -> Self {
        Self::of(&server.address, &server.token)
    }

    /// With an embedded PKI that others use too.
    pub(crate) fn beside(embedded: &Embedded) -> Self {
        Self::of(&embedded.address, &embedded.token)
    }

    /// With whatever answers there.
    pub(crate) fn of(address: &str, token: &str) -> Self {
        let mut place = Self {
            home: memory_dir(),
            address: address.to_owned(),
            token: token.to_owned(),
            environment: BTreeMap::new(),
            embedded: None,
        };
        place.set("VAULT_ADDR", address);
        place.set("VAULT_TOKEN", token);
        place
    }

    /// A variable that each later command gets.
    pub(crate) fn set(&mut self, name: &str, value: impl AsRef<OsStr>) {
        let value = value.as_ref().to_owned();
        self.environment.insert(name.to_owned(), value);
    }

    /// No later command gets these.
    pub(crate) fn unset(&mut self, names: &[&str]) {
        self.environment
            .retain(|name, _| !names.contains(&name.as_str()));
    }

    /// What each later command gets.
    pub(crate) fn variable(&self, name: &str) -> Option<&OsStr> {
        self.environment.get(name).map(OsString::as_os_str)
    }

    /// Ends the embedded PKI; its port is closed when this returns.
    pub(crate) fn end_issuer(&mut self) {
        assert!(self.embedded.take().is_some(), "no issuer of its own");
    }

    /// The directory itself.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// Something in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home().join(name)
    }

    /// The certificate files of [`Self::agent`].
    pub(crate) fn certs(&self) -> PathBuf {
        self.path("secrets/certs")
    }

    /// `certagent` with these arguments, in the place's environment.
    pub(crate) fn certagent(&self, arguments: &[&str]) -> Command {
        let mut command = certagent(arguments);
        self.fit_out(&mut command);
        command
    }

    /// What [`Self::certagent`] has, for another program.
    pub(crate) fn fit_out(&self, command: &mut Command) {
        command.envs(&self.environment);
    }

    /// `certagent COMMAND` for one certificate of an ingester.
    pub(crate) fn one(&self, command: &str) -> Command {
        self.certagent(&[
            command,
            "--component",
            "ingester",
            "--mount",
            "pki_int",
            "--ip-sans",
            "127.0.0.1",
        ])
    }

    /// `certagent run` for that certificate, published in [`Self::certs`].
    pub(crate) fn agent(&self, settings: &[&str]) -> Command {
        let mut command = self.one("run");
        command.args(settings).arg("--dir").arg(self.certs());
        command
    }

    /// A block of a configuration file: an ingester's certificate in the directory of that name.
    pub(crate) fn block(&self, name: &str, role: &str, more: &str) -> String {
        format!(
            "certificate {name:?} {{\n  component = {name:?}\n  mount = \"pki_int\"\n  role = {role:?}\n  \
             ip_sans = [\"127.0.0.1\"]\n  dir = {:?}\n{more}}}\n",
            self.path(name)
        )
    }

    /// Writes a configuration file.
    pub(crate) fn config(&self, text: &str) -> PathBuf {
        let file = self.path("certagent.hcl");
        fs::write(&file, text).unwrap();
        file
    }

    /// Runs a command to its end.
    pub(crate) fn ask(&self, arguments: &[&str]) -> Output {
        self.certagent(arguments).output().unwrap()
    }

    /// CA.pem, cert.pem, key.pem of one generation.
    pub(crate) fn files(&self) -> Option<[String; 3]> {
        let certs = self.certs();
        let base = certs.join(fs::read_link(certs.join("..data")).ok()?);
        let read = |name: &str| fs::read_to_string(base.join(name)).ok();
        Some([read("CA.pem")?, read("cert.pem")?, read("key.pem")?])
    }

    /// The agent's durable record.
    pub(crate) fn state(&self) -> Value {
        let text = fs::read(self.certs().join("..state.json")).unwrap();
        serde_json::from_slice(&text).unwrap()
    }
}

/// As chmod(1).
pub(crate) fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}
