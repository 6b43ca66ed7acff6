//! Our own certificate set as the probe uses it: whom to trust, what to show, what to look for.
//!
//! Never reads a file and never shows the key. What stays true: trust is CA.pem and nothing else.

use std::sync::Arc;

use rustls::{
    RootCertStore, client::WebPkiServerVerifier, crypto::CryptoProvider, sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use super::witness::RecordingVerifier;
use crate::model::{
    leaf::{CertFacts, SubjectNames},
    pem,
    secret::Secret,
    served::{self, Mismatch, Served, Wanted, compare},
    time::Timestamp,
    verify::Verified,
};

/// Why a set can't be used to probe; lower case, never with anything of the key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// A text is not what its file should hold.
    #[error("{file}: {why}")]
    Unreadable {
        /// `CA.pem`, `cert.pem` or `key.pem`.
        file: &'static str,
        /// Why.
        why: String,
    },
    /// The key is of no use for TLS.
    #[error("key.pem: not a key that TLS can use")]
    Key,
}

/// Whom a probe trusts, and what it shows to a peer that asks for a certificate.
#[derive(Clone)]
pub struct Trust {
    provider: Arc<CryptoProvider>,
    verifier: Arc<WebPkiServerVerifier>,
    shown: Option<Arc<CertifiedKey>>,
}

impl Trust {
    /// The CAs of this system; nothing is shown.
    ///
    /// # Errors
    /// [`IdentityError`] when it has none.
    pub fn of_system() -> Result<Self, IdentityError> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Self::in_roots(roots, "the system's CAs")
    }

    fn in_roots(roots: RootCertStore, file: &'static str) -> Result<Self, IdentityError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let verifier = verifier.build();
        Ok(Self {
            verifier: verifier.map_err(|error| unreadable(file, error))?,
            provider,
            shown: None,
        })
    }

    pub(super) fn witness(&self, show: bool) -> RecordingVerifier {
        let shown = self.shown.clone().filter(|_| show);
        RecordingVerifier::new(
            Arc::clone(&self.provider),
            Arc::clone(&self.verifier),
            shown,
        )
    }
}

/// Published certificate files: trust, certificate, and the key unless only trust is needed.
#[derive(Clone)]
pub struct Identity {
    trust: Trust,
    serial: String,
    sha256: String,
    not_before: Timestamp,
    names: SubjectNames,
}

impl Identity {
    /// From the texts of CA.pem, cert.pem and key.pem; without the key none is shown to any peer.
    ///
    /// # Errors
    /// [`IdentityError`], naming the file.
    pub fn new(ca: &str, cert: &str, key: Option<&Secret>) -> Result<Self, IdentityError> {
        let mut roots = RootCertStore::empty();
        for anchor in certificates("CA.pem", ca)? {
            let added = roots.add(anchor);
            added.map_err(|error| unreadable("CA.pem", error))?;
        }
        let trust = Trust::in_roots(roots, "CA.pem")?;
        let chain = certificates("cert.pem", cert)?;
        let leaf = chain.first().map(|leaf| CertFacts::read(leaf));
        let facts = match leaf {
            Some(facts) => facts.map_err(|error| unreadable("cert.pem", error))?,
            None => return Err(unreadable("cert.pem", "no certificate in it")),
        };
        let identity = Self {
            trust,
            names: facts.names,
            serial: facts.serial,
            sha256: facts.sha256,
            not_before: facts.not_before,
        };
        match key {
            Some(key) => identity.showing(cert, key),
            None => Ok(identity),
        }
    }

    /// The same, showing another certificate to peers that ask for one.
    ///
    /// # Errors
    /// [`IdentityError`], naming the file.
    pub fn showing(mut self, cert: &str, key: &Secret) -> Result<Self, IdentityError> {
        let chain = certificates("cert.pem", cert)?;
        let key = signing(&self.trust.provider, chain, key)?;
        self.trust.shown = Some(Arc::new(key));
        Ok(self)
    }

    /// The name that a peer at `address` has to prove: see [`served::name_to_prove`].
    #[must_use]
    pub fn name_to_prove(&self, address: &str) -> String {
        let dns: Vec<_> = self.names.dns.iter().map(String::as_str).collect();
        let ips: Vec<_> = self.names.ips.iter().copied().collect();
        served::name_to_prove(address, &dns, &ips)
    }

    /// From the set in memory.
    ///
    /// # Errors
    /// [`IdentityError`] when TLS can't use what passed verification; not expected.
    pub fn of(set: &Verified) -> Result<Self, IdentityError> {
        Self::new(set.ca_pem(), set.cert_pem(), Some(set.key_pem()))
    }

    /// The certificate that shall be served.
    #[must_use]
    pub fn wanted(&self) -> Wanted<'_> {
        Wanted {
            serial: &self.serial,
            sha256: &self.sha256,
            not_before: self.not_before,
        }
    }

    /// Is this set's certificate what is served? See [`compare`].
    ///
    /// # Errors
    /// As [`compare`].
    pub fn serves_current(&self, served: &Served) -> Result<(), Mismatch> {
        compare(served, &self.wanted())
    }

    /// Whom it trusts and what it shows.
    #[must_use]
    pub fn trust(&self) -> &Trust {
        &self.trust
    }
}

fn signing(
    provider: &CryptoProvider,
    chain: Vec<CertificateDer<'static>>,
    key: &Secret,
) -> Result<CertifiedKey, IdentityError> {
    // Errors of the parsers could quote the key: they are not shown.
    let der = PrivateKeyDer::from_pem_slice(key.expose().as_bytes());
    let der = der.map_err(|_| IdentityError::Key)?;
    let key = provider.key_provider.load_private_key(der);
    let key = CertifiedKey::new(chain, key.map_err(|_| IdentityError::Key)?);
    match key.keys_match() {
        Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) => {
            Err(unreadable("key.pem", "not the key of cert.pem"))
        }
        _ => Ok(key),
    }
}

fn certificates(
    file: &'static str,
    text: &str,
) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let ders = pem::certificates(text).map_err(|error| unreadable(file, error))?;
    Ok(ders.into_iter().map(CertificateDer::from).collect())
}

fn unreadable(file: &'static str, why: impl ToString) -> IdentityError {
    IdentityError::Unreadable {
        file,
        why: why.to_string(),
    }
}
