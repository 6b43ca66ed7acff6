//! One certificate from Vault: key and CSR, request, answer, checks; for the agent, `issue` and
//! `doctor`.
//!
//! Never publishes and keeps no record. What stays true: every command judges an answer in the same way.

pub(crate) mod extras;

use std::slice;

use tracing::debug;

use crate::{
    clock::Clock,
    config::CertConfig,
    csr,
    issuer::{IssuanceRequest, Issuer, MountIssuers, OrderedKey, Reply},
    model::{
        answer,
        bundle::PrivateKey,
        failure::Failure,
        origin::{ChosenOrigin, KeyOrigin, OrderSeries},
        pem,
        request::{KeyType, Request},
        time::Timestamp,
        trust::{self, Memory, MountIssuer, Vouched},
        verify::{self, Expect, Verified},
    },
};

const BROKEN_OFF: &str = "could not make a private key: its making was broken off";

/// An issuance request that is ready to be sent.
pub(crate) struct Issuance<'a> {
    request: &'a Request,
    key: IssuanceKey,
}

/// The key of an issuance request.
enum IssuanceKey {
    Here { key: PrivateKey, csr: String },
    OfRole,
    Asked(KeyType),
}

impl<'a> Issuance<'a> {
    /// Makes what the order needs; `key` is used where it fits.
    ///
    /// # Errors
    /// `Local` when no key or no CSR can be made.
    pub(crate) async fn prepare(
        request: &'a Request,
        origin: KeyOrigin,
        key: Option<PrivateKey>,
    ) -> Result<Self, Failure> {
        let key = match origin {
            KeyOrigin::OfRole => IssuanceKey::OfRole,
            KeyOrigin::Asked(kind) => IssuanceKey::Asked(kind),
            KeyOrigin::Here(kind) => {
                let key = match key.filter(|key| csr::fits(key, kind)) {
                    Some(key) => key,
                    None => new_key(kind).await?,
                };
                let csr = csr::csr(request, &key)?;
                IssuanceKey::Here { key, csr }
            }
        };
        Ok(Self { request, key })
    }

    /// What is sent.
    pub(crate) fn order(&self) -> IssuanceRequest<'_> {
        IssuanceRequest {
            request: self.request,
            key: match &self.key {
                IssuanceKey::Here { csr, .. } => OrderedKey::Csr(csr),
                IssuanceKey::OfRole => OrderedKey::OfRole,
                IssuanceKey::Asked(kind) => OrderedKey::Asked(*kind),
            },
        }
    }

    /// The key, for another request when this one brought nothing.
    pub(crate) fn into_key(self) -> Option<PrivateKey> {
        match self.key {
            IssuanceKey::Here { key, .. } => Some(key),
            IssuanceKey::OfRole | IssuanceKey::Asked(_) => None,
        }
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
        let bundle = answer::parse(&reply.body, self.into_key())?;
        Ok(verify::verify(bundle, expect, now)?)
    }
}

/// Requests one certificate outside of the agent's loop and verifies the answer: the files, and
/// where their key was made.
///
/// # Errors
/// Those of making a key, of the issuer and of verification.
pub(crate) async fn issue(
    certificate: &CertConfig,
    issuer: &impl Issuer,
    extra_anchors: &[Vec<u8>],
    clock: &impl Clock,
) -> Result<(Verified, KeyOrigin), Failure> {
    let mut orders = OrderSeries::new(
        &certificate.request,
        &ChosenOrigin::first(&certificate.request),
    );
    let (issuance, reply) = loop {
        let issuance = Issuance::prepare(&certificate.request, orders.origin(), None).await?;
        match issuer.issue(issuance.order()).await {
            Ok(reply) => break (issuance, reply),
            Err(failure) => orders.failed(failure)?,
        }
    };
    let expect = Expect {
        request: &certificate.request,
        min_remaining: certificate.renew.min_remaining,
        known_serials: &[],
        extra_anchors,
    };
    let verified = issuance.verify(&reply, &expect, clock.now())?;
    Ok((verified, orders.origin()))
}

/// What can be read of the list, ordered and without duplicates.
pub(crate) fn listed(found: &MountIssuers) -> Vec<MountIssuer> {
    let mut cas: Vec<MountIssuer> = Vec::new();
    for issuer in &found.issuers {
        let id = &issuer.id;
        match pem::parse(&issuer.certificate) {
            // one certificate each, so that their number is that of the list
            Ok(blocks) => match blocks.as_slice() {
                [block] => cas.push(MountIssuer {
                    der: block.der.to_vec(),
                    id: id.clone(),
                    name: issuer.name.clone(),
                    standing: issuer.standing,
                }),
                several => debug!(
                    id,
                    "an issuer of the mount is left out: {} certificates, not one",
                    several.len()
                ),
            },
            Err(error) => debug!(id, "an issuer of the mount is left out: {error}"),
        }
    }
    cas.sort_by(|one, other| one.der.cmp(&other.der));
    cas.dedup_by(|one, other| one.der == other.der);
    cas
}

/// The anchors that CA.pem of a new certificate holds, by one look at the mount, and what is to be said
/// of them. Where the mount can't be asked, its issuers are left out: that stops nothing.
pub(crate) async fn trusted(
    verified: &Verified,
    certificate: &CertConfig,
    issuer: &impl Issuer,
    extra_anchors: &[Vec<u8>],
    now: Timestamp,
) -> (Verified, Vec<String>) {
    let mut said = Vec::new();
    let mut mount = Vec::new();
    if !certificate.ca_poll_interval.is_zero() {
        match issuer.issuers(&certificate.request.mount).await {
            Ok(found) => mount = listed(&found),
            Err(failure) => said.push(format!("the mount's issuers are left out: {failure}")),
        }
    }
    let vouched = Vouched {
        chain: slice::from_ref(verified.path_anchor()),
        mount: Some(&mount),
        extras: extra_anchors,
    };
    let trust = trust::union(
        vouched,
        &Memory::new(),
        &certificate.trust,
        certificate.ca_retention,
        now,
    );
    said.extend(trust.notes.iter().map(ToString::to_string));
    (verified.with_anchors(&trust.anchors), said)
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
