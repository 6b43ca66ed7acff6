//! The loop of one certificate: look at the facts, decide, do, record.
//!
//! Never decides (`model/decide.rs`), never touches files (`store.rs`). What stays true: what woke
//! it does not matter; an order is never dropped between its answer and its record.

use std::{future::pending, mem, sync::Arc, time::Duration};

use tokio::{
    sync::{Semaphore, watch},
    task::yield_now,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    Certificate,
    application::Application,
    health_checker::HealthChecker,
    holdings::{LiveFiles, Shared},
    log,
    mount::MountCas,
    order::Obtained,
    wall,
};
use crate::{
    clock::Clock,
    config::CertConfig,
    control::Inputs,
    issuer::Issuer,
    model::{
        budget,
        bundle::PrivateKey,
        decide::{self, Facts, Next, Why},
        failure::{Failure, FailureClass, FailureRun},
        health::HealthHistory,
        leaf::CertFacts,
        retry,
        time::Timestamp,
    },
    status::{Anchor, App, Budget, Counts, Forced, HealthCheck, Live, Status},
    watch::Watch,
};

/// From a publication to the first look at what was written: other certificates may be waiting for
/// theirs, and this one is as we wrote it a moment ago. What two looks found right is not read again
/// while nothing changes; the second comes now, not in the rest that follows.
const SETTLES: [Duration; 2] = [Duration::from_millis(1_000), Duration::from_millis(1_200)];

/// What all certificates of a process share.
pub(super) struct Context<I, C> {
    pub(super) issuer: Arc<I>,
    pub(super) clock: Arc<C>,
    /// The application that uses the certificates.
    pub(super) application: Arc<dyn Application>,
    /// The longest time between two looks at clock and files.
    pub(super) look: Duration,
    /// One wake-up at those looks for everybody; absent under a test's clock.
    pub(super) ticks: wall::Ticks,
    /// How many orders may be under way at once.
    pub(super) gate: Semaphore,
    /// Looks whether an issuer that was away is back.
    pub(super) health_checker: HealthChecker,
    /// Watches the directories; absent where the system has no watcher for us.
    pub(super) watch: Option<Watch>,
    /// Cancelled once a certificate's loop has nothing to do at once.
    pub(super) rested: CancellationToken,
    pub(super) cancel: CancellationToken,
}

/// Keeps one certificate.
pub(super) struct Renewer<I, C> {
    pub(super) config: CertConfig,
    pub(super) context: Arc<Context<I, C>>,
    inputs: Arc<Inputs>,
    mount: Option<watch::Receiver<MountCas>>,
    status: watch::Sender<Status>,
    /// Fingerprint of the request as configured today.
    pub(super) fingerprint: String,
    pub(super) store: Shared,
    failures: Option<FailureRun>,
    /// What looks have shown since the last success.
    looks: HealthHistory,
    /// The newest look, while they are made.
    looked: Option<HealthCheck>,
    /// When the set that was just published is looked at and watched, and looked at again.
    settles_at: Vec<Instant>,
    /// A renewal was asked for and has not come yet.
    forced: bool,
    /// A key that was made for an order that brought nothing; used for the next one.
    pub(super) spare_key: Option<PrivateKey>,
    pub(super) counts: Counts,
    pub(super) issuer_ahead_millis: Option<i64>,
    /// The answer to the last wish for a renewal.
    answered: Option<Forced>,
    /// What is in the log about the next turn already.
    told: Option<LastLogged>,
}

/// What a wait is told about; once each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LastLogged {
    Failure(u32),
    Budget(Timestamp),
}

impl<I: Issuer, C: Clock> Renewer<I, C> {
    pub(super) fn new(
        certificate: Certificate,
        context: Arc<Context<I, C>>,
        mount: Option<watch::Receiver<MountCas>>,
    ) -> Self {
        Self {
            fingerprint: certificate.config.request.fingerprint(),
            config: certificate.config,
            inputs: certificate.inputs,
            status: certificate.status,
            context,
            mount,
            store: certificate.store,
            failures: None,
            looks: HealthHistory::default(),
            looked: None,
            settles_at: Vec::new(),
            forced: false,
            spare_key: None,
            counts: Counts::default(),
            issuer_ahead_millis: None,
            answered: None,
            told: None,
        }
    }

