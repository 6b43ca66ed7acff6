//! `issue` and `sign`: from a request to a leaf certificate, in OpenBao's order of checks.
//!
//! Never signs what the role does not allow. Source: OpenBao `path_issue_sign.go`, `cert_util.go`.

use std::{net::IpAddr, time::Duration};

use rcgen::{
    CertificateSigningRequestParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, PublicKeyData, SanType,
};
use serde_json::{Value, json};

use crate::model::time::Timestamp;

use super::{
    super::{
        answer::{Answer, Envelope, Refused},
        call::Call,
        duration,
        fields::{Fields, Kind, Schema},
        random,
        token::rfc3339,
    },
    Limits, Pki, authority,
    certs::{self, Spec},
    insert,
    issuers::IssuerEntry,
    keys::{self, Form},
    names::{self, Names, Source},
    roles::{self, Role},
    warnings,
};

const SCHEMA: Schema = &[
    ("common_name", Kind::Text),
    ("alt_names", Kind::Text),
    ("ip_sans", Kind::List),
    ("uri_sans", Kind::List),
    ("other_sans", Kind::List),
    ("serial_number", Kind::Text),
    ("user_ids", Kind::List),
    ("ttl", Kind::Seconds),
    ("not_after", Kind::Text),
    ("not_before", Kind::Text),
    ("format", Kind::Text),
    ("private_key_format", Kind::Text),
    ("exclude_cn_from_sans", Kind::Bool),
    ("remove_roots_from_chain", Kind::Bool),
    ("key_type", Kind::Text),
    ("key_bits", Kind::Int),
    ("issuer_ref", Kind::Text),
    ("csr", Kind::Text),
];

/// What came of an order.
pub(super) struct Issued {
    pub(super) answer: Answer,
    /// The serial, when the certificate lives only as long as the token.
    pub(super) leased: Option<String>,
}

/// Answers `issue/:role` and `sign/:role`, with an explicit issuer or the role's.
pub(super) fn issue(
    pki: &mut Pki,
    call: &Call,
    limits: &Limits,
    (verb, issuer): (&str, Option<&str>),
    role_name: &str,
) -> Result<Issued, Refused> {
    let fields = call.fields(SCHEMA)?;
    let Some(role) = pki.roles.get(role_name).cloned() else {
        return Err(Refused::bad(format!("unknown role: {role_name}")));
    };
    let format = format(&fields)?;
    let key_kind = match verb {
        "issue" => Some(key_kind(&role, &fields)?),
        _ => None,
    };
    let reference = issuer.unwrap_or_else(|| role.text("issuer_ref"));
    let found = pki.issuers.find(reference).cloned();
    let issuer = found.map_err(|why| no_issuer(&why))?;
    let issuer_key = issuer.key.clone().ok_or_else(|| no_issuer("no key"))?;

    let at = (&fields, &role, call, limits, &issuer);
    let (spec, mut notes, keys) = match key_kind {
        Some((kind, bits)) => {
            let (spec, notes) = spec(at, (asked_names(&fields)?, Source::Api))?;
            (spec, notes, Keys::Ours(keys::generate(&kind, bits)?))
        }
        None => of_csr(at)?,
    };
    let der = match &keys {
        Keys::Ours(key) => certs::signed(&spec, key, &issuer.der, &issuer_key)?,
        Keys::Theirs(csr) => certs::signed(&spec, &csr.public_key, &issuer.der, &issuer_key)?,
    };
    let facts = certs::facts(&der)
        .ok_or_else(|| Refused::new(500, "the new certificate cannot be read back"))?;
    if !role.flag("no_store") {
        pki.store(&facts.serial, certs::pem("CERTIFICATE", &der), &issuer.id);
    }
    if matches!(keys, Keys::Ours(_)) && role.text("key_type") != "any" {
        let given = fields.value("key_type").is_some() || fields.value("key_bits").is_some();
        notes.extend(given.then(|| {
            "parameters key_type and key_bits ignored as role had specific values".to_owned()
        }));
    }
    notes.extend(fields.warning());
    let data = data(pki, &fields, format, (&der, &facts), &issuer, &keys);
    let leased = role.flag("generate_lease");
    let lease = leased.then(|| {
        let left = facts.not_after.since(call.now);
        let id = format!(
            "{}{verb}/{role_name}/{}",
            limits.path,
            random::letters::<24>()
        );
        (id, left.as_secs())
    });
    Ok(Issued {
        answer: Answer::Envelope(Envelope {
            data: Some(data),
            warnings: notes,
            lease,
            ..Envelope::default()
        }),
        leased: leased.then_some(facts.serial),
    })
}

