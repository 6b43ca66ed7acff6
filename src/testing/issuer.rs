//! An issuer in memory: latency, outages, any answer, and a log of every call.
//!
//! Never talks to anything. What stays true: every call is in the log with its wall time, also the
//! ones that were dropped half way.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::sleep;
use zeroize::Zeroizing;

pub(crate) use certagent_model::testing::failure;

use crate::{
    clock::Clock,
    issuer::{IssuanceRequest, Issuer, ListedIssuer, MountIssuers, OrderedKey, Reply},
    model::{
        failure::{Failure, FailureClass},
        health::IssuerHealth,
        request::Request,
        secret::Secret,
        time::Timestamp,
        trust::Standing,
    },
    testing::clock::TestClock,
};

/// One call as the issuer saw it.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// Wall time at which it arrived.
    pub(crate) at: Timestamp,
    /// What was asked.
    pub(crate) request: Request,
    /// The CSR, where the key is ours.
    pub(crate) csr: Option<String>,
}

/// What Vault says to one call: a body, or a refusal.
pub(crate) type Answer = Result<Vec<u8>, Failure>;

type Script = Box<dyn FnMut(&Call) -> Answer + Send>;

/// An issuer that can sign, without a name.
pub(crate) fn able(certificate: String) -> ListedIssuer {
    ListedIssuer {
        certificate,
        id: String::new(),
        name: String::new(),
        standing: Standing::Able,
    }
}

/// A span of wall time in which every call fails.
#[derive(Clone, Debug)]
pub(crate) struct Outage {
    /// First failing moment.
    pub(crate) from: Timestamp,
    /// First working moment again.
    pub(crate) until: Timestamp,
    /// How it fails.
    pub(crate) class: FailureClass,
    /// What it asks for, when it does.
    pub(crate) retry_after: Option<Duration>,
}

/// The issuer of the tests of the loop.
pub(crate) struct FakeIssuer {
    clock: Arc<TestClock>,
    latency: Mutex<Duration>,
    list_latency: Mutex<Duration>,
    clock_offset_millis: Mutex<i64>,
    outages: Mutex<Vec<Outage>>,
    script: Mutex<Script>,
    issuers: Mutex<Result<Vec<ListedIssuer>, Failure>>,
    calls: Mutex<Vec<Call>>,
    revoked: Mutex<Vec<String>>,
    revocation: Mutex<Result<(), Failure>>,
    polls: Mutex<Vec<Timestamp>>,
    health_checks: Mutex<Vec<Timestamp>>,
    closed: AtomicBool,
}

impl FakeIssuer {
    /// Answers every call by `script`, at once, with no mount issuers.
    pub(crate) fn new(
        clock: Arc<TestClock>,
        script: impl FnMut(&Call) -> Answer + Send + 'static,
    ) -> Self {
        Self {
            clock,
            latency: Mutex::new(Duration::ZERO),
            list_latency: Mutex::new(Duration::ZERO),
            clock_offset_millis: Mutex::new(0),
            outages: Mutex::new(Vec::new()),
            script: Mutex::new(Box::new(script)),
            issuers: Mutex::new(Ok(Vec::new())),
            calls: Mutex::new(Vec::new()),
            revoked: Mutex::new(Vec::new()),
            revocation: Mutex::new(Ok(())),
            polls: Mutex::new(Vec::new()),
            health_checks: Mutex::new(Vec::new()),
            closed: AtomicBool::new(false),
        }
    }

    /// From now on every answer takes this long.
    pub(crate) fn set_latency(&self, latency: Duration) {
        *self.latency.lock().unwrap() = latency;
    }

    /// From now on the list of a mount's issuers takes this long.
    pub(crate) fn set_list_latency(&self, latency: Duration) {
        *self.list_latency.lock().unwrap() = latency;
    }

    /// From now on Vault's clock is this far ahead of ours (negative: behind).
    pub(crate) fn set_clock_offset(&self, millis: i64) {
        *self.clock_offset_millis.lock().unwrap() = millis;
    }

    /// Calls inside the span fail; outages may overlap, the first one added wins.
    pub(crate) fn add_outage(&self, outage: Outage) {
        self.outages.lock().unwrap().push(outage);
    }

    /// From now on answers come from another script.
    pub(crate) fn set_script(&self, script: impl FnMut(&Call) -> Answer + Send + 'static) {
        *self.script.lock().unwrap() = Box::new(script);
    }

