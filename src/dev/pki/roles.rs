//! Roles: defaults, validation and reading, as OpenBao's `path_roles.go` has them.
//!
//! Never issues. What stays true: a role holds every field, with its type.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{
    super::{
        answer::{Answer, Outcome, Refused},
        auth::overlay,
        call::{Call, Op},
        fields::{self, Kind, Schema},
    },
    warnings,
};

/// One role: every field of its answer.
#[derive(Clone)]
pub(super) struct Role(Map<String, Value>);

const SCHEMA: Schema = &[
    ("allow_any_name", Kind::Bool),
    ("allow_bare_domains", Kind::Bool),
    ("allow_glob_domains", Kind::Bool),
    ("allow_ip_sans", Kind::Bool),
    ("allow_localhost", Kind::Bool),
    ("allow_subdomains", Kind::Bool),
    ("allow_wildcard_certificates", Kind::Bool),
    ("allowed_domains", Kind::List),
    ("allowed_ip_sans_cidr", Kind::List),
    ("allowed_other_sans", Kind::List),
    ("allowed_serial_numbers", Kind::List),
    ("allowed_uri_sans", Kind::List),
    ("allowed_user_ids", Kind::List),
    ("client_flag", Kind::Bool),
    ("server_flag", Kind::Bool),
    ("code_signing_flag", Kind::Bool),
    ("email_protection_flag", Kind::Bool),
    ("enforce_hostnames", Kind::Bool),
    ("ext_key_usage", Kind::List),
    ("key_usage", Kind::List),
    ("generate_lease", Kind::Bool),
    ("no_store", Kind::Bool),
    ("issuer_ref", Kind::Text),
    ("key_bits", Kind::Int),
    ("key_type", Kind::Text),
    ("ttl", Kind::Seconds),
    ("max_ttl", Kind::Seconds),
    ("not_after", Kind::Text),
    ("not_before_duration", Kind::Seconds),
    ("country", Kind::List),
    ("locality", Kind::List),
    ("organization", Kind::List),
    ("ou", Kind::List),
    ("province", Kind::List),
    ("require_cn", Kind::Bool),
    ("use_csr_common_name", Kind::Bool),
    ("use_csr_sans", Kind::Bool),
];

/// A role with nothing set.
const DEFAULTS: &str = r#"
{
"allow_any_name": false, "allow_bare_domains": false, "allow_glob_domains": false,
"allow_globs_in_identity_templates": false, "allow_ip_sans": true,
"allow_localhost": true, "allow_subdomains": false, "allow_token_displayname": false,
"allow_wildcard_certificates": true, "allowed_domains": [],
"allowed_domains_template": false, "allowed_ip_sans_cidr": [], "allowed_other_sans": [],
"allowed_serial_numbers": [], "allowed_uri_sans": [], "allowed_uri_sans_template": false,
"allowed_user_ids": [], "basic_constraints_valid_for_non_ca": false, "client_flag": true,
"cn_validations": ["email", "hostname"], "code_signing_flag": false, "country": [],
"email_protection_flag": false, "enforce_hostnames": true, "ext_key_usage": [],
"ext_key_usage_oids": [], "generate_lease": false, "issuer_ref": "default",
"key_bits": 0, "key_type": "rsa",
"key_usage": ["DigitalSignature", "KeyAgreement", "KeyEncipherment"], "locality": [],
"max_ttl": 0, "no_store": false, "not_after": "", "not_after_bound": "permit",
"not_before": "", "not_before_bound": "permit", "not_before_duration": 30,
"organization": [], "ou": [], "policy_identifiers": [], "postal_code": [],
"province": [], "require_cn": true, "server_flag": true, "signature_bits": 0,
"street_address": [], "ttl": 0, "use_csr_common_name": true, "use_csr_sans": true,
"use_pss": false
}
"#;

fn defaults() -> Map<String, Value> {
    serde_json::from_str(DEFAULTS).unwrap_or_default()
}

const LEASE_WARNING: &str = "it is encouraged to disable generate_lease and rely on PKI's native \
    capabilities when possible; this option can cause instance-wide issues with large numbers of \
    issued certificates";

const NO_ISSUER: &str = "Issuing Certificate was set to default, but no default issuing certificate \
    (configurable at /config/issuers) is currently set";

impl Role {
    /// A boolean setting.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.0.get(name) == Some(&Value::Bool(true))
    }

    /// A text setting.
    pub(super) fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// A number, or a duration in seconds.
    pub(super) fn number(&self, name: &str) -> u64 {
        self.0.get(name).and_then(Value::as_u64).unwrap_or_default()
    }

    /// A list setting.
    pub(super) fn list(&self, name: &str) -> Vec<String> {
        fields::strings(self.0.get(name))
    }
}

/// Answers `roles/:name`.
pub(super) fn answer(
    roles: &mut BTreeMap<String, Role>,
    call: &Call,
    name: &str,
    has_default: bool,
) -> Outcome {
    match call.op {
        Op::Read => {
            let role = roles.get(name).ok_or_else(Refused::absent)?;
            Ok(Answer::data(Value::Object(role.0.clone())))
        }
        Op::Delete => {
            roles.remove(name);
            Ok(Answer::Nothing)
        }
        Op::List => Err(Refused::no_path()),
        Op::Update => {
            let fields = call.fields(SCHEMA)?;
            let mut map = defaults();
            overlay(&mut map, &fields);
            let role = checked(map)?;
            let lease = role
                .flag("generate_lease")
                .then(|| LEASE_WARNING.to_owned());
            let no_issuer = role.text("issuer_ref") == "default" && !has_default;
            let data = Value::Object(role.0.clone());
            roles.insert(name.to_owned(), role);
            Ok(Answer::data_with(
                data,
                warnings([
                    no_issuer.then(|| NO_ISSUER.to_owned()),
                    lease,
                    fields.warning(),
                ]),
            ))
        }
    }
}

fn checked(mut map: Map<String, Value>) -> Result<Role, Refused> {
    let role = Role(map.clone());
    let (ttl, max_ttl) = (role.number("ttl"), role.number("max_ttl"));
    if max_ttl > 0 && ttl > max_ttl {
        return Err(Refused::bad(
            "\"ttl\" value must be less than \"max_ttl\" value",
        ));
    }
    let bits = key_bits(role.text("key_type"), role.number("key_bits"))?;
    map.insert("key_bits".to_owned(), json!(bits));
    Ok(Role(map))
}

/// The key size a type gets, with the texts of OpenBao's certutil.
pub(super) fn key_bits(key_type: &str, bits: u64) -> Result<u64, Refused> {
    match (key_type, bits) {
        ("rsa", 0) => Ok(2048),
        ("rsa", 1..2048) => Err(Refused::bad(format!(
            "RSA keys < 2048 bits are unsafe and not supported: got {bits}"
        ))),
        ("rsa", 2048 | 3072 | 4096 | 8192) => Ok(bits),
        ("rsa", _) => Err(Refused::bad(format!(
            "unsupported bit length for RSA key: {bits}"
        ))),
        ("ec", 0) => Ok(256),
        ("ec", 224 | 256 | 384 | 521) => Ok(bits),
        ("ec", _) => Err(Refused::bad(format!(
            "unsupported bit length for EC key: {bits}"
        ))),
        ("ed25519" | "any", _) => Ok(0),
        _ => Err(Refused::bad(format!("unknown key type {key_type}"))),
    }
}
