//! An issuer, directories, and the agent and the application in them.
//!
//! Never shares a directory between tests.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use certagent::{
    model::{leaf::CertFacts, pem, secret::Secret},
    probe::Identity,
};
use serde_json::Value;

use super::STEP;
use crate::{
    apps::{
        look,
        stubborn::{Behaviour, Stubborn},
        target,
    },
    rig::{Embedded, Place, Process, free_ports, wait_for},
};

/// Four steps of a second take four; the rest is for a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// One issuer for several certificates.
pub(super) struct Bench(Embedded);

impl Bench {
    pub(super) fn new() -> Self {
        Self(Embedded::start())
    }

    /// Directories and an address that are nobody else's.
    pub(super) fn place(&self) -> Application {
        Application {
            place: Place::beside(&self.0),
            address: format!("127.0.0.1:{}", free_ports().0),
            step: STEP,
            settings: Vec::new(),
        }
    }
}

/// One certificate and its application.
pub(super) struct Application {
    place: Place,
    address: String,
    /// How long each step of a list has.
    pub(super) step: &'static str,
    /// What the test adds to the agent's arguments.
    pub(super) settings: Vec<String>,
}

impl Application {
    pub(super) fn home(&self) -> &Path {
        self.place.home()
    }

    fn dir(&self) -> PathBuf {
        self.place.certs()
    }

    pub(super) fn pid_file(&self) -> PathBuf {
        self.place.path("pid")
    }

    /// Starts the agent.
    pub(super) fn start(&self) -> Process {
        let settings = [
            "--ttl",
            "10d",
            "--max-issuances-per-hour",
            "1000",
            "--app",
            "generic",
            "--verify-timeout",
            self.step,
            "--probe-interval",
            "1s",
            "--ca-poll-interval",
            "0",
            "--probe-address",
            &self.address,
            "--reload-signal",
            "SIGHUP",
        ];
        let mut command = self.place.agent(&settings);
        command
            .arg("--reload-pid-file")
            .arg(self.pid_file())
            .args(&self.settings);
        Process::start(&mut command)
    }

    /// Starts the application on the published set.
    pub(super) fn start_app(&self, behaviour: Behaviour) -> Stubborn {
        self.start_app_on(&self.dir(), behaviour)
    }

    /// Starts the application on another one.
    pub(super) fn start_app_on(&self, dir: &Path, behaviour: Behaviour) -> Stubborn {
        let app = Stubborn::start_on(dir, behaviour, &self.address);
        fs::write(self.pid_file(), format!("{}\n", app.process.pid())).unwrap();
        app
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.dir().join(name)).unwrap()
    }

    /// Serial of the published leaf.
    pub(super) fn serial(&self) -> String {
        let blocks = pem::parse(&self.text("cert.pem")).unwrap();
        CertFacts::read(&blocks[0].der).unwrap().serial
    }

    /// The agent's durable record.
    pub(super) fn state(&self) -> Value {
        self.place.state()
    }

    /// A judge that is not the agent: what is published is what is served.
    pub(super) fn assert_served(&self) {
        let key = Secret::new(self.text("key.pem"));
        let own = Identity::new(&self.text("CA.pem"), &self.text("cert.pem"), Some(&key)).unwrap();
        assert_eq!(look(&target(&self.address), &own).1, Ok(()));
    }
}

/// How often the agent said that the proof came.
pub(super) fn verified(log: &str) -> usize {
    log.matches("verified: the application serves").count()
}

/// Waits until the agent's log is as wished.
pub(super) fn wait_until(agent: &Process, what: &str, wished: impl Fn(&str) -> bool) {
    let reloaded = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        wait_for(what, LIMIT, || wished(&agent.stderr()).then_some(()));
    }));
    assert!(reloaded.is_ok(), "no {what}\n{}", agent.output());
}
