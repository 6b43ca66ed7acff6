//! The rustls configuration: whom we trust and who we are.
//!
//! Never adds a configured CA to the system's: it replaces them. Files are read anew whenever the
//! agent becomes busy, so that a rotated client certificate is used; while a new state of the files
//! is unusable, the last usable one stays in use.

mod expected;

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use aws_lc_rs::digest;
use rustix::fs::FileType;
use rustls::{ClientConfig, RootCertStore, client::Resumption};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use zeroize::Zeroizing;

use self::expected::Expected;
use super::classify::misconfigured;
use crate::{
    config::TlsConfig,
    disk,
    model::{
        failure::Failure,
        pem::{self, FileError, PemError},
    },
};

/// Bytes of the largest CA, certificate or key file.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// Builds the TLS configuration and keeps the last usable one.
pub(super) struct Tls {
    files: TlsConfig,
    /// False when no address is `https://`: then nothing is read.
    used: bool,
    last: Mutex<Option<(Vec<u8>, ClientConfig)>>,
}

/// The bytes of all configured files, before any is looked into.
struct Read {
    anchors: Option<Vec<u8>>,
    identity: Option<(Vec<u8>, Zeroizing<Vec<u8>>)>,
}

impl Tls {
    /// Reads everything once, so that a wrong path shows at once.
    ///
    /// # Errors
    /// `Misconfigured`, naming the file.
    pub(super) fn new(files: &TlsConfig, used: bool) -> Result<Self, Failure> {
        let tls = Self {
            files: files.clone(),
            used,
            last: Mutex::new(None),
        };
        tls.config()?;
        Ok(tls)
    }

