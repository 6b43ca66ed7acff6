//! From "a new certificate is due" to verified files: key, CSR, request, answer, checks.
//!
//! Never publishes. What stays true: no request leaves before it is on record; after cancellation no
//! request leaves at all, and one that is under way gets a short grace.

use std::{future::pending, sync::Arc, time::Duration};

use tokio::time::{sleep, timeout};
use tracing::warn;

use super::Renewer;
use crate::{
    agent::{holdings::StagedFiles, log},
    clock::Clock,
    issuance::Issuance,
    issuer::{Issuer, Reply},
    model::{
        decide::ActionReason,
        duration,
        failure::{Failure, FailureClass},
        issuance_limit::Share,
        origin::{ChosenOrigin, KeyOrigin, OrderSeries},
        retry,
        time::Timestamp,
        verify::{Expect, Verified},
    },
};

#[cfg(test)]
use crate::testing::planted::{self, Planted};

/// How long the first certificate waits for what the mount has.
const FIRST_LIST_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a request that is under way at shutdown may still take: its certificate exists already
/// or is about to, and keeping it saves an issuance at the next start.
const SHUTDOWN_GRACE: Duration = Duration::from_millis(400);

/// A difference between Vault's clock and ours that is worth a line.
const MAX_CLOCK_OFFSET: Duration = Duration::from_secs(30);

/// What came of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Obtained {
    /// Verified files; they are staged in memory, and on disk when the disk lets us.
    Files,
    /// Nothing was asked, or no answer came before the end.
    Nothing,
}

impl<I: Issuer, C: Clock> Renewer<I, C> {
    /// One attempt. Its failure is returned; its success is in the holdings.
    pub(super) async fn obtain(&mut self, why: ActionReason) -> Result<Obtained, Failure> {
        if !self.holdings.lock().is_open() {
            // there may be a set on disk that needs no order at all: read it, then decide again
            self.open()?;
            return Ok(Obtained::Nothing);
        }
        let extra = self.holdings.lock().extra_anchors(&self.config);
        #[cfg(test)]
        if let Some(failure) = self.holdings.lock().extra_ca_failure()
            && planted::is(Planted::ExtraStopsLeaf)
        {
            return Err(failure.clone());
        }
        let config = Arc::clone(&self.config);
        let keep = config.request.reuse_key && !self.manual.wish.new_key;
        if self.manual.wish.new_key {
            self.spare_key = None; // it may be the old one
        }
        let mut orders = OrderSeries::new(&config.request, &self.key_origin);
        let (issuance, recorded, reply) = loop {
            let kept = keep.then(|| self.holdings.lock().key()).flatten();
            self.new_key = kept.is_none();
            let key = kept.or_else(|| self.spare_key.take());
            let issuance = Issuance::prepare(&config.request, orders.origin(), key).await?;
            let Some((recorded, answer)) = self.send(&issuance, orders.origin(), why).await? else {
                return Ok(Obtained::Nothing);
            };
            match answer {
                Ok(reply) => break (issuance, recorded, reply),
                Err(failure) => {
                    self.spare_key = issuance.into_key();
                    self.request_failed(why, &failure);
                    orders.failed(failure)?;
                }
            }
        };
        self.learn(orders.accepted());
        self.note_issuer_clock(&reply);
        let known_serials = self.holdings.lock().serials();
        let expect = Expect {
            request: &config.request,
            min_remaining: config.renew.min_remaining,
            known_serials: &known_serials,
            extra_anchors: &extra,
        };
        let verified = issuance
            .verify(&reply, &expect, self.now())
            .inspect_err(|failure| self.request_failed(why, failure))?;
        self.mount_listed().await;
        self.stage(verified, (why.share(), recorded));
        Ok(Obtained::Files)
    }

