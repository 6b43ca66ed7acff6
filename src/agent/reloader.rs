//! The second loop of a certificate: read the record about the live generation, decide, reload or
//! probe, record.
//!
//! Never decides (`model/reload.rs`) and never waits for the issuer, as the first loop never waits
//! for the application. What stays true: an attempt is on record before it leaves; nothing counts as
//! done before the proof where a probe is configured.

mod log;
mod plan;
mod turn;

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, task::yield_now};
use tracing::debug;

use self::{plan::ReloadPlan, turn::LockLease};
use super::{Certificate, context::Context, holdings::Shared, wall};
use crate::{
    clock::Clock,
    config::{CertConfig, ProbeTarget, ReloadStep, StartTls},
    control::Inputs,
    model::{
        reload::{
            self, Action, Attempt, Delivery, Finding, Outcome, Phase, ProbeVerdict, Probed,
            ReloadFailure, ReloadNext, ReloadPolicy, ReloadRecord,
        },
        repeats::Repeats,
        served::Served,
        time::Timestamp,
    },
    probe::{Identity, ProbeFailure},
    reload::Event,
    status::{
        AppStatus, EventKind, LastProbe, LastReload, LastVerified, LoadedTrust, ProbePlace, Status,
    },
};

#[cfg(test)]
use crate::testing::planted;

/// After this something that could not be recorded is tried again.
const RECORD_RETRY: Duration = Duration::from_secs(5);

/// Reloads one certificate's application.
pub(super) struct Reloader<I, C> {
    config: Arc<CertConfig>,
    context: Arc<Context<I, C>>,
    inputs: Arc<Inputs>,
    holdings: Shared,
    status: watch::Sender<Status>,
    app: AppStatus,
    /// The newest probe.
    probed: Option<Probed>,
    /// The live certificate files as the probe uses them, and their generation.
    identity: Option<(String, Identity)>,
    plan: Option<ReloadPlan>,
    lease: LockLease,
    /// The last trouble that is in the log already.
    logged: Option<String>,
    /// The failed reloads since the last good one, as far as the log is concerned.
    said: Repeats,
}

impl<I, C: Clock> Reloader<I, C> {
    pub(super) fn new(certificate: &Certificate, context: Arc<Context<I, C>>) -> Self {
        Self {
            config: Arc::clone(&certificate.config),
            context,
            inputs: Arc::clone(&certificate.inputs),
            holdings: certificate.holdings.clone(),
            status: certificate.status.clone(),
            app: AppStatus {
                probed: certificate.config.probe.is_some(),
                probe: certificate
                    .config
                    .probe
                    .as_ref()
                    .map(|probe| place(&probe.target)),
                ..AppStatus::default()
            },
            probed: None,
            identity: None,
            plan: None,
            lease: LockLease::default(),
            logged: None,
            said: Repeats::default(),
        }
    }

    /// Runs until cancelled.
    pub(super) async fn run(mut self) {
        let context = Arc::clone(&self.context);
        let _ = context.cancel.run_until_cancelled(self.reload()).await; // a lock lapses by itself
    }

    async fn reload(&mut self) {
        self.remember();
        loop {
            let record = self.holdings.lock().reload_record(self.now());
            match record {
                Some(record) => self.step(&record).await,
                None => self.inputs.published().await,
            }
            yield_now().await;
        }
    }

    async fn step(&mut self, record: &ReloadRecord) {
        let policy = self.policy(record).await;
        let now = self.now();
        self.show(record, &policy, now);
        match reload::next(record, &policy, self.probed.as_ref(), now) {
            // boxed: a loop that rests has no room for what it does once a day
            ReloadNext::Act(step) => Box::pin(self.act(record, step, &policy)).await,
            ReloadNext::Probe => Box::pin(self.probe(record, &policy)).await,
            ReloadNext::WaitUntil(at, why) => {
                debug!(?at, "nothing to do: {why}");
                self.wait(at).await;
            }
            ReloadNext::Done if self.hold_lock().await => self.wait(None).await,
            ReloadNext::Done => self.inputs.published().await,
            ReloadNext::Alert(why) => {
                let text = log::alert(record, &policy, why, &self.app, &self.config);
                Box::pin(self.alert(record, &policy, text)).await;
            }
            ReloadNext::Rollback => self.roll_back(record),
        }
    }

    /// One attempt of one step.
    async fn act(&mut self, record: &ReloadRecord, step: usize, policy: &ReloadPolicy) {
        let actions = policy.actions(record.about.event);
        let Some(action) = actions.get(step) else {
            return;
        };
        if !action.touches() {
            return self.pass(record, step, policy);
        }
        if !self.take(record, policy).await {
            return;
        }
        let Some(mut record) = self.newest(record) else {
            return;
        };
        let began = self.now();
        record.begin(step, began);
        let recorded = self.holdings.lock().record_attempt(record.clone());
        if let Err(failure) = recorded {
            // unrecorded it could be repeated for ever
            log::unrecorded(&mut self.logged, &failure);
            return self.pause(RECORD_RETRY).await;
        }
        let event = self.event(&record);
        let result = self.context.application.perform(action, &event).await;
        let now = self.now();
        let Some(newest) = self.newest(&record) else {
            debug!(
                "newer certificate files were published meanwhile; the application is reloaded \
                    for those"
            );
            return;
        };
        record.about.generation = newest.about.generation;
        self.answered(record, action, result, policy, now.since(began));
    }

