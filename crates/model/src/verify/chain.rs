//! The chain from the leaf through cert.pem's intermediates to CA.pem's anchors, by rustls-webpki.
//!
//! Never trusts an order or a name: signatures decide. What stays true: the same path holds for
//! server and client authentication.

use std::time::Duration;

use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, Error, KeyUsage, anchor_from_trusted_cert};

use super::{Expect, RefusalReason};
use crate::{
    bundle::Bundle,
    leaf::{CertFacts, KeyAlgorithm, KeyFacts, UnknownCritical},
    schedule::Validity,
    time::Timestamp,
};

/// The way from the leaf to an anchor.
pub(super) struct Path {
    /// When all of it is valid.
    pub(super) validity: Validity,
    /// DER of the anchor it ends in.
    pub(super) anchor: Vec<u8>,
    /// SHA-256 of the leaf's issuer.
    pub(super) issuer_sha256: String,
    /// What is wrong with that issuer, when one is pinned. The path holds all the same.
    pub(super) pin: Option<RefusalReason>,
    /// Intermediates of cert.pem.
    pub(super) chain: Vec<Vec<u8>>,
    /// Anchors of CA.pem, those of the configuration included.
    pub(super) anchors: Vec<Vec<u8>>,
    /// What was left out, for people.
    pub(super) left_out: Vec<String>,
}

/// One certificate above the leaf.
struct Above {
    der: Vec<u8>,
    facts: CertFacts,
}

/// Builds and checks the path at `now`, or at notBefore of a leaf from the future. A leaf that has
/// expired is checked at its own time: that it has expired is said elsewhere.
/// RFC 5280 section 6.1, by rustls-webpki.
pub(super) fn build(
    bundle: &Bundle,
    leaf: &CertFacts,
    expect: &Expect<'_>,
    now: Timestamp,
) -> Result<Path, Vec<RefusalReason>> {
    let extras = read_all(expect.extra_anchors)?;
    let mut chain = read_all(&bundle.chain)?;
    let own = read_all(&bundle.anchors)?;
    // The issuer knew no root, and a pinned one stands above its top: that top is an intermediate.
    let below_extra = |cert: &Above| {
        !cert.facts.self_signed
            && extras
                .iter()
                .any(|extra| extra.der != cert.der && cert.facts.names_as_issuer(&extra.facts))
    };
    let (moved, mut anchors): (Vec<Above>, Vec<Above>) = own.into_iter().partition(below_extra);
    chain.extend(moved);
    anchors.extend(extras);
    let at = now
        .max(leaf.not_before)
        .min(leaf.not_after.max(leaf.not_before));
    let (links, anchor) = verified_path(&bundle.leaf, &chain, &anchors, at)
        .map_err(|error| vec![explained(&error, leaf, &chain, &anchors)])?;
    let at_use = now.max(leaf.not_before);
    check_anchor(anchor, links.len(), at_use)?;
    check_key_usage(links.iter().copied().chain([anchor]))?;
    let issuer = links.first().copied().unwrap_or(anchor);
    let pin = check_pin(issuer, chain.iter().chain(&anchors), expect);
    // What the path does not need and no client can use any more only makes the files longer.
    let spent = |cert: &&Above| {
        cert.facts.not_after <= at_use && !links.iter().any(|link| link.der == cert.der)
    };
    let left_out = chain.iter().chain(&anchors).filter(spent);
    let useful = |certs: &[Above]| -> Vec<Vec<u8>> {
        let kept = certs.iter().filter(|cert| !spent(cert));
        kept.map(|cert| cert.der.clone()).collect()
    };
    Ok(Path {
        validity: validity(leaf, &links, anchor),
        anchor: anchor.der.clone(),
        issuer_sha256: issuer.facts.sha256.clone(),
        pin,
        left_out: left_out
            .map(|cert| format!("left out, expired: {}", cert.facts.subject))
            .collect(),
        chain: useful(&chain),
        anchors: useful(&anchors),
    })
}

fn read_all(ders: &[Vec<u8>]) -> Result<Vec<Above>, Vec<RefusalReason>> {
    ders.iter()
        .map(|der| {
            let facts = CertFacts::read(der).map_err(|error| {
                vec![RefusalReason::new(
                    "chain-malformed",
                    format!("chain: {error}"),
                )]
            })?;
            Ok(Above {
                der: der.clone(),
                facts,
            })
        })
        .collect()
}

/// Intermediates of the verified path, and its anchor.
type VerifiedPath<'a> = (Vec<&'a Above>, &'a Above);

