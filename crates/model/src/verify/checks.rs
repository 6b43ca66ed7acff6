//! What the chain verifier does not say: key, shape, names, serial and times of the leaf.
//!
//! Never stops at the first fault.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use super::RefusalReason;
use crate::{
    bundle::PrivateKey,
    leaf::{CertFacts, KeyAlgorithm, Purposes, plain_dns},
    request::{Names, Request},
    schedule::Validity,
    time::Timestamp,
};

/// The key fits, is strong, and is what was asked for.
pub(super) fn key(
    facts: &CertFacts,
    key: &PrivateKey,
    request: &Request,
    problems: &mut Vec<RefusalReason>,
) {
    if key.facts().algorithm != facts.key.algorithm || key.public_key() != facts.public_key {
        let message = format!(
            "the private key ({}) does not fit the certificate ({})",
            key.facts(),
            facts.key
        );
        problems.push(RefusalReason::new("key-mismatch", message));
    }
    let found = facts.key;
    if found.algorithm == KeyAlgorithm::Rsa && found.bits < 2048 {
        let message = format!("the certificate is for a weak key, {found}");
        problems.push(RefusalReason::new("key-weak", message));
    } else if found.algorithm == KeyAlgorithm::Other
        || (found.algorithm == KeyAlgorithm::Ec && found.kind().is_none())
    {
        let message = format!("the certificate is for an unsupported key, {found}");
        problems.push(RefusalReason::new("key-unsupported", message));
    } else if !request.key_type_open && found.kind() != Some(request.key_type) {
        let message = format!("the key is {found}, {} was requested", request.key_type);
        problems.push(RefusalReason::new("key-type", message));
    }
}

/// It is a leaf, for both sides of TLS (RFC 5280 sections 4.2.1.3, 4.2.1.9, 4.2.1.12).
pub(super) fn shape(facts: &CertFacts, problems: &mut Vec<RefusalReason>) {
    if facts.is_ca {
        let message = format!("the certificate is a CA: {}", facts.subject);
        problems.push(RefusalReason::new("leaf-is-ca", message));
    }
    if facts.self_signed {
        let message = format!("the certificate is self-signed: {}", facts.subject);
        problems.push(RefusalReason::new("leaf-self-signed", message));
    }
    if facts.purposes == Purposes::Any {
        problems.push(RefusalReason::new(
            "server-auth",
            "the certificate itself has the extended key usage `any` alone, which OpenSSL and \
             rustls do not take for TLS servers and clients",
        ));
        return key_usage(facts, problems);
    }
    if !facts.server_auth {
        problems.push(RefusalReason::new(
            "server-auth",
            "the certificate may not be used by TLS servers: no extended key usage serverAuth",
        ));
    }
    if !facts.client_auth {
        problems.push(RefusalReason::new(
            "client-auth",
            "the certificate may not be used by TLS clients: no extended key usage clientAuth",
        ));
    }
    key_usage(facts, problems);
}

fn key_usage(facts: &CertFacts, problems: &mut Vec<RefusalReason>) {
    if !facts.may_sign {
        problems.push(RefusalReason::new(
            "key-usage",
            "the certificate may not sign handshakes: no key usage digitalSignature",
        ));
    }
}

/// Names and addresses cover what was asked for.
/// RFC 6125 section 6.4; a wildcard covers one label (section 6.4.3).
pub(super) fn names(facts: &CertFacts, wanted: &Names, problems: &mut Vec<RefusalReason>) {
    let has = &facts.names;
    let cn = wanted.common_name.as_str();
    if let Some(found) = facts.common_name.as_deref()
        && !cn.is_empty()
        && plain_dns(found) != plain_dns(cn)
    {
        let message = format!("the common name is `{found}`, `{cn}` was requested");
        problems.push(RefusalReason::new("common-name", message));
    }
    if has.dns.is_empty() && has.ips.is_empty() && has.uris.is_empty() {
        let message = "the certificate has no DNS, IP or URI name";
        problems.push(RefusalReason::new("san-missing", message));
        return;
    }
    let (dns, ips) = wanted_names(wanted);
    // An address as common name only counts as an address: no client compares it as a DNS name.
    if Names::is_host(cn) && cn.parse::<IpAddr>().is_err() && !covers(&has.dns, &plain_dns(cn)) {
        let message = format!(
            "common name `{cn}` is not among its DNS names: {}",
            list(&has.dns)
        );
        problems.push(RefusalReason::new("common-name-not-san", message));
    }
    let missing: Vec<&String> = dns.iter().filter(|name| !covers(&has.dns, name)).collect();
    report(
        "dns-missing",
        "DNS name",
        &missing,
        &list(&has.dns),
        problems,
    );
    let missing: Vec<&IpAddr> = ips.difference(&has.ips).collect();
    report(
        "ip-missing",
        "IP address",
        &missing,
        &list(&has.ips),
        problems,
    );
    let missing: Vec<&String> = wanted.uris.difference(&has.uris).collect();
    report("uri-missing", "URI", &missing, &list(&has.uris), problems);
}