    /// Runs until cancelled.
    pub(super) async fn run(mut self) {
        if let Err(failure) = self.open() {
            self.fail(failure);
        }
        while !self.context.cancel.is_cancelled() {
            self.look();
            let (facts, now) = (self.facts(), self.now());
            match decide::decide(&facts, &self.config.renew, now) {
                Next::Issue(why) => self.renew(why).await,
                Next::Publish(_) => self.publish(),
                Next::WaitUntil(at, why) => {
                    let look = decide::look_at(&facts, &self.config.renew, now);
                    self.wait(at, why, look).await;
                }
            }
            yield_now().await;
        }
    }

    /// One turn that asks the issuer. Whatever comes of it is a fact for the next decision.
    async fn renew(&mut self, why: Why) {
        match self.obtain(why).await {
            Ok(Obtained::Set) => {
                self.forget_failures();
                // in the same turn: the end may have come meanwhile, and it was paid for
                if let Next::Publish(_) =
                    decide::decide(&self.facts(), &self.config.renew, self.now())
                {
                    return self.publish();
                }
            }
            Ok(Obtained::Nothing) => {}
            Err(failure) => {
                self.fail(failure.clone());
                self.answer(Err(failure));
            }
        }
        self.tell_status(None);
    }

    /// Makes the staged set live.
    fn publish(&mut self) {
        let done = self.store.lock().publish(&self.config, self.now());
        match done {
            Ok(()) => {
                self.forget_failures();
                self.counts.published += 1;
                let serial = self.store.lock().live().map(|held| {
                    log::published(held, &log::due(held, &self.config));
                    held.verified.leaf().serial.clone()
                });
                self.inputs.publish();
                self.forced |= self.inputs.take_forced();
                self.answer(Ok(serial.unwrap_or_default()));
                self.settles_at = SETTLES.map(|later| Instant::now() + later).into();
            }
            Err(failure) => {
                self.fail(failure.clone());
                self.answer(Err(failure));
            }
        }
        self.tell_status(None);
    }

    /// Waits for the moment, a common boundary, a note or the end; whichever comes first. While an
    /// issuer that is away is looked at, also for its return.
    async fn wait(&mut self, at: Timestamp, why: Why, look: Option<Timestamp>) {
        if self.forced {
            self.answer(Err(log::not_now(at, why)));
        }
        self.tell_wait(at, why);
        self.tell_status(Some(at));
        self.context.rested.cancel();
        match look {
            Some(first) => self.watch_issuer(at, first).await,
            None => {
                self.rest(at).await;
            }
        }
    }

    /// Looks at the issuer from `look` on, until there is no use in it or something else is to do.
    async fn watch_issuer(&mut self, at: Timestamp, mut look: Timestamp) {
        while look <= self.now() || self.rest(look).await {
            let found = tokio::select! {
                found = self.look_at_issuer() => found,
                _ = self.rest(at) => return,
            };
            self.take_look(found);
            self.tell_status(Some(at));
            match decide::look_at(&self.facts(), &self.config.renew, self.now()) {
                Some(next) => look = next,
                None => return,
            }
        }
    }

    /// True when the moment has come; false at a common boundary, a note or the end.
    async fn rest(&self, until: Timestamp) -> bool {
        let Context {
            clock,
            cancel,
            ticks,
            ..
        } = &*self.context;
        tokio::select! {
            () = wall::slice(&**clock, until, self.context.look, ticks) => until <= clock.now(),
            () = self.inputs.woken() => false,
            () = settled(self.settles_at.first().copied()) => false,
            () = changed(self.mount.as_ref()) => false,
            () = cancel.cancelled() => false,
        }
    }