enum Keys {
    Ours(KeyPair),
    Theirs(Box<CertificateSigningRequestParams>),
}

/// What an order is decided by: request, role, moment, mount, issuer.
type Terms<'a> = (&'a Fields, &'a Role, &'a Call, &'a Limits, &'a IssuerEntry);

/// Names and key of a CSR, checked against the role.
fn of_csr(at: Terms<'_>) -> Result<(Spec, Vec<String>, Keys), Refused> {
    let (fields, role, ..) = at;
    let csr = read_csr(fields.text("csr"))?;
    check_csr_key(&csr, role)?;
    let (names, source, mut notes) = csr_names(&csr, fields, role)?;
    let (spec, more) = spec(at, (names, source))?;
    notes.extend(more);
    if !matches!(csr.params.is_ca, IsCa::NoCa) {
        notes.push(
            "specified CSR contained a Basic Constraints extension that was ignored during issuance"
                .to_owned(),
        );
    }
    Ok((spec, notes, Keys::Theirs(Box::new(csr))))
}

fn format(fields: &Fields) -> Result<&str, Refused> {
    match fields.text("format") {
        "" => Ok("pem"),
        known @ ("pem" | "der" | "pem_bundle") => Ok(known),
        _ => Err(Refused::bad(
            "the \"format\" path parameter must be \"pem\", \"der\", or \"pem_bundle\"",
        )),
    }
}

fn key_kind(role: &Role, fields: &Fields) -> Result<(String, u64), Refused> {
    let kind = role.text("key_type");
    if kind != "any" {
        return Ok((kind.to_owned(), role.number("key_bits")));
    }
    let kind = fields.text("key_type");
    if kind.is_empty() {
        return Err(Refused::bad(
            "role key type \"any\" not allowed for issuing certificates without providing key_type \
             and/or key_bits request parameters",
        ));
    }
    let bits = roles::key_bits(kind, fields.number("key_bits"))?;
    Ok((kind.to_owned(), bits))
}

/// 500: the mount has no such issuer, or none at all.
pub(super) fn no_issuer(why: &str) -> Refused {
    Refused::framed(
        500,
        &format!("could not fetch the CA certificate (was one set?): {why}"),
    )
}

/// 400: the leaf would outlive its issuer.
pub(super) fn outlives(leaf: Timestamp, issuer: Timestamp) -> Refused {
    Refused::bad(format!(
        "cannot satisfy request, as TTL would result in notAfter of {} that is beyond the \
         expiration of the CA certificate at {issuer}",
        rfc3339(leaf)
    ))
}

/// The warning about a capped lifetime, in seconds.
pub(super) fn too_long(asked: u64, limit: u64) -> String {
    format!(
        "TTL \"{}\" is longer than permitted maxTTL \"{}\", so maxTTL is being used",
        duration::go_text(asked),
        duration::go_text(limit)
    )
}

/// Reads a CSR and checks its signature.
pub(super) fn read_csr(text: &str) -> Result<CertificateSigningRequestParams, Refused> {
    use rustls_pki_types::{CertificateSigningRequestDer, pem::PemObject};
    if text.is_empty() {
        return Err(Refused::bad("\"csr\" is empty"));
    }
    let der = CertificateSigningRequestDer::from_pem_slice(text.as_bytes())
        .map_err(|_| Refused::bad("csr contains no data"))?;
    CertificateSigningRequestParams::from_der(&der).map_err(|error| match error {
        rcgen::Error::InvalidCertificationRequestSignature => {
            Refused::bad("request signature invalid")
        }
        other => Refused::bad(format!("certificate request could not be parsed: {other}")),
    })
}

/// The kind and size of the key in a CSR.
fn csr_key(csr: &CertificateSigningRequestParams) -> (&'static str, u64) {
    let alg = csr.public_key.algorithm();
    let bytes = csr.public_key.der_bytes().len() as u64;
    if *alg == rcgen::PKCS_ED25519 {
        ("ed25519", 0)
    } else if *alg == rcgen::PKCS_ECDSA_P256_SHA256 || *alg == rcgen::PKCS_ECDSA_P384_SHA384 {
        // An uncompressed point: one byte, then both coordinates.
        ("ec", (bytes - 1) / 2 * 8)
    } else if *alg == rcgen::PKCS_ECDSA_P521_SHA512 {
        ("ec", 521)
    } else {
        // SEQUENCE { modulus, exponent }: 14 bytes around the modulus for all usual sizes.
        ("rsa", bytes.saturating_sub(13) / 128 * 1024)
    }
}

