//! What a PKI role says about a request before it is sent.
//!
//! Never asks the issuer. It knows the plain rules of Vault's role fields (PKI API, "Create/update
//! role"), not its globs and templates: where those are in use it stays silent.

use serde_json::Value;

use crate::model::request::{Mode, Request};

/// What came of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Judged {
    /// Reasons for a sure refusal, by the issuer or by our own checks.
    pub(super) refused: Vec<String>,
    /// What is allowed and still odd.
    pub(super) notes: Vec<String>,
}

/// Holds a request against the role's fields.
pub(super) fn judge(role: &Value, request: &Request) -> Judged {
    let mut judged = Judged::default();
    names(role, request, &mut judged);
    key(role, request, &mut judged);
    let flag = |name: &str| role.get(name).and_then(Value::as_bool);
    for (name, usage) in [("server_flag", "serverAuth"), ("client_flag", "clientAuth")] {
        if flag(name) == Some(false) && !has_usage(role, usage) {
            let reason = format!("the role makes certificates without {usage} ({name}=false)");
            judged.refused.push(reason);
        }
    }
    if flag("generate_lease") == Some(true) {
        let note = "the role makes leases (generate_lease=true): the certificate is revoked when \
                    the login token ends";
        judged.notes.push(note.to_owned());
    }
    let most = role
        .get("max_ttl")
        .and_then(Value::as_u64)
        .filter(|most| *most > 0);
    if let Some(most) = most.filter(|most| *most < request.ttl.as_secs()) {
        judged.notes.push(format!(
            "the role caps the ttl at {most} s, {} s are asked for",
            request.ttl.as_secs()
        ));
    }
    judged
}

fn names(role: &Value, request: &Request, judged: &mut Judged) {
    let flag = |name: &str| role.get(name).and_then(Value::as_bool);
    let names = &request.names;
    if !names.ips.is_empty() && flag("allow_ip_sans") == Some(false) {
        judged
            .refused
            .push("the role allows no IP addresses (allow_ip_sans=false)".to_owned());
    }
    let uris = role.get("allowed_uri_sans").and_then(Value::as_array);
    if !names.uris.is_empty() && uris.is_some_and(Vec::is_empty) {
        judged
            .refused
            .push("the role allows no URIs (allowed_uri_sans is empty)".to_owned());
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
    let asked = std::iter::once(&names.common_name).chain(&names.dns);
    for name in asked.filter(|name| !allowed(name)) {
        judged.refused.push(format!(
            "the role does not allow the name {name} (allowed_domains: {})",
            domains.join(", ")
        ));
    }
}

fn key(role: &Value, request: &Request, judged: &mut Judged) {
    let (wanted, bits) = request.key_type.vault();
    let made = role
        .get("key_type")
        .and_then(Value::as_str)
        .unwrap_or("any");
    let made_bits = role.get("key_bits").and_then(Value::as_u64).unwrap_or(0);
    let other_bits = made_bits != 0 && bits != 0 && made_bits != u64::from(bits);
    if made == "any" || (made == wanted && !other_bits) {
        return;
    }
    let what = match request.mode {
        Mode::Issue => "the role makes other keys",
        Mode::Sign => "the role signs other keys only",
    };
    judged.refused.push(format!(
        "{what}: {made} {made_bits}; key_type is {}",
        request.key_type
    ));
}

fn has_usage(role: &Value, usage: &str) -> bool {
    let listed = role.get("ext_key_usage").and_then(Value::as_array);
    listed.is_some_and(|listed| {
        let mut words = listed.iter().filter_map(Value::as_str);
        words.any(|word| word.eq_ignore_ascii_case(usage) || word.eq_ignore_ascii_case("any"))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::ca;

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
        assert_eq!(judge(&role(), &ca::request()), Judged::default());
    }

    #[test]
    fn each_field_that_does_not_fit_is_named() {
        for (field, value, part) in [
            ("allow_ip_sans", json!(false), "IP addresses"),
            ("allowed_uri_sans", json!([]), "URIs"),
            (
                "allowed_domains",
                json!(["example.com"]),
                "loki-ingester.service.consul",
            ),
            ("key_type", json!("rsa"), "rsa"),
            ("key_bits", json!(384), "384"),
            ("client_flag", json!(false), "clientAuth"),
        ] {
            let mut role = role();
            role[field] = value;
            let judged = judge(&role, &ca::request());
            let found = judged.refused.iter().any(|reason| reason.contains(part));
            assert!(found, "{field}: {judged:?}");
        }
    }

    #[test]
    fn leases_and_a_lower_cap_are_notes() {
        let mut role = role();
        role["generate_lease"] = json!(true);
        role["max_ttl"] = json!(3_600);
        let judged = judge(&role, &ca::request());
        assert!(judged.refused.is_empty());
        assert_eq!(judged.notes.len(), 2);
    }

    #[test]
    fn an_unknown_role_document_refuses_nothing() {
        assert_eq!(judge(&json!({}), &ca::request()), Judged::default());
    }
}
