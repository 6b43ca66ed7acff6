//! What a PKI role says about a request before it is sent.
//!
//! Never asks Vault. It knows the plain rules of Vault's role fields (PKI API, "Create/update
//! role"), not its globs and templates: where those are in use it stays silent.

use serde_json::Value;

use crate::{
    origin::KeyOrigin,
    request::{Names, Request},
};

/// What does not fit between a role and a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// A DNS name.
    Name,
    /// An IP address.
    Ip,
    /// A URI.
    Uri,
    /// The kind of key.
    Key,
    /// An extended key usage.
    Usage,
    /// A fixed end, which can't stand beside a ttl.
    FixedEnd,
    /// Allowed: a lower cap to the ttl.
    Cap,
    /// Allowed: leases.
    Lease,
}

impl Misfit {
    /// Is it a sure refusal, by Vault or by our own checks?
    #[must_use]
    pub fn refuses(self) -> bool {
        !matches!(self, Self::Cap | Self::Lease)
    }
}

/// Every misfit, with its reason for people.
pub type Judged = Vec<(Misfit, String)>;

/// Holds an order for this request against the role's fields.
#[must_use]
pub fn judge(role: &Value, request: &Request, origin: KeyOrigin) -> Judged {
    let mut judged = Judged::new();
    names(role, request, &mut judged);
    judged.extend(key(role, request, origin).map(|reason| (Misfit::Key, reason)));
    let flag = |name: &str| role.get(name).and_then(Value::as_bool);
    for (name, usage) in [("server_flag", "serverAuth"), ("client_flag", "clientAuth")] {
        if flag(name) == Some(false) && !has_usage(role, usage) && !without_usages(role) {
            let reason = format!("the role makes certificates without {usage} ({name}=false)");
            judged.push((Misfit::Usage, reason));
        }
    }
    let fixed = role.get("not_after").and_then(Value::as_str);
    if let Some(fixed) = fixed.filter(|end| !end.is_empty()) {
        let reason = format!("the role has a fixed not_after ({fixed}), certagent sends a ttl");
        judged.push((Misfit::FixedEnd, reason));
    }
    if flag("generate_lease") == Some(true) {
        let note = "the role makes leases (generate_lease=true): the certificate is revoked when \
                    the login token expires";
        judged.push((Misfit::Lease, note.to_owned()));
    }
    let most = role
        .get("max_ttl")
        .and_then(Value::as_u64)
        .filter(|most| *most > 0);
    if let Some(most) = most.filter(|most| *most < request.ttl.as_secs()) {
        let note = format!(
            "the role caps the ttl at {most} s, {} s are requested",
            request.ttl.as_secs()
        );
        judged.push((Misfit::Cap, note));
    }
    judged
}

fn names(role: &Value, request: &Request, judged: &mut Judged) {
    let flag = |name: &str| role.get(name).and_then(Value::as_bool);
    let names = &request.names;
    if !names.ips.is_empty() && flag("allow_ip_sans") == Some(false) {
        let reason = "the role allows no IP addresses (allow_ip_sans=false)".to_owned();
        judged.push((Misfit::Ip, reason));
    }
    let uris = role.get("allowed_uri_sans").and_then(Value::as_array);
    if !names.uris.is_empty() && uris.is_some_and(Vec::is_empty) {
        let reason = "the role allows no URIs (allowed_uri_sans is empty)".to_owned();
        judged.push((Misfit::Uri, reason));
    }
    let plain = flag("allow_any_name") == Some(false)
        && flag("allow_glob_domains") != Some(true)
        && flag("allowed_domains_template") != Some(true);
    let domains = role.get("allowed_domains").and_then(Value::as_array);
    let Some(domains) = domains.filter(|_| plain) else {
        return;
    };
    let domains: Vec<&str> = domains.iter().filter_map(Value::as_str).collect();
    let bare = flag("allow_bare_domains") == Some(true);
    let below = flag("allow_subdomains") == Some(true);
    let allowed = |name: &str| {
        (name == "localhost" && flag("allow_localhost") == Some(true))
            || domains.iter().any(|domain| {
                (bare && name == *domain) || (below && name.ends_with(&format!(".{domain}")))
            })
    };
    // What is no host name is judged by other fields of the role (enforce_hostnames).
    let common_name = Some(&names.common_name).filter(|name| Names::is_host(name));
    let asked = common_name.into_iter().chain(&names.dns);
    for name in asked.filter(|name| !allowed(name)) {
        let reason = format!(
            "the role does not allow the name {name} (allowed_domains: {})",
            domains.join(", ")
        );
        judged.push((Misfit::Name, reason));
    }
}

fn key(role: &Value, request: &Request, origin: KeyOrigin) -> Option<String> {
    let made = role.get("key_type").and_then(Value::as_str)?;
    let here = matches!(origin, KeyOrigin::Here(_));
    // Roles of OpenBao (2.1 and later) have `not_before`, those of Vault have not.
    if made == "any" && !here && role.get("not_before").is_none() {
        let reason = "the role has key_type any: Vault signs for it and issues nothing";
        return Some(reason.to_owned());
    }
    if made == "any" || request.key_type_open {
        return None;
    }
    let (wanted, bits) = request.key_type.vault();
    let made_bits = role.get("key_bits").and_then(Value::as_u64).unwrap_or(0);
    let bits = u64::from(bits);
    // What it makes is exactly that; what it signs may be stronger.
    let (other_bits, what) = if here {
        (made_bits > bits, "the role signs other keys only")
    } else {
        (made_bits != bits, "the role makes other keys")
    };
    if made == wanted && !(made_bits != 0 && bits != 0 && other_bits) {
        return None;
    }
    Some(format!(
        "{what}: {made} {made_bits}; key_type is {}",
        request.key_type
    ))
}

