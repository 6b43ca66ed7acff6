//! The seam between the agent and whoever issues certificates.
//!
//! Two implementors: [`crate::vault`] (the real one) and the test suite's fake with latency, faults
//! and a call log. Never interprets an answer: `model/answer.rs` does.

use std::sync::Arc;

use zeroize::Zeroizing;

use crate::model::{
    failure::Failure,
    health::IssuerHealth,
    request::{KeyType, Request},
    secret::Secret,
    time::Timestamp,
    trust::Standing,
};

/// One order: the request, and whose key the certificate is for.
#[derive(Clone, Copy, Debug)]
pub struct IssuanceRequest<'a> {
    /// What to ask for.
    pub request: &'a Request,
    /// The key.
    pub key: OrderedKey<'a>,
}

/// The key of an order.
#[derive(Clone, Copy, Debug)]
pub enum OrderedKey<'a> {
    /// Ours, by this PEM certificate signing request.
    Csr(&'a str),
    /// One that the issuer makes, of the kind that the role names.
    OfRole,
    /// One that the issuer makes, of this kind.
    Asked(KeyType),
}

/// The issuer's raw, unchecked success answer. The body can hold a private key.
pub struct Reply {
    /// The HTTP body as received.
    pub body: Zeroizing<Vec<u8>>,
    /// Vault's clock (HTTP Date), when it said.
    pub server_time: Option<Timestamp>,
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reply({} bytes)", self.body.len())
    }
}

/// Writes down, durably, the fingerprint of a credential that is about to be used up; empty: none is.
pub type SpendingRecord = Arc<dyn Fn(&str) -> Result<(), Failure> + Send + Sync>;

/// What a mount has, unchecked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MountIssuers {
    /// Each issuer.
    pub issuers: Vec<ListedIssuer>,
    /// The certificate of the default issuer, PEM; absent where there is none.
    pub default: Option<String>,
}

/// One issuer of a mount, unchecked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedIssuer {
    /// Its certificate, PEM.
    pub certificate: String,
    /// Its id in the mount.
    pub id: String,
    /// Its name there; empty when it has none.
    pub name: String,
    /// What is known of it.
    pub standing: Standing,
}

/// Whoever issues certificates.
pub trait Issuer: Send + Sync {
    /// Sends one order and returns the raw answer. Logs in first when needed. One attempt: the
    /// retry plan belongs to the caller.
    ///
    /// # Errors
    /// A classed [`Failure`] that says what was tried, where and why; never a secret.
    fn issue(
        &self,
        order: IssuanceRequest<'_>,
    ) -> impl Future<Output = Result<Reply, Failure>> + Send;

    /// All issuers of a mount. Needs no token; with one more is known of them.
    ///
    /// # Errors
    /// As [`Issuer::issue`].
    fn issuers(&self, mount: &str) -> impl Future<Output = Result<MountIssuers, Failure>> + Send;

    /// Revokes a certificate of this mount, PEM, shown to be ours by its key.
    ///
    /// # Errors
    /// As [`Issuer::issue`].
    fn revoke(
        &self,
        mount: &str,
        certificate: &str,
        key: &Secret,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Whether it can serve orders, by its own word: one cheap question without a token, for while
    /// it is away. Takes at most some seconds; dropping it breaks it off.
    ///
    /// # Errors
    /// Why it can't, or why it can't be asked.
    fn serves(&self) -> impl Future<Output = Result<IssuerHealth, Failure>> + Send;

    /// How often it was logged in since the start.
    fn logins(&self) -> u64 {
        0
    }

    /// Where the fingerprint of a credential that can be used once is written down, before it is
    /// used: neither a restart nor a lost answer is taken for a theft.
    fn record_spending(&self, _record: SpendingRecord) {}

    /// A credential with this fingerprint was sent to be used up by ourselves, before a restart.
    fn recall_spent(&self, _fingerprint: &str) {}

    /// Keeps the access to Vault alive while nothing is requested (token renewal). Never returns; run
    /// it beside the loop and drop it to end it. By default there is nothing to keep alive.
    fn tend(&self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }

    /// Gives back what was taken (revokes an own token). Takes at most about two seconds and never
    /// fails: call it once, at exit, when nothing else is under way.
    fn close(&self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}
