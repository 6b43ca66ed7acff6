//! Certificate authorities: roots made and rotated, intermediates requested, signed and imported.
//!
//! Never changes the default issuer of a mount that has one: `config/issuers` does.

use std::{net::IpAddr, sync::Arc, time::Duration};

use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType, KeyUsagePurpose,
};
use serde_json::{Map, Value, json};

use super::{
    super::{
        answer::{Answer, Outcome, Refused},
        call::Call,
        fields::{Fields, Kind, Schema},
        random,
    },
    Limits, Pki,
    certs::{self, Spec},
    insert,
    keys::{self, Form},
    names::{self, Names},
    roles, warnings,
};

const SCHEMA: Schema = &[
    ("common_name", Kind::Text),
    ("alt_names", Kind::Text),
    ("ip_sans", Kind::List),
    ("uri_sans", Kind::List),
    ("exclude_cn_from_sans", Kind::Bool),
    ("issuer_name", Kind::Text),
    ("key_name", Kind::Text),
    ("key_type", Kind::Text),
    ("key_bits", Kind::Int),
    ("ttl", Kind::Seconds),
    ("format", Kind::Text),
    ("csr", Kind::Text),
    ("use_csr_values", Kind::Bool),
    ("organization", Kind::List),
    ("ou", Kind::List),
    ("country", Kind::List),
    ("max_path_length", Kind::Int),
    ("not_before_duration", Kind::Seconds),
    ("private_key_format", Kind::Text),
    ("add_basic_constraints", Kind::Bool),
    ("certificate", Kind::Text),
    ("pem_bundle", Kind::Text),
];

const NO_AIA: &str = "This mount hasn't configured any authority information access (AIA) fields; \
    this may make it harder for systems to find missing certificates in the chain or to validate \
    revocation status of certificates. Consider updating /config/urls or the newly generated \
    issuer with this information.";

const NO_AIA_INTERMEDIATE: &str = " Since this certificate is an intermediate, it might be useful \
    to regenerate this certificate after fixing this problem for the root mount.";

const NO_SUBJECT: &str = "This issuer certificate was generated without a Subject; this makes it \
    likely that issuing leaf certs with this certificate will cause TLS validation libraries to \
    reject this certificate.";

fn subject(fields: &Fields) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    for (kind, name) in [
        (DnType::CountryName, "country"),
        (DnType::OrganizationName, "organization"),
        (DnType::OrganizationalUnitName, "ou"),
    ] {
        for text in fields.list(name) {
            certs::push(&mut subject, kind.clone(), &text);
        }
    }
    if !fields.text("common_name").is_empty() {
        certs::push(&mut subject, DnType::CommonName, fields.text("common_name"));
    }
    subject
}

fn ca_names(fields: &Fields) -> Names {
    let mut dns: Vec<String> = fields
        .text("alt_names")
        .split(',')
        .map(|name| name.trim().to_owned())
        .collect();
    if !fields.flag("exclude_cn_from_sans") {
        dns.insert(0, fields.text("common_name").to_owned());
    }
    dns.retain(|name| names::is_hostname(name));
    let ips = fields.list("ip_sans");
    Names {
        dns,
        ips: ips
            .iter()
            .filter_map(|ip| ip.parse::<IpAddr>().ok())
            .collect(),
        uris: fields.list("uri_sans"),
        ..Names::default()
    }
}

/// Seconds of life, and the warning when they were capped to the mount's limit.
fn lifetime(fields: &Fields, limits: &Limits) -> (Duration, Option<String>) {
    let asked = match fields.number("ttl") {
        0 => limits.default_ttl,
        secs => secs,
    };
    let warning = (asked > limits.max_ttl).then(|| super::issue::too_long(asked, limits.max_ttl));
    (Duration::from_secs(asked.min(limits.max_ttl)), warning)
}

fn ca_spec(fields: &Fields, call: &Call, life: Duration) -> Spec {
    let before = match fields.value("not_before_duration") {
        Some(_) => fields.number("not_before_duration"),
        None => 30,
    };
    Spec {
        subject: subject(fields),
        names: ca_names(fields),
        not_before: call.now.minus(Duration::from_secs(before)),
        not_after: call.now.plus(life),
        key_usages: vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign],
        extended_key_usages: Vec::new(),
        is_ca: true,
    }
}

/// `root/generate/:exported` and `root/rotate/:exported`.
pub(super) fn root(pki: &mut Pki, call: &Call, limits: &Limits, exported: &str) -> Outcome {
    if !matches!(exported, "internal" | "exported") {
        return Err(Refused::bad(
            "the \"exported\" path parameter must be \"internal\", \"existing\", exported\" or \"kms\"",
        ));
    }
    let fields = call.fields(SCHEMA)?;
    let name = fields.text("issuer_name");
    pki.issuers.check_name(name)?;
    let key = Arc::new(new_key(&fields)?);
    let (life, capped) = lifetime(&fields, limits);
    let der = certs::self_signed(&ca_spec(&fields, call, life), &key)?;
    let added = pki.issuers.add(der, Some(Arc::clone(&key)));
    let entry = added.ok_or_else(|| Refused::new(500, "the new root cannot be read back"))?;
    pki.issuers.rename(&entry.id, name);
    pki.store(&entry.facts.serial, entry.pem(), &entry.id);
    let mut data = json!({
        "certificate": entry.pem(),
        "expiration": entry.facts.not_after.unix_secs(),
        "issuer_id": entry.id,
        "issuer_name": name,
        "issuing_ca": entry.pem(),
        "key_id": entry.key_id,
        "key_name": fields.text("key_name"),
        "serial_number": entry.facts.serial,
    });
    if exported == "exported" {
        insert(
            &mut data,
            "private_key",
            keys::encode_pem(&key, form(&fields)),
        );
        insert(&mut data, "private_key_type", keys::type_name(&key));
    }
    let bare = fields.text("common_name").is_empty();
    Ok(Answer::data_with(
        data,
        warnings([
            capped,
            bare.then(|| NO_SUBJECT.to_owned()),
            Some(NO_AIA.to_owned()),
            fields.warning(),
        ]),
    ))
}

