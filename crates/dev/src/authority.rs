//! The two certificate authorities: a root, and an intermediate that the root signed.
//!
//! Never decides what is signed. What stays true: an issuer's certificate lives longer than any
//! leaf may.

use std::time::Duration;

use certagent_model::time::Timestamp;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PublicKeyData, SerialNumber,
};
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::{random, role::NOT_BEFORE_SECS};

/// The mounts: a root, and an intermediate that the root signed.
pub const MOUNTS: [&str; 2] = ["pki", "pki_int"];

const ROOT_LIFE: Duration = Duration::from_secs(87_600 * 3600);
const INTERMEDIATE_LIFE: Duration = Duration::from_secs(43_800 * 3600);

/// A CA as the issuers of a mount show it.
#[derive(Clone)]
pub(crate) struct Shown {
    id: String,
    name: &'static str,
    key_id: String,
    serial: String,
    /// PEM without a final newline.
    pub(crate) pem: String,
    pub(crate) der: Vec<u8>,
}

/// One PKI mount: what signs, and the issuers, the one that signs first.
pub(crate) struct Mount {
    pub(crate) path: &'static str,
    key: KeyPair,
    params: CertificateParams,
    issuers: Vec<Shown>,
}

impl Mount {
    /// Both mounts, with new keys.
    pub(crate) fn both(now: Timestamp) -> Result<[Self; 2], rcgen::Error> {
        let key = KeyPair::generate()?;
        let params = ca_params("certagent dev root", now, ROOT_LIFE);
        let shown = Shown::new("root", &params, &params.self_signed(&key)?);
        let root = Self {
            path: MOUNTS[0],
            key,
            params,
            issuers: vec![shown],
        };
        let key = KeyPair::generate()?;
        let params = ca_params("certagent dev intermediate", now, INTERMEDIATE_LIFE);
        let shown = Shown::new("", &params, &root.sign(&params, &key)?);
        // The root is imported with the chain, without its key.
        let above = Shown {
            id: random::uuid(),
            name: "",
            key_id: String::new(),
            ..root.issuers[0].clone()
        };
        let intermediate = Self {
            path: MOUNTS[1],
            key,
            params,
            issuers: vec![shown, above],
        };
        Ok([root, intermediate])
    }

    /// Signs a certificate for a public key.
    pub(crate) fn sign(
        &self,
        params: &CertificateParams,
        key: &impl PublicKeyData,
    ) -> Result<Certificate, rcgen::Error> {
        params.signed_by(key, &Issuer::from_params(&self.params, &self.key))
    }

    /// The certificate that signs.
    pub(crate) fn signer(&self) -> &Shown {
        &self.issuers[0]
    }

    /// The certificates from the one that signs up to the root, as PEM.
    pub(crate) fn chain(&self) -> Vec<&str> {
        self.issuers
            .iter()
            .map(|shown| shown.pem.as_str())
            .collect()
    }

    /// The issuer behind an id, a name or `default`.
    pub(crate) fn find(&self, reference: &str) -> Result<&Shown, String> {
        if reference == "default" {
            return Ok(self.signer());
        }
        let mut issuers = self.issuers.iter();
        issuers
            .find(|shown| shown.id == reference || shown.name == reference)
            .ok_or_else(|| format!("unable to find PKI issuer for reference: {reference}"))
    }

    /// LIST `issuers`.
    pub(crate) fn list(&self) -> Value {
        let keys: Vec<&str> = self.issuers.iter().map(|shown| shown.id.as_str()).collect();
        let about = |shown: &Shown| {
            let about = json!({
                "is_default": shown.id == self.signer().id, "issuer_name": shown.name,
                "key_id": shown.key_id, "serial_number": shown.serial,
            });
            (shown.id.clone(), about)
        };
        let info: serde_json::Map<_, _> = self.issuers.iter().map(about).collect();
        json!({ "keys": keys, "key_info": info })
    }

    /// `issuer/:ref/json`, and with its settings `issuer/:ref`.
    pub(crate) fn described(&self, shown: &Shown, settings: bool) -> Value {
        let from = self.issuers.iter().position(|other| other.id == shown.id);
        let chain = self.issuers.iter().skip(from.unwrap_or_default());
        let chain: Vec<String> = chain.map(|shown| format!("{}\n", shown.pem)).collect();
        let mut data = json!({
            "ca_chain": chain,
            "certificate": format!("{}\n", shown.pem),
            "issuer_id": shown.id,
            "issuer_name": shown.name,
        });
        if settings {
            data["key_id"] = json!(shown.key_id);
            data["leaf_not_after_behavior"] = json!("err");
            data["revoked"] = json!(false);
            data["usage"] = json!("crl-signing,issuing-certificates,ocsp-signing,read-only");
        }
        data
    }
}

impl Shown {
    fn new(name: &'static str, params: &CertificateParams, made: &Certificate) -> Self {
        Self {
            id: random::uuid(),
            name,
            key_id: random::uuid(),
            serial: serial_text(params),
            pem: made.pem().trim_end().to_owned(),
            der: made.der().to_vec(),
        }
    }
}

fn ca_params(common_name: &str, now: Timestamp, life: Duration) -> CertificateParams {
    let mut params = between(now, life);
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// A certificate to be with a new serial number, valid from a little before `now`.
pub(crate) fn between(now: Timestamp, life: Duration) -> CertificateParams {
    let moment = |at: Timestamp| {
        let moment = OffsetDateTime::from_unix_timestamp(at.unix_secs());
        moment.unwrap_or(OffsetDateTime::UNIX_EPOCH)
    };
    let mut params = CertificateParams::default();
    params.not_before = moment(now.minus(Duration::from_secs(NOT_BEFORE_SECS)));
    params.not_after = moment(now.plus(life));
    params.serial_number = Some(SerialNumber::from_slice(&random::serial()));
    params.distinguished_name = DistinguishedName::new();
    params
}

/// The serial number in lower-case hex with colons.
pub(crate) fn serial_text(params: &CertificateParams) -> String {
    let bytes = params.serial_number.as_ref().map(SerialNumber::to_bytes);
    let pairs: Vec<String> = bytes
        .unwrap_or_default()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    pairs.join(":")
}
