//! The waits of the loop, and the health checks of a Vault that is unavailable.
//!
//! Never decides. What stays true: every wait ends at the next common boundary at the latest.

use std::{future::pending, sync::atomic::Ordering};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{LastLogged, Renewer};
use crate::{
    agent::{UNWATCHED_TICK, context::Context, log, mount::KnownCas, wall},
    clock::Clock,
    issuer::Issuer,
    model::{
        decide::{self, ActionReason},
        time::Timestamp,
    },
    status::HealthCheck,
};

impl<I: Issuer, C: Clock> Renewer<I, C> {
    /// Waits for the moment, a common boundary, a note or the end; whichever comes first. While an
    /// issuer that is away is checked, also for its return.
    pub(super) async fn wait(
        &mut self,
        at: Timestamp,
        why: ActionReason,
        check: Option<Timestamp>,
    ) {
        if self.manual.wanted {
            self.answer(Err(log::not_now(at, why)));
            return self.publish_status(None);
        }
        self.publish_status(Some(at));
        self.log_wait(at, why);
        if matches!(why, ActionReason::IssuanceLimit) || why.is_cured_at_the_mount() {
            self.context.repair_awaited.store(true, Ordering::Relaxed);
        }
        self.context.rested.cancel();
        match check {
            Some(first) => Box::pin(self.await_issuer(at, first)).await,
            None => {
                self.rest(at).await;
            }
        }
    }

    /// Checks the issuer from `check` on, until there is no use in it or something else is to do.
    async fn await_issuer(&mut self, at: Timestamp, mut check: Timestamp) {
        while check <= self.now() || self.rest(check).await {
            let found = tokio::select! {
                biased; // the same order each time
                found = self.check_issuer() => found,
                _ = self.rest(at) => return,
            };
            self.take_check(found);
            self.publish_status(Some(at));
            match decide::health_check_at(&self.facts(), &self.config.renew, self.now()) {
                Some(next) => check = next,
                None => return,
            }
        }
    }

    /// True when the moment has come; false at a common boundary, a note or the end.
    async fn rest(&self, until: Timestamp) -> bool {
        let Context {
            clock,
            cancel,
            tick,
            ticks,
            ..
        } = &*self.context;
        let soon = clock.now().plus(UNWATCHED_TICK);
        let at = match &self.unwatched {
            Some(_) => until.min(soon),
            None => until,
        };
        tokio::select! {
            biased;
            () = wall::slice(&**clock, Some(at), *tick, ticks) => until <= clock.now(),
            () = self.inputs.woken() => false,
            () = reached(self.settling.next()) => false,
            () = changed(self.mount.as_ref()) => false,
            () = cancel.cancelled() => false,
        }
    }

    /// One check of a Vault that is unavailable, later than the newest failure.
    async fn check_issuer(&self) -> HealthCheck {
        let Context {
            issuer,
            clock,
            health_checker,
            ..
        } = &*self.context;
        let since = self.trouble.as_ref().map(|trouble| trouble.run.at);
        health_checker.check(&**issuer, &**clock, since).await
    }

    fn take_check(&mut self, found: HealthCheck) {
        self.counts.health_checks += 1;
        let (able, now) = (found.found.as_ref().ok().copied(), self.now());
        if let Some(trouble) = &mut self.trouble {
            let seed = &self.config.renew.splay_seed;
            trouble.health.record(able, &trouble.run, seed, now);
            log::checked_health(&found, trouble.checked.as_ref(), &mut self.said);
            trouble.checked = Some(found);
        }
    }

    fn log_wait(&mut self, at: Timestamp, why: ActionReason) {
        let logged = match (&self.trouble, why) {
            (_, ActionReason::IssuanceLimit) => Some(LastLogged::Budget(at)),
            (Some(trouble), _) => Some(LastLogged::Failure(trouble.run.total)),
            (None, _) => None,
        };
        if self.logged == logged {
            return;
        }
        self.logged = logged;
        let budget = self.status.borrow().issuance_limit;
        let holdings = self.holdings.lock();
        let live = holdings.live();
        match (logged, &self.trouble) {
            (Some(LastLogged::Failure(_)), Some(trouble)) => {
                let (run, now) = (&trouble.run, self.context.clock.now());
                log::failed(run, live, at, now, &mut self.said);
            }
            (Some(_), _) => log::limited(live, &budget, at),
            (None, _) => {}
        }
    }
}

/// Returns at that moment; never when there is none.
async fn reached(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}

/// Returns when the mount's poll has news; never when there is no poll. Waits on a copy: the news
/// is not seen before a check has taken it.
async fn changed(mount: Option<&watch::Receiver<KnownCas>>) {
    if let Some(known) = mount
        && known.clone().changed().await.is_ok()
    {
        return;
    }
    pending::<()>().await;
}
