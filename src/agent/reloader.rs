//! The second loop of a certificate: look at the row about the live generation, decide, tell or
//! probe, record.
//!
//! Never decides (`model/reload.rs`) and never waits for the issuer, as the first loop never waits for
//! the application. What stays true: an attempt is on record before it leaves; nothing is done before
//! the proof where a probe is configured.

mod lock;
mod log;
mod plan;

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, task::yield_now};
use tracing::debug;

use self::{lock::Turn, plan::Plan};
use super::{Certificate, holdings::Shared, renewer::Context, wall};
use crate::{
    clock::Clock,
    config::{CertConfig, Step},
    control::Inputs,
    model::{
        reload::{self, Action, Finding, Probed, ReloadNext, ReloadPolicy, ReloadRecord, Verdict},
        time::Timestamp,
    },
    probe::Identity,
    reload::Event,
    status::{App, LastProbe, LastReload, LastVerified, Status},
};

/// After this something that could not be recorded is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// Tells one certificate's application.
pub(super) struct Reloader<I, C> {
    config: CertConfig,
    context: Arc<Context<I, C>>,
    inputs: Arc<Inputs>,
    store: Shared,
    status: watch::Sender<Status>,
    app: App,
    /// The newest probe.
    probed: Option<Probed>,
    /// Our own set as the probe uses it, and its generation.
    identity: Option<(String, Identity)>,
    plan: Option<Plan>,
    turn: Turn,
    /// The last trouble that is in the log already.
    said: Option<String>,
}

impl<I, C: Clock> Reloader<I, C> {
    pub(super) fn new(certificate: &Certificate, context: Arc<Context<I, C>>) -> Self {
        Self {
            config: certificate.config.clone(),
            context,
            inputs: Arc::clone(&certificate.inputs),
            store: certificate.store.clone(),
            status: certificate.status.clone(),
            app: App {
                probed: certificate.config.probe.is_some(),
                ..App::default()
            },
            probed: None,
            identity: None,
            plan: None,
            turn: Turn::default(),
            said: None,
        }
    }

    /// Runs until cancelled.
    pub(super) async fn run(mut self) {
        let context = Arc::clone(&self.context);
        let _cancelled = context.cancel.run_until_cancelled(self.tell()).await;
        // what is held by then lapses by itself
    }

    async fn tell(&mut self) {
        self.remember();
        loop {
            let row = self.store.lock().outbox(self.now());
            match row {
                Some(row) => self.step(row).await,
                None => self.inputs.published().await,
            }
            yield_now().await;
        }
    }

    async fn step(&mut self, row: ReloadRecord) {
        let policy = self.policy(&row).await;
        let now = self.now();
        self.show(&row, now);
        match reload::next(&row, &policy, self.probed.as_ref(), now) {
            ReloadNext::Act(step) => self.act(row, step, &policy).await,
            ReloadNext::Probe => self.probe(&row, &policy).await,
            ReloadNext::WaitUntil(at, why) => {
                debug!(why = why.name(), "nothing to tell before {at}: {why}");
                self.wait(at).await;
            }
            ReloadNext::Done if self.settle().await => self.wait(Timestamp::MAX).await,
            ReloadNext::Done => self.inputs.published().await,
            ReloadNext::Alarm(why) => {
                let text = log::alarm(&row, &policy, why, &self.app, &self.config);
                self.alarm(row, text).await;
            }
            ReloadNext::Rollback => self.roll_back(&row),
        }
    }

    /// One attempt of one step.
    async fn act(&mut self, row: ReloadRecord, step: usize, policy: &ReloadPolicy) {
        let Some(action) = policy.actions(row.event).get(step).cloned() else {
            return;
        };
        if action.touches() && !self.take(&row, policy).await {
            return;
        }
        let Some(mut row) = self.newest(&row) else {
            return;
        };
        row.begin(step, self.now());
        if action.touches() {
            let recorded = self.store.lock().record_outbox(row.clone());
            if let Err(failure) = recorded {
                // unrecorded it could be repeated for ever
                log::unrecorded(&mut self.said, &failure);
                return self.pause(AGAIN).await;
            }
        }
        let event = self.event(&row);
        let began = self.now();
        let result = match &action {
            Action::None => Ok(reload::Delivery::Delivered),
            action => self.context.application.perform(action, &event).await,
        };
        let now = self.now();
        let Some(newest) = self.newest(&row) else {
            debug!("another set was published meanwhile; it is told of that one now");
            return;
        };
        row.generation = newest.generation;
        let outcome = result
            .as_ref()
            .map_or_else(|failure| failure.code, |_| "ok");
        if action.touches() {
            log::told(&action, &row, &result, now.since(began));
            *self.app.tells.entry((action.name(), outcome)).or_default() += 1;
        }
        row.answered(result.map_err(Into::into), policy, now);
        let done = row.attested_at.is_some();
        let mut store = self.store.lock();
        if action.touches() {
            store.keep_outbox(row.clone());
        } else {
            // after a crash it is done again, and it is nothing
            store.note_outbox(row.clone());
        }
        drop(store);
        if done && action.touches() {
            log::done(&row);
        }
        self.show(&row, now);
    }