fn new_key(fields: &Fields) -> Result<rcgen::KeyPair, Refused> {
    let kind = match fields.text("key_type") {
        "" => "rsa",
        kind => kind,
    };
    let bits = roles::key_bits(kind, fields.number("key_bits"))?;
    keys::generate(kind, bits)
}

/// The form a private key is asked in.
pub(super) fn form(fields: &Fields) -> Form {
    match fields.text("private_key_format") {
        "pkcs8" => Form::Pkcs8,
        _ => Form::Traditional,
    }
}

/// `intermediate/generate/:exported`: a key that stays and a CSR for it.
pub(super) fn request(pki: &mut Pki, call: &Call) -> Outcome {
    let fields = call.fields(SCHEMA)?;
    let key = Arc::new(new_key(&fields)?);
    let mut params = CertificateParams::default();
    params.distinguished_name = subject(&fields);
    let csr = params
        .serialize_request(&*key)
        .map_err(|error| Refused::new(500, format!("no CSR: {error}")))?;
    let key_id = random::uuid();
    pki.issuers.pending.push((key_id.clone(), key));
    Ok(Answer::data_with(
        json!({ "csr": certs::pem("CERTIFICATE REQUEST", csr.der()), "key_id": key_id }),
        warnings([
            Some(format!("{NO_AIA}{NO_AIA_INTERMEDIATE}")),
            fields.warning(),
        ]),
    ))
}

/// `root/sign-intermediate`.
pub(super) fn sign(pki: &mut Pki, call: &Call, limits: &Limits, issuer: &str) -> Outcome {
    let fields = call.fields(SCHEMA)?;
    let csr = super::issue::read_csr(fields.text("csr"))?;
    let mut csr_values = fields.flag("use_csr_values").then_some(&csr);
    if fields.text("common_name").is_empty() && csr_values.is_none() {
        return Err(Refused::bad(
            "common_name is required unless use_csr_values is set",
        ));
    }
    let found = pki.issuers.find(issuer).cloned();
    let issuer = found.map_err(|why| super::issue::no_issuer(&why))?;
    let key = issuer
        .key
        .as_ref()
        .ok_or_else(|| super::issue::no_issuer("no key"))?;
    let (life, capped) = lifetime(&fields, limits);
    let mut spec = ca_spec(&fields, call, life);
    if let Some(CertificateSigningRequestParams { params, .. }) = csr_values.take() {
        spec.subject = params.distinguished_name.clone();
    }
    if spec.not_after > issuer.facts.not_after {
        return Err(super::issue::outlives(
            spec.not_after,
            issuer.facts.not_after,
        ));
    }
    let der = certs::signed(&spec, &csr.public_key, &issuer.der, key)?;
    let facts = certs::facts(&der)
        .ok_or_else(|| Refused::new(500, "the new certificate cannot be read back"))?;
    let pem = certs::pem("CERTIFICATE", &der);
    pki.store(&facts.serial, pem.clone(), &issuer.id);
    let chain: Vec<String> = std::iter::once(pem.clone())
        .chain(pki.issuers.chain(&issuer))
        .collect();
    let certificate = match fields.text("format") {
        "pem_bundle" => chain.join("\n"),
        _ => pem,
    };
    Ok(Answer::data_with(
        json!({
            "ca_chain": chain,
            "certificate": certificate,
            "expiration": facts.not_after.unix_secs(),
            "issuing_ca": issuer.pem(),
            "serial_number": facts.serial,
        }),
        warnings([capped, Some(NO_AIA.to_owned()), fields.warning()]),
    ))
}

/// `intermediate/set-signed` and `issuers/import/...`: certificates whose keys are here, or that
/// complete chains.
pub(super) fn import(pki: &mut Pki, call: &Call) -> Outcome {
    let fields = call.fields(SCHEMA)?;
    let text = match fields.text("certificate") {
        "" => fields.text("pem_bundle"),
        text => text,
    };
    if text.is_empty() {
        return Err(Refused::bad(
            "no certificates provided in request; use /intermediate/set-signed with a \"certificate\" field",
        ));
    }
    let ders = certs::ders(text);
    if ders.is_empty() {
        return Err(Refused::bad("Unable to parse issuer: bad PEM"));
    }
    let mut imported = Vec::new();
    let mut mapping = Map::new();
    for der in ders {
        if let Some(entry) = pki.issuers.add(der, None) {
            mapping.insert(entry.id.clone(), Value::from(entry.key_id));
            imported.push(entry.id);
        }
    }
    Ok(Answer::data_with(
        json!({
            "existing_issuers": null,
            "existing_keys": null,
            "imported_issuers": imported,
            "imported_keys": null,
            "mapping": mapping,
        }),
        warnings([Some(NO_AIA.to_owned()), fields.warning()]),
    ))
}
