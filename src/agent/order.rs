//! From "a new certificate is due" to a verified set: key, CSR, order, answer, checks.
//!
//! Never publishes. What stays true: no order leaves before it is on record; after cancellation no
//! order leaves at all, and one that is under way gets a short grace.

use std::{future::pending, sync::Arc, time::Duration};

use tokio::time::sleep;
use tracing::warn;

use super::{holdings::StagedFiles, log, renewer::Renewer};
use crate::{
    clock::Clock,
    csr,
    issuer::{Issuer, Order, Reply},
    model::{
        answer, budget,
        bundle::PrivateKey,
        decide::Why,
        duration,
        failure::{Failure, FailureClass},
        request::{KeyType, Mode},
        retry,
        verify::{self, Expect, Verified},
    },
};

/// How long an order that is under way at shutdown may still take: its certificate exists already
/// or is about to, and keeping it saves an issuance at the next start.
const GRACE: Duration = Duration::from_millis(400);

/// A difference between the issuer's clock and ours that is worth a line.
const CLOCKS_APART: Duration = Duration::from_secs(30);

/// What came of one turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Obtained {
    /// A verified set; it is staged in memory, and on disk when the disk lets us.
    Set,
    /// Nothing was asked, or no answer came before the end.
    Nothing,
}

impl<I: Issuer, C: Clock> Renewer<I, C> {
    /// One order. Its failure is returned; its success is in the store.
    pub(super) async fn obtain(&mut self, why: Why) -> Result<Obtained, Failure> {
        if !self.store.lock().is_open() {
            // there may be a set on disk that needs no order at all: read it, then decide again
            self.open()?;
            return Ok(Obtained::Nothing);
        }
        let extra = self.store.lock().extra_anchors(&self.config)?;
        let (key, csr) = self.key_and_csr().await?;
        let context = Arc::clone(&self.context);
        let entered = context
            .cancel
            .run_until_cancelled(context.gate.acquire())
            .await;
        let Some(Ok(_permit)) = entered.filter(|_| !context.cancel.is_cancelled()) else {
            return Ok(Obtained::Nothing);
        };
        self.store
            .lock()
            .record_order(&self.fingerprint, self.now())?;
        self.counts.orders += 1;
        log::ordering(&self.config, why);
        let reply = match self.ask(csr.as_deref()).await {
            None => return Ok(Obtained::Nothing),
            Some(Ok(reply)) => reply,
            Some(Err(failure)) => {
                self.spare_key = key;
                if !budget::keeps(failure.class) {
                    self.store.lock().withdraw_order();
                }
                return Err(failure);
            }
        };
        self.note_issuer_clock(&reply);
        let verified = self.check(&reply, key, &extra)?;
        self.stage(verified);
        Ok(Obtained::Set)
    }

    /// Sends the order and waits for the answer: while a certificate is running out only as long as
    /// leaves time for another order, at shutdown only for a short while longer.
    async fn ask(&self, csr: Option<&str>) -> Option<Result<Reply, Failure>> {
        let order = Order {
            request: &self.config.request,
            csr,
        };
        let cancel = &self.context.cancel;
        let validity = self
            .store
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
            answer = self.context.issuer.issue(order) => Some(answer),
            () = too_long => Some(Err(no_answer(patience.unwrap_or_default()))),
            () = async { cancel.cancelled().await; sleep(GRACE).await } => None,
        }
    }

    fn check(
        &self,
        reply: &Reply,
        key: Option<PrivateKey>,
        extra: &[Vec<u8>],
    ) -> Result<Verified, Failure> {
        let bundle = answer::parse(&reply.body, key)?;
        let known_serials: Vec<String> = self.store.lock().serials();
        let expect = Expect {
            request: &self.config.request,
            min_remaining: self.config.renew.min_remaining,
            known_serials: &known_serials,
            extra_anchors: extra,
        };
        Ok(verify::verify(bundle, &expect, self.now())?)
    }

    fn stage(&mut self, verified: Verified) {
        for warning in verified.warnings() {
            warn!("the issuer's answer is used, but: {warning}");
        }
        let now = self.now();
        if verified.starts_at() > now {
            log::not_yet_valid(&verified, now);
        }
        let mount = self.mount_cas();
        let verified = self
            .store
            .lock()
            .with_trust(&verified, &self.config, mount.as_deref(), now);
        let waiting = StagedFiles {
            verified,
            generation: None,
            fingerprint: self.fingerprint.clone(),
            obtained_at: now,
        };
        self.store.lock().keep(waiting, now);
    }

    /// The key and CSR of sign mode; nothing in issue mode.
    async fn key_and_csr(&mut self) -> Result<(Option<PrivateKey>, Option<String>), Failure> {
        let request = &self.config.request;
        if request.mode == Mode::Issue {
            return Ok((None, None));
        }
        let kept = if request.reuse_key {
            self.store.lock().key()
        } else {
            None
        };
        let key = match kept.or_else(|| self.spare_key.take()) {
            Some(key) if csr::fits(&key, request.key_type) => key,
            _ => new_key(request.key_type).await?,
        };
        let csr = csr::csr(request, &key)?;
        Ok((Some(key), Some(csr)))
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

/// The issuer took longer than the live certificate allows.
fn no_answer(waited: Duration) -> Failure {
    Failure {
        class: FailureClass::Transport,
        code: "no-answer".to_owned(),
        message: format!(
            "the issuer did not answer within {}, a quarter of what is left of the live certificate",
            duration::brief(waited)
        ),
        hint: Some("look at the issuer: it hangs".to_owned()),
        retry_after: None,
    }
}

fn apart(ahead_millis: i64) -> bool {
    u128::from(ahead_millis.unsigned_abs()) >= CLOCKS_APART.as_millis()
}

/// RSA keys take from a fraction of a second to several: off the only runtime thread.
async fn new_key(kind: KeyType) -> Result<PrivateKey, Failure> {
    match kind {
        KeyType::Rsa2048 | KeyType::Rsa3072 | KeyType::Rsa4096 => {
            let made = tokio::task::spawn_blocking(move || csr::new_key(kind)).await;
            made.unwrap_or_else(|_| Err(key_failure("its making was broken off")))
        }
        KeyType::EcP256 | KeyType::EcP384 | KeyType::Ed25519 => csr::new_key(kind),
    }
}

fn key_failure(why: &str) -> Failure {
    Failure {
        class: FailureClass::Local,
        code: "key".to_owned(),
        message: format!("could not make a private key: {why}"),
        hint: None,
        retry_after: None,
    }
}
