//! The requests, in order: later ones use what earlier ones saved (`{{name}}`).

use serde_json::{Value, json};

mod logins;
mod sign;
mod variants;

/// One request.
pub(super) struct Case {
    pub(super) name: String,
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) body: String,
    /// Empty sends none.
    pub(super) token: &'static str,
    pub(super) headers: Vec<(&'static str, &'static str)>,
    /// Names for values of the answer, by JSON pointer.
    pub(super) save: Vec<(&'static str, &'static str)>,
}

impl Case {
    fn new(name: &str, method: &'static str, path: &str) -> Self {
        Self {
            name: name.to_owned(),
            method,
            path: path.to_owned(),
            body: String::new(),
            token: "{{root}}",
            headers: Vec::new(),
            save: Vec::new(),
        }
    }

    fn body(mut self, body: &Value) -> Self {
        self.body = body.to_string();
        self
    }

    fn raw(mut self, body: &str) -> Self {
        body.clone_into(&mut self.body);
        self
    }

    fn token(mut self, token: &'static str) -> Self {
        self.token = token;
        self
    }

    fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }

    fn save(mut self, name: &'static str, pointer: &'static str) -> Self {
        self.save.push((name, pointer));
        self
    }
}

fn get(name: &str, path: &str) -> Case {
    Case::new(name, "GET", path)
}

fn list(name: &str, path: &str) -> Case {
    Case::new(name, "LIST", path)
}

fn delete(name: &str, path: &str) -> Case {
    Case::new(name, "DELETE", path)
}

fn post(name: &str, path: &str, body: &Value) -> Case {
    Case::new(name, "POST", path).body(body)
}