/// Intermediates of the longest path that rustls-webpki follows (its `MAX_SUB_CA_COUNT`).
const MAX_INTERMEDIATES: usize = 6;

fn verified_path<'a>(
    leaf: &[u8],
    chain: &'a [Above],
    anchors: &'a [Above],
    at: Timestamp,
) -> Result<VerifiedPath<'a>, Error> {
    let leaf = CertificateDer::from(leaf);
    let end = EndEntityCert::try_from(&leaf)?;
    let links: Vec<CertificateDer<'_>> = chain
        .iter()
        .map(|cert| CertificateDer::from(cert.der.as_slice()))
        .collect();
    // An anchor that webpki can't read is no end of a path, and no reason to refuse another path.
    let tops: Vec<(CertificateDer<'_>, &Above)> = anchors
        .iter()
        .map(|cert| (CertificateDer::from(cert.der.as_slice()), cert))
        .collect();
    let (trusted, ends): (Vec<TrustAnchor<'_>>, Vec<&Above>) = tops
        .iter()
        .filter_map(|(der, cert)| Some((anchor_from_trusted_cert(der).ok()?, *cert)))
        .unzip();
    let secs = u64::try_from(at.unix_secs()).unwrap_or(0);
    let time = UnixTime::since_unix_epoch(Duration::from_secs(secs));
    let mut found = None;
    for usage in [KeyUsage::server_auth(), KeyUsage::client_auth()] {
        let path = end.verify_for_usage(
            ALL_VERIFICATION_ALGS,
            &trusted,
            &links,
            time,
            usage,
            None,
            None,
        )?;
        let used = path.intermediate_certificates().filter_map(|cert| {
            let der = cert.der();
            chain
                .iter()
                .find(|above| above.der.as_slice() == der.as_ref())
        });
        let top = trusted
            .iter()
            .position(|anchor| std::ptr::eq(anchor, path.anchor()));
        let top = top.and_then(|at| ends.get(at).copied());
        found = top.map(|top| (used.collect(), top));
    }
    found.ok_or(Error::UnknownIssuer)
}

/// Webpki names no certificate. What its refusal comes from is looked for where only one thing can
/// be meant.
fn explained(error: &Error, leaf: &CertFacts, chain: &[Above], anchors: &[Above]) -> RefusalReason {
    let above = || chain.iter().chain(anchors).map(|cert| &cert.facts);
    match error {
        Error::MaximumPathDepthExceeded => {
            let message = format!(
                "the chain has {} intermediates, at most {MAX_INTERMEDIATES} can be verified \
                 (a limit of rustls; Go and OpenSSL follow longer ones)",
                chain.len()
            );
            return RefusalReason::new("chain-path-length", message);
        }
        Error::UnsupportedCriticalExtension | Error::UnknownIssuer => {
            let critical = std::iter::once(leaf)
                .chain(above())
                .find(|facts| !facts.unknown_critical.is_empty());
            if let Some(facts) = critical {
                return critical_extension(facts, &facts.unknown_critical);
            }
        }
        Error::InvalidSignatureForPublicKey
        | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
            if let Some(facts) = above().find(|facts| is_weak(facts.key)) {
                let message = format!(
                    "the key of `{}` is {}, which rustls takes for too weak",
                    facts.subject, facts.key
                );
                return RefusalReason::new("chain-weak-signature", message);
            }
        }
        _ => {}
    }
    problem(error)
}

fn critical_extension(facts: &CertFacts, unknown: &[UnknownCritical]) -> RefusalReason {
    let unknown: Vec<String> = unknown.iter().map(ToString::to_string).collect();
    let message = format!(
        "`{}` has the critical extension {}, which rustls does not know",
        facts.subject,
        unknown.join(" and ")
    );
    RefusalReason::new("chain-critical-extension", message)
}

fn is_weak(key: KeyFacts) -> bool {
    match key.algorithm {
        KeyAlgorithm::Rsa => key.bits < 2048,
        KeyAlgorithm::Ec => key.kind().is_none(),
        KeyAlgorithm::Ed25519 | KeyAlgorithm::Other => false,
    }
}

/// The span in which leaf, intermediates and anchor are all valid.
fn validity(leaf: &CertFacts, links: &[&Above], anchor: &Above) -> Validity {
    let above = links.iter().copied().chain([anchor]);
    above.fold(leaf.validity(), |span, cert| Validity {
        not_before: span.not_before.max(cert.facts.not_before),
        not_after: span.not_after.min(cert.facts.not_after),
    })
}