    /// One look at what is served.
    async fn probe(&mut self, row: &ReloadRecord, policy: &ReloadPolicy) {
        let Some(probe) = self.config.probe.clone() else {
            return;
        };
        let at = self.now();
        let identity = match self.identity() {
            Ok(identity) => identity,
            Err(why) => {
                debug!("the live set can't be used to probe: {why}");
                return self.pause(AGAIN).await;
            }
        };
        let seen = self
            .context
            .application
            .look(&probe.target, &identity)
            .await;
        let seen = log::seen(&seen, &identity, at);
        debug!(
            outcome = seen.status.outcome,
            "probed {}", probe.target.address
        );
        *self.app.probes.entry(seen.status.outcome).or_default() += 1;
        self.app.last_probe = Some(seen.status);
        let probed = Probed {
            at,
            finding: seen.finding,
        };
        let now = self.now();
        let Some(mut row) = self.newest(row) else {
            return;
        };
        let before = row.clone();
        let verdict = row.saw(&probed, policy, now);
        self.probed = Some(probed);
        if verdict != Verdict::Unchanged {
            self.store.lock().keep_outbox(row.clone());
        }
        match verdict {
            Verdict::Attested => {
                log::attested(&before, now);
                self.remember();
                self.settle().await;
            }
            Verdict::Lost => log::lost(&before, &self.app),
            Verdict::Unchanged => {}
        }
        self.show(&row, now);
    }

    async fn alarm(&mut self, row: ReloadRecord, text: String) {
        let Some(mut row) = self.newest(&row) else {
            return;
        };
        let now = self.now();
        row.alarmed(now);
        self.store.lock().keep_outbox(row.clone());
        log::raise(&row, &text);
        self.app.alarm = Some(text);
        self.show(&row, now);
        self.give_back().await;
    }

    /// Back to the generation before.
    fn roll_back(&mut self, row: &ReloadRecord) {
        if self.newest(row).is_none() {
            return;
        }
        let why = log::broke(&self.app);
        let now = self.now();
        let result = self.store.lock().roll_back(&self.config, &why, now);
        match result {
            Ok(quarantined) => {
                self.app.rollbacks += 1;
                log::rolled_back(row, &quarantined);
            }
            Err(failure) => log::no_way_back(&failure),
        }
        self.identity = None;
        self.inputs.nudge();
    }
}

impl<I, C: Clock> Reloader<I, C> {
    /// What the application is told about.
    fn event(&self, row: &ReloadRecord) -> Event {
        Event {
            certificate: self.config.name.clone(),
            kind: row.event,
            generation: row.generation.clone(),
            serial: row.serial.clone(),
            dir: self.config.files.dir.clone(),
        }
    }

    /// The live set as the probe uses it.
    fn identity(&mut self) -> Result<Identity, String> {
        let store = self.store.lock();
        let live = store.live().ok_or("nothing is live")?;
        let generation = live.generation.to_string();
        if let Some((known, identity)) = &self.identity
            && *known == generation
        {
            return Ok(identity.clone());
        }
        let identity = Identity::of(&live.verified).map_err(|error| error.to_string())?;
        self.identity = Some((generation, identity.clone()));
        Ok(identity)
    }

    /// The row as it is now, while it is still the one that a decision was made about.
    fn newest(&self, row: &ReloadRecord) -> Option<ReloadRecord> {
        let newest = self.store.lock().outbox(self.now());
        newest.filter(|newest| same(newest, row))
    }

    /// Looks at the processes that actions mean, while they are known to be the right ones.
    fn remember(&self) {
        let tell = self.config.tell.iter();
        for step in tell.flat_map(|tell| tell.on_leaf.iter().chain(&tell.on_trust)) {
            if let Step::Do(action) = step {
                self.context.application.remember(action);
            }
        }
    }

    /// Waits for the moment, a common boundary or another live set; whichever comes first.
    async fn wait(&mut self, at: Timestamp) {
        let at = self.keep_turn(at).await;
        tokio::select! {
            () = wall::slice(&*self.context.clock, at, self.context.look, &self.context.ticks) => {}
            () = self.inputs.published() => {}
        }
    }

    async fn pause(&mut self, span: Duration) {
        let at = self.now().plus(span);
        self.wait(at).await;
    }

    fn now(&self) -> Timestamp {
        self.context.clock.now()
    }

    /// Brings the status up to date.
    fn show(&mut self, row: &ReloadRecord, now: Timestamp) {
        let millis = Timestamp::from_unix_millis;
        self.app.told = row.told_at.map(|at| LastReload {
            generation: row.generation.clone(),
            at: millis(at),
            times: row.told,
        });
        if let Some(at) = row.attested_at {
            self.app.attested = Some(LastVerified {
                generation: row.generation.clone(),
                at: millis(at),
            });
        } else if row.round > 0 {
            // what was proven of this generation does not hold any more
            self.app.attested = None;
        }
        if row.alarm_at.is_none() {
            self.app.alarm = None;
        } else if self.app.alarm.is_none() {
            let text = log::still(row);
            log::raise(row, &text);
            self.app.alarm = Some(text);
        }
        let store = self.store.lock();
        let quarantined = store.quarantined(now);
        self.app.quarantined = quarantined.map(|one| one.generation.clone());
        drop(store);
        self.status.send_if_modified(|status| {
            let changed = status.app != self.app;
            status.app.clone_from(&self.app);
            changed
        });
    }
}

/// The same publication, and the same round of telling about it; a repair may have renamed it.
fn same(one: &ReloadRecord, other: &ReloadRecord) -> bool {
    let mark = |row: &ReloadRecord| (row.serial.clone(), row.published_at, row.round);
    mark(one) == mark(other)
}

/// A look at what is served, as the decision and as the status need it.
struct Seen {
    finding: Finding,
    status: LastProbe,
}
