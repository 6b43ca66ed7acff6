//! What the loop can do to the application, and learn from it; and the real thing.
//!
//! Never decides (`model/reload.rs`). What stays true: every call has a limit of its own.

use std::{future::Future, pin::Pin, time::Duration};

use crate::{
    config::{Environment, ProbeTarget},
    model::{
        reload::{Action, Delivery, ReloadFailure},
        served::Served,
    },
    probe::{self, Identity, ProbeFailure},
    reload::{
        ActionRunner, Event,
        loki::{self, Version},
        nomad::{Lock, Taken},
    },
};

/// Something under way.
pub type Doing<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One application, or all of an allocation.
pub trait Application: Send + Sync {
    /// Performs one action; returns when it is done.
    fn perform<'a>(
        &'a self,
        action: &'a Action,
        event: &'a Event,
    ) -> Doing<'a, Result<Delivery, ReloadFailure>>;

    /// Probes once what is served.
    fn probe<'a>(
        &'a self,
        target: &'a ProbeTarget,
        identity: &'a Identity,
    ) -> Doing<'a, Result<Served, ProbeFailure>>;

    /// Loki's version, when Loki at `url` tells it.
    fn version<'a>(&'a self, url: &'a str) -> Doing<'a, Result<Version, String>>;

    /// Remembers the process that an action means, so that another one with its id is known.
    fn remember(&self, action: &Action);

    /// Asks for a lock.
    fn acquire<'a>(
        &'a self,
        path: &'a str,
        ttl: Duration,
    ) -> Doing<'a, Result<Taken, ReloadFailure>>;

    /// Keeps a lock; false when it has lapsed.
    fn renew<'a>(&'a self, lock: &'a Lock) -> Doing<'a, Result<bool, ReloadFailure>>;

    /// Gives a lock back.
    fn release(&self, lock: Lock) -> Doing<'_, Result<(), ReloadFailure>>;
}

/// The application of this allocation.
#[derive(Debug)]
pub struct LocalApplication(ActionRunner);

impl LocalApplication {
    /// By what `reloader` can do.
    #[must_use]
    pub fn new(reloader: ActionRunner) -> Self {
        Self(reloader)
    }

    /// One that only probes and does what needs no environment: outside of Nomad.
    #[must_use]
    pub fn plain() -> Self {
        let missing =
            ReloadFailure::lasting("nomad-missing", "there is no Nomad here".to_owned(), "");
        Self(ActionRunner::new(Err(missing), &Environment::new()))
    }
}

impl Application for LocalApplication {
    fn perform<'a>(
        &'a self,
        action: &'a Action,
        event: &'a Event,
    ) -> Doing<'a, Result<Delivery, ReloadFailure>> {
        Box::pin(self.0.perform(action, event))
    }

    fn probe<'a>(
        &'a self,
        target: &'a ProbeTarget,
        identity: &'a Identity,
    ) -> Doing<'a, Result<Served, ProbeFailure>> {
        Box::pin(probe::probe(target, identity))
    }

    fn version<'a>(&'a self, url: &'a str) -> Doing<'a, Result<Version, String>> {
        Box::pin(loki::version(url))
    }

    fn remember(&self, action: &Action) {
        self.0.remember(action);
    }

    fn acquire<'a>(
        &'a self,
        path: &'a str,
        ttl: Duration,
    ) -> Doing<'a, Result<Taken, ReloadFailure>> {
        Box::pin(async move { self.0.nomad()?.acquire(path, ttl).await })
    }

    fn renew<'a>(&'a self, lock: &'a Lock) -> Doing<'a, Result<bool, ReloadFailure>> {
        Box::pin(async move { self.0.nomad()?.renew(lock).await })
    }

    fn release(&self, lock: Lock) -> Doing<'_, Result<(), ReloadFailure>> {
        Box::pin(async move { self.0.nomad()?.release(lock).await })
    }
}
