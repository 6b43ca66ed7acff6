//! Each message of the table in `vault::messages` that is the tested server's: it says it.

use certagent::vault::{Call, MESSAGES, Message, SaidBy};
use serde_json::{Value, json};

use super::*;
use crate::rig::{
    Difference, Product,
    http::{self, Answer},
};

/// What the server said: was it a login, status, text.
struct Heard {
    login: bool,
    status: u16,
    text: String,
}

struct Asking {
    server: OpenBao,
    heard: Vec<Heard>,
}

impl Asking {
    fn hear(&mut self, login: bool, answer: &Answer) {
        // What one server refuses the other may accept: what nothing has said fails at the end.
        let errors = answer.json()["errors"].clone();
        let Ok(errors) = serde_json::from_value::<Vec<String>>(errors) else {
            return;
        };
        self.heard.push(Heard {
            login,
            status: answer.status,
            text: errors.join("; "),
        });
    }

    fn refused(&mut self, path: &str, body: &Value) {
        let answer = self.server.request("POST", path, Some(body));
        self.hear(false, &answer);
    }

    fn login(&mut self, mount: &str, body: &Value) {
        let path = format!("auth/{mount}/login");
        let answer = self.server.request_as("", "POST", &path, Some(body));
        self.hear(true, &answer);
    }

    /// An order that the mount takes, but for `with`.
    fn issue(&mut self, path: &str, with: &Value) {
        let mut body = json!({ "common_name": "a.service.consul", "ttl": "60s", "key_type": "ec", "key_bits": 256 });
        for (key, value) in with.as_object().unwrap() {
            body[key] = value.clone();
        }
        self.refused(path, &body);
    }
}

fn names_and_times(asking: &mut Asking) {
    let server = &asking.server;
    let strict = json!({ "allow_any_name": true, "allow_ip_sans": false, "key_type": "ec" });
    server.write("pki/roles/strict", &strict);
    let networks = json!({ "allow_any_name": true, "allowed_ip_sans_cidr": ["10.1.0.0/16"], "key_type": "ec" });
    server.write("pki/roles/networks", &networks);
    let fixed =
        json!({ "allow_any_name": true, "not_after": "2090-01-01T00:00:00Z", "key_type": "ec" });
    server.write("pki/roles/fixed", &fixed);
    let long = json!({ "allow_any_name": true, "max_ttl": "87600h", "key_type": "ec" });
    server.write("pki_int/roles/long", &long);
    let good = "pki/issue/internal";
    asking.issue("pki/issue/absent", &json!({}));
    asking.issue(good, &json!({ "common_name": "evil.example" }));
    asking.issue(good, &json!({ "common_name": "" }));
    asking.issue(good, &json!({ "uri_sans": "http://x" }));
    asking.issue(good, &json!({ "ip_sans": "x" }));
    asking.issue(good, &json!({ "ttl": "x" }));
    asking.issue("pki/issue/strict", &json!({ "ip_sans": "10.0.0.1" }));
    asking.issue("pki/issue/networks", &json!({ "ip_sans": "10.0.0.1" }));
    asking.issue("pki/issue/fixed", &json!({}));
    asking.issue("pki_int/issue/long", &json!({ "ttl": "80000h" }));
}

fn keys_and_issuers(asking: &mut Asking) {
    let server = &asking.server;
    let role = |more: &Value| {
        let mut role = json!({ "allow_any_name": true, "key_type": "ec" });
        role.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        role
    };
    server.write("pki/roles/p384", &role(&json!({ "key_bits": 384 })));
    server.write("pki/roles/gone", &role(&json!({ "issuer_ref": "gone" })));
    server.write("sys/mounts/bare", &json!({ "type": "pki" }));
    server.write("bare/roles/internal", &role(&json!({})));
    let root = json!({ "common_name": "idle", "issuer_name": "idle", "key_type": "ec" });
    server.write("pki/root/generate/internal", &root);
    let idle = json!({ "issuer_name": "idle", "usage": "read-only" });
    server.write("pki/issuer/idle", &idle);
    server.write("pki/roles/idle", &role(&json!({ "issuer_ref": "idle" })));
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["a.service.consul".to_owned()]).unwrap();
    let csr = params.serialize_request(&key).unwrap().pem().unwrap();
    asking.issue("pki/sign/p384", &json!({ "csr": csr }));
    let small = json!({ "key_type": "rsa", "key_bits": 1024 });
    asking.issue("pki/issue/internal", &small);
    let open = json!({ "common_name": "a.service.consul", "ttl": "60s" });
    asking.refused("pki/issue/internal", &open);
    asking.issue("pki/issue/gone", &json!({}));
    asking.issue("bare/issue/internal", &json!({}));
    asking.issue("pki/issue/idle", &json!({}));
}