fn check_csr_key(csr: &CertificateSigningRequestParams, role: &Role) -> Result<(), Refused> {
    let (kind, bits) = csr_key(csr);
    let wanted = role.text("key_type");
    if wanted != "any" && wanted != kind {
        return Err(Refused::bad(format!("role requires keys of type {wanted}")));
    }
    if kind == "rsa" && bits < 2048 {
        return Err(Refused::bad(
            "RSA keys < 2048 bits are unsafe and not supported",
        ));
    }
    let least = role.number("key_bits");
    if wanted != "any" && bits < least {
        return Err(Refused::bad(format!(
            "role requires a minimum of a {least}-bit key, but CSR's key is {bits} bits"
        )));
    }
    Ok(())
}

/// The names in the request's own fields.
fn asked_names(fields: &Fields) -> Result<Names, Refused> {
    let mut names = Names {
        common_name: fields.text("common_name").to_owned(),
        uris: fields.list("uri_sans"),
        ..Names::default()
    };
    // Not trimmed: OpenBao drops ` b.example` in `a.example, b.example`, which is no host name.
    let alt_names = fields.text("alt_names").split(',');
    for name in alt_names.filter(|name| !name.is_empty()) {
        match name.contains('@') {
            true => names.emails.push(name.to_owned()),
            false if names::is_hostname(name) => names.dns.push(name.to_owned()),
            false => {}
        }
    }
    for ip in fields.list("ip_sans") {
        let parsed: IpAddr = ip
            .parse()
            .map_err(|_| Refused::bad(format!("the value \"{ip}\" is not a valid IP address")))?;
        names.ips.push(parsed);
    }
    Ok(names)
}

/// The names for a CSR: its own or the request's, as the role says, and the warnings about it.
fn csr_names(
    csr: &CertificateSigningRequestParams,
    fields: &Fields,
    role: &Role,
) -> Result<(Names, Source, Vec<String>), Refused> {
    let given = |name: &str| fields.value(name).is_some();
    let note = |field: &str, setting: &str| {
        format!("the {field} field was provided but the role is set with \"{setting}\" set to true")
    };
    let mut notes = Vec::new();
    if role.flag("use_csr_common_name") && given("common_name") {
        notes.push(note("common_name", "use_csr_common_name"));
    }
    if role.flag("use_csr_sans") && given("alt_names") {
        notes.push(note("alt_names", "use_csr_sans"));
    }
    let (mut names, source) = match role.flag("use_csr_sans") {
        true => (sans_of(csr), Source::Csr),
        false => (asked_names(fields)?, Source::Api),
    };
    fields
        .text("common_name")
        .clone_into(&mut names.common_name);
    if role.flag("use_csr_common_name") {
        let cn = csr.params.distinguished_name.get(&DnType::CommonName);
        if let Some(cn) = cn.and_then(text_of).filter(|cn| !cn.is_empty()) {
            names.common_name = cn;
        }
    }
    Ok((names, source, notes))
}

fn text_of(value: &rcgen::DnValue) -> Option<String> {
    match value {
        rcgen::DnValue::PrintableString(text) => Some(text.as_str().to_owned()),
        rcgen::DnValue::Ia5String(text) => Some(text.as_str().to_owned()),
        rcgen::DnValue::Utf8String(text) => Some(text.clone()),
        _ => None,
    }
}

fn sans_of(csr: &CertificateSigningRequestParams) -> Names {
    let mut names = Names::default();
    for san in &csr.params.subject_alt_names {
        match san {
            SanType::DnsName(name) => names.dns.push(name.as_str().to_owned()),
            SanType::Rfc822Name(name) => names.emails.push(name.as_str().to_owned()),
            SanType::URI(name) => names.uris.push(name.as_str().to_owned()),
            SanType::IpAddress(ip) => names.ips.push(*ip),
            _ => {}
        }
    }
    names
}

