//! `issue` and `sign`: from a request to a leaf certificate.
//!
//! Never signs what the role does not allow. Source: OpenBao, PKI API, "Generate certificate and
//! key" and "Sign certificate".

use std::time::Duration;

use axum::http::StatusCode;
use certagent_model::time::Timestamp;
use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DnType, DnValue, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
    PKCS_ECDSA_P521_SHA512, PKCS_ED25519, PKCS_RSA_SHA256, RsaKeySize, SanType,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    answer::{self, ApiError, Handled},
    authority::{self, Mount},
    input,
    role::{self, SubjectNames},
};

/// The life of a leaf when none is asked for: Vault's system default, 768 h.
const DEFAULT_TTL_SECS: u64 = 768 * 3600;

/// The fields of a request; others are ignored.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct IssueRequest {
    common_name: String,
    alt_names: String,
    #[serde(deserialize_with = "input::list")]
    ip_sans: Vec<String>,
    #[serde(deserialize_with = "input::list")]
    uri_sans: Vec<String>,
    #[serde(deserialize_with = "input::seconds")]
    ttl: u64,
    format: String,
    #[serde(deserialize_with = "input::flag")]
    exclude_cn_from_sans: bool,
    #[serde(deserialize_with = "input::flag")]
    remove_roots_from_chain: bool,
    key_type: String,
    #[serde(deserialize_with = "input::number")]
    key_bits: u64,
    csr: String,
}

/// A certificate that was made, and what the answer says beside it.
struct IssuedLeaf {
    pem: String,
    serial: String,
    not_before: i64,
    not_after: i64,
    warning: Option<String>,
}

/// `issue/:role`: a new key and its certificate.
pub(crate) fn issue(mount: &Mount, role: &str, body: &[u8], now: Timestamp) -> Handled {
    let request = read(role, body)?;
    let (key, kind) = new_key(&request)?;
    let names = request.names()?;
    let leaf = leaf(mount, &request, &names, &key, now)?;
    let mut data = described(mount, &request, &leaf);
    data["private_key"] = json!(key.serialize_pem().trim_end());
    data["private_key_type"] = json!(kind);
    Ok(answer::data(&data, leaf.warning.as_slice()))
}

/// `sign/:role`: a certificate for the key and the names of a CSR.
pub(crate) fn sign(mount: &Mount, role: &str, body: &[u8], now: Timestamp) -> Handled {
    let request = read(role, body)?;
    if request.csr.is_empty() {
        return Err(ApiError::bad("\"csr\" is empty"));
    }
    let csr = CertificateSigningRequestParams::from_pem(&request.csr).map_err(|error| {
        ApiError::bad(format!("certificate request could not be parsed: {error}"))
    })?;
    let names = names_of(&csr.params, &request);
    let leaf = leaf(mount, &request, &names, &csr.public_key, now)?;
    let data = described(mount, &request, &leaf);
    let mut warnings = Vec::from_iter(leaf.warning);
    for (field, value, setting) in [
        ("common_name", &request.common_name, "use_csr_common_name"),
        ("alt_names", &request.alt_names, "use_csr_sans"),
    ] {
        if !value.is_empty() {
            warnings.push(format!(
                "the {field} field was provided but the role is set with \"{setting}\" set to true"
            ));
        }
    }
    Ok(answer::data(&data, &warnings))
}

fn read(role: &str, body: &[u8]) -> Result<IssueRequest, ApiError> {
    if role != role::ROLE {
        return Err(ApiError::bad(format!("unknown role: {role}")));
    }
    let request: IssueRequest = input::read(body)?;
    match request.format.as_str() {
        "" | "pem" => Ok(request),
        other => Err(ApiError::bad(format!(
            "the embedded PKI answers in the format \"pem\" only, not in \"{other}\""
        ))),
    }
}

/// The key that a request asks for, and Vault's name of its kind.
fn new_key(request: &IssueRequest) -> Result<(KeyPair, &'static str), ApiError> {
    let (made, kind) = match (request.key_type.as_str(), request.key_bits) {
        ("", _) => {
            return Err(ApiError::bad(
                "role key type \"any\" not allowed for issuing certificates without providing \
                 key_type and/or key_bits request parameters",
            ));
        }
        ("ec", 0 | 256) => (KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256), "ec"),
        ("ec", 384) => (KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384), "ec"),
        ("ec", 521) => (KeyPair::generate_for(&PKCS_ECDSA_P521_SHA512), "ec"),
        ("ed25519", _) => (KeyPair::generate_for(&PKCS_ED25519), "ed25519"),
        ("rsa", bits @ (0 | 2048 | 3072 | 4096)) => {
            let size = match bits {
                3072 => RsaKeySize::_3072,
                4096 => RsaKeySize::_4096,
                _ => RsaKeySize::_2048,
            };
            (KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, size), "rsa")
        }
        (kind, bits) => {
            let text = format!("the embedded PKI makes no {kind} keys of {bits} bits");
            return Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, text));
        }
    };
    let key = made.map_err(|error| ApiError::internal(&error))?;
    Ok((key, kind))
}

