//! The loop of one certificate: look at the facts, decide, do, record.
//!
//! Never decides (`model/decide.rs`), never touches files (`holdings.rs`). What stays true: what woke
//! it does not matter; an issuance request is never dropped between its answer and its record.

mod issue;
mod pause;
mod revocation;
mod snapshot;

use std::{mem, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    task::yield_now,
    time::{Instant, sleep},
};

use self::issue::Obtained;
use super::{
    Certificate,
    context::Context,
    holdings::{Shared, Superseded},
    log,
    mount::KnownCas,
};
use crate::{
    clock::Clock,
    config::CertConfig,
    control::{Inputs, Wish},
    issuer::Issuer,
    model::{
        bundle::PrivateKey,
        decide::{self, ActionReason, Facts, Next},
        failure::{Failure, FailureRun},
        health::HealthHistory,
        origin::ChosenOrigin,
        repeats::Repeats,
        time::Timestamp,
    },
    publish,
    status::{Counts, EventKind, Forced, HealthCheck, Revocation, Status},
};

#[cfg(test)]
use crate::testing::planted::{self, Planted};

/// From a publication to the first check of what was written: other certificates may be waiting for
/// theirs, and this one is as we wrote it a moment ago.
const FIRST_CHECK: Duration = Duration::from_millis(1_000);

/// From a publication to the second check. What two checks found right is not read again while
/// nothing changes; the second comes now, not in the rest that follows.
const SECOND_CHECK: Duration = Duration::from_millis(1_200);

/// Time between two tries to take over from the agent that holds the directory.
const STANDBY_INTERVAL: Duration = Duration::from_secs(1);

/// For how long a repair counts as one of many.
const REPAIR_WINDOW: Duration = Duration::from_secs(600);
/// Repairs that are remembered at most.
const MAX_REPAIRS_COUNTED: usize = 100;

/// Renews one certificate.
pub(super) struct Renewer<I, C> {
    config: Arc<CertConfig>,
    context: Arc<Context<I, C>>,
    inputs: Arc<Inputs>,
    mount: Option<watch::Receiver<KnownCas>>,
    status: watch::Sender<Status>,
    /// Fingerprint of the request as configured today.
    fingerprint: String,
    holdings: Shared,
    trouble: Option<RenewalTrouble>,
    settling: Settling,
    manual: Manual,
    /// Who holds the directory instead of us.
    standby: Option<String>,
    /// The mount's CAs have changed since the last request: one is free.
    freed: bool,
    /// Where the next key is made, as far as accepted orders have shown.
    key_origin: ChosenOrigin,
    /// The newest certificate has a key of its own.
    new_key: bool,
    /// A key that was made for a request that brought nothing; used for the next one.
    spare_key: Option<PrivateKey>,
    /// Why changes of the files are not noticed at once.
    unwatched: Option<String>,
    /// When files were repaired lately.
    repaired_at: Vec<Timestamp>,
    counts: Counts,
    issuer_ahead_millis: Option<i64>,
    /// What is in the log about the next attempt already.
    logged: Option<LastLogged>,
    /// The failures since the last success, as far as the log is concerned.
    said: Repeats,
}

/// The failures since the last success.
struct RenewalTrouble {
    run: FailureRun,
    /// What health checks have shown since then.
    health: HealthHistory,
    /// The newest of them.
    checked: Option<HealthCheck>,
}

/// The checks of files that were just published.
#[derive(Clone, Copy)]
enum Settling {
    /// They were made, or nothing was published.
    Done,
    /// None was made.
    Published(Instant),
    /// The first was made.
    CheckedOnce(Instant),
}

/// A manual renewal.
#[derive(Default)]
struct Manual {
    /// It has not come yet.
    wanted: bool,
    /// What is wanted besides.
    wish: Wish,
    /// What to revoke when it has come.
    superseded: Vec<Superseded>,
    /// What came of that.
    revoked: Vec<Revocation>,
    /// The answer to the last one.
    answer: Option<Forced>,
}

/// What is logged about a wait; once each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LastLogged {
    Failure(u32),
    Budget(Timestamp),
}

impl<I: Issuer, C: Clock> Renewer<I, C> {
    pub(super) fn new(
        certificate: Certificate,
        context: Arc<Context<I, C>>,
        mount: Option<watch::Receiver<KnownCas>>,
    ) -> Self {
        Self {
            fingerprint: certificate.config.request.fingerprint(),
            key_origin: ChosenOrigin::first(&certificate.config.request),
            config: certificate.config,
            inputs: certificate.inputs,
            status: certificate.status,
            context,
            mount,
            holdings: certificate.holdings,
            trouble: None,
            settling: Settling::Done,
            manual: Manual::default(),
            standby: None,
            freed: false,
            new_key: true,
            spare_key: None,
            unwatched: None,
            repaired_at: Vec::new(),
            counts: Counts::default(),
            issuer_ahead_millis: None,
            logged: None,
            said: Repeats::default(),
        }
    }