/// Everything but the key, checked against the role; and the warnings.
fn spec(
    (fields, role, call, limits, issuer): Terms<'_>,
    (mut names, source): (Names, Source),
) -> Result<(Spec, Vec<String>), Refused> {
    if names.common_name.is_empty() && role.flag("require_cn") {
        return Err(Refused::bad(
            "the common_name field is required, or must be provided in a CSR with \
             \"use_csr_common_name\" set to true, unless \"require_cn\" is set to false",
        ));
    }
    if !fields.flag("exclude_cn_from_sans") {
        let cn = names.common_name.clone();
        match cn.contains('@') {
            true => names.emails.push(cn),
            false if names::is_hostname(&cn) => names.dns.push(cn),
            false => {}
        }
    }
    names.dns = unique(names.dns);
    names.emails = unique(names.emails);
    names::check(&names, role, source)?;
    check_unusual(fields)?;
    let (not_before, not_after, warning) = validity(fields, role, call, limits, issuer)?;
    let spec = Spec {
        subject: subject(&names.common_name, role),
        names,
        not_before,
        not_after,
        key_usages: key_usages(role),
        extended_key_usages: extended_key_usages(role),
        is_ca: false,
    };
    Ok((spec, warnings([warning])))
}

fn unique(names: Vec<String>) -> Vec<String> {
    let mut seen = Vec::new();
    for name in names {
        if !seen.contains(&name) {
            seen.push(name);
        }
    }
    seen
}

/// Names of kinds that the embedded PKI never allows.
fn check_unusual(fields: &Fields) -> Result<(), Refused> {
    let serial = fields.text("serial_number");
    if !serial.is_empty() {
        return Err(Refused::bad(format!(
            "serial_number {serial} not allowed by this role"
        )));
    }
    if let Some(other) = fields.list("other_sans").first() {
        let oid = other.split(';').next().unwrap_or_default();
        return Err(Refused::bad(format!(
            "other SAN OID {oid} not allowed by this role"
        )));
    }
    match fields.list("user_ids").first() {
        Some(user) => Err(Refused::bad(format!(
            "user_id {user} is not allowed by this role"
        ))),
        None => Ok(()),
    }
}

fn subject(common_name: &str, role: &Role) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    for (kind, name) in [
        (DnType::CountryName, "country"),
        (DnType::StateOrProvinceName, "province"),
        (DnType::LocalityName, "locality"),
        (DnType::OrganizationName, "organization"),
        (DnType::OrganizationalUnitName, "ou"),
    ] {
        for text in role.list(name) {
            certs::push(&mut subject, kind.clone(), &text);
        }
    }
    if !common_name.is_empty() {
        certs::push(&mut subject, DnType::CommonName, common_name);
    }
    subject
}

/// Start, end, and the warning when the end was capped.
fn validity(
    fields: &Fields,
    role: &Role,
    call: &Call,
    limits: &Limits,
    issuer: &IssuerEntry,
) -> Result<(Timestamp, Timestamp, Option<String>), Refused> {
    let fixed = [role.text("not_after"), fields.text("not_after")];
    let fixed = fixed.into_iter().find(|text| !text.is_empty());
    let asked = fields.number("ttl");
    if asked > 0 && fixed.is_some() {
        return Err(Refused::bad(
            "Either ttl or not_after should be provided. Both should not be provided in the same \
             request.",
        ));
    }
    let wanted = [asked, role.number("ttl"), limits.default_ttl];
    let ttl = wanted.into_iter().find(|secs| *secs > 0).unwrap_or(1);
    let limit = match role.number("max_ttl") {
        0 => limits.max_ttl,
        secs => secs,
    };
    let warning = (ttl > limit).then(|| too_long(ttl, limit));
    let not_before = match fields.text("not_before") {
        "" => call
            .now
            .minus(Duration::from_secs(role.number("not_before_duration"))),
        text => moment(text)?,
    };
    let mut not_after = match fixed {
        Some(text) => moment(text)?,
        None => call.now.plus(Duration::from_secs(ttl.min(limit))),
    };
    if not_after > issuer.facts.not_after {
        match issuer.behavior.as_str() {
            "permit" => {}
            "truncate" => not_after = issuer.facts.not_after,
            _ => return Err(outlives(not_after, issuer.facts.not_after)),
        }
    }
    if not_before > not_after {
        return Err(Refused::bad(format!(
            "The certificate's Not Before ({}) is later than the certificate's Not After \
             ({not_after})",
            rfc3339(not_before)
        )));
    }
    Ok((not_before, not_after, warning))
}