impl IssueRequest {
    /// The names in the request's own fields.
    fn names(&self) -> Result<SubjectNames, ApiError> {
        let alt_names = self.alt_names.split(',').map(str::trim);
        let mut dns: Vec<String> = alt_names.map(str::to_owned).collect();
        dns.retain(|name| role::is_hostname(name));
        let parsed = self.ip_sans.iter().map(|ip| {
            ip.parse()
                .map_err(|_| ApiError::bad(format!("the value \"{ip}\" is not a valid IP address")))
        });
        Ok(self.with_common_name(SubjectNames {
            common_name: self.common_name.clone(),
            dns,
            ips: parsed.collect::<Result<_, _>>()?,
            uris: self.uri_sans.clone(),
            source: "the API",
        }))
    }

    /// The common name among the DNS names, unless that is not wanted; each name once.
    fn with_common_name(&self, mut names: SubjectNames) -> SubjectNames {
        if !self.exclude_cn_from_sans && role::is_hostname(&names.common_name) {
            names.dns.push(names.common_name.clone());
        }
        names.dns.sort();
        names.dns.dedup();
        names
    }
}

/// The names of a CSR; the request's common name counts only where the CSR has none.
fn names_of(csr: &CertificateParams, request: &IssueRequest) -> SubjectNames {
    let mut names = SubjectNames {
        common_name: request.common_name.clone(),
        source: "CSR",
        ..SubjectNames::default()
    };
    match csr.distinguished_name.get(&DnType::CommonName) {
        Some(DnValue::Utf8String(text)) => names.common_name.clone_from(text),
        Some(DnValue::PrintableString(text)) => names.common_name = text.as_str().to_owned(),
        _ => {}
    }
    for san in &csr.subject_alt_names {
        match san {
            SanType::DnsName(name) => names.dns.push(name.as_str().to_owned()),
            SanType::URI(uri) => names.uris.push(uri.as_str().to_owned()),
            SanType::IpAddress(ip) => names.ips.push(*ip),
            _ => {}
        }
    }
    request.with_common_name(names)
}

/// Signs what the role allows.
fn leaf(
    mount: &Mount,
    request: &IssueRequest,
    names: &SubjectNames,
    key: &impl rcgen::PublicKeyData,
    now: Timestamp,
) -> Result<IssuedLeaf, ApiError> {
    role::check(names)?;
    let (ttl, warning) = ttl(request);
    let params = params(names, now, ttl).map_err(|error| ApiError::bad(error.to_string()))?;
    let made = mount.sign(&params, key);
    let made = made.map_err(|error| ApiError::internal(&error))?;
    Ok(IssuedLeaf {
        pem: made.pem().trim_end().to_owned(),
        serial: authority::serial_text(&params),
        not_before: params.not_before.unix_timestamp(),
        not_after: params.not_after.unix_timestamp(),
        warning,
    })
}

/// The life of the leaf, and a warning when it is shorter than what was asked for.
fn ttl(request: &IssueRequest) -> (Duration, Option<String>) {
    let asked = match request.ttl {
        0 => DEFAULT_TTL_SECS,
        secs => secs,
    };
    let [long, limit] = [asked, role::MAX_TTL_SECS].map(Duration::from_secs);
    let warning = (long > limit).then(|| {
        format!(
            "TTL \"{}\" is longer than permitted maxTTL \"{}\", so maxTTL is being used",
            in_hours(long),
            in_hours(limit)
        )
    });
    (long.min(limit), warning)
}

/// A long duration as Go prints it: `8760h0m0s`.
fn in_hours(long: Duration) -> String {
    let secs = long.as_secs();
    format!("{}h{}m{}s", secs / 3600, secs / 60 % 60, secs % 60)
}

fn params(
    names: &SubjectNames,
    now: Timestamp,
    ttl: Duration,
) -> Result<CertificateParams, rcgen::Error> {
    let mut params = authority::between(now, ttl);
    let subject = &mut params.distinguished_name;
    subject.push(DnType::CommonName, names.common_name.as_str());
    for name in &names.dns {
        let name = SanType::DnsName(name.as_str().try_into()?);
        params.subject_alt_names.push(name);
    }
    for uri in &names.uris {
        let uri = SanType::URI(uri.as_str().try_into()?);
        params.subject_alt_names.push(uri);
    }
    let ips = names.ips.iter().copied().map(SanType::IpAddress);
    params.subject_alt_names.extend(ips);
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyEncipherment,
        KeyUsagePurpose::KeyAgreement,
    ];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    Ok(params)
}

/// The `data` of the answer, without the key.
fn described(mount: &Mount, request: &IssueRequest, leaf: &IssuedLeaf) -> Value {
    let mut chain = mount.chain();
    if request.remove_roots_from_chain {
        chain.pop();
    }
    let mut data = json!({
        "certificate": leaf.pem,
        "expiration": leaf.not_after,
        "issuing_ca": mount.signer().pem,
        "not_before": leaf.not_before,
        "serial_number": leaf.serial,
    });
    if !chain.is_empty() {
        data["ca_chain"] = json!(chain);
    }
    data
}