    /// One look at an issuer that is away, later than the newest failure.
    async fn look_at_issuer(&self) -> HealthCheck {
        let Context {
            issuer,
            clock,
            health_checker,
            ..
        } = &*self.context;
        let since = self.failures.as_ref().map_or(Timestamp::MIN, |run| run.at);
        health_checker.look(&**issuer, &**clock, since).await
    }

    fn take_look(&mut self, found: HealthCheck) {
        let (able, now) = (found.found.as_ref().ok().copied(), self.now());
        if let Some(run) = &self.failures {
            self.looks.saw(able, run, &self.config.renew.splay_key, now);
        }
        self.counts.looks += 1;
        log::looked(&found, self.looked.as_ref());
        self.looked = Some(found);
    }

    fn forget_failures(&mut self) {
        self.failures = None;
        self.looks = HealthHistory::default();
        self.looked = None;
    }

    /// Puts right what is not as it should be on disk and takes over what the mount says.
    fn look(&mut self) {
        let now = self.now();
        if self.inputs.take_forced() {
            // a person is there now: the plan of earlier failures starts anew
            self.forced = true;
            self.forget_failures();
        }
        let settling = self.settles_at.len();
        self.settles_at.retain(|at| *at > Instant::now());
        let repairs = if self.settles_at.len() == SETTLES.len() {
            0
        } else {
            if settling == SETTLES.len() {
                // before the look: what happens from here on is heard of
                self.follow();
            }
            self.store.lock().look(&self.config, now)
        };
        let disturbed = self.inputs.take_disturbed();
        let news = self
            .mount
            .as_ref()
            .is_some_and(|mount| mount.has_changed().unwrap_or(false));
        let known = self.mount_cas();
        let changed = self
            .store
            .lock()
            .retrust(&self.config, news, known.as_deref(), now);
        self.counts.repairs += repairs;
        self.counts.published += u64::from(changed);
        if repairs > 0 || changed {
            self.inputs.publish();
        }
        if disturbed || repairs > 0 || changed {
            self.follow();
        }
    }

    /// What the mount's poll knows; marks it as seen.
    pub(super) fn mount_cas(&mut self) -> MountCas {
        self.mount
            .as_mut()
            .and_then(|mount| mount.borrow_and_update().clone())
    }

    pub(super) fn open(&mut self) -> Result<(), Failure> {
        let now = self.now();
        let mut store = self.store.lock();
        store.open(&self.config, &self.fingerprint, now)?;
        if let Some(held) = store.live() {
            log::reused(held, &log::due(held, &self.config));
        }
        drop(store);
        self.inputs.publish();
        self.follow();
        Ok(())
    }

    /// Watches what is on disk now: each generation is a directory of its own. Where nothing is live
    /// nothing can be damaged.
    fn follow(&self) {
        if let Some(watch) = &self.context.watch
            && self.store.lock().live().is_some()
            && let Err(refused) = watch.follow(&self.config.files.dir, &self.store.lock().watched())
        {
            tracing::debug!("{refused}; changed files are noticed at the next look");
        }
    }

    fn facts(&self) -> Facts {
        let failures = self.failures.clone();
        let store = self.store.lock();
        let facts = store.facts(failures, self.forced, &self.fingerprint, self.now());
        Facts {
            looks: self.looks.clone(),
            ..facts
        }
    }

    /// Ends the wish for a renewal, and all that were made meanwhile. When it brought nothing while
    /// nothing was due, it leaves no failure behind either: the schedule stays as it was.
    fn answer(&mut self, outcome: Result<String, Failure>) {
        if !mem::take(&mut self.forced) {
            return;
        }
        let _the_same_wish = self.inputs.take_forced();
        let now = self.now();
        if let Err(failure) = &outcome {
            log::not_forced(failure);
            let store = self.store.lock();
            let idle = store.live().is_some_and(|held| {
                held.fingerprint == self.fingerprint && log::due(held, &self.config).at > now
            });
            let idle = idle && !store.is_waiting();
            drop(store);
            if idle {
                self.forget_failures();
            }
        }
        self.answered = Some(Forced {
            number: self.answered.as_ref().map_or(0, |last| last.number) + 1,
            at: now,
            outcome,
        });
    }