fn moment(text: &str) -> Result<Timestamp, Refused> {
    let format = time::format_description::well_known::Rfc3339;
    time::OffsetDateTime::parse(text, &format)
        .map(|at| Timestamp::from_unix_secs(at.unix_timestamp()))
        .map_err(|error| Refused::bad(format!("parsing time {text:?}: {error}")))
}

fn key_usages(role: &Role) -> Vec<KeyUsagePurpose> {
    let usage = |name: &String| {
        Some(match name.to_lowercase().as_str() {
            "digitalsignature" => KeyUsagePurpose::DigitalSignature,
            "contentcommitment" => KeyUsagePurpose::ContentCommitment,
            "keyencipherment" => KeyUsagePurpose::KeyEncipherment,
            "dataencipherment" => KeyUsagePurpose::DataEncipherment,
            "keyagreement" => KeyUsagePurpose::KeyAgreement,
            "certsign" => KeyUsagePurpose::KeyCertSign,
            "crlsign" => KeyUsagePurpose::CrlSign,
            "encipheronly" => KeyUsagePurpose::EncipherOnly,
            "decipheronly" => KeyUsagePurpose::DecipherOnly,
            _ => return None,
        })
    };
    role.list("key_usage").iter().filter_map(usage).collect()
}

fn extended_key_usages(role: &Role) -> Vec<ExtendedKeyUsagePurpose> {
    let mut usages: Vec<ExtendedKeyUsagePurpose> = [
        ("server_flag", ExtendedKeyUsagePurpose::ServerAuth),
        ("client_flag", ExtendedKeyUsagePurpose::ClientAuth),
        ("code_signing_flag", ExtendedKeyUsagePurpose::CodeSigning),
        (
            "email_protection_flag",
            ExtendedKeyUsagePurpose::EmailProtection,
        ),
    ]
    .into_iter()
    .filter(|(flag, _)| role.flag(flag))
    .map(|(_, usage)| usage)
    .collect();
    for name in role.list("ext_key_usage") {
        let usage = match name.to_lowercase().as_str() {
            "any" => ExtendedKeyUsagePurpose::Any,
            "serverauth" => ExtendedKeyUsagePurpose::ServerAuth,
            "clientauth" => ExtendedKeyUsagePurpose::ClientAuth,
            "codesigning" => ExtendedKeyUsagePurpose::CodeSigning,
            "emailprotection" => ExtendedKeyUsagePurpose::EmailProtection,
            "timestamping" => ExtendedKeyUsagePurpose::TimeStamping,
            "ocspsigning" => ExtendedKeyUsagePurpose::OcspSigning,
            _ => continue,
        };
        if !usages.contains(&usage) {
            usages.push(usage);
        }
    }
    usages
}

/// The `data` of the answer in the format asked for.
fn data(
    pki: &Pki,
    fields: &Fields,
    format: &str,
    (der, facts): (&[u8], &certs::Facts),
    issuer: &IssuerEntry,
    keys: &Keys,
) -> Value {
    let text = |der: &[u8]| match format {
        "der" => certs::base64(der),
        _ => certs::pem("CERTIFICATE", der),
    };
    let roots = !fields.flag("remove_roots_from_chain");
    let chain: Vec<String> = pki
        .issuers
        .chain_of(issuer)
        .into_iter()
        .filter(|entry| roots || !entry.is_root())
        .map(|entry| text(&entry.der))
        .collect();
    let mut certificate = text(der);
    if format == "pem_bundle" {
        let key = match keys {
            Keys::Ours(key) => Some(keys::encode_pem(key, Form::Traditional)),
            Keys::Theirs(_) => None,
        };
        let parts: Vec<String> = key
            .into_iter()
            .chain([certificate])
            .chain(chain.iter().cloned())
            .collect();
        certificate = parts.join("\n");
    }
    let mut data = json!({
        "certificate": certificate,
        "expiration": facts.not_after.unix_secs(),
        "issuing_ca": text(&issuer.der),
        "not_before": facts.not_before.unix_secs(),
        "serial_number": facts.serial,
    });
    if !chain.is_empty() {
        insert(&mut data, "ca_chain", chain);
    }
    if let Keys::Ours(key) = keys {
        let form = authority::form(fields);
        let text = match format {
            "der" => certs::base64(&keys::encode(key, form).1),
            _ => keys::encode_pem(key, form),
        };
        insert(&mut data, "private_key", text);
        insert(&mut data, "private_key_type", keys::type_name(key));
    }
    data
}