fn has_usage(role: &Value, usage: &str) -> bool {
    let listed = role.get("ext_key_usage").and_then(Value::as_array);
    listed.is_some_and(|listed| {
        let mut words = listed.iter().filter_map(Value::as_str);
        words.any(|word| word.eq_ignore_ascii_case(usage))
    })
}

/// The role makes certificates without extended key usage, which may be used for all.
fn without_usages(role: &Value) -> bool {
    let none = |name: &str| {
        role.get(name)
            .and_then(Value::as_array)
            .is_none_or(Vec::is_empty)
    };
    let flags = [
        "server_flag",
        "client_flag",
        "code_signing_flag",
        "email_protection_flag",
    ];
    let off = |name: &&str| role.get(*name).and_then(Value::as_bool) != Some(true);
    flags.iter().all(off) && none("ext_key_usage") && none("ext_key_usage_oids")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{judge as judge_order, *};
    use crate::request::KeyType;

    fn judge(role: &Value, request: &Request) -> Judged {
        judge_order(role, request, KeyOrigin::Asked(request.key_type))
    }

    fn role() -> Value {
        json!({
            "allow_any_name": false, "allow_subdomains": true, "allow_bare_domains": false,
            "allow_glob_domains": false, "allowed_domains": ["service.consul"],
            "allow_ip_sans": true, "allowed_uri_sans": ["*"], "key_type": "ec", "key_bits": 256,
            "server_flag": true, "client_flag": true, "max_ttl": 2_592_000,
        })
    }

    #[test]
    fn a_fitting_role_refuses_nothing() {
        assert_eq!(judge(&role(), &Request::example()), Judged::new());
    }

    #[test]
    fn each_field_that_does_not_fit_is_named() {
        let table = [
            ("allow_ip_sans", json!(false), Misfit::Ip, "IP addresses"),
            ("allowed_uri_sans", json!([]), Misfit::Uri, "URIs"),
            (
                "allowed_domains",
                json!(["example.com"]),
                Misfit::Name,
                "loki-ingester.service.consul",
            ),
            ("key_type", json!("rsa"), Misfit::Key, "rsa"),
            ("key_bits", json!(384), Misfit::Key, "384"),
            ("client_flag", json!(false), Misfit::Usage, "clientAuth"),
            (
                "not_after",
                json!("2030-01-01T00:00:00Z"),
                Misfit::FixedEnd,
                "2030",
            ),
            ("generate_lease", json!(true), Misfit::Lease, "revoked"),
            ("max_ttl", json!(3_600), Misfit::Cap, "3600 s"),
        ];
        for (field, value, misfit, part) in table {
            let mut role = role();
            role[field] = value;
            let judged = judge(&role, &Request::example());
            let found = judged
                .iter()
                .any(|(kind, reason)| *kind == misfit && reason.contains(part));
            assert!(found, "{field}: {judged:?}");
        }
    }

    #[test]
    fn a_stronger_key_may_be_signed_but_is_not_made() {
        let mut request = Request::example();
        request.key_type = KeyType::EcP384;
        let judged = |request: &Request, origin| judge_order(&role(), request, origin);
        let here = KeyOrigin::Here(KeyType::EcP384);
        assert_eq!(judged(&request, here), Judged::new());
        let asked = KeyOrigin::Asked(KeyType::EcP384);
        assert_eq!(judged(&request, asked)[0].0, Misfit::Key);
        request.key_type_open = true;
        assert_eq!(judged(&request, KeyOrigin::OfRole), Judged::new());
    }

    #[test]
    fn a_role_of_any_key_issues_on_openbao_and_signs_everywhere() {
        let mut role = role();
        role["key_type"] = json!("any");
        role["key_bits"] = json!(0);
        let judged = |role: &Value, origin| judge_order(role, &Request::example(), origin);
        let asked = KeyOrigin::Asked(KeyType::EcP256);
        assert_eq!(judged(&role, asked)[0].0, Misfit::Key);
        assert_eq!(
            judged(&role, KeyOrigin::Here(KeyType::EcP256)),
            Judged::new()
        );
        role["not_before"] = json!("");
        assert_eq!(judged(&role, asked), Judged::new());
    }

    /// RFC 5280 section 4.2.1.12: no extension permits every use; `Any` is refused by OpenSSL.
    #[test]
    fn a_role_without_usages_fits_and_one_with_any_does_not() {
        let mut role = role();
        role["server_flag"] = json!(false);
        role["client_flag"] = json!(false);
        assert_eq!(judge(&role, &Request::example()), Judged::new());
        for (field, value) in [
            ("code_signing_flag", json!(true)),
            ("ext_key_usage_oids", json!(["1.2.3.4"])),
            ("ext_key_usage", json!(["Any"])),
        ] {
            let mut role = role.clone();
            role[field] = value;
            let judged = judge(&role, &Request::example());
            assert_eq!(judged.len(), 2, "{field}: {judged:?}");
            assert_eq!(judged[0].0, Misfit::Usage, "{field}");
        }
    }

    #[test]
    fn an_unknown_role_document_refuses_nothing() {
        assert_eq!(judge(&json!({}), &Request::example()), Judged::new());
    }
}
