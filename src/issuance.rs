//! One certificate from Vault: key and CSR, request, answer, checks; for the agent, `issue` and
//! `doctor`.
//!
//! Never publishes and keeps no record. What stays true: everybody judges an answer in the same way.

pub(crate) mod extras;

use crate::{
    clock::Clock,
    config::CertConfig,
    csr,
    issuer::{IssuanceRequest, Issuer, Reply},
    model::{
        answer,
        bundle::PrivateKey,
        failure::Failure,
        request::{KeyType, Mode, Request},
        time::Timestamp,
        verify::{self, Expect, Verified},
    },
};

const BROKEN_OFF: &str = "could not make a private key: its making was broken off";

/// An issuance request that is ready to be sent.
pub(crate) struct Issuance<'a> {
    request: &'a Request,
    /// Key and CSR of sign mode; nothing in issue mode.
    key: Option<PrivateKey>,
    csr: Option<String>,
}

impl<'a> Issuance<'a> {
    /// Makes what the request needs; `key` is used where it fits.
    ///
    /// # Errors
    /// `Local` when no key or no CSR can be made.
    pub(crate) async fn prepare(
        request: &'a Request,
        key: Option<PrivateKey>,
    ) -> Result<Self, Failure> {
        let (key, csr) = match request.mode {
            Mode::Issue => (None, None),
            Mode::Sign => {
                let key = match key.filter(|key| csr::fits(key, request.key_type)) {
                    Some(key) => key,
                    None => new_key(request.key_type).await?,
                };
                let csr = csr::csr(request, &key)?;
                (Some(key), Some(csr))
            }
        };
        Ok(Self { request, key, csr })
    }

    /// What is sent.
    pub(crate) fn order(&self) -> IssuanceRequest<'_> {
        IssuanceRequest {
            request: self.request,
            csr: self.csr.as_deref(),
        }
    }

    /// The key, for another request when this one brought nothing.
    pub(crate) fn into_key(self) -> Option<PrivateKey> {
        self.key
    }

    /// Reads and checks the answer.
    ///
    /// # Errors
    /// `BadAnswer` for an answer that can't be read or is refused.
    pub(crate) fn verify(
        self,
        reply: &Reply,
        expect: &Expect<'_>,
        now: Timestamp,
    ) -> Result<Verified, Failure> {
        let bundle = answer::parse(&reply.body, self.key)?;
        Ok(verify::verify(bundle, expect, now)?)
    }
}

/// Requests one certificate outside of the agent's loop and verifies the answer.
///
/// # Errors
/// Those of making a key, of the issuer and of verification.
pub(crate) async fn issue(
    certificate: &CertConfig,
    issuer: &impl Issuer,
    extra_anchors: &[Vec<u8>],
    clock: &impl Clock,
) -> Result<Verified, Failure> {
    let issuance = Issuance::prepare(&certificate.request, None).await?;
    let reply = issuer.issue(issuance.order()).await?;
    let expect = Expect {
        request: &certificate.request,
        min_remaining: certificate.renew.min_remaining,
        known_serials: &[],
        extra_anchors,
    };
    issuance.verify(&reply, &expect, clock.now())
}

/// RSA keys take from a fraction of a second to several: off the only runtime thread.
async fn new_key(kind: KeyType) -> Result<PrivateKey, Failure> {
    match kind {
        KeyType::Rsa2048 | KeyType::Rsa3072 | KeyType::Rsa4096 => {
            let made = tokio::task::spawn_blocking(move || csr::new_key(kind)).await;
            made.unwrap_or_else(|_| Err(Failure::local("key-generation", BROKEN_OFF.to_owned())))
        }
        KeyType::EcP256 | KeyType::EcP384 | KeyType::EcP521 | KeyType::Ed25519 => {
            csr::new_key(kind)
        }
    }
}