    /// One order, when its turn has come: when it was recorded, and what came of it. Nothing when the
    /// end came first.
    async fn send(
        &mut self,
        issuance: &Issuance<'_>,
        origin: KeyOrigin,
        why: ActionReason,
    ) -> Result<Option<(Timestamp, Result<Reply, Failure>)>, Failure> {
        let context = Arc::clone(&self.context);
        let entered = context
            .cancel
            .run_until_cancelled(context.gate.acquire())
            .await;
        let Some(Ok(_permit)) = entered.filter(|_| !context.cancel.is_cancelled()) else {
            return Ok(None);
        };
        let recorded = self.now();
        self.holdings
            .lock()
            .record_order(&self.fingerprint, why.share(), recorded)?;
        self.freed = false;
        self.counts.issuance_requests += 1;
        log::ordering(&self.config, origin, why);
        let answered = self.ask(issuance).await;
        Ok(answered.map(|answer| (recorded, answer)))
    }

    /// Keeps what an accepted order has shown.
    fn learn(&mut self, accepted: ChosenOrigin) {
        if accepted != self.key_origin {
            log::key_origin(&accepted);
            self.key_origin = accepted;
        }
    }

    fn request_failed(&self, why: ActionReason, failure: &Failure) {
        let mut holdings = self.holdings.lock();
        holdings.request_failed(why.share(), failure.class);
    }

    /// Sends the request and waits for the answer: while a certificate is running out only as long
    /// as leaves time for another one, at shutdown only for a short while longer.
    async fn ask(&self, issuance: &Issuance<'_>) -> Option<Result<Reply, Failure>> {
        let cancel = &self.context.cancel;
        let validity = self
            .holdings
            .lock()
            .live()
            .map(|held| held.verified.validity());
        let patience = retry::patience(validity, self.now());
        let too_long = async {
            match patience {
                Some(limit) => sleep(limit).await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            answer = self.context.issuer.issue(issuance.order()) => Some(answer),
            () = too_long => Some(Err(no_answer(patience.unwrap_or_default()))),
            () = async { cancel.cancelled().await; sleep(SHUTDOWN_GRACE).await } => None,
        }
    }

    /// The anchors of the mount belong into the first files: an application that starts on them would have to be
    /// reloaded for what comes a moment later.
    async fn mount_listed(&self) {
        let first = self.holdings.lock().live().is_none();
        let Some(mut mount) = self.mount.clone().filter(|_| first) else {
            return;
        };
        if mount.borrow().is_none() {
            let _late = timeout(FIRST_LIST_TIMEOUT, mount.changed()).await;
        }
    }

    fn stage(&mut self, verified: Verified, request: (Share, Timestamp)) {
        for warning in verified.warnings() {
            warn!("warning in Vault's answer: {warning}");
        }
        let now = self.now();
        if verified.starts_at() > now {
            log::not_yet_valid(&verified, now);
        }
        let mount = self.mount_cas();
        let mount = mount.as_ref().map(|mount| &*mount.all);
        let mut holdings = self.holdings.lock();
        let verified = holdings.with_trust(&verified, &self.config, mount, now);
        drop(holdings);
        let waiting = StagedFiles {
            verified,
            generation: None,
            fingerprint: self.fingerprint.clone(),
            obtained_at: now,
            request: Some(request),
        };
        self.holdings.lock().keep(waiting, now);
    }

    fn note_issuer_clock(&mut self, reply: &Reply) {
        let Some(theirs) = reply.server_time else {
            return;
        };
        let now = self.now();
        let ahead = theirs.unix_millis().saturating_sub(now.unix_millis());
        let before = self.issuer_ahead_millis.replace(ahead);
        if apart(ahead) && !before.is_some_and(apart) {
            log::clocks_apart(theirs, now);
        }
    }
}

/// Vault took longer than the live certificate allows.
fn no_answer(waited: Duration) -> Failure {
    Failure {
        class: FailureClass::Transport,
        code: "no-answer".to_owned(),
        message: format!(
            "Vault did not answer within {}, a quarter of the time until the published certificate \
             expires",
            duration::brief(waited)
        ),
        hint: Some("check Vault: it hangs".to_owned()),
        retry_after: None,
    }
}

fn apart(ahead_millis: i64) -> bool {
    u128::from(ahead_millis.unsigned_abs()) >= MAX_CLOCK_OFFSET.as_millis()
}
