//! Which files and privileges a configuration needs.
//!
//! Never opens anything. What stays true: a directory that another user may exchange while the process
//! runs is reached from the one above it.

use std::{
    collections::BTreeSet,
    path::{self, Path, PathBuf},
};

use rustix::thread::CapabilitySet;

use crate::{
    config::{Config, Environment, Listen, ReloadConfig, ReloadStep},
    disk,
    model::reload::{Action, SignalTarget},
};

/// What names, trust anchors, random numbers and processes are looked up in.
const SYSTEM: [&str; 17] = [
    "/etc",
    "/usr",
    "/lib",
    "/lib64",
    "/nix/store",
    "/gnu/store",
    "/proc",
    "/sys",
    "/dev/null",
    "/dev/random",
    "/dev/urandom",
    "/run/NetworkManager",
    "/run/nscd",
    "/run/resolvconf",
    "/run/systemd/resolve",
    "/var/lib/ca-certificates",
    "/var/run/nscd",
];

/// Directories, and files of the system.
#[derive(Debug, Default)]
pub(super) struct Places {
    pub(super) read: BTreeSet<PathBuf>,
    pub(super) written: BTreeSet<PathBuf>,
}

impl Places {
    pub(super) fn of(config: &Config, environment: &Environment) -> Self {
        let mut places = Self {
            read: SYSTEM.iter().map(PathBuf::from).collect(),
            written: BTreeSet::new(),
        };
        for one in &config.certificates {
            places.write(&one.files.dir, 1);
            one.ready_file.iter().for_each(|path| places.write(path, 2));
            one.extra_ca.iter().for_each(|path| places.file(path));
            let reloads = one.reload.iter().flat_map(actions);
            for action in reloads {
                if let Action::Signal {
                    target: SignalTarget::PidFile(path),
                    ..
                } = action
                {
                    places.file(path);
                }
            }
        }
        if let Some(Listen::Unix(path)) = &config.http {
            places.write(path, 2);
        }
        config
            .status
            .iter()
            .for_each(|one| places.write(&one.path, 2));
        let tls = &config.vault.tls;
        let files = [&tls.ca_cert, &tls.client_cert, &tls.client_key];
        let files = files.into_iter().flatten();
        files.for_each(|path| places.file(path));
        tls.ca_path.iter().for_each(|path| places.directory(path));
        let login = config.auth.credential();
        login.into_iter().for_each(|file| places.file(&file.path));
        let named = |name: &str| environment.get(name).filter(|text| !text.is_empty());
        for name in ["SSL_CERT_FILE", "NOMAD_CACERT"] {
            named(name)
                .into_iter()
                .for_each(|path| places.file(Path::new(path)));
        }
        for name in ["SSL_CERT_DIR", "NOMAD_SECRETS_DIR"] {
            named(name)
                .into_iter()
                .for_each(|path| places.directory(Path::new(path)));
        }
        places
    }

    /// A file may be replaced by another one, and be a link.
    fn file(&mut self, path: &Path) {
        for path in [Some(path.to_owned()), target(path)].into_iter().flatten() {
            self.read.insert(above(&path, 1));
        }
    }

    fn directory(&mut self, path: &Path) {
        self.read.extend(path::absolute(path));
        self.read.extend(target(path));
    }

    /// `levels` directories above the path, so that those below may be made again.
    fn write(&mut self, path: &Path, levels: usize) {
        self.written.insert(above(path, levels));
        self.written
            .extend(target(path).map(|path| above(&path, levels)));
    }
}

/// Where links lead.
fn target(path: &Path) -> Option<PathBuf> {
    #[expect(
        clippy::disallowed_methods,
        reason = "names a place for a rule; nothing is opened or trusted by it"
    )]
    path.canonicalize().ok()
}

/// The directory so many levels above; a higher one while it is not there, but not the root while a
/// lower one is.
fn above(path: &Path, levels: usize) -> PathBuf {
    let path = path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let there = |one: &&Path| disk::look(one).is_ok();
    let high = path.ancestors().skip(levels).find(there);
    let root = high.is_none_or(|one| one.parent().is_none());
    let lower = path.ancestors().take(levels).skip(1).last();
    let found = match root {
        true => lower.filter(there).or(high),
        false => high,
    };
    found.unwrap_or(&path).to_owned()
}

fn actions(reload: &ReloadConfig) -> impl Iterator<Item = &Action> {
    let steps = reload.on_cert_change.iter().chain(&reload.on_ca_change);
    steps.filter_map(|step| match step {
        ReloadStep::Do(action) => Some(action),
        ReloadStep::Auto => None,
    })
}

fn all_actions(config: &Config) -> impl Iterator<Item = &Action> {
    let certificates = config.certificates.iter();
    let reloads = certificates.filter_map(|one| one.reload.as_ref());
    reloads.flat_map(actions)
}

/// Does a reload start a program?
pub(super) fn starts_programs(config: &Config) -> bool {
    all_actions(config).any(|action| matches!(action, Action::Exec { .. }))
}

/// What root keeps: to reach, own and repair files of other users, to signal their processes, to
/// listen at a low port.
pub(super) fn needed(config: &Config, programs: bool) -> CapabilitySet {
    let mut needed = CapabilitySet::DAC_OVERRIDE | CapabilitySet::CHOWN | CapabilitySet::FOWNER;
    let signals = all_actions(config).any(|action| matches!(action, Action::Signal { .. }));
    if programs || signals {
        needed |= CapabilitySet::KILL;
    }
    let low = |at: &Listen| matches!(at, Listen::Tcp(address) if address.port() < 1024);
    if config.http.as_ref().is_some_and(low) {
        needed |= CapabilitySet::NET_BIND_SERVICE;
    }
    needed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_may_be_exchanged_is_reached_from_above_but_not_from_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path();
        assert_eq!(above(&base.join("secrets/certs"), 1), base);
        assert_eq!(above(&base.join("certs"), 1), base);
        assert_eq!(above(&base.join("alloc/certagent/ready.json"), 2), base);
        assert_eq!(above(Path::new("/usr/ready.json"), 2), Path::new("/usr"));
        assert_eq!(above(Path::new("/none/certs"), 1), Path::new("/"));
        assert_eq!(above(Path::new("/token"), 1), Path::new("/"));
    }
}
