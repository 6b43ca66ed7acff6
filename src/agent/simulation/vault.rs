//! Vault as the agents see it: one CA, its answers by the faults of the moment, its books.
//!
//! Never keeps a promise that a fault has taken. What stays true: each certificate that it makes is
//! written down, with whether it may be published.

use std::{sync::Arc, time::Duration};

use rcgen::{CertificateSigningRequestParams, PublicKeyData as _};
use serde_json::Value;
use tokio::time::sleep;
use zeroize::Zeroizing;

use super::{
    faults::Fault,
    world::{Answered, Call, EPOCH, Instance, Login, Made, State, since_start},
};
use crate::{
    clock::Clock as _,
    issuer::{IssuanceRequest, Issuer, MountIssuers, OrderedKey, Reply, SpendingRecord},
    model::{
        failure::{Failure, FailureClass},
        health::IssuerHealth,
        pem,
        request::Request,
        secret::Secret,
        time::Timestamp,
    },
    testing::{
        ca::{TestCa, leaf_params, new_key},
        issuer::{able, failure},
    },
};

/// The limit of the real client for one request.
const TIMEOUT: Duration = Duration::from_secs(30);

impl Issuer for Instance {
    async fn issue(&self, order: IssuanceRequest<'_>) -> Result<Reply, Failure> {
        self.while_alive().await;
        let (slow, hangs) = {
            let state = self.world.state();
            (state.is(Fault::Slow), state.is(Fault::Hangs).is_some())
        };
        let early = self.world.state().is_early();
        if hangs {
            self.note(Answered::Failed, early);
            sleep(TIMEOUT).await;
            self.while_alive().await;
            return Err(failure(FailureClass::Transport, "timeout"));
        }
        let login = self.login();
        // a process may end between its login and the answer
        sleep(Duration::from_secs(slow.unwrap_or(0).into())).await;
        self.while_alive().await;
        let answer = login.and_then(|()| self.world.state().answer(order, self.number));
        let answered = match &answer {
            Err(_) => Answered::Failed,
            Ok((_, None)) => Answered::Refusable,
            Ok((_, Some(number))) => Answered::Made(*number),
        };
        self.note(answered, early);
        Ok(Reply {
            body: Zeroizing::new(answer?.0),
            server_time: Some(self.world.clock.now()),
        })
    }

    async fn issuers(&self, _mount: &str) -> Result<MountIssuers, Failure> {
        self.while_alive().await;
        let state = self.world.state();
        if let Some(failure) = state.outage() {
            return Err(failure);
        }
        Ok(MountIssuers {
            default: state.anchors.first().cloned(),
            issuers: state.anchors.iter().cloned().map(able).collect(),
        })
    }

    async fn revoke(&self, _: &str, _: &str, _: &Secret) -> Result<(), Failure> {
        Ok(())
    }

    async fn serves(&self) -> Result<IssuerHealth, Failure> {
        self.while_alive().await;
        if self.world.state().is(Fault::Hangs).is_some() {
            sleep(TIMEOUT).await;
        }
        self.world
            .state()
            .outage()
            .map_or(Ok(IssuerHealth::Active), Err)
    }

    fn record_spending(&self, record: SpendingRecord) {
        self.login.lock().unwrap().record = Some(record);
    }

    fn recall_spent(&self, fingerprint: &str) {
        self.login.lock().unwrap().recalled = Some(fingerprint.to_owned());
    }
}

impl Instance {
    /// With a credential that can be used once, where the schedule says so.
    fn login(&self) -> Result<(), Failure> {
        let Login {
            used,
            recalled,
            record,
        } = self.login.lock().unwrap().clone();
        if !self.world.logs_in_once || used.is_some() {
            return Ok(());
        }
        let mut state = self.world.state();
        if let Some(failure) = state.outage() {
            return Err(failure);
        }
        let ready = state.credential;
        if state.spent.contains(&ready) {
            // a record that another process removed or damaged can't say that it was ourselves
            let could_know = state.forgot_at == EPOCH;
            if could_know && recalled.as_deref() != Some(&ready.to_string()) {
                state.breaks(|| {
                    "an alarm about a theft, although it was the agent itself".to_owned()
                });
            }
            state.wants_credential = true;
            return Err(failure(FailureClass::Denied, "credential-used"));
        }
        drop(state);
        record.map_or(Ok(()), |record| record(&ready.to_string()))?;
        if self.is_gone() {
            return Ok(()); // it crashed at a step of the record
        }
        self.world.state().spent.insert(ready);
        let mut login = self.login.lock().unwrap();
        login.recalled = Some(ready.to_string());
        login.used = Some(ready);
        Ok(())
    }

    fn note(&self, answered: Answered, early: bool) {
        let mut state = self.world.state();
        let (at, instance) = (state.now, self.number);
        state.note(|| format!("agent {instance} asks Vault: {answered:?}"));
        state.calls.push(Call {
            at,
            instance,
            answered,
            early,
        });
        state.judge_calls();
    }
}

