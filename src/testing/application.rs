//! An application in memory: reads the certificate files of a directory when it should, or not.
//!
//! Never listens. What stays true: whatever was done to it is in its log with the wall time.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::time::sleep;

use crate::{
    agent::{Application, Doing},
    clock::Clock,
    config::ProbeTarget,
    model::{
        leaf::CertFacts,
        pem,
        reload::{Action, Delivery, ReloadFailure},
        served::{Accepted, ChainTrust, Served},
        time::Timestamp,
    },
    probe::{Identity, ProbeFailure},
    reload::Event,
    reload::loki::Version,
    reload::nomad::{Lock, Taken},
    testing::{clock::TestClock, lock::FakeLock},
};

/// What it does at a reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Habit {
    /// Reads the files.
    Reloads,
    /// Nothing.
    Ignores,
    /// The action fails.
    Fails(ReloadFailure),
}

/// One action that reached it.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) at: Timestamp,
    pub(crate) action: String,
    pub(crate) event: &'static str,
    pub(crate) serial: String,
}

/// How it behaves from now on.
pub(crate) struct Behaviour {
    pub(crate) habit: Habit,
    /// How long an action takes.
    pub(crate) latency: Duration,
    /// It reads the files before each handshake.
    pub(crate) hot: bool,
    /// Serials that it breaks on.
    pub(crate) breaks_on: Option<fn(&str) -> bool>,
    /// What Loki says about itself.
    pub(crate) version: Option<Version>,
    /// Another allocation holds the lock.
    pub(crate) locked: bool,
    /// The name and the lock of a job of several, where there is one.
    pub(crate) lock: Option<(String, Arc<FakeLock>)>,
}

struct Inner {
    behaviour: Behaviour,
    /// The leaf in use; absent before the start.
    leaf: Option<CertFacts>,
    heard: Vec<Heard>,
    probes: usize,
}

/// The application of the tests of the loop.
pub(crate) struct FakeApplication {
    clock: Arc<TestClock>,
    dir: PathBuf,
    inner: Mutex<Inner>,
}

impl FakeApplication {
    /// One that has not been started and reloads when it is asked to.
    pub(crate) fn new(clock: Arc<TestClock>, dir: PathBuf) -> Self {
        let behaviour = Behaviour {
            habit: Habit::Reloads,
            latency: Duration::ZERO,
            hot: false,
            breaks_on: None,
            version: None,
            locked: false,
            lock: None,
        };
        Self {
            clock,
            dir,
            inner: Mutex::new(Inner {
                behaviour,
                leaf: None,
                heard: Vec::new(),
                probes: 0,
            }),
        }
    }

    /// Reads the files, as at its start.
    pub(crate) fn load(&self) {
        let text = std::fs::read_to_string(self.dir.join("cert.pem")).unwrap();
        let leaf = CertFacts::read(&pem::parse(&text).unwrap()[0].der).unwrap();
        self.inner().leaf = Some(leaf);
    }

    pub(crate) fn behave(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.inner().behaviour);
    }

    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.inner().heard.clone()
    }

    /// How often it was looked at.
    pub(crate) fn probes(&self) -> usize {
        self.inner().probes
    }

    fn lock(&self) -> Option<(String, Arc<FakeLock>)> {
        self.inner().behaviour.lock.clone()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    fn seen(&self) -> Result<Served, ProbeFailure> {
        if self.inner().behaviour.hot && self.inner().leaf.is_some() {
            self.load();
        }
        let mut inner = self.inner();
        inner.probes += 1;
        let breaks = inner.behaviour.breaks_on;
        let leaf = inner
            .leaf
            .clone()
            .filter(|leaf| breaks.is_none_or(|breaks| !breaks(&leaf.serial)));
        serving(leaf)
    }
}

/// What a probe finds at an application with this leaf, or at none.
pub(crate) fn serving(leaf: Option<CertFacts>) -> Result<Served, ProbeFailure> {
    match leaf {
        Some(leaf) => Ok(Served {
            serial: leaf.serial,
            sha256: leaf.sha256,
            issuer: String::new(),
            subject: leaf.subject,
            not_before: leaf.not_before,
            not_after: leaf.not_after,
            trust: ChainTrust::Verified,
            accepted: Accepted::Yes { sent: true },
            health: None,
            version: None,
            alpn: None,
        }),
        None => Err(ProbeFailure {
            code: "probe-refused",
            message: "no process listens".to_owned(),
            hint: "",
        }),
    }
}

impl Application for FakeApplication {
    fn perform<'a>(
        &'a self,
        action: &'a Action,
        event: &'a Event,
    ) -> Doing<'a, Result<Delivery, ReloadFailure>> {
        Box::pin(async move {
            let latency = self.inner().behaviour.latency;
            sleep(latency).await;
            let heard = Heard {
                at: self.clock.now(),
                action: action.name().to_owned(),
                event: event.kind.name(),
                serial: event.serial.clone(),
            };
            self.inner().heard.push(heard);
            let habit = self.inner().behaviour.habit.clone();
            match habit {
                Habit::Reloads => self.load(),
                Habit::Ignores => {}
                Habit::Fails(failure) => return Err(failure),
            }
            Ok(Delivery::Delivered)
        })
    }

    fn probe<'a>(
        &'a self,
        _target: &'a ProbeTarget,
        _identity: &'a Identity,
    ) -> Doing<'a, Result<Served, ProbeFailure>> {
        Box::pin(async move { self.seen() })
    }

    fn version<'a>(&'a self, _url: &'a str) -> Doing<'a, Result<Version, String>> {
        let version = self.inner().behaviour.version;
        Box::pin(async move { version.ok_or_else(|| "nobody answers".to_owned()) })
    }

    fn remember(&self, _action: &Action) {}

    fn acquire<'a>(
        &'a self,
        path: &'a str,
        ttl: Duration,
    ) -> Doing<'a, Result<Taken, ReloadFailure>> {
        let locked = self.inner().behaviour.locked;
        Box::pin(async move {
            if let Some((name, lock)) = self.lock() {
                return Ok(lock.take(&name, path, ttl));
            }
            if locked {
                return Ok(Taken::Held);
            }
            Err(ReloadFailure::lasting(
                "nomad-lock-denied",
                "no".to_owned(),
                "",
            ))
        })
    }

    fn renew<'a>(&'a self, lock: &'a Lock) -> Doing<'a, Result<bool, ReloadFailure>> {
        Box::pin(async { Ok(self.lock().is_none_or(|(_, held)| held.renew(lock))) })
    }

    fn release(&self, lock: Lock) -> Doing<'_, Result<(), ReloadFailure>> {
        Box::pin(async move {
            if let Some((_, held)) = self.lock() {
                held.release(&lock);
            }
            Ok(())
        })
    }
}