/// Webpki takes anchors as given; OpenSSL and Go look at their dates and at their being a CA.
/// The limit of a root on the length of the chain is not webpki's business either, nor are its
/// critical extensions.
fn check_anchor(anchor: &Above, links: usize, at: Timestamp) -> Result<(), Vec<RefusalReason>> {
    let facts = &anchor.facts;
    let subject = &facts.subject;
    let problem = if !facts.is_ca {
        RefusalReason::new("chain-not-ca", format!("anchor `{subject}` is not a CA"))
    } else if facts.not_after <= at {
        let message = format!("anchor `{subject}` expired at {}", facts.not_after);
        RefusalReason::new("chain-expired", message)
    } else if facts.not_before > at {
        let message = format!(
            "anchor `{subject}` is not valid before {}",
            facts.not_before
        );
        RefusalReason::new("chain-not-yet-valid", message)
    } else if facts.path_len.is_some_and(|most| links > most as usize) {
        let message = format!("anchor `{subject}` does not allow {links} intermediates");
        RefusalReason::new("chain-path-length", message)
    } else if let Some(unknown) = facts.unknown_critical.iter().find(|one| one.name.is_none()) {
        critical_extension(facts, std::slice::from_ref(unknown))
    } else {
        return Ok(());
    };
    Err(vec![problem])
}

/// Webpki does not look at the key usage of a CA (RFC 5280 section 4.2.1.3); OpenSSL and Go do.
fn check_key_usage<'a>(
    mut path: impl Iterator<Item = &'a Above>,
) -> Result<(), Vec<RefusalReason>> {
    match path.find(|cert| !cert.facts.may_certify) {
        None => Ok(()),
        Some(cert) => Err(vec![RefusalReason::new(
            "chain-key-usage",
            format!(
                "`{}` may not sign certificates: its key usage lacks keyCertSign",
                cert.facts.subject
            ),
        )]),
    }
}

/// A pin fits any certificate of the issuing CA: a cross-signed copy has the same name and key.
fn check_pin<'a>(
    issuer: &Above,
    mut all: impl Iterator<Item = &'a Above>,
    expect: &Expect<'_>,
) -> Option<RefusalReason> {
    let pin = expect.request.issuer_sha256.as_ref()?;
    let wanted: String = pin.chars().filter(|c| *c != ':').collect();
    let fits = all.any(|cert| {
        cert.facts.subject_der == issuer.facts.subject_der
            && cert.facts.spki == issuer.facts.spki
            && cert.facts.sha256.eq_ignore_ascii_case(&wanted)
    });
    let message = format!(
        "`{}` with SHA-256 {} signed, {wanted} is pinned",
        issuer.facts.subject, issuer.facts.sha256
    );
    (!fits).then(|| RefusalReason::new("issuer-sha256", message))
}

/// Webpki's reason as one of our codes.
fn problem(error: &Error) -> RefusalReason {
    let (code, text) = match error {
        Error::UnknownIssuer => (
            "chain-unknown-issuer",
            "no chain leads from the certificate to an anchor of CA.pem",
        ),
        Error::InvalidSignatureForPublicKey => (
            "chain-signature",
            "a signature in the chain was not made by the CA above it",
        ),
        Error::UnsupportedSignatureAlgorithmContext(_)
        | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_)
        | Error::SignatureAlgorithmMismatch => (
            "chain-weak-signature",
            "a signature in the chain uses a weak or unknown algorithm",
        ),
        Error::PathLenConstraintViolated => (
            "chain-path-length",
            "the chain is longer than a CA in it allows",
        ),
        Error::NameConstraintViolation => (
            "chain-name-constraint",
            "a CA in the chain forbids a name of the certificate",
        ),
        Error::RequiredEkuNotFoundContext(_) | Error::IssuerNotCrlSigner => (
            "chain-key-usage",
            "a certificate in the chain may not be used for TLS servers and clients",
        ),
        Error::UnsupportedCriticalExtension => (
            "chain-critical-extension",
            "a critical extension in the chain is unknown",
        ),
        Error::CertExpired { .. } => ("chain-expired", "a CA in the chain has expired"),
        Error::CertNotValidYet { .. } => {
            ("chain-not-yet-valid", "a CA in the chain is not valid yet")
        }
        Error::EndEntityUsedAsCa => ("chain-not-ca", "an issuer in the chain is not a CA"),
        Error::CaUsedAsEndEntity => ("leaf-is-ca", "the certificate is a CA"),
        Error::InvalidCertValidity => ("validity-inverted", "notAfter is not after notBefore"),
        other => {
            let message = format!("the chain does not verify: {other:?}");
            return RefusalReason::new("chain-invalid", message);
        }
    };
    RefusalReason::new(code, text)
}
