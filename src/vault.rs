//! The only module that names vaultrs: requests out, classed failures and raw answers back.
//!
//! Never follows a redirect to another host, never obeys proxy variables, never prints a foreign type
//! with Debug. What stays true: every request has a time limit, and a token goes to listed addresses
//! only.

mod address;
mod auth;
mod call;
mod cause;
mod change;
mod classify;
// Numbers from outside end up here, and an overflow ends the process.
#[deny(clippy::arithmetic_side_effects)]
mod header;
mod health;
mod issuers;
mod messages;
mod order;
mod rate;
mod revoke;
// Numbers from outside end up here, and an overflow ends the process.
#[deny(clippy::arithmetic_side_effects)]
mod session;
mod tls;
mod wire;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::Method;
use serde::Deserialize;
use tokio::time::Instant;
use zeroize::Zeroizing;

use self::{
    call::{FailedCall, Wire},
    classify::AfterRefusal,
    issuers::KnownIssuers,
    session::Session,
    wire::Ask,
};
use crate::{
    config::{Auth, VaultConfig},
    issuer::{IssuanceRequest, Issuer, MountIssuers, Reply, SpendingRecord},
    model::{
        failure::Failure,
        health::IssuerHealth,
        origin::{self, ChosenOrigin, KeyOrigin},
        request::Request,
        secret::Secret,
    },
};

pub use auth::Token;
pub use health::{Health, Signer, TokenFacts};
pub use messages::{Call, MESSAGES, Message, SaidBy};
pub use order::{RequestPlan, plan};
pub(crate) use tls::client_tls;

/// How long to wait for a lagging standby to learn of a new token or role.
const REPLICATION_DELAY: Duration = Duration::from_millis(400);

/// Vault or OpenBao, seen through one configuration and one way to log in.
pub struct Vault {
    wire: Wire,
    session: Session,
    /// The connections of the last health check of a Vault that is unavailable: for the next check or order.
    kept: Mutex<Option<(Instant, call::Hold)>>,
    /// By mount.
    known_issuers: Mutex<BTreeMap<String, KnownIssuers>>,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Vault({})", self.wire.addresses())
    }
}

impl Vault {
    /// Checks addresses, headers and TLS files; connects nowhere.
    ///
    /// # Errors
    /// `Misconfigured`, with what is wrong and how to put it right.
    pub fn new(config: &VaultConfig, auth: Auth) -> Result<Self, Failure> {
        let wire = Wire::new(config)?;
        session::check(config, &auth)?;
        Ok(Self {
            wire,
            session: Session::new(auth),
            kept: Mutex::new(None),
            known_issuers: Mutex::default(),
        })
    }

    /// A token that works at this moment, logging in when there is none.
    ///
    /// # Errors
    /// Why the login failed; `Denied` when Vault refused it.
    pub async fn token(&self) -> Result<Arc<Token>, Failure> {
        let hold = self.wire.hold()?;
        self.session.token(&self.wire, &hold).await
    }

    /// What the token may do at each path (`sys/capabilities-self`), as `path: update, read`.
    /// A preflight only: it knows no parameter limits, and a policy may forbid to ask.
    /// Vault API, "Query self capabilities".
    ///
    /// # Errors
    /// As [`Issuer::issue`].
    pub async fn capabilities(&self, path: &str) -> Result<Vec<String>, Failure> {
        let hold = self.wire.hold()?;
        let token = self.session.token(&self.wire, &hold).await?;
        let body = serde_json::json!({ "paths": [path] }).to_string();
        let mut ask = Ask::new("asking what the token may do", "sys/capabilities-self");
        ask.body = Zeroizing::new(body.into_bytes());
        ask.token = Some(token.secret());
        token.used();
        let answer = self.wire.send(&hold, &ask).await?;
        let read: Capabilities = answer.json("capabilities")?;
        Ok(read.data.get(path).cloned().unwrap_or_default())
    }

    /// The order for this request that the token may send: where its key is made, and what the token
    /// may do there. In mode auto the second choice, where only that one is permitted.
    pub async fn permitted(&self, request: &Request) -> (KeyOrigin, Result<Vec<String>, Failure>) {
        let first = ChosenOrigin::first(request).origin;
        let may = self.capabilities(&first.path(request)).await;
        if let (Ok(words), Some(second)) = (&may, origin::second(request))
            && !permits(words)
        {
            let other = self.capabilities(&second.path(request)).await;
            if other.as_ref().is_ok_and(|words| permits(words)) {
                return (second, other);
            }
        }
        (first, may)
    }

