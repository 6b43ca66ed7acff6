//! The only door to publication: `Bundle` and expectation to `Verified`, or every problem found.
//!
//! Never reads a clock. What stays true: a `Verified` was built here and nowhere else; its
//! certificate chains to its own CA.pem, its key fits, and its PEM texts end with a newline.

pub mod codes;

mod chain;
mod checks;
mod refusal;
mod reread;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use refusal::{Refusal, RefusalReason};
pub use reread::reread;

use super::{
    bundle::{self, Bundle},
    leaf::CertFacts,
    request::Request,
    schedule::{MinRemaining, Validity},
    secret::Secret,
    time::Timestamp,
    trust,
};

/// What an answer is held against.
#[derive(Clone, Copy, Debug)]
pub struct Expect<'a> {
    /// What was asked for.
    pub request: &'a Request,
    /// The least life that must remain, from now or from `starts_at`.
    pub min_remaining: MinRemaining,
    /// Serials we have already, as Vault prints them (live and quarantined); empty when a set
    /// that is on disk is looked at again.
    pub known_serials: &'a [String],
    /// DER of anchors that CA.pem must also hold, and that may end the chain.
    pub extra_anchors: &'a [Vec<u8>],
}

impl<'a> Expect<'a> {
    /// What `request` asks for and nothing more: files that are read again, or shown.
    #[must_use]
    pub const fn of(request: &'a Request) -> Self {
        Self {
            request,
            min_remaining: MinRemaining::Configured(Duration::ZERO),
            known_serials: &[],
            extra_anchors: &[],
        }
    }
}

/// A set that passed every check.
#[derive(Clone)]
pub struct Verified {
    facts: CertFacts,
    validity: Validity,
    starts_at: Timestamp,
    issuer_sha256: String,
    path_anchor: Vec<u8>,
    anchors: Vec<Vec<u8>>,
    ca_pem: String,
    cert_pem: String,
    key_pem: Secret,
    warnings: Vec<String>,
}

impl Verified {
    /// Facts of the leaf.
    #[must_use]
    pub fn leaf(&self) -> &CertFacts {
        &self.facts
    }

    /// The span in which the whole chain is valid: a CA that ends before the leaf cuts it short.
    #[must_use]
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// When it may be published: now, or the later notBefore of a certificate from the future.
    #[must_use]
    pub fn starts_at(&self) -> Timestamp {
        self.starts_at
    }

    /// SHA-256, in hex, of the certificate that issued the leaf.
    #[must_use]
    pub fn issuer_sha256(&self) -> &str {
        &self.issuer_sha256
    }

    /// DER of the anchor that the chain ends in.
    #[must_use]
    pub fn path_anchor(&self) -> &Vec<u8> {
        &self.path_anchor
    }

    /// DER of the anchors in CA.pem, in its order.
    #[must_use]
    pub fn anchors(&self) -> &[Vec<u8>] {
        &self.anchors
    }

    /// Content of CA.pem: anchors only.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// Content of cert.pem: leaf, then intermediates in verify order.
    #[must_use]
    pub fn cert_pem(&self) -> &str {
        &self.cert_pem
    }

    /// Content of key.pem: PKCS#8.
    #[must_use]
    pub fn key_pem(&self) -> &Secret {
        &self.key_pem
    }

    /// What Vault warned about, and what is odd but harmless.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The same leaf and key with other anchors in CA.pem. The anchor that the chain ends in
    /// always stays; what is no certificate is left out.
    ///
    /// The one other way to a `Verified`, for the overlap of anchors: leaf, key and path are those
    /// that were checked, and more anchors take nothing from that.
    #[must_use]
    pub fn with_anchors(&self, anchors: &[Vec<u8>]) -> Self {
        let mut wanted = anchors.to_vec();
        wanted.push(self.path_anchor.clone());
        let anchors = trust::ordered(&wanted);
        Self {
            ca_pem: bundle::certificates(&anchors),
            anchors,
            ..self.clone()
        }
    }
}

impl std::fmt::Debug for Verified {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verified")
            .field("serial", &self.facts.serial)
            .field("subject", &self.facts.subject)
            .field("validity", &self.validity)
            .field("anchors", &self.anchors.len())
            .finish_non_exhaustive()
    }
}

/// Checks an answer, or a set from disk, against what was asked for.
///
/// A leaf that is not valid yet is no fault: [`Verified::starts_at`] says when it may be published.
///
/// # Errors
/// All problems at once, the most useful first; see [`codes::CODES`].
pub fn verify(bundle: Bundle, expect: &Expect<'_>, now: Timestamp) -> Result<Verified, Refusal> {
    let facts = CertFacts::read(&bundle.leaf)
        .map_err(|error| Refusal::one("certificate-malformed", format!("certificate: {error}")))?;
    let mut problems = Vec::new();
    checks::key(&facts, &bundle.key, expect.request, &mut problems);
    checks::shape(&facts, &mut problems);
    checks::names(&facts, &expect.request.names, &mut problems);
    checks::serial(&facts, expect.known_serials, &mut problems);
    // What the leaf may not be used for was said: the chain's refusal follows from it.
    let leaf_at_fault = !(facts.server_auth && facts.client_auth);
    let path = chain::build(&bundle, &facts, expect, now)
        .map_err(|mut found| {
            found.retain(|problem| !(leaf_at_fault && problem.code == "chain-key-usage"));
            problems.extend(found);
        })
        .ok();
    problems.extend(path.as_ref().and_then(|path| path.pin.clone()));
    let validity = match &path {
        Some(path) => path.validity,
        None => facts.validity(),
    };
    let min_remaining = expect.min_remaining.of(validity);
    checks::times(&facts, validity, min_remaining, now, &mut problems);
    Refusal::unless_none(problems)?;
    let Some(path) = path else {
        return Err(Refusal::one("chain-invalid", "the chain does not verify"));
    };
    let mut warnings = bundle.warnings.clone();
    warnings.retain(|text| !checks::is_settled(text));
    warnings.extend(checks::oddities(&facts, validity, &expect.request.names));
    warnings.extend(path.left_out);
    let anchors = trust::ordered(&path.anchors);
    Ok(Verified {
        starts_at: now.max(validity.not_before),
        validity,
        facts,
        issuer_sha256: path.issuer_sha256,
        path_anchor: path.anchor,
        ca_pem: bundle::certificates(&anchors),
        anchors,
        cert_pem: Bundle {
            chain: path.chain,
            ..bundle.clone()
        }
        .cert_pem(),
        key_pem: bundle.key_pem(),
        warnings,
    })
}