/// DNS names without the common name, and addresses with it when it is one.
fn wanted_names(wanted: &Names) -> (BTreeSet<String>, BTreeSet<IpAddr>) {
    let mut ips: BTreeSet<IpAddr> = wanted.ips.iter().map(IpAddr::to_canonical).collect();
    ips.extend(
        wanted
            .common_name
            .parse::<IpAddr>()
            .map(|ip| ip.to_canonical()),
    );
    let cn = plain_dns(&wanted.common_name);
    let dns = wanted.dns.iter().map(|name| plain_dns(name));
    (dns.filter(|name| *name != cn).collect(), ips)
}

/// True when a TLS client that looks for `name` accepts it: itself, or a wildcard for its first
/// label (RFC 6125 section 6.4.3).
fn covers(names: &BTreeSet<String>, name: &str) -> bool {
    let wildcard = || {
        name.split_once('.')
            .is_some_and(|(first, rest)| first != "*" && names.contains(&format!("*.{rest}")))
    };
    names.contains(name) || wildcard()
}

fn list<T: ToString>(names: &BTreeSet<T>) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    let names: Vec<String> = names.iter().map(T::to_string).collect();
    names.join(", ")
}

fn report<T: ToString>(
    code: &'static str,
    what: &str,
    missing: &[T],
    has: &str,
    problems: &mut Vec<RefusalReason>,
) {
    if !missing.is_empty() {
        let missing: Vec<String> = missing.iter().map(T::to_string).collect();
        let missing = missing.join(", ");
        let message = format!("{what} {missing} was requested and is missing; it has {has}");
        problems.push(RefusalReason::new(code, message));
    }
}

/// It is not a certificate that we have already.
pub(super) fn serial(facts: &CertFacts, known: &[String], problems: &mut Vec<RefusalReason>) {
    if known
        .iter()
        .any(|known| known.eq_ignore_ascii_case(&facts.serial))
    {
        let message = format!(
            "serial {} is that of a certificate we have already",
            facts.serial
        );
        problems.push(RefusalReason::new("serial-repeated", message));
    }
}

/// It lives long enough from the moment it can be used.
/// RFC 5280 section 4.1.2.5.
pub(super) fn times(
    facts: &CertFacts,
    validity: Validity,
    min_remaining: Duration,
    now: Timestamp,
    problems: &mut Vec<RefusalReason>,
) {
    if facts.not_after <= facts.not_before {
        let message = format!(
            "notAfter {} is not after notBefore {}",
            facts.not_after, facts.not_before
        );
        problems.push(RefusalReason::new("validity-inverted", message));
        return;
    }
    if facts.not_after <= now {
        let message = format!("it expired at {}, now is {now}", facts.not_after);
        problems.push(RefusalReason::new("expired", message));
        return;
    }
    let remaining = validity.not_after.since(now.max(validity.not_before));
    if remaining <= min_remaining {
        let message = format!(
            "it expires at {}, {} s from its start of use; more than {} s are required",
            validity.not_after,
            remaining.as_secs(),
            min_remaining.as_secs()
        );
        problems.push(RefusalReason::new("too-short", message));
    }
}

/// What is worth a warning and no refusal.
pub(super) fn oddities(facts: &CertFacts, validity: Validity, wanted: &Names) -> Vec<String> {
    let mut found = Vec::new();
    if validity.not_after < facts.not_after {
        found.push(format!(
            "a CA in the chain expires at {}, before the certificate does at {}",
            validity.not_after, facts.not_after
        ));
    }
    if facts.purposes == Purposes::Open {
        found.push(
            "the certificate has no extended key usage: it may be used for everything \
             (RFC 5280, 4.2.1.12); server_flag and client_flag of the role limit that"
                .to_owned(),
        );
    }
    if facts.common_name.is_none() && !wanted.common_name.is_empty() {
        found.push("the certificate has no common name".to_owned());
    }
    let (mut dns, ips) = wanted_names(wanted);
    dns.insert(plain_dns(&wanted.common_name));
    let mut extra: Vec<String> = facts.names.dns.difference(&dns).cloned().collect();
    extra.extend(facts.names.ips.difference(&ips).map(IpAddr::to_string));
    extra.extend(facts.names.uris.difference(&wanted.uris).cloned());
    // Vault adds a common name that is a mail address to the names.
    let mail = format!("RFC822Name({})", wanted.common_name);
    let others = facts.names.others.iter();
    extra.extend(others.filter(|name| **name != mail).cloned());
    if !extra.is_empty() {
        found.push(format!(
            "it has names that were not requested: {}",
            extra.join(", ")
        ));
    }
    found
}

/// True for a warning that Vault gives although all is well: it ignored fields that are sent
/// for roles that need them, and key type and names were checked in the certificate itself.
pub(super) fn is_settled(warning: &str) -> bool {
    warning.starts_with("parameters key_type and key_bits ignored")
        || warning.starts_with("the common_name field was provided but the role is set with")
        || warning.starts_with("the alt_names field was provided but the role is set with")
}