    /// Runs until cancelled.
    pub(super) async fn run(mut self) {
        if let Err(failure) = self.open()
            && failure.code != publish::HELD
        {
            self.fail(failure);
        }
        while !self.context.cancel.is_cancelled() {
            self.check();
            if self.stand_by().await {
                continue;
            }
            let (facts, now) = (self.facts(), self.now());
            match decide::decide(&facts, &self.config.renew, now) {
                // boxed: a thousand loops that rest have no room for what they do once a day
                Next::Issue(why) => Box::pin(self.renew(why)).await,
                Next::Publish(_) => Box::pin(self.publish()).await,
                Next::WaitUntil(at, why) => {
                    let check = decide::health_check_at(&facts, &self.config.renew, now);
                    self.wait(at, why, check).await;
                }
            }
            yield_now().await;
        }
    }

    /// While another agent holds the directory: waits a moment, and tries again. True while it does.
    /// Nothing is asked, published, repaired or reloaded meanwhile, and it is no failure.
    async fn stand_by(&mut self) -> bool {
        if self.holdings.lock().is_open() {
            return false;
        }
        let failure = match self.open() {
            Err(failure) if failure.code == publish::HELD => failure,
            // what else may be wrong is met again, and counted, by the attempt
            _ => {
                self.standby = None;
                return false;
            }
        };
        if self.standby.as_ref() != Some(&failure.message) {
            log::standing_by(&failure);
            self.standby = Some(failure.message.clone());
        }
        if self.manual.wanted {
            self.answer(Err(failure));
        }
        self.trouble = None;
        self.publish_status(None);
        let cancel = self.context.cancel.clone();
        let _ended = cancel.run_until_cancelled(sleep(STANDBY_INTERVAL)).await;
        true
    }

    /// One request to Vault. Whatever comes of it is a fact for the next decision.
    async fn renew(&mut self, why: ActionReason) {
        match self.obtain(why).await {
            Ok(Obtained::Files) => {
                self.trouble = None;
                // at once: the end may have come meanwhile, and it was paid for
                if let Next::Publish(_) =
                    decide::decide(&self.facts(), &self.config.renew, self.now())
                {
                    return self.publish().await;
                }
            }
            Ok(Obtained::Nothing) => {}
            Err(failure) => {
                self.fail(failure.clone());
                self.answer(Err(failure));
            }
        }
        self.publish_status(None);
    }

    /// Makes the staged files live.
    async fn publish(&mut self) {
        self.take_wish();
        let done = self.holdings.lock().publish(&self.config, self.now());
        match done {
            Ok(()) => {
                self.trouble = None;
                self.counts.published += 1;
                let failed = self.said.end();
                let serial = self.holdings.lock().live().map(|held| {
                    let due = held.due(&self.config);
                    log::published(held, &due, failed);
                    log::over_limit(&due, self.config.renew.max_issuances_per_hour);
                    held.verified.leaf().serial.clone()
                });
                self.note(EventKind::Issued, serial.as_deref().unwrap_or_default());
                self.inputs.publish();
                self.settling = Settling::Published(Instant::now());
                if self.new_key || !self.manual.wish.new_key {
                    self.revoke_superseded().await;
                    self.answer(Ok(serial.unwrap_or_default()));
                }
            }
            Err(failure) => {
                self.fail(failure.clone());
                self.answer(Err(failure));
            }
        }
        self.publish_status(None);
    }

    /// Puts right what is not as it should be on disk and takes over what the mount says.
    fn check(&mut self) {
        if self.take_wish() {
            // a person is there now: the plan of earlier failures starts anew, and so does mode auto
            self.trouble = None;
            self.key_origin = ChosenOrigin::first(&self.config.request);
        }
        let repaired = self.check_files();
        let disturbed = self.inputs.take_disturbed();
        let changed = self.check_anchors();
        if repaired || changed {
            self.inputs.publish();
        }
        if disturbed || repaired || changed {
            self.follow();
        }
    }

    /// True when files were repaired.
    fn check_files(&mut self) -> bool {
        let before = mem::replace(&mut self.settling, Settling::Done);
        self.settling = before.at(Instant::now());
        match (before, self.settling) {
            (_, Settling::Published(_)) => return false,
            // before the check: what happens from here on is heard of
            (Settling::Published(_), _) => self.follow(),
            _ => {}
        }
        let repaired = self.holdings.lock().check_files(&self.config, self.now());
        let now = self.now();
        self.repaired_at.retain(|at| now.since(*at) < REPAIR_WINDOW);
        if repaired.is_some() && self.repaired_at.len() < MAX_REPAIRS_COUNTED {
            self.repaired_at.push(now);
        }
        if let Some(repaired) = &repaired {
            log::repaired(repaired);
            self.counts.repairs += 1;
            self.note(EventKind::Restored, "");
        }
        repaired.is_some()
    }