    fn fail(&mut self, failure: Failure) {
        self.counts.fail(failure.class);
        self.looks.failed(self.now());
        self.failures = Some(FailureRun::after(
            self.failures.as_ref(),
            failure,
            self.now(),
        ));
    }

    pub(super) fn now(&self) -> Timestamp {
        self.context.clock.now()
    }

    fn tell_wait(&mut self, at: Timestamp, why: Why) {
        let told = match (&self.failures, why) {
            (_, Why::Budget) => LastLogged::Budget(at),
            (Some(run), _) => LastLogged::Failure(run.total),
            (None, _) => {
                self.told = None;
                return;
            }
        };
        if self.told == Some(told) {
            return;
        }
        self.told = Some(told);
        let store = self.store.lock();
        let live = store.live();
        match (told, &self.failures) {
            (LastLogged::Failure(_), Some(run)) => log::failed(run, live, at, self.now()),
            _ => log::out_of_budget(live, self.config.renew.budget_per_hour, at),
        }
    }

    fn tell_status(&self, next: Option<Timestamp>) {
        let now = self.now();
        let store = self.store.lock();
        let live = store.live();
        let issuances = store.issuances();
        let per_hour = self.config.renew.budget_per_hour;
        let due = live.map(|held| log::due(held, &self.config).at);
        let mut status = Status {
            name: self.config.name.clone(),
            live: live.map(|held| Live {
                generation: held.generation.to_string(),
                serial: held.verified.leaf().serial.clone(),
                not_before: held.verified.validity().not_before,
                not_after: held.verified.validity().not_after,
                obtained_at: held.obtained_at,
            }),
            due,
            next,
            runway: live.zip(due).map(|(held, due)| {
                let (class, from) = match &self.failures {
                    Some(run) => (run.last.class, now),
                    None => (FailureClass::Transport, due),
                };
                retry::runway(class, held.verified.validity(), from)
            }),
            failure: self.failures.clone(),
            looked: self.looked.clone(),
            staged: store.is_waiting(),
            staged_generation: store.waiting_generation().map(ToString::to_string),
            counts: Counts {
                logins: self.context.issuer.logins(),
                ..self.counts
            },
            budget: Budget {
                per_hour,
                used: budget::used(&issuances, now),
                free_at: budget::allowed(&issuances, per_hour, now).err(),
            },
            issuer_ahead_millis: self.issuer_ahead_millis,
            anchors: self.anchors(live),
            forced: self.answered.clone(),
            app: App::default(),
        };
        self.status.send_if_modified(|old| {
            // that one is the other loop's
            status.app.clone_from(&old.app);
            let changed = *old != status;
            *old = status;
            changed
        });
    }
}

impl<I, C> Renewer<I, C> {
    /// The anchors of the live set; read from it once per generation.
    fn anchors(&self, live: Option<&LiveFiles>) -> Vec<Anchor> {
        let Some(held) = live else {
            return Vec::new();
        };
        let told = self.status.borrow();
        let generation = held.generation.to_string();
        if told
            .live
            .as_ref()
            .is_some_and(|live| live.generation == generation)
        {
            return told.anchors.clone();
        }
        let facts = held.verified.anchors().iter();
        facts
            .filter_map(|der| CertFacts::read(der).ok())
            .map(|ca| Anchor {
                subject: ca.subject,
                sha256: ca.sha256,
                not_after: ca.not_after,
            })
            .collect()
    }
}

/// Returns at that moment; never when there is none.
async fn settled(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}

/// Returns when the mount's poll has news; never when there is no poll. Waits on a copy: the news
/// is not seen before `look` has taken it.
async fn changed(mount: Option<&watch::Receiver<MountCas>>) {
    if let Some(known) = mount
        && known.clone().changed().await.is_ok()
    {
        return;
    }
    pending::<()>().await;
}
