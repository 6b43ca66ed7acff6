//! The requests, in order: later ones use the tokens that earlier ones saved.

use certagent_dev::{AUDIENCE, JWT_ROLE, Workload};
use rcgen::{CertificateParams, DnType, IsCa, KeyPair, SanType};
use serde_json::{Value, json};

/// One request.
pub(super) struct Case {
    pub(super) name: String,
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) body: Option<Value>,
    /// Its text, or the name it was saved under; empty sends none.
    pub(super) token: &'static str,
    /// The name to save the token of the answer under.
    pub(super) save: Option<&'static str>,
}

impl Case {
    fn new(name: &str, method: &'static str, path: &str) -> Self {
        Self {
            name: name.to_owned(),
            method,
            path: path.to_owned(),
            body: None,
            token: "root",
            save: None,
        }
    }

    fn token(self, token: &'static str) -> Self {
        Self { token, ..self }
    }

    fn save(self, name: &'static str) -> Self {
        Self {
            save: Some(name),
            ..self
        }
    }
}

fn get(name: &str, path: &str) -> Case {
    Case::new(name, "GET", path)
}

fn post(name: &str, path: &str, body: &Value) -> Case {
    Case {
        body: Some(body.clone()),
        ..Case::new(name, "POST", path)
    }
}

/// All of them.
pub(super) fn cases(workload: &Workload) -> Vec<Case> {
    [
        logins(workload),
        tokens(),
        issue_good(),
        issue_bad(),
        sign(),
        read_only(),
        sealing(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A JWT with some claims changed; `null` takes one away.
fn jwt(workload: &Workload, changes: &Value) -> String {
    let now = time::OffsetDateTime::now_utc().unix_timestamp();
    let mut claims = json!({"aud": AUDIENCE, "sub": "s", "nomad_job_id": "loki",
        "nomad_namespace": "default", "nomad_task": "certagent",
        "iat": now, "nbf": now, "exp": now + 600});
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = match value.as_i64() {
            Some(seconds) => json!(now + seconds),
            None => value.clone(),
        };
    }
    claims
        .as_object_mut()
        .unwrap()
        .retain(|_, value| !value.is_null());
    workload.sign(&claims).unwrap().expose().to_owned()
}

fn logins(workload: &Workload) -> Vec<Case> {
    let login = |name: &str, body: &Value| post(name, "auth/jwt-nomad/login", body).token("");
    let good = jwt(workload, &json!({}));
    let with = |name: &str, changes: &Value| {
        let jwt = jwt(workload, changes);
        login(name, &json!({ "role": JWT_ROLE, "jwt": jwt }))
    };
    let mut forged = good.clone();
    forged.truncate(forged.len() - 8);
    forged.push_str("AAAAAAAA");
    vec![
        login("login", &json!({ "role": JWT_ROLE, "jwt": good })).save("login"),
        login("login: default role", &json!({ "jwt": good })),
        login(
            "login: capitals",
            &json!({ "role": "CertAgent", "jwt": good }),
        ),
        login(
            "login: no such role",
            &json!({ "role": "none", "jwt": good }),
        ),
        login("login: no token", &json!({ "role": JWT_ROLE })),
        login("login: forged", &json!({ "role": JWT_ROLE, "jwt": forged })),
        login(
            "junk: one part",
            &json!({ "role": JWT_ROLE, "jwt": "junk" }),
        ),
        login(
            "junk: three parts",
            &json!({ "role": JWT_ROLE, "jwt": "a.b.c" }),
        ),
        login("junk: a list", &json!([])),
        with("login: other audience", &json!({"aud": "other"})),
        with(
            "login: several audiences",
            &json!({"aud": ["other", AUDIENCE]}),
        ),
        with(
            "login: expired",
            &json!({"iat": -900, "nbf": -900, "exp": -300}),
        ),
        with(
            "login: expired within the skew",
            &json!({"iat": -90, "nbf": -90, "exp": -30}),
        ),
        with("login: not yet", &json!({"nbf": 300})),
        with(
            "login: issued in the future",
            &json!({"iat": 300, "nbf": null}),
        ),
    ]
}

fn tokens() -> Vec<Case> {
    let (lookup, renew) = ("auth/token/lookup-self", "auth/token/renew-self");
    let hour = json!({"increment": "1h"});
    let may = |name: &str, path: &str| {
        post(name, "sys/capabilities-self", &json!({ "paths": [path] })).token("login")
    };
    vec![
        get("look up", lookup).token("login"),
        get("look up root", lookup),
        get("look up bad", lookup).token("bad"),
        get("look up none", lookup).token(""),
        post("renew", renew, &json!({})).token("login"),
        post("renew for longer", renew, &hour).token("login"),
        get("look up renewed", lookup).token("login"),
        post("renew root", renew, &json!({})),
        post("renew bad", renew, &json!({})).token("bad"),
        may("capabilities", "pki/issue/internal"),
        may("capabilities: none", "pki/roles/internal"),
        may("capabilities of root", "pki/roles/internal").token("root"),
        post("capabilities: no path", "sys/capabilities-self", &json!({})),
        post(
            "login issues",
            "pki_int/issue/internal",
            &with_name(&json!({})),
        )
        .token("login"),
        post("login may not", "pki/issue/other", &json!({})).token("login"),
        get("login may not read", "pki/roles/internal").token("login"),
        post("revoke", "auth/token/revoke-self", &json!({})).token("login"),
        get("look up revoked", lookup).token("login"),
    ]
}

fn with_name(more: &Value) -> Value {
    let mut body = json!({"common_name": "a.service.consul", "ttl": "1h", "key_type": "ec",
                          "private_key_format": "pkcs8"});
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

fn issue_good() -> Vec<Case> {
    let good = [
        json!({}),
        json!({"ip_sans": "10.0.0.1"}),
        json!({"ip_sans": ["10.0.0.1", " ::1"], "alt_names": "b.service.consul,c.service.consul"}),
        json!({"alt_names": "c_d.service.consul,bad name"}),
        json!({"uri_sans": "spiffe://x/a,spiffe://x/b"}),
        json!({"format": "pem"}),
        json!({"remove_roots_from_chain": true}),
        json!({"remove_roots_from_chain": "true"}),
        json!({"exclude_cn_from_sans": true}),
        json!({"key_bits": 384}),
        json!({"key_bits": "521"}),
        json!({"key_type": "rsa"}),
        json!({"ttl": 90}),
        json!({"ttl": "3600"}),
        json!({"ttl": "10d"}),
        json!({"ttl": ""}),
        json!({"ttl": "9000h"}),
        json!({"common_name": "*.service.consul"}),
        json!({"common_name": "service.consul"}),
        json!({"common_name": "localhost"}),
        json!({"common_name": "A.service.consul"}),
    ];
    let cases = good.iter().flat_map(|more| {
        ["pki", "pki_int"].map(|mount| {
            let path = format!("{mount}/issue/internal");
            post(&format!("issue {more} at {mount}"), &path, &with_name(more))
        })
    });
    cases.collect()
}

fn issue_bad() -> Vec<Case> {
    let refused = |name: &str, more: &Value| {
        let name = format!("{name} {more}");
        post(&name, "pki/issue/internal", &with_name(more))
    };
    let any = with_name(&json!({}));
    vec![
        refused("refused", &json!({"common_name": ""})),
        refused("refused", &json!({"common_name": "evil.com"})),
        refused("refused", &json!({"common_name": "a_b.service.consul"})),
        refused("refused", &json!({"common_name": "xservice.consul"})),
        refused("refused", &json!({"alt_names": "evil.com"})),
        refused("refused", &json!({"ip_sans": "300.1.1.1"})),
        refused("refused", &json!({"uri_sans": "http://x"})),
        post(
            "no key type",
            "pki/issue/internal",
            &json!({"common_name": "a.service.consul"}),
        ),
        refused("junk", &json!({"key_type": "foo"})),
        refused("junk", &json!({"key_type": "ec", "key_bits": 100})),
        refused("junk", &json!({"alt_names": ["b.service.consul"]})),
        refused("junk", &json!({"ttl": "abc"})),
        refused("junk", &json!({"ttl": -3600})),
        refused("junk", &json!({"ttl": [1]})),
        refused("junk", &json!({"format": "xxx"})),
        refused("junk", &json!({"exclude_cn_from_sans": "maybe"})),
        post("no role", "pki/issue/none", &any),
        post("no mount", "nope/issue/internal", &any),
        post("no mount, bad token", "nope/issue/internal", &any).token("bad"),
        post("bad token", "pki/issue/internal", &any).token("bad"),
        post("no token", "pki/issue/internal", &any).token(""),
        get("get issue", "pki/issue/internal"),
        post("junk: a text", "pki/issue/internal", &json!("{bad")),
        Case::new("junk: no body", "POST", "pki/issue/internal"),
        Case {
            body: Some(any),
            ..Case::new("put issue", "PUT", "pki/issue/internal")
        },
    ]
}

fn sign() -> Vec<Case> {
    let ec = KeyPair::generate().unwrap();
    let cn = "a.service.consul";
    let order = |name: &str, csr: &str| {
        let body = json!({"csr": csr, "ttl": "1h"});
        post(name, "pki_int/sign/internal", &body)
    };
    let plain = csr(cn, &[cn, "10.0.0.1"], &ec, false);
    let fields =
        json!({"csr": plain, "ttl": "1h", "ip_sans": "10.0.0.9", "uri_sans": "spiffe://x"});
    let named = json!({"csr": csr("", &[cn], &ec, false), "common_name": cn, "ttl": "1h"});
    let cut = "-----BEGIN CERTIFICATE REQUEST-----\nMIIB\n-----END CERTIFICATE REQUEST-----";
    vec![
        post("sign: empty", "pki/sign/internal", &json!({})),
        order("junk: no pem", "junk"),
        order("junk: cut", cut),
        order("sign", &plain),
        order("sign: crlf", &plain.replace('\n', "\r\n")),
        post("sign: fields ignored", "pki/sign/internal", &fields),
        post("sign: named by the request", "pki/sign/internal", &named),
        order("sign: evil name", &csr("evil.com", &[], &ec, false)),
        order("sign: evil san", &csr(cn, &["evil.com"], &ec, false)),
        order("sign: no name", &csr("", &[], &ec, false)),
        order("sign: uri", &csr(cn, &["spiffe://x/y"], &ec, false)),
        order("sign: bad uri", &csr(cn, &["http://x/y"], &ec, false)),
        order("sign: name alone", &csr(cn, &[], &ec, false)),
        order(
            "sign: other name",
            &csr(cn, &["b.service.consul"], &ec, false),
        ),
    ]
}

fn csr(cn: &str, sans: &[&str], key: &KeyPair, is_ca: bool) -> String {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    if !cn.is_empty() {
        params.distinguished_name.push(DnType::CommonName, cn);
    }
    for san in sans {
        params.subject_alt_names.push(match san.parse() {
            Ok(ip) => SanType::IpAddress(ip),
            Err(_) if san.contains("://") => SanType::URI((*san).try_into().unwrap()),
            Err(_) => SanType::DnsName((*san).try_into().unwrap()),
        });
    }
    if is_ca {
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    }
    params.serialize_request(key).unwrap().pem().unwrap()
}

fn read_only() -> Vec<Case> {
    vec![
        get("health", "sys/health").token(""),
        get("health with code", "sys/health?activecode=299").token(""),
        get("issuers", "pki_int/issuers?list=true").token(""),
        get("issuers, bad token", "pki/issuers?list=true").token("bad"),
        get("issuer", "pki/issuer/default/json").token(""),
        get("issuer of the other mount", "pki_int/issuer/default/json").token(""),
        get("issuer in pem", "pki/issuer/root/pem").token(""),
        get("issuer in der", "pki/issuer/root/der").token(""),
        get("no such issuer", "pki/issuer/nope/json").token(""),
        get("settings, no token", "pki/issuer/default").token(""),
        get("ca in pem", "pki/ca/pem").token(""),
        get("chain", "pki_int/ca_chain").token(""),
        get("no such role", "pki/roles/none"),
        get("no such mount", "nope/roles/internal"),
        get("nothing, no token", "nope").token(""),
    ]
}

/// The last ones: nothing works afterwards.
fn sealing() -> Vec<Case> {
    vec![
        Case::new("seal without a token", "PUT", "sys/seal").token(""),
        Case::new("seal", "PUT", "sys/seal"),
        get("sealed health", "sys/health").token(""),
        get("sealed health with code", "sys/health?sealedcode=200").token(""),
        post("sealed issue", "pki/issue/internal", &json!({})),
        get("sealed ca", "pki/ca/pem").token(""),
        get("sealed lookup", "auth/token/lookup-self"),
        post("unseal without a key", "sys/unseal", &json!({})).token(""),
    ]
}