    fn answered(
        &mut self,
        mut record: ReloadRecord,
        action: &Action,
        result: Result<Delivery, ReloadFailure>,
        policy: &ReloadPolicy,
        took: Duration,
    ) {
        #[cfg(test)]
        let result = planted::forgotten(result);
        let now = self.now();
        log::reloaded(action, &record, &result, took, (&mut self.said, now));
        match &result {
            Ok(_) => {
                self.said.end();
                self.note(EventKind::Reloaded, action.name());
            }
            Err(failure) => self.note(EventKind::Failed, failure.code),
        }
        let outcome = result
            .as_ref()
            .map_or_else(|failure| failure.code, |_| "ok");
        *self
            .app
            .reloads
            .entry((action.name(), outcome))
            .or_default() += 1;
        record.answered(result, policy, now);
        self.holdings.lock().keep_record(record.clone());
        if record.is_verified() {
            log::done(&record);
        }
        self.show(&record, policy, now);
    }

    /// A step that touches nothing: after a crash it is done again.
    fn pass(&mut self, record: &ReloadRecord, step: usize, policy: &ReloadPolicy) {
        let Some(mut record) = self.newest(record) else {
            return;
        };
        let now = self.now();
        record.begin(step, now);
        record.answered(Ok(Delivery::Delivered), policy, now);
        self.holdings.lock().note_record(record.clone());
        self.show(&record, policy, now);
    }

    /// One probe of what is served.
    async fn probe(&mut self, record: &ReloadRecord, policy: &ReloadPolicy) {
        let Some(probe) = self.config.probe.clone() else {
            return;
        };
        let at = self.now();
        let identity = match self.identity() {
            Ok(identity) => identity,
            Err(why) => {
                debug!("the published certificate files can't be used for a probe: {why}");
                return self.pause(RECORD_RETRY).await;
            }
        };
        let result = self
            .context
            .application
            .probe(&probe.target, &identity)
            .await;
        let (probed, seen) = read_probe(&result, &identity, at);
        debug!(outcome = seen.outcome, "probed {}", probe.target.address);
        *self.app.probes.entry(seen.outcome).or_default() += 1;
        self.app.last_probe = Some(seen);
        let Some(newest) = self.newest(record) else {
            return;
        };
        self.judge(newest, &probed, policy).await;
        self.probed = Some(probed);
    }

    /// What a probe means for the record.
    async fn judge(&mut self, mut record: ReloadRecord, probed: &Probed, policy: &ReloadPolicy) {
        let now = self.now();
        let before = record.clone();
        let verdict = record.saw(probed, policy, now);
        if verdict != ProbeVerdict::Unchanged {
            self.holdings.lock().keep_record(record.clone());
        }
        match verdict {
            ProbeVerdict::Verified => {
                log::verified(&before, now);
                self.note(EventKind::Verified, &record.about.serial);
                self.remember();
                self.hold_lock().await;
            }
            ProbeVerdict::Lost => log::lost(&before, &self.app),
            ProbeVerdict::Unchanged => {}
        }
        self.show(&record, policy, now);
    }

    async fn alert(&mut self, record: &ReloadRecord, policy: &ReloadPolicy, text: String) {
        let Some(mut record) = self.newest(record) else {
            return;
        };
        let now = self.now();
        record.alerted(now);
        self.holdings.lock().keep_record(record.clone());
        log::raise(&record, &text);
        self.app.reload_exhausted = Some(text);
        self.show(&record, policy, now);
        self.give_back().await;
    }

    /// Back to the generation before.
    fn roll_back(&mut self, record: &ReloadRecord) {
        if self.newest(record).is_none() {
            return;
        }
        let why = log::last(&self.app);
        let now = self.now();
        let result = self.holdings.lock().roll_back(&self.config, &why, now);
        match result {
            Ok(quarantined) => {
                self.app.rollbacks += 1;
                log::rolled_back(record, &quarantined);
                self.note(EventKind::RolledBack, &quarantined.serial);
            }
            Err(failure) => log::no_way_back(&failure),
        }
        self.identity = None;
        self.inputs.nudge();
    }
}

impl<I, C: Clock> Reloader<I, C> {
    /// What the application is reloaded for.
    fn event(&self, record: &ReloadRecord) -> Event {
        Event {
            certificate: self.config.name.clone(),
            kind: record.about.event,
            generation: record.about.generation.clone(),
            serial: record.about.serial.clone(),
            dir: self.config.files.dir.clone(),
        }
    }

