//! Which names a role allows: Vault's `validateNames` and its relatives.
//!
//! Never looks at keys or times. Source: OpenBao `pki/cert_util.go`.

use std::net::IpAddr;

use super::{super::answer::Refused, roles::Role};

/// The names of a certificate to be.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    pub(super) common_name: String,
    pub(super) dns: Vec<String>,
    pub(super) emails: Vec<String>,
    pub(super) ips: Vec<IpAddr>,
    pub(super) uris: Vec<String>,
}

/// Where names came from, for the texts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// The request's own fields.
    Api,
    /// The certificate signing request.
    Csr,
}

impl Source {
    fn text(self) -> &'static str {
        match self {
            Self::Api => "the API",
            Self::Csr => "CSR",
        }
    }
}

/// Refuses the first name that the role does not allow.
pub(super) fn check(names: &Names, role: &Role, source: Source) -> Result<(), Refused> {
    let cn = &names.common_name;
    if !cn.is_empty() && !allowed(cn, role) {
        return Err(Refused::bad(format!(
            "common name {cn} not allowed by this role"
        )));
    }
    for name in &names.dns {
        if !allowed(name, role) {
            return Err(Refused::bad(format!(
                "subject alternate name {name} not allowed by this role"
            )));
        }
    }
    for email in &names.emails {
        if !allowed(email, role) {
            return Err(Refused::bad(format!(
                "email address {email} not allowed by this role"
            )));
        }
    }
    if !names.ips.is_empty() && !role.flag("allow_ip_sans") {
        return Err(Refused::bad(format!(
            "IP Subject Alternative Names are not allowed in this role, but was provided via {}",
            source.text()
        )));
    }
    check_uris(names, role, source)
}

fn check_uris(names: &Names, role: &Role, source: Source) -> Result<(), Refused> {
    let patterns = role.list("allowed_uri_sans");
    if names.uris.is_empty() {
        return Ok(());
    }
    let from = source.text();
    if patterns.is_empty() {
        return Err(Refused::bad(format!(
            "URI Subject Alternative Names are not allowed in this role, but were provided via {from}"
        )));
    }
    let fits = |uri: &String| patterns.iter().any(|pattern| glob(pattern, uri));
    if !names.uris.iter().all(fits) {
        return Err(Refused::bad(format!(
            "URI Subject Alternative Names were provided via {from} which are not valid for this role"
        )));
    }
    Ok(())
}

fn allowed(name: &str, role: &Role) -> bool {
    let (host, email) = match name.split_once('@') {
        Some((_, host)) if !host.contains('@') => (host, true),
        Some(_) => return false,
        None => (name, false),
    };
    let (host, wildcard) = match host.strip_prefix("*.") {
        Some(rest) if !email => (rest, true),
        _ => (host, false),
    };
    if wildcard && !role.flag("allow_wildcard_certificates") {
        return false;
    }
    if role.flag("enforce_hostnames") && !is_hostname(host) {
        return false;
    }
    if role.flag("allow_any_name") {
        return true;
    }
    if role.flag("allow_localhost") && is_local(host, wildcard, role) {
        return true;
    }
    let domains = role.list("allowed_domains");
    domains
        .iter()
        .any(|domain| fits(domain, name, host, wildcard, role))
}

fn is_local(host: &str, wildcard: bool, role: &Role) -> bool {
    let local = |name: &str| matches!(name, "localhost" | "localdomain");
    let below = host
        .rsplit_once('.')
        .is_some_and(|(_, parent)| local(parent));
    (local(host) && !wildcard) || (role.flag("allow_subdomains") && (below || local(host)))
}

fn fits(domain: &str, name: &str, host: &str, wildcard: bool, role: &Role) -> bool {
    if role.flag("allow_bare_domains") && host.eq_ignore_ascii_case(domain) && !wildcard {
        return true;
    }
    if role.flag("allow_subdomains") {
        // Case counts here, as in OpenBao.
        let below = host
            .strip_suffix(domain)
            .is_some_and(|rest| rest.ends_with('.'));
        if below || (wildcard && host == domain) {
            return true;
        }
    }
    role.flag("allow_glob_domains") && domain.contains('*') && glob(domain, name)
}

/// Whether the text is a host name as Vault's regular expression has it; `*.` in front is allowed.
pub(super) fn is_hostname(name: &str) -> bool {
    let name = name.strip_prefix("*.").unwrap_or(name);
    let name = name.strip_suffix('.').unwrap_or(name);
    name.split('.').all(|label| {
        let bytes = label.as_bytes();
        let inner = bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || *b == b'-');
        inner
            && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
            && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
    })
}

/// Glob match where `*` stands for any text, also none.
pub(in crate::dev) fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_as_gos_glob_does() {
        for (pattern, text, expected) in [
            ("spiffe://x/*", "spiffe://x/a", true),
            ("spiffe://x/*", "spiffe://y/a", false),
            ("*", "", true),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "aXc", false),
            ("abc", "abc", true),
            ("abc", "abcd", false),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn host_names_are_letters_digits_and_inner_dashes() {
        for (name, expected) in [
            ("a.service.consul", true),
            ("*.service.consul", true),
            ("a_b.service.consul", false),
            ("bad name", false),
            ("-a.b", false),
            ("", false),
            ("a..b", false),
        ] {
            assert_eq!(is_hostname(name), expected, "{name}");
        }
    }
}