    /// What [`Issuer::issuers`] says from now on; the first is the default.
    pub(crate) fn set_anchors(&self, anchors: Result<Vec<String>, Failure>) {
        self.set_issuers(anchors.map(|all| all.into_iter().map(able).collect()));
    }

    /// As [`FakeIssuer::set_anchors`], with all that is known of them.
    pub(crate) fn set_issuers(&self, issuers: Result<Vec<ListedIssuer>, Failure>) {
        *self.issuers.lock().unwrap() = issuers;
    }

    /// What [`Issuer::revoke`] says from now on.
    pub(crate) fn set_revocation(&self, outcome: Result<(), Failure>) {
        *self.revocation.lock().unwrap() = outcome;
    }

    /// Every certificate that was to be revoked so far.
    pub(crate) fn revoked(&self) -> Vec<String> {
        self.revoked.lock().unwrap().clone()
    }

    /// From here on a call of any kind is a broken test: nothing may be asked after shutdown.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    /// Calls are fine again.
    pub(crate) fn reopen(&self) {
        self.closed.store(false, Ordering::SeqCst);
    }

    /// Every order so far.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    /// How many orders so far.
    pub(crate) fn count(&self) -> usize {
        self.calls.lock().unwrap().len()
    }

    /// When the mount's issuers were asked for.
    pub(crate) fn polls(&self) -> Vec<Timestamp> {
        self.polls.lock().unwrap().clone()
    }

    /// When it was asked whether it can serve.
    pub(crate) fn health_checks(&self) -> Vec<Timestamp> {
        self.health_checks.lock().unwrap().clone()
    }

    fn failing_now(&self) -> Option<Failure> {
        let now = self.clock.now();
        let outages = self.outages.lock().unwrap();
        let outage = outages
            .iter()
            .find(|outage| outage.from <= now && now < outage.until)?;
        Some(Failure {
            retry_after: outage.retry_after,
            ..failure(outage.class, "outage")
        })
    }

    fn record(&self, order: IssuanceRequest<'_>) -> Call {
        assert!(
            !self.closed.load(Ordering::SeqCst),
            "an order after the issuer was closed"
        );
        let mut calls = self.calls.lock().unwrap();
        let call = Call {
            at: self.clock.now(),
            request: order.request.clone(),
            csr: match order.key {
                OrderedKey::Csr(csr) => Some(csr.to_owned()),
                OrderedKey::OfRole | OrderedKey::Asked(_) => None,
            },
        };
        calls.push(call.clone());
        call
    }
}

impl Issuer for FakeIssuer {
    async fn issue(&self, order: IssuanceRequest<'_>) -> Result<Reply, Failure> {
        let call = self.record(order);
        let latency = *self.latency.lock().unwrap();
        if latency > Duration::ZERO {
            sleep(latency).await;
        }
        if let Some(failure) = self.failing_now() {
            return Err(failure);
        }
        let body = (self.script.lock().unwrap())(&call)?;
        let offset = *self.clock_offset_millis.lock().unwrap();
        let server_time = Timestamp::from_unix_millis(self.clock.now().unix_millis() + offset);
        Ok(Reply {
            body: Zeroizing::new(body),
            server_time: Some(server_time),
        })
    }

    async fn issuers(&self, _mount: &str) -> Result<MountIssuers, Failure> {
        assert!(
            !self.closed.load(Ordering::SeqCst),
            "a poll after the issuer was closed"
        );
        self.polls.lock().unwrap().push(self.clock.now());
        if let Some(failure) = self.failing_now() {
            return Err(failure);
        }
        let latency = *self.list_latency.lock().unwrap();
        sleep(latency).await;
        let issuers = self.issuers.lock().unwrap().clone()?;
        Ok(MountIssuers {
            default: issuers.first().map(|one| one.certificate.clone()),
            issuers,
        })
    }

    async fn revoke(&self, _mount: &str, certificate: &str, key: &Secret) -> Result<(), Failure> {
        assert!(key.expose().contains("PRIVATE KEY"), "no key");
        self.revoked.lock().unwrap().push(certificate.to_owned());
        self.revocation.lock().unwrap().clone()
    }

    /// By the outages alone: a script that fails is an issuer that says it is well.
    async fn serves(&self) -> Result<IssuerHealth, Failure> {
        assert!(
            !self.closed.load(Ordering::SeqCst),
            "a look after the issuer was closed"
        );
        self.health_checks.lock().unwrap().push(self.clock.now());
        let latency = *self.latency.lock().unwrap();
        if latency > Duration::ZERO {
            sleep(latency).await;
        }
        self.failing_now().map_or(Ok(IssuerHealth::Active), Err)
    }
}
