//! Watches one handshake: the chain that came, whether it was proven, whether ours was asked for.
//!
//! Never changes an outcome: every verdict is webpki's. What stays true: the chain is written down
//! before it is judged, so that a refused one is known too.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use rustls::{
    DigitallySignedStruct, Error, SignatureScheme,
    client::{
        ResolvesClientCert, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

pub(super) struct RecordingVerifier {
    provider: Arc<CryptoProvider>,
    verifier: Arc<WebPkiServerVerifier>,
    shown: Option<Arc<CertifiedKey>>,
    leaf: OnceLock<Vec<u8>>,
    proven: AtomicBool,
    asked: OnceLock<bool>,
}

impl RecordingVerifier {
    pub(super) fn new(
        provider: Arc<CryptoProvider>,
        verifier: Arc<WebPkiServerVerifier>,
        shown: Option<Arc<CertifiedKey>>,
    ) -> Self {
        Self {
            provider,
            verifier,
            shown,
            leaf: OnceLock::new(),
            proven: AtomicBool::new(false),
            asked: OnceLock::new(),
        }
    }

    pub(super) fn provider(&self) -> &Arc<CryptoProvider> {
        &self.provider
    }

    /// DER of the leaf that came, verified or not.
    pub(super) fn leaf(&self) -> Option<&[u8]> {
        self.leaf.get().map(Vec::as_slice)
    }

    /// The chain verified, and the peer has the key.
    pub(super) fn proven(&self) -> bool {
        self.proven.load(Ordering::Relaxed)
    }

    /// Was our certificate asked for, and if so, did we show one?
    pub(super) fn asked(&self) -> Option<bool> {
        self.asked.get().copied()
    }

    /// The signature is the last proof: rustls checks the chain before it.
    fn prove(
        &self,
        signature: Result<HandshakeSignatureValid, Error>,
    ) -> Result<HandshakeSignatureValid, Error> {
        if signature.is_ok() {
            self.proven.store(true, Ordering::Relaxed);
        }
        signature
    }
}

impl std::fmt::Debug for RecordingVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Witness").finish_non_exhaustive()
    }
}

impl ServerCertVerifier for RecordingVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let _first = self.leaf.set(end_entity.to_vec());
        self.verifier
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.prove(self.verifier.verify_tls12_signature(message, cert, dss))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.prove(self.verifier.verify_tls13_signature(message, cert, dss))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

impl ResolvesClientCert for RecordingVerifier {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        let usable = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(schemes).is_some();
        let shown = self.shown.as_ref().filter(usable).cloned();
        let _first = self.asked.set(shown.is_some());
        shown
    }

    fn has_certs(&self) -> bool {
        self.shown.is_some()
    }
}
