//! The one role of both mounts: which names it allows, and how it reads.
//!
//! Never looks at keys or times. Source: OpenBao, PKI API, "Create/update role".

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::answer::ApiError;

/// Its name.
pub const ROLE: &str = "internal";

/// The longest life of a leaf, in seconds.
pub(crate) const MAX_TTL_SECS: u64 = 8760 * 3600;
/// How long before its issuance a certificate begins, in seconds.
pub(crate) const NOT_BEFORE_SECS: u64 = 30;
/// Domains whose names, and names below, are allowed.
const DOMAINS: [&str; 2] = ["service.consul", "localhost"];
/// What an allowed URI begins with.
const URIS: &str = "spiffe://";

/// The names of a certificate to be.
#[derive(Default)]
pub(crate) struct SubjectNames {
    pub(crate) common_name: String,
    pub(crate) dns: Vec<String>,
    pub(crate) ips: Vec<IpAddr>,
    pub(crate) uris: Vec<String>,
    /// Where they came from, for the texts.
    pub(crate) source: &'static str,
}

/// `roles/internal`.
pub(crate) fn described() -> Value {
    json!({
        "allow_any_name": false, "allow_bare_domains": true, "allow_glob_domains": false,
        "allow_ip_sans": true, "allow_localhost": true, "allow_subdomains": true,
        "allow_wildcard_certificates": true, "allowed_domains": DOMAINS,
        "allowed_domains_template": false, "allowed_uri_sans": [format!("{URIS}*")],
        "client_flag": true, "server_flag": true, "enforce_hostnames": true, "ext_key_usage": [],
        "generate_lease": false, "issuer_ref": "default", "key_bits": 0, "key_type": "any",
        "key_usage": ["DigitalSignature", "KeyAgreement", "KeyEncipherment"],
        "max_ttl": MAX_TTL_SECS, "no_store": false, "not_after": "",
        "not_before_duration": NOT_BEFORE_SECS, "require_cn": true, "ttl": 0,
        "use_csr_common_name": true, "use_csr_sans": true,
    })
}

/// Refuses the first name that the role does not allow.
pub(crate) fn check(names: &SubjectNames) -> Result<(), ApiError> {
    let cn = &names.common_name;
    if cn.is_empty() {
        return Err(ApiError::bad(
            "the common_name field is required, or must be provided in a CSR with \
             \"use_csr_common_name\" set to true, unless \"require_cn\" is set to false",
        ));
    }
    if !allowed(cn) {
        let text = format!("common name {cn} not allowed by this role");
        return Err(ApiError::bad(text));
    }
    if let Some(name) = names.dns.iter().find(|name| !allowed(name)) {
        let text = format!("subject alternate name {name} not allowed by this role");
        return Err(ApiError::bad(text));
    }
    if !names.uris.iter().all(|uri| uri.starts_with(URIS)) {
        let text = format!(
            "URI Subject Alternative Names were provided via {} which are not valid for this role",
            names.source
        );
        return Err(ApiError::bad(text));
    }
    Ok(())
}

fn allowed(name: &str) -> bool {
    let wildcard = name.starts_with("*.");
    let host = name.strip_prefix("*.").unwrap_or(name);
    is_hostname(host)
        && DOMAINS.iter().any(|domain| {
            let below = host.strip_suffix(domain);
            let bare = !wildcard && host.eq_ignore_ascii_case(domain);
            bare || (wildcard && host == *domain) || below.is_some_and(|rest| rest.ends_with('.'))
        })
}

/// Whether the text is a host name: letters, digits and inner dashes in each label (RFC 1123,
/// section 2.1); `*.` in front is allowed.
pub(crate) fn is_hostname(name: &str) -> bool {
    let name = name.strip_prefix("*.").unwrap_or(name);
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    name.split('.').all(|label| {
        let label = label.as_bytes();
        let inner = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
        edge(label.first()) && edge(label.last()) && label.iter().all(inner)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_and_below_the_domains_are_allowed() {
        for (name, expected) in [
            ("a.service.consul", true),
            ("service.consul", true),
            ("*.service.consul", true),
            ("A.B.service.consul", true),
            ("localhost", true),
            ("a_b.service.consul", false),
            ("-a.service.consul", false),
            ("a..service.consul", false),
            ("xservice.consul", false),
            ("evil.com", false),
            ("bad name", false),
            ("", false),
        ] {
            assert_eq!(allowed(name), expected, "{name}");
        }
    }
}