impl State {
    /// What every request meets while Vault is away.
    fn outage(&self) -> Option<Failure> {
        let fails = |class, code| Some(failure(class, code));
        if self.is(Fault::Unreachable).is_some() || self.is(Fault::Hangs).is_some() {
            fails(FailureClass::Transport, "unreachable")
        } else if self.is(Fault::Unavailable).is_some() {
            fails(FailureClass::Unavailable, "503")
        } else {
            None
        }
    }

    fn refusal(&self) -> Option<Failure> {
        if let Some(wait) = self.is(Fault::Throttles) {
            return Some(Failure {
                retry_after: Some(Duration::from_secs(wait.into())),
                ..failure(FailureClass::Throttled, "429")
            });
        }
        // as Vault's quotas count: what was refused takes nothing
        let served = self.calls.iter().rev();
        let served = served.filter(|call| call.answered != Answered::Failed);
        let last_minute =
            served.take_while(|call| call.at.until(self.now) < Duration::from_secs(60));
        match self.is(Fault::RateLimit) {
            Some(most) if last_minute.count() >= most as usize => {
                return Some(failure(FailureClass::Throttled, "429"));
            }
            _ => {}
        }
        if self.is(Fault::Denies).is_some() {
            return Some(failure(FailureClass::Denied, "403"));
        }
        if self.is(Fault::RoleGone).is_some() {
            return Some(failure(FailureClass::Misconfigured, "role"));
        }
        // the nodes take turns
        let down = self.is(Fault::OneNodeDown).is_some() && self.calls.len().is_multiple_of(2);
        down.then(|| failure(FailureClass::Unavailable, "503"))
    }

    /// The body, and the number of the certificate when it may be published.
    fn answer(
        &mut self,
        order: IssuanceRequest<'_>,
        instance: u32,
    ) -> Result<(Vec<u8>, Option<u32>), Failure> {
        if let Some(failure) = self.outage().or_else(|| self.refusal()) {
            return Err(failure);
        }
        let mut request = order.request.clone();
        if let Some(share) = self.is(Fault::ShortLife) {
            request.ttl = (request.ttl / share).max(Duration::from_secs(60));
        }
        let (mut at, ca) = (self.now, Arc::clone(&self.ca));
        if let Some(ends) = self.ca_ends {
            request.ttl = request.ttl.min(at.until(ends));
        }
        let form = self.is(Fault::Refusable);
        match form {
            Some(0) => return Ok((b"<html>".to_vec(), None)),
            Some(1) => request.names.common_name = "other.example".to_owned(),
            Some(2) => at = at.minus(Duration::from_secs(30 * 86_400)),
            _ => {}
        }
        let foreign_key = form == Some(3);
        let csr = match order.key {
            OrderedKey::Csr(csr) => Some(csr),
            OrderedKey::OfRole | OrderedKey::Asked(_) => None,
        };
        let mut made = make(&ca, &request, csr.filter(|_| !foreign_key), at);
        if csr.is_some() {
            // the key never travels
            made.body["data"]["private_key"].take();
        } else if foreign_key {
            let other = make(&ca, &request, None, at);
            made.body["data"]["private_key"] = other.body["data"]["private_key"].clone();
        }
        let Answer {
            body,
            leaf,
            public_key,
        } = made;
        let until = at.plus(request.ttl);
        let made = Made {
            number: self.made.len() as u32 + 1,
            // one that has expired is refused
            good: form.is_none() && until > self.now,
            public_key,
            root: pem::encode(pem::CERTIFICATE, &ca.root.der),
            from: self.now,
            until,
        };
        let number = made.number;
        self.note(|| {
            let good = if made.good {
                ""
            } else {
                ", which is to be refused"
            };
            let until = since_start(made.until);
            format!("Vault makes certificate {number} until {until} for agent {instance}{good}")
        });
        let number = made.good.then_some(number);
        self.made.insert(leaf, made);
        Ok((body.to_string().into_bytes(), number))
    }
}

/// One answer, and what is to be known of it.
struct Answer {
    body: Value,
    /// PEM, as it is published.
    leaf: String,
    public_key: Vec<u8>,
}

/// A certificate by this CA; without a CSR for a key of its own.
fn make(ca: &TestCa, request: &Request, csr: Option<&str>, at: Timestamp) -> Answer {
    let params = leaf_params(request, at);
    let (leaf, key, public_key) = if let Some(csr) = csr {
        let csr = CertificateSigningRequestParams::from_pem(csr).unwrap();
        let leaf = ca.int.sign(params, &csr.public_key);
        (leaf, None, csr.public_key.der_bytes().to_vec())
    } else {
        let key = new_key(request.key_type);
        let public_key = key.der_bytes().to_vec();
        (ca.int.sign(params, &key), Some(key), public_key)
    };
    Answer {
        body: ca.envelope(&leaf, key.as_ref()),
        leaf: pem::encode(pem::CERTIFICATE, &leaf),
        public_key,
    }
}