    /// True when CA.pem changed.
    fn check_anchors(&mut self) -> bool {
        let mount = self.mount.as_ref();
        let news = mount.is_some_and(|mount| mount.has_changed().unwrap_or(false));
        let known = self.mount_cas();
        let (mut holdings, now) = (self.holdings.lock(), self.now());
        if let Some(known) = known.as_ref().filter(|_| news && holdings.is_open()) {
            self.freed |= holdings.note_mount(&known.fingerprint);
        }
        let all = known.as_ref().map(|known| &*known.all);
        let change = holdings.retrust(&self.config, news, all, now);
        drop(holdings);
        if let Some(change) = &change {
            log::trust_changed(&change.before, &change.after);
            self.counts.published += 1;
        }
        change.is_some()
    }

    /// What the mount's poll knows; marks it as seen.
    fn mount_cas(&mut self) -> KnownCas {
        let mount = self.mount.as_mut();
        mount.and_then(|mount| mount.borrow_and_update().clone())
    }

    fn open(&mut self) -> Result<(), Failure> {
        let now = self.now();
        let mut holdings = self.holdings.lock();
        holdings.open(&self.config, &self.fingerprint, now)?;
        #[cfg(test)]
        if planted::is(Planted::SpentForgotten) {
            let _unwritable = holdings.record_spending("");
        }
        if !holdings.spent_credential().is_empty() {
            self.context
                .issuer
                .recall_spent(holdings.spent_credential());
        }
        if let Some(held) = holdings.live() {
            log::reused(held, &held.due(&self.config));
            self.note(EventKind::Reused, &held.verified.leaf().serial);
        }
        drop(holdings);
        self.inputs.publish();
        self.follow();
        Ok(())
    }

    /// Watches what is on disk now: each generation is a directory of its own. Where nothing is live
    /// nothing can be damaged.
    fn follow(&mut self) {
        let holdings = self.holdings.lock();
        let refused = match &self.context.watch {
            Ok(Some(watch)) if holdings.live().is_some() => {
                let followed = watch.follow(&self.config.files.dir, &holdings.watched());
                followed.err()
            }
            Ok(_) => None,
            Err(refused) => Some(refused.clone()),
        };
        drop(holdings);
        if let Some(refused) = &refused {
            tracing::debug!("{refused}; changed files are noticed at the next check");
        }
        let lasting = refused.filter(|refused| refused.exhausted);
        self.unwatched = lasting.map(|refused| refused.to_string());
    }

    fn facts(&self) -> Facts {
        let (trouble, holdings) = (self.trouble.as_ref(), self.holdings.lock());
        let failures = trouble.map(|trouble| trouble.run.clone());
        let facts = holdings.facts(failures, self.manual.wanted, &self.fingerprint, self.now());
        Facts {
            health_checks: trouble
                .map(|trouble| trouble.health.clone())
                .unwrap_or_default(),
            freed: self.freed,
            ..facts
        }
    }

    /// Ends the wish for a renewal, and all that were made meanwhile. When it brought nothing while
    /// nothing was due, it leaves no failure behind either: the schedule stays as it was.
    fn answer(&mut self, outcome: Result<String, Failure>) {
        if !mem::take(&mut self.manual.wanted) {
            return;
        }
        let _ = self.inputs.take_forced(); // the same wish
        self.manual.wish = Wish::default();
        self.manual.superseded.clear();
        if let Err(failure) = &outcome {
            log::not_forced(failure);
            if self.is_idle() {
                self.trouble = None;
            }
        }
        let last = self.manual.answer.as_ref();
        self.manual.answer = Some(Forced {
            number: last.map_or(0, |last| last.number) + 1,
            at: self.now(),
            outcome,
            revoked: mem::take(&mut self.manual.revoked),
        });
    }

    /// Nothing is due, and nothing waits for publication.
    fn is_idle(&self) -> bool {
        let (holdings, now) = (self.holdings.lock(), self.now());
        let current = holdings.live().is_some_and(|held| {
            held.fingerprint == self.fingerprint && held.due(&self.config).at > now
        });
        current && !holdings.is_waiting()
    }

    fn fail(&mut self, failure: Failure) {
        let now = self.now();
        self.counts.fail(failure.class);
        self.note(EventKind::Failed, &failure.code);
        let before = self.trouble.take();
        let run = FailureRun::after(before.as_ref().map(|old| &old.run), failure, now);
        let (mut health, checked) = before
            .map(|old| (old.health, old.checked))
            .unwrap_or_default();
        health.failed(now);
        self.trouble = Some(RenewalTrouble {
            run,
            health,
            checked,
        });
    }

    fn now(&self) -> Timestamp {
        self.context.clock.now()
    }
}

impl Settling {
    /// What is left at `now`.
    fn at(self, now: Instant) -> Self {
        match self {
            Self::Published(at) if now < at + FIRST_CHECK => self,
            Self::Published(at) | Self::CheckedOnce(at) if now < at + SECOND_CHECK => {
                Self::CheckedOnce(at)
            }
            _ => Self::Done,
        }
    }

    /// When the next check is due; never when there is none.
    fn next(self) -> Option<Instant> {
        match self {
            Self::Done => None,
            Self::Published(at) => Some(at + FIRST_CHECK),
            Self::CheckedOnce(at) => Some(at + SECOND_CHECK),
        }
    }
}