    /// The live certificate files as the probe uses them.
    fn identity(&mut self) -> Result<Identity, String> {
        let holdings = self.holdings.lock();
        let live = holdings.live().ok_or("nothing is published")?;
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

    /// The record as it is now, while it is still the one that a decision was made about.
    fn newest(&self, record: &ReloadRecord) -> Option<ReloadRecord> {
        let newest = self.holdings.lock().reload_record(self.now());
        newest.filter(|newest| newest.is_same(record))
    }

    /// Looks at the processes that actions mean, while they are known to be the right ones.
    fn remember(&self) {
        let reload = self.config.reload.iter();
        for step in
            reload.flat_map(|reload| reload.on_cert_change.iter().chain(&reload.on_ca_change))
        {
            if let ReloadStep::Do(action) = step {
                self.context.application.remember(action);
            }
        }
    }

    /// Waits for the moment, a common boundary or another publication; whichever comes first.
    async fn wait(&mut self, at: Option<Timestamp>) {
        let at = self.keep_lease(at).await;
        let Context {
            clock, tick, ticks, ..
        } = &*self.context;
        tokio::select! {
            biased;
            () = wall::slice(&**clock, at, *tick, ticks) => {}
            () = self.inputs.published() => {}
        }
    }

    async fn pause(&mut self, span: Duration) {
        let at = self.now().plus(span);
        self.wait(Some(at)).await;
    }

    fn now(&self) -> Timestamp {
        self.context.clock.now()
    }

    /// Adds to the last events.
    fn note(&self, event: EventKind, detail: &str) {
        let now = self.now();
        self.status
            .send_modify(|status| status.events.push(now, event, detail));
    }

    /// Brings the status up to date.
    fn show(&mut self, record: &ReloadRecord, policy: &ReloadPolicy, now: Timestamp) {
        let generation = &record.about.generation;
        self.app.reload = record.reload_state(policy);
        if let Some(attempt) = record.reload_attempt(policy) {
            self.app.last_reload = Some(last_reload(generation, attempt));
            if attempt.outcome == Outcome::Delivered {
                self.app.reloaded = Some(generation.clone());
            }
        }
        match record.trust_loaded(policy) {
            None => self.app.trust = LoadedTrust::Unknown,
            Some(true) => self.app.trust = LoadedTrust::UpTo(generation.clone()),
            Some(false) if self.app.trust == LoadedTrust::Unknown => {
                self.app.trust = LoadedTrust::None
            }
            Some(false) => {}
        }
        if !policy.probed {
            self.app.last_verified = None;
        } else if let Phase::Verified { at, .. } = record.phase {
            let generation = generation.clone();
            self.app.last_verified = Some(LastVerified { generation, at });
        } else if record.round > 0 {
            // the application served this generation and does not any more
            self.app.last_verified = None;
        }
        if let Phase::Exhausted { at, .. } = record.phase {
            let text = self.app.reload_exhausted.take();
            self.app.reload_exhausted = Some(text.unwrap_or_else(|| {
                let text = log::still(record, at);
                log::raise(record, &text);
                text
            }));
        } else {
            self.app.reload_exhausted = None;
        }
        let holdings = self.holdings.lock();
        let quarantined = holdings.quarantined(now);
        self.app.rollback_active = quarantined.map(|one| one.generation.clone());
        drop(holdings);
        self.status.send_if_modified(|status| {
            let changed = status.app != self.app;
            status.app.clone_from(&self.app);
            changed
        });
    }
}

fn place(target: &ProbeTarget) -> ProbePlace {
    let starttls = target.starttls.map(|kind| match kind {
        StartTls::Postgres => "postgres",
        StartTls::Smtp => "smtp",
    });
    ProbePlace {
        address: target.address.clone(),
        server_name: target.server_name.clone(),
        alpn: target.alpn.clone(),
        starttls: starttls.map(str::to_owned),
    }
}

fn last_reload(generation: &str, attempt: &Attempt) -> LastReload {
    LastReload {
        generation: generation.to_owned(),
        at: attempt.began_at,
        times: attempt.reached,
        outcome: match &attempt.outcome {
            Outcome::Unknown => None,
            Outcome::Delivered => Some(Ok(())),
            Outcome::Failed(failed) => Some(Err(failed.message.clone())),
        },
    }
}

/// A probe as the decision and as the status need it.
fn read_probe(
    result: &Result<Served, ProbeFailure>,
    identity: &Identity,
    at: Timestamp,
) -> (Probed, LastProbe) {
    let (finding, outcome, message) = match result {
        Ok(served) => {
            let judged = identity.serves_current(served);
            let finding = Finding::of(served, judged.as_ref().err());
            let outcome = match (&judged, &finding) {
                (Ok(()), _) => "ok",
                (Err(_), Finding::Serves { .. }) => "other",
                (Err(why), _) => why.code,
            };
            let message = judged
                .err()
                .map(|why| format!("{}; {}", why.message, why.hint));
            (finding, outcome, message)
        }
        Err(failure) => {
            let message = format!("{failure}; {}", failure.hint);
            (
                Finding::of_failure(failure.code),
                failure.code,
                Some(message),
            )
        }
    };
    let serial = result.as_ref().ok().map(|served| served.serial.clone());
    let seen = LastProbe {
        at,
        outcome,
        serial,
        message,
    };
    (Probed { at, finding }, seen)
}