    /// The fields of a PKI role. Most policies that may issue may not read it.
    /// Vault API, PKI, "Read role".
    ///
    /// # Errors
    /// As [`Issuer::issue`].
    pub async fn role(&self, mount: &str, role: &str) -> Result<serde_json::Value, Failure> {
        let path = format!("{mount}/roles/{role}");
        let ask = Ask {
            method: Method::GET,
            ..Ask::new("reading the role", &path)
        };
        let (answer, _) = self.send_known(&ask).await?;
        Ok(answer.json::<Plain>("role")?.data)
    }

    /// Revokes the token if this process asked for it and nothing hangs on it. Takes at most two
    /// seconds, says nothing when it fails: the token ends by itself.
    /// Vault API, "Revoke a token (self)".
    pub async fn revoke_self(&self) {
        self.session.revoke(&self.wire).await;
    }

    fn kept(&self) -> MutexGuard<'_, Option<(Instant, call::Hold)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known_issuers(&self) -> MutexGuard<'_, BTreeMap<String, KnownIssuers>> {
        self.known_issuers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends with a token. Logs in again once when Vault no longer knows the token, and waits once
    /// when a token this new may not have reached a standby. One that a login has just brought and
    /// that was never accepted is not replaced: the next one would be refused as well.
    async fn send_known(&self, ask: &Ask<'_>) -> Result<(call::Success, Arc<Token>), Failure> {
        let hold = self.wire.hold()?;
        let (mut again, mut settled) = (false, false);
        loop {
            let token = self.session.token(&self.wire, &hold).await?;
            let ask = Ask {
                token: Some(token.secret()),
                ..ask.clone()
            };
            token.used();
            let FailedCall { failure, next } = match self.wire.send(&hold, &ask).await {
                Ok(answer) => {
                    token.note_accepted();
                    return Ok((answer, token));
                }
                Err(refused) => refused,
            };
            let new = token.just_had(Instant::now());
            let unknown = next == AfterRefusal::LoginAgain;
            let never = unknown && new && self.session.logs_in() && !token.was_accepted();
            if (next == AfterRefusal::Settle && new || never) && !settled {
                settled = true;
                tokio::time::sleep(REPLICATION_DELAY).await;
                continue;
            }
            if unknown && (never || !again) {
                again = true;
                if self.session.forget(&token).await && !never {
                    continue;
                }
            }
            return Err(match never {
                true => refused_at_once(failure),
                false => failure,
            });
        }
    }
}

/// The token of a login that Vault accepted, and it does not take it.
fn refused_at_once(failure: Failure) -> Failure {
    Failure {
        message: format!(
            "a token that a login has just brought is refused: {}",
            failure.message
        ),
        hint: Some(
            "it is bound to other addresses than this machine's: check token_bound_cidrs of the role"
                .to_owned(),
        ),
        ..failure
    }
}

/// These capabilities are enough for an order.
#[must_use]
pub fn permits(may: &[String]) -> bool {
    may.iter().any(|word| word == "update" || word == "root")
}

#[derive(Deserialize)]
struct Plain {
    data: serde_json::Value,
}

#[derive(Deserialize)]
struct Capabilities {
    data: BTreeMap<String, Vec<String>>,
}

/// Only what tells a leased certificate; everything else of the answer is `model/answer.rs`'s.
#[derive(Deserialize)]
struct LeaseOnly {
    #[serde(default)]
    lease_id: Option<String>,
}

impl Issuer for Vault {
    async fn issue(&self, order: IssuanceRequest<'_>) -> Result<Reply, Failure> {
        let _kept = self.kept().take();
        let plan = plan(&order);
        let ask = Ask {
            body: Zeroizing::new(plan.body.to_string().into_bytes()),
            repeatable: false,
            ..Ask::new(plan.what, &plan.path)
        };
        let (answer, token) = self.send_known(&ask).await?;
        let lease = serde_json::from_slice::<LeaseOnly>(&answer.body);
        if lease.is_ok_and(|lease| lease.lease_id.is_some_and(|id| !id.is_empty())) {
            token.note_lease();
            self.session.changed();
        }
        Ok(Reply {
            body: answer.body,
            server_time: answer.date,
        })
    }

    async fn issuers(&self, mount: &str) -> Result<MountIssuers, Failure> {
        self.mount_issuers(mount).await
    }

    async fn revoke(&self, mount: &str, certificate: &str, key: &Secret) -> Result<(), Failure> {
        self.revoke_with_key(mount, certificate, key).await
    }

    fn record_spending(&self, record: SpendingRecord) {
        self.session.record_spending(record);
    }

    fn recall_spent(&self, fingerprint: &str) {
        self.session.recall(fingerprint);
    }

    fn logins(&self) -> u64 {
        self.session.logins()
    }

    async fn serves(&self) -> Result<IssuerHealth, Failure> {
        self.able().await
    }

    async fn tend(&self) {
        self.session.tend(&self.wire).await;
    }

    async fn close(&self) {
        self.revoke_self().await;
    }
}