fn identities(asking: &mut Asking) {
    let server = &asking.server;
    let role = json!({ "role_type": "jwt", "bound_audiences": ["vault.io"], "user_claim": "sub" });
    let with = |key: &str, value: Value| {
        let mut role = role.clone();
        role[key] = value;
        role
    };
    let path = |name: &str| format!("auth/jwt-nomad/role/{name}");
    let other = with("bound_claims", json!({ "nomad_job_id": "other" }));
    server.write(&path("other"), &other);
    let oidc = json!({ "role_type": "oidc", "user_claim": "sub", "bound_audiences": ["vault.io"], "allowed_redirect_uris": ["http://x"] });
    server.write(&path("oidc"), &oidc);
    let good = Claims::default;
    let expired = Claims {
        starts_in: -1200,
        expires_in: -600,
        ..good()
    };
    let early = Claims {
        starts_in: 600,
        ..good()
    };
    let issued = Claims {
        issued_in: Some(600),
        ..good()
    };
    let audience = Claims {
        audience: "other".to_owned(),
        ..good()
    };
    let mut forged = jwt(&good());
    forged.truncate(forged.rfind('.').unwrap());
    forged.push_str(".AAAA");
    for (role, jwt) in [
        ("certagent", jwt(&expired)),
        ("certagent", jwt(&early)),
        ("certagent", jwt(&issued)),
        ("certagent", jwt(&audience)),
        ("certagent", forged),
        ("other", jwt(&good())),
        ("absent", jwt(&good())),
        ("oidc", jwt(&good())),
    ] {
        asking.login("jwt-nomad", &json!({ "role": role, "jwt": jwt }));
    }
}

fn other_logins(asking: &mut Asking) {
    let (role_id, secret_id) = asking.server.approle();
    let used = json!({ "role_id": role_id, "secret_id": secret_id });
    let login = asking
        .server
        .request_as("", "POST", "auth/approle/login", Some(&used));
    let token = login.json()["auth"]["client_token"]
        .as_str()
        .unwrap()
        .to_owned();
    asking.login("approle", &json!({ "role_id": role_id, "secret_id": "x" }));
    asking.login("approle", &json!({ "role_id": "x", "secret_id": "x" }));
    asking.login("approle", &json!({ "role_id": role_id }));
    let server = &asking.server;
    server.request("DELETE", "auth/approle/role/certagent", None);
    let renewed = server.request_as(&token, "POST", "auth/token/renew-self", Some(&json!({})));
    server.write("sys/auth/cert", &json!({ "type": "cert" }));
    server.write("sys/auth/kubernetes", &json!({ "type": "kubernetes" }));
    asking.hear(false, &renewed);
    asking.login("cert", &json!({}));
    asking.login("kubernetes", &json!({ "role": "absent", "jwt": "a.b.c" }));
    asking.login("kubernetes", &json!({ "jwt": "a.b.c" }));
}

fn the_server_itself(asking: &mut Asking) {
    let server = &asking.server;
    let wrapping = json!({ "token": "s.none" });
    let wrapping = server.request_as("", "POST", "sys/wrapping/unwrap", Some(&wrapping));
    let quota = json!({ "rate": 1, "interval": "30s", "path": "pki" });
    server.write("sys/quotas/rate-limit/q", &quota);
    let _first = server.request("GET", "pki/ca/pem", None);
    let _second = server.request("GET", "pki/ca/pem", None);
    let throttled = server.request("GET", "pki/ca/pem", None);
    server.write("sys/seal", &json!({}));
    let sealed = server.request("GET", "pki/ca/pem", None);
    for answer in [wrapping, throttled, sealed] {
        asking.hear(false, &answer);
    }
}

#[test]
#[ignore = "needs openbao"]
fn the_server_says_each_message_of_the_table() {
    let server = OpenBao::ready();
    let namespace = [
        ("X-Vault-Token", server.token.as_str()),
        ("X-Vault-Namespace", "absent"),
    ];
    let path = "/v1/pki/roles/internal";
    let absent = http::request(&server.address, None, "GET", path, &namespace, None).unwrap();
    let mut asking = Asking {
        server,
        heard: Vec::new(),
    };
    asking.hear(false, &absent);
    names_and_times(&mut asking);
    keys_and_issuers(&mut asking);
    identities(&mut asking);
    other_logins(&mut asking);
    the_server_itself(&mut asking);
    let said = |row: &Message| {
        asking.heard.iter().any(|heard| {
            let status = if heard.status >= 500 {
                500
            } else {
                heard.status
            };
            let call = match row.call {
                Call::Login => heard.login,
                Call::Request => !heard.login,
                Call::Any => true,
            };
            status == row.status && call && heard.text.contains(row.part)
        })
    };
    let tested = match Product::tested() {
        Product::OpenBao => SaidBy::OpenBao,
        Product::Vault => SaidBy::Vault,
    };
    let own = MESSAGES.iter().filter(|row| row.said_by == tested);
    let wrong_id = Product::tested().expected(Difference::WrongSecretId);
    assert!(asking.heard.iter().any(|one| one.text.contains(wrong_id)));
    let unsaid: Vec<_> = own.filter(|row| !said(row)).collect();
    let heard: Vec<_> = asking
        .heard
        .iter()
        .map(|one| (one.status, &one.text))
        .collect();
    assert!(
        unsaid.is_empty(),
        "not said: {unsaid:#?}\nheard: {heard:#?}"
    );
}