/// All of them.
pub(super) fn cases() -> Vec<Case> {
    [
        set_up(),
        roles(),
        issue_good(),
        issue_bad(),
        issue_odd_requests(),
        variants::cases(),
        sign::cases(),
        stored(),
        issuers(),
        life_limits(),
        logins::tokens(),
        logins::odd_tokens(),
        logins::policies(),
        logins::approle(),
        logins::one_time(),
        logins::wrapping(),
        logins::jwt(),
        sys(),
        rotation(),
        sealing(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn set_up() -> Vec<Case> {
    let mount = json!({"type": "pki", "config": {"max_lease_ttl": "87600h"}});
    vec![
        post("mount pki", "sys/mounts/pki", &mount),
        post("mount pki twice", "sys/mounts/pki", &mount),
        post("mount unknown", "sys/mounts/xx", &json!({"type": "zzz"})),
        post("mount pki_int", "sys/mounts/pki_int", &mount),
        get("mount", "sys/mounts/pki"),
        get("tune", "sys/mounts/pki/tune"),
        post(
            "tune",
            "sys/mounts/pki/tune",
            &json!({"max_lease_ttl": "87600h"}),
        ),
        get("ca: none yet", "pki/ca/pem").token(""),
        get("ca_chain: none yet", "pki/ca_chain").token(""),
        get("cert/ca: none yet", "pki/cert/ca").token(""),
        list("issuers: none yet", "pki/issuers").token(""),
        get("issuer: none yet", "pki/issuer/default/json").token(""),
        get("config: none yet", "pki/config/issuers"),
        post(
            "role: no issuer yet",
            "pki/roles/early",
            &json!({"allow_any_name": true}),
        ),
        post(
            "issue: no issuer yet",
            "pki/issue/early",
            &json!({"common_name": "a.b"}),
        ),
        list("roles", "pki/roles"),
        post(
            "root",
            "pki/root/generate/internal",
            &json!({"common_name": "the root", "issuer_name": "root", "key_type": "ec",
                    "ttl": "87600h"}),
        ),
        post(
            "intermediate csr",
            "pki_int/intermediate/generate/internal",
            &json!({"common_name": "the intermediate", "key_type": "ec"}),
        )
        .save("int_csr", "/data/csr"),
        post(
            "sign intermediate",
            "pki/root/sign-intermediate",
            &json!({"csr": "{{int_csr}}", "format": "pem_bundle", "ttl": "43800h",
                    "common_name": "the intermediate"}),
        )
        .save("int_bundle", "/data/certificate"),
        post(
            "set signed",
            "pki_int/intermediate/set-signed",
            &json!({"certificate": "{{int_bundle}}"}),
        ),
        post(
            "root: bad key",
            "pki/root/generate/internal",
            &json!({"key_type": "foo"}),
        ),
        post("root: bad form", "pki/root/generate/foo", &json!({})),
        post(
            "root: name taken",
            "pki/root/generate/internal",
            &json!({"common_name": "x", "issuer_name": "root", "key_type": "ec"}),
        ),
    ]
}

fn base_role(more: &Value) -> Value {
    let mut role = json!({"allowed_domains": ["service.consul"], "allow_subdomains": true,
                          "max_ttl": "720h", "key_type": "ec", "key_bits": 256, "ttl": "24h"});
    if let (Value::Object(role), Value::Object(more)) = (&mut role, more) {
        role.extend(more.clone());
    }
    role
}

fn roles() -> Vec<Case> {
    let mut cases: Vec<Case> = [
        json!({"ttl": "1h", "max_ttl": "60s"}),
        json!({"key_type": "foo"}),
        json!({"key_type": "rsa", "key_bits": 1024}),
        json!({"key_type": "ec", "key_bits": 100}),
        json!({"max_ttl": "xx"}),
        json!({"allow_subdomains": "maybe"}),
        json!({"bogus": 1, "also": 2, "key_type": "ec"}),
        json!({}),
    ]
    .iter()
    .map(|body| post(&format!("role {body}"), "pki/roles/odd", body))
    .collect();
    cases.extend([
        post("role", "pki/roles/internal", &base_role(&json!({}))),
        post("role int", "pki_int/roles/internal", &base_role(&json!({}))),
        get("read role", "pki/roles/internal"),
        get("read no role", "pki/roles/none"),
        list("list roles", "pki/roles"),
        get("list roles by get", "pki/roles?list=true"),
        delete("delete role", "pki/roles/odd"),
        delete("delete no role", "pki/roles/odd"),
    ]);
    cases
}

fn issue_good() -> Vec<Case> {
    let cn = |more: &Value| {
        let mut body = json!({"common_name": "a.service.consul", "ttl": "1h"});
        if let (Value::Object(body), Value::Object(more)) = (&mut body, more) {
            body.extend(more.clone());
        }
        body
    };
    let mut cases: Vec<Case> = [
        json!({}),
        json!({"ip_sans": "10.0.0.1"}),
        json!({"ip_sans": ["10.0.0.1", " ::1"], "alt_names": "b.service.consul, c.service.consul"}),
        json!({"alt_names": "c_d.service.consul,bad name"}),
        json!({"format": "der"}),
        json!({"format": "pem_bundle"}),
        json!({"private_key_format": "pkcs8"}),
        json!({"format": "pem_bundle", "private_key_format": "pkcs8"}),
        json!({"remove_roots_from_chain": true}),
        json!({"exclude_cn_from_sans": true}),
        json!({"ttl": 90}),
        json!({"ttl": "3600"}),
        json!({"ttl": "10d"}),
        json!({"ttl": "1.5h"}),
        json!({"ttl": "500ms"}),
        json!({"ttl": ""}),
        json!({"ttl": 0}),
        json!({"ttl": "9000h"}),
        json!({"ttl": "", "not_after": "2030-01-01T00:00:00Z"}),
        json!({"bogus": 1, "aaa": 2, "key_type": "rsa"}),
        json!({"issuer_ref": "nope"}),
        json!({"common_name": "*.service.consul"}),
        json!({"common_name": "localhost"}),
        json!({"common_name": "A.Service.Consul"}),
        json!({"uri_sans": ""}),
    ]
    .iter()
    .map(|more| post(&format!("issue {more}"), "pki/issue/internal", &cn(more)))
    .collect();
    cases.push(
        post(
            "issue int",
            "pki_int/issue/internal",
            &cn(&json!({"ip_sans": "10.0.0.1"})),
        )
        .save("serial", "/data/serial_number")
        .save("leaf", "/data/certificate"),
    );
    cases.push(post(
        "issue int without roots",
        "pki_int/issue/internal",
        &cn(&json!({"remove_roots_from_chain": true})),
    ));
    cases.push(post(
        "issue by issuer",
        "pki/issuer/root/issue/internal",
        &cn(&json!({})),
    ));
    cases
}

fn issue_bad() -> Vec<Case> {
    let cn = "a.service.consul";
    [
        json!({}),
        json!({"common_name": ""}),
        json!({"common_name": "evil.com"}),
        json!({"common_name": "service.consul"}),
        json!({"common_name": "a_b.service.consul"}),
        json!({"common_name": "a b"}),
        json!({"common_name": "xservice.consul"}),
        json!({"common_name": "localdomain.com"}),
        json!({"common_name": cn, "alt_names": "evil.com"}),
        json!({"common_name": cn, "alt_names": ["b.service.consul"]}),
        json!({"common_name": cn, "alt_names": "x@evil.com"}),
        json!({"common_name": cn, "ip_sans": "300.1.1.1"}),
        json!({"common_name": cn, "uri_sans": "spiffe://x"}),
        json!({"common_name": cn, "ttl": "1d12h"}),
        json!({"common_name": cn, "ttl": "-3600"}),
        json!({"common_name": cn, "ttl": -3600}),
        json!({"common_name": cn, "ttl": "abc"}),
        json!({"common_name": cn, "ttl": "1.5d"}),
        json!({"common_name": cn, "ttl": "1w"}),
        json!({"common_name": cn, "ttl": [1]}),
        json!({"common_name": cn, "ttl": true}),
        json!({"common_name": cn, "ttl": "1h", "not_after": "2030-01-01T00:00:00Z"}),
        json!({"common_name": cn, "not_after": "2020-01-01T00:00:00Z"}),
        json!({"common_name": cn, "not_after": "2099-01-01T00:00:00Z"}),
        json!({"common_name": cn, "format": "xxx"}),
        json!({"common_name": cn, "other_sans": "1.2.3.4;UTF8:x"}),
        json!({"common_name": cn, "serial_number": "x"}),
        json!({"common_name": cn, "user_ids": "x"}),
        json!({"common_name": {"a": 1}}),
        json!({"common_name": cn, "exclude_cn_from_sans": "maybe"}),
    ]
    .iter()
    .map(|body| post(&format!("refused {body}"), "pki/issue/internal", body))
    .collect()
}

fn issue_odd_requests() -> Vec<Case> {
    let any = json!({"common_name": "a.service.consul"});
    vec![
        post("no role", "pki/issue/none", &any),
        post("no issuer", "pki/issuer/nope/issue/internal", &any),
        post("no mount", "nope/issue/x", &any),
        post("no mount, bad token", "nope/issue/x", &any).token("bad"),
        post("no mount, no token", "nope/issue/x", &any).token(""),
        post("bad token", "pki/issue/internal", &any).token("bad"),
        post("no token", "pki/issue/internal", &any).token(""),
        get("get issue", "pki/issue/internal"),
        delete("delete issue", "pki/issue/internal"),
        list("list issue", "pki/issue/internal"),
        get("unknown path", "pki/zzz"),
        post("post unknown path", "pki/zzz", &json!({})),
        Case::new("put issue", "PUT", "pki/issue/internal").body(&any),
        Case::new("bad json", "POST", "pki/issue/internal").raw("{bad"),
        Case::new("json list", "POST", "pki/issue/internal").raw("[]"),
        Case::new("no body", "POST", "pki/issue/internal"),
        Case::new("cut json", "POST", "pki/issue/internal").raw("{\"common_name\": "),
    ]
}

fn stored() -> Vec<Case> {
    let serial = json!({"serial_number": "{{serial}}"});
    let order = json!({"common_name": "x1.service.consul"});
    vec![
        get("cert", "pki_int/cert/{{serial}}").token(""),
        get("no cert", "pki_int/cert/aa:bb").token(""),
        post("revoke", "pki_int/revoke", &serial),
        post("revoke again", "pki_int/revoke", &serial),
        post(
            "revoke by pem",
            "pki_int/revoke",
            &json!({"certificate": "{{leaf}}"}),
        ),
        post(
            "revoke unknown",
            "pki_int/revoke",
            &json!({"serial_number": "aa:bb"}),
        ),
        post("revoke nothing", "pki_int/revoke", &json!({})),
        get("revoked cert", "pki_int/cert/{{serial}}").token(""),
        post(
            "role nostore",
            "pki/roles/nostore",
            &base_role(&json!({"no_store": true})),
        ),
        post("issue unstored", "pki/issue/nostore", &order).save("unstored", "/data/serial_number"),
        get("unstored cert", "pki/cert/{{unstored}}").token(""),
        post(
            "revoke unstored",
            "pki/revoke",
            &json!({"serial_number": "{{unstored}}"}),
        ),
    ]
}

fn issuers() -> Vec<Case> {
    vec![
        list("issuers", "pki/issuers").token(""),
        list("issuers int", "pki_int/issuers").token("bad"),
        get("issuers by get", "pki/issuers?list=true").token(""),
        get("issuers unlisted", "pki/issuers"),
        get("issuer json", "pki/issuer/default/json").token(""),
        get("issuer int json", "pki_int/issuer/default/json").token(""),
        get("issuer pem", "pki/issuer/root/pem").token(""),
        get("issuer der", "pki/issuer/root/der").token(""),
        get("no issuer json", "pki/issuer/nope/json").token(""),
        get("no issuer pem", "pki/issuer/nope/pem").token(""),
        get("issuer without token", "pki/issuer/default").token(""),
        get("issuer", "pki_int/issuer/default"),
        get("no issuer", "pki/issuer/nope"),
        get("ca", "pki/ca").token(""),
        get("ca pem", "pki/ca/pem").token(""),
        get("ca_chain", "pki/ca_chain").token(""),
        get("ca_chain int", "pki_int/ca_chain").token(""),
        get("cert/ca", "pki/cert/ca").token(""),
        get("cert/ca_chain", "pki_int/cert/ca_chain").token(""),
        get("config/issuers", "pki/config/issuers"),
    ]
}

fn life_limits() -> Vec<Case> {
    let order = |ttl: &str| json!({"common_name": "a.b", "ttl": ttl});
    let behavior = |how: &str| json!({"leaf_not_after_behavior": how, "issuer_name": "short"});
    vec![
        post(
            "mount short",
            "sys/mounts/short",
            &json!({"type": "pki", "config": {"max_lease_ttl": "10h", "default_lease_ttl": "1h"}}),
        ),
        post(
            "root capped",
            "short/root/generate/internal",
            &json!({"common_name": "short", "issuer_name": "short", "ttl": "20h",
                    "key_type": "ec"}),
        ),
        post(
            "role of long life",
            "short/roles/r",
            &json!({"allow_any_name": true, "key_type": "ec", "max_ttl": "9000h", "ttl": "8000h"}),
        ),
        post(
            "role of mount's life",
            "short/roles/s",
            &json!({"allow_any_name": true, "key_type": "ec"}),
        ),
        post("outlives", "short/issue/r", &order("")),
        post("outlives by request", "short/issue/r", &order("11h")),
        post("mount default", "short/issue/s", &order("")),
        post("mount max", "short/issue/s", &order("20h")),
        post("truncate", "short/issuer/short", &behavior("truncate")),
        post("truncated", "short/issue/r", &order("11h")),
        post("permit", "short/issuer/short", &behavior("permit")),
        post("permitted", "short/issue/r", &order("11h")),
        delete("unmount", "sys/mounts/short"),
        delete("unmount again", "sys/mounts/short"),
    ]
}

fn sys() -> Vec<Case> {
    vec![
        get("health", "sys/health").token(""),
        get("health with code", "sys/health?activecode=299").token(""),
        get("health with bad code", "sys/health?activecode=x").token(""),
        get("seal-status", "sys/seal-status").token(""),
        get("init", "sys/init").token(""),
        get("leader", "sys/leader").token(""),
        get("no such sys", "sys/nope"),
        get("no such sys, bad token", "sys/nope").token("bad"),
        get("nothing", "nope").token(""),
    ]
}

fn rotation() -> Vec<Case> {
    let order = json!({"common_name": "a.service.consul", "ttl": "1h"});
    vec![
        post(
            "rotate",
            "pki/root/rotate/internal",
            &json!({"common_name": "the next root", "issuer_name": "next", "key_type": "ec",
                    "ttl": "8760h"}),
        ),
        get("default stays", "pki/issuer/default/json").token(""),
        list("issuers: two", "pki/issuers").token(""),
        post("issue: old root", "pki/issue/internal", &order),
        post("flip", "pki/config/issuers", &json!({"default": "next"})),
        post("issue: new root", "pki/issue/internal", &order),
        get("ca pem: new root", "pki/ca/pem").token(""),
        post(
            "flip to nothing",
            "pki/config/issuers",
            &json!({"default": "zz"}),
        ),
        post("flip without name", "pki/config/issuers", &json!({})),
        post("replace", "pki/root/replace", &json!({"default": "root"})),
        post("issue: old root again", "pki/issue/internal", &order),
        post(
            "issue: next by name",
            "pki/issuer/next/issue/internal",
            &order,
        ),
    ]
}

/// The last ones: nothing works afterwards.
fn sealing() -> Vec<Case> {
    let order = json!({"common_name": "a.service.consul"});
    vec![
        Case::new("seal without token", "PUT", "sys/seal").token(""),
        Case::new("seal", "PUT", "sys/seal"),
        get("sealed health", "sys/health").token(""),
        get("sealed seal-status", "sys/seal-status").token(""),
        post("sealed issue", "pki/issue/internal", &order),
        get("sealed ca", "pki/ca/pem").token(""),
        post("sealed login", "auth/jwt/login", &json!({})).token(""),
        get("sealed lookup", "auth/token/lookup-self"),
        post("unseal without key", "sys/unseal", &json!({})).token(""),
    ]
}