    /// The configuration for today's files.
    pub(super) fn config(&self) -> Result<ClientConfig, Failure> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match (self.fresh(last.as_ref()), last.as_ref()) {
            (Ok(Some(made)), _) => {
                let config = made.1.clone();
                *last = Some(made);
                Ok(config)
            }
            (Ok(None), Some((_, config))) => Ok(config.clone()),
            (Err(failure), Some((_, config))) => {
                tracing::warn!(%failure, "keeping the present TLS files");
                Ok(config.clone())
            }
            (Err(failure), None) => Err(failure),
            (Ok(None), None) => Err(wrong("no configuration", "report this as a bug")),
        }
    }

    /// None when the files are what they were.
    fn fresh(
        &self,
        last: Option<&(Vec<u8>, ClientConfig)>,
    ) -> Result<Option<(Vec<u8>, ClientConfig)>, Failure> {
        let read = if self.used {
            Read::all(&self.files)?
        } else {
            Read {
                anchors: None,
                identity: None,
            }
        };
        let stamp = read.stamp();
        if last.is_some_and(|(old, _)| *old == stamp) {
            return Ok(None);
        }
        let roots = match (&read.anchors, self.used) {
            (Some(pem), _) => roots_of(pem)?,
            (None, true) => system_roots()?,
            (None, false) => RootCertStore::empty(),
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong(&error.to_string(), "report this as a bug"))?;
        let named = self.files.server_name.as_deref();
        let builder = match named.and_then(|name| name.parse().ok()) {
            Some(address) if self.used => {
                let expected = Expected::new(address, roots, provider)
                    .map_err(|error| wrong(&error.to_string(), "check ca_cert (VAULT_CACERT)"))?;
                let builder = builder.dangerous();
                builder.with_custom_certificate_verifier(Arc::new(expected))
            }
            _ => builder.with_root_certificates(roots),
        };
        let mut config = match &read.identity {
            Some((cert, key)) => {
                let (chain, key) = identity(cert, key)?;
                builder.with_client_auth_cert(chain, key).map_err(|error| {
                    let why = format!("client certificate and key: {error}");
                    wrong(&why, "client_key must be the key of client_cert")
                })?
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = Resumption::in_memory_sessions(8);
        Ok(Some((stamp, config)))
    }
}

/// As for Vault, for another server.
///
/// # Errors
/// `Misconfigured`, naming the file.
pub(crate) fn client_tls(files: &TlsConfig, used: bool) -> Result<ClientConfig, Failure> {
    Tls::new(files, used)?.config()
}

impl Read {
    fn all(files: &TlsConfig) -> Result<Self, Failure> {
        let anchors = match files {
            TlsConfig {
                ca_cert: Some(path),
                ..
            } => Some(read(path)?),
            TlsConfig {
                ca_cert_bytes: Some(text),
                ..
            } => Some(text.clone().into_bytes()),
            TlsConfig {
                ca_path: Some(dir), ..
            } => Some(read_dir(dir)?),
            _ => None,
        };
        let identity = match (&files.client_cert, &files.client_key) {
            (Some(cert), Some(key)) => Some((read(cert)?, Zeroizing::new(read(key)?))),
            (None, None) => None,
            _ => {
                let hint = "set both client_cert and client_key, or neither";
                return Err(wrong("client certificate: only one half is set", hint));
            }
        };
        Ok(Self { anchors, identity })
    }

    fn stamp(&self) -> Vec<u8> {
        let mut hash = digest::Context::new(&digest::SHA256);
        let mut part = |bytes: &[u8]| {
            hash.update(&bytes.len().to_le_bytes());
            hash.update(bytes);
        };
        part(self.anchors.as_deref().unwrap_or_default());
        if let Some((cert, key)) = &self.identity {
            part(cert);
            part(key);
        }
        hash.finish().as_ref().to_vec()
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let found = disk::read(path, MAX_FILE_BYTES);
    found
        .map(|mut found| std::mem::take(&mut *found.bytes))
        .map_err(|error| {
            wrong(
                &format!("{}: {error}", path.display()),
                "check path and permissions",
            )
        })
}

/// All files of the directory, in the order of their names.
fn read_dir(dir: &Path) -> Result<Vec<u8>, Failure> {
    let names = disk::names(dir).map_err(|error| {
        wrong(
            &format!("{}: {error}", dir.display()),
            "check path and permissions",
        )
    })?;
    let mut all = Vec::new();
    for path in names.iter().map(|name| dir.join(name)) {
        // What is no file is passed over, as by Vault's own client.
        if !matches!(disk::look(&path), Ok((FileType::RegularFile, _))) {
            continue;
        }
        all.extend(read(&path)?);
        if u64::try_from(all.len()).unwrap_or(u64::MAX) > MAX_FILE_BYTES {
            let why = format!(
                "{}: its files have more than {MAX_FILE_BYTES} bytes",
                dir.display()
            );
            return Err(wrong(&why, "name a directory with CA certificates only"));
        }
        all.push(b'\n');
    }
    Ok(all)
}

fn roots_of(pem: &[u8]) -> Result<RootCertStore, Failure> {
    let mut roots = RootCertStore::empty();
    for cert in CertificateDer::pem_slice_iter(pem) {
        let cert = cert.map_err(|error| wrong(&format!("CA: {error}"), "write it as PEM"))?;
        roots
            .add(cert)
            .map_err(|error| wrong(&format!("CA: {error}"), "write it as PEM"))?;
    }
    if roots.is_empty() {
        return Err(wrong(
            &format!("CA: {}", why_none(pem)),
            "write it as PEM, BEGIN CERTIFICATE",
        ));
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore, Failure> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let errors: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        if !errors.is_empty() {
            let why = format!("this machine trusts no CA: {}", errors.join("; "));
            let hint = "check SSL_CERT_FILE and SSL_CERT_DIR, or set ca_cert (VAULT_CACERT)";
            return Err(wrong(&why, hint));
        }
        let hint = "set ca_cert (VAULT_CACERT), or install the system's CA certificates";
        return Err(wrong("this machine trusts no CA", hint));
    }
    Ok(roots)
}

fn identity(
    cert: &[u8],
    key: &[u8],
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Failure> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(cert).collect();
    let chain = chain
        .ok()
        .filter(|chain| !chain.is_empty())
        .ok_or_else(|| {
            wrong(
                &format!("client certificate: {}", why_none(cert)),
                "write it as PEM",
            )
        })?;
    // The parser's error could quote the key: it is not shown.
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|_| wrong("client key: no private key in it", "write it as PEM"))?;
    Ok((chain, key))
}

/// Why a file holds no certificate: a byte order mark, another kind of block, or nothing at all.
fn why_none(file: &[u8]) -> String {
    let text = std::str::from_utf8(file).unwrap_or_default();
    match pem::certificates(text) {
        Ok(_) | Err(FileError::Pem(PemError::Empty)) => "no certificate in it".to_owned(),
        Err(error) => error.to_string(),
    }
}

fn wrong(why: &str, hint: &str) -> Failure {
    misconfigured("tls-files", format!("setting up TLS: {why}"), hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ca_file_without_a_certificate_says_what_is_in_it() {
        let block = "-----BEGIN CERTIFICATE-----\nAAEC\n-----END CERTIFICATE-----\n";
        let table = [
            (String::new(), "no certificate in it"),
            (format!("\u{feff}{block}"), "byte order mark"),
            (
                block.replace("CERT", "TRUSTED CERT"),
                "`TRUSTED CERTIFICATE`",
            ),
            (block.replace("CERTIFICATE", "PRIVATE KEY"), "`PRIVATE KEY`"),
        ];
        for (text, part) in table {
            let failure = roots_of(text.as_bytes()).unwrap_err();
            assert!(failure.message.contains(part), "{failure}");
        }
    }
}
