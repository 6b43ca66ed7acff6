//! The application and Nomad as the agents reach them.
//!
//! Never reads files unless it starts or is reloaded. What stays true: each reload that reached it is
//! counted by generation.

use std::time::Duration;

use tokio::time::sleep;

use super::{
    faults::Fault,
    world::{Instance, State, World},
};
use crate::{
    agent::{Application, Doing},
    config::ProbeTarget,
    model::{
        leaf::CertFacts,
        pem,
        reload::{Action, Delivery, ReloadFailure},
        served::Served,
    },
    probe::{Identity, ProbeFailure},
    reload::{
        Event,
        loki::Version,
        nomad::{Lock, Taken},
    },
    testing::application::serving,
};

impl World {
    /// The application reads its files, as at its start.
    pub(super) fn load(&self) {
        let text = std::fs::read_to_string(self.dir.join("cert.pem")).unwrap_or_default();
        let blocks = pem::parse(&text).unwrap_or_default();
        let Some(leaf) = blocks
            .first()
            .and_then(|block| CertFacts::read(&block.der).ok())
        else {
            return;
        };
        let mut state = self.state();
        state.note(|| {
            format!(
                "the application loads the certificate until {}",
                super::world::since_start(leaf.not_after)
            )
        });
        state.app.first.get_or_insert_with(|| leaf.clone());
        state.app.serves = Some(leaf);
    }
}

impl Instance {
    async fn reload(&self, action: &Action, event: &Event) -> Result<Delivery, ReloadFailure> {
        self.while_alive().await;
        let slow = self.world.state().is(Fault::AppSlow);
        sleep(Duration::from_secs(slow.unwrap_or(0).into())).await;
        self.while_alive().await;
        let mut state = self.world.state();
        if state.is(Fault::AppFails).is_some() {
            let message = "the socket does not answer".to_owned();
            return Err(ReloadFailure::passing("nomad-unreachable", message, ""));
        }
        if state.app.serves.is_none() {
            return Ok(Delivery::NotRunning);
        }
        state.told(action, event, self.number);
        if state.is(Fault::AppIgnores).is_none() {
            drop(state);
            self.world.load();
        }
        Ok(Delivery::Delivered)
    }
}

impl State {
    fn told(&mut self, action: &Action, event: &Event, instance: u32) {
        self.note(|| {
            format!(
                "agent {instance} reloads the application by {}",
                action.name()
            )
        });
        let key = (event.generation.clone(), self.app.losses, action.name());
        let times = self.app.told.entry(key).or_default();
        *times += 1;
        if *times > 2 {
            self.breaks(|| {
                "the application was reloaded three times for one generation".to_owned()
            });
        }
    }
}

impl Application for Instance {
    fn perform<'a>(
        &'a self,
        action: &'a Action,
        event: &'a Event,
    ) -> Doing<'a, Result<Delivery, ReloadFailure>> {
        Box::pin(self.reload(action, event))
    }

    fn probe<'a>(
        &'a self,
        _: &'a ProbeTarget,
        _: &'a Identity,
    ) -> Doing<'a, Result<Served, ProbeFailure>> {
        Box::pin(async {
            self.while_alive().await;
            serving(self.world.state().app.serves.clone())
        })
    }

    fn version<'a>(&'a self, _url: &'a str) -> Doing<'a, Result<Version, String>> {
        Box::pin(async { Err("no process answers".to_owned()) })
    }

    fn remember(&self, _action: &Action) {}

    fn acquire<'a>(
        &'a self,
        path: &'a str,
        ttl: Duration,
    ) -> Doing<'a, Result<Taken, ReloadFailure>> {
        Box::pin(async move {
            self.while_alive().await;
            let taken = self.world.state().is(Fault::LockTaken).is_some();
            Ok(if taken {
                Taken::Held
            } else {
                Taken::Mine(Lock::held(path, "1", ttl))
            })
        })
    }

    fn renew<'a>(&'a self, _lock: &'a Lock) -> Doing<'a, Result<bool, ReloadFailure>> {
        Box::pin(async { Ok(true) })
    }

    fn release(&self, _lock: Lock) -> Doing<'_, Result<(), ReloadFailure>> {
        Box::pin(async { Ok(()) })
    }
}
