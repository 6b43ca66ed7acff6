//! Tokens, policies, AppRole, wrapping and JWT.

use std::time::SystemTime;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::KeyPair;
use serde_json::{Value, json};

use super::{Case, delete, get, list, post};

const POLICY: &str = r#"
path "pki/issue/internal" { capabilities = ["update"] }
path "pki/issue/noip" { capabilities = ["create"] }
path "pki/sign/*" { capabilities = ["update"] }
path "pki/sign/rsa" { capabilities = ["deny"] }
path "pki_int/+/internal" { capabilities = ["create", "update"] }
path "pki/roles/internal" { capabilities = ["read"] }
path "pki/roles/" { capabilities = ["list"] }
"#;

pub(super) fn tokens() -> Vec<Case> {
    let create = "auth/token/create";
    let token = "{{service}}";
    vec![
        Case::new("policy", "PUT", "sys/policies/acl/issuer").body(&json!({"policy": POLICY})),
        Case::new("bad policy", "PUT", "sys/policies/acl/bad").body(&json!({"policy": "path {"})),
        get("read policy", "sys/policies/acl/issuer"),
        get("read policy, old path", "sys/policy/issuer"),
        get("read no policy", "sys/policies/acl/none"),
        list("list policies", "sys/policies/acl"),
        delete("delete no policy", "sys/policies/acl/none"),
        post(
            "create token",
            create,
            &json!({"policies": ["issuer"], "ttl": "1h"}),
        )
        .save("service", "/auth/client_token"),
        get("lookup", "auth/token/lookup-self").token(token),
        get("lookup root", "auth/token/lookup-self"),
        get("lookup bad", "auth/token/lookup-self").token("bad"),
        get("lookup none", "auth/token/lookup-self").token(""),
        post("renew", "auth/token/renew-self", &json!({})).token(token),
        post(
            "renew longer",
            "auth/token/renew-self",
            &json!({"increment": "10h"}),
        )
        .token(token),
        post(
            "renew too long",
            "auth/token/renew-self",
            &json!({"increment": "9000h"}),
        )
        .token(token),
        post("renew root", "auth/token/renew-self", &json!({})),
        post("renew bad", "auth/token/renew-self", &json!({})).token("bad"),
        post(
            "create batch",
            create,
            &json!({"policies": ["issuer"], "ttl": "1h", "type": "batch"}),
        )
        .save("batch", "/auth/client_token"),
        get("lookup batch", "auth/token/lookup-self").token("{{batch}}"),
        post("renew batch", "auth/token/renew-self", &json!({})).token("{{batch}}"),
        post("revoke batch", "auth/token/revoke-self", &json!({})).token("{{batch}}"),
    ]
}

/// Tokens with counted uses, without default policy, with limits.
pub(super) fn odd_tokens() -> Vec<Case> {
    let create = "auth/token/create";
    vec![
        post(
            "create periodic",
            create,
            &json!({"policies": ["issuer"], "period": "1m",
                    "explicit_max_ttl": "2m", "num_uses": 3, "display_name": "x",
                    "meta": {"a": "b"}}),
        )
        .save("uses", "/auth/client_token"),
        get("use 1", "auth/token/lookup-self").token("{{uses}}"),
        post(
            "use 2",
            "auth/token/renew-self",
            &json!({"increment": "1h"}),
        )
        .token("{{uses}}"),
        post("use 3", "sys/capabilities-self", &json!({"path": "x"})).token("{{uses}}"),
        get("use 4", "auth/token/lookup-self").token("{{uses}}"),
        post(
            "create bare",
            create,
            &json!({"no_default_policy": true, "policies": ["issuer"]}),
        )
        .save("bare", "/auth/client_token"),
        get("lookup without default policy", "auth/token/lookup-self").token("{{bare}}"),
        post(
            "create without default",
            create,
            &json!({"no_default_policy": true, "policies": ["default"]}),
        ),
        post("create root", create, &json!({})),
        post("create too long", create, &json!({"ttl": "9000h"})),
        post(
            "create with no such policy",
            create,
            &json!({"policies": ["nosuch"]}),
        ),
        post(
            "create fixed",
            create,
            &json!({"policies": ["issuer"], "renewable": false}),
        )
        .save("fixed", "/auth/client_token"),
        post("renew fixed", "auth/token/renew-self", &json!({})).token("{{fixed}}"),
    ]
}

pub(super) fn policies() -> Vec<Case> {
    let order = json!({"common_name": "a.service.consul", "ttl": "1h"});
    let token = "{{service}}";
    let paths = [
        "pki/issue/internal",
        "pki/roles/x",
        "sys/health",
        "pki_int/issue/internal",
        "nope",
    ];
    vec![
        post("allowed", "pki/issue/internal", &order).token(token),
        post("allowed by +", "pki_int/issue/internal", &order).token(token),
        post("not allowed", "pki/issue/other", &order).token(token),
        post("create is not update", "pki/issue/noip", &order).token(token),
        post("allowed by *", "pki/sign/internal", &json!({})).token(token),
        post("denied", "pki/sign/rsa", &json!({})).token(token),
        get("read allowed", "pki/roles/internal").token(token),
        list("list allowed", "pki/roles").token(token),
        get("read not allowed", "pki/roles/noip").token(token),
        get("get not allowed", "pki/issue/internal").token(token),
        post("no mount, good token", "nope/issue/x", &order).token(token),
        Case::new("bad json, good token", "POST", "pki/issue/internal")
            .raw("{bad")
            .token(token),
        post(
            "capabilities",
            "sys/capabilities-self",
            &json!({"paths": paths}),
        )
        .token(token),
        post(
            "capabilities of root",
            "sys/capabilities-self",
            &json!({"paths": ["pki/x"]}),
        ),
        post(
            "capabilities of one",
            "sys/capabilities-self",
            &json!({"path": "pki/x"}),
        ),
        post("capabilities of none", "sys/capabilities-self", &json!({})),
        post(
            "capabilities, bad token",
            "sys/capabilities-self",
            &json!({"paths": ["x"]}),
        )
        .token("bad"),
        post("leased to a token", "pki/issue/lease", &order),
        post("revoke-self", "auth/token/revoke-self", &json!({})).token(token),
        get("revoked", "auth/token/lookup-self").token(token),
        post("issue, revoked", "pki/issue/internal", &order).token(token),
    ]
}

pub(super) fn approle() -> Vec<Case> {
    let role = "auth/approle/role/ag";
    let login = "auth/approle/login";
    let good = json!({"role_id": "{{role_id}}", "secret_id": "{{secret_id}}"});
    vec![
        post("approle login: no mount", login, &json!({})).token(""),
        post(
            "enable approle",
            "sys/auth/approle",
            &json!({"type": "approle"}),
        ),
        post(
            "enable approle twice",
            "sys/auth/approle",
            &json!({"type": "approle"}),
        ),
        post("enable unknown", "sys/auth/xx", &json!({"type": "zzz"})),
        get("auth mount tune", "sys/auth/approle/tune"),
        post(
            "approle role",
            role,
            &json!({"token_policies": ["issuer"], "token_ttl": "10m", "token_max_ttl": "20m"}),
        ),
        get("read approle role", role),
        get("read no approle role", "auth/approle/role/none"),
        get("role-id", &format!("{role}/role-id")).save("role_id", "/data/role_id"),
        get("no role-id", "auth/approle/role/none/role-id"),
        post("secret-id", &format!("{role}/secret-id"), &json!({}))
            .save("secret_id", "/data/secret_id"),
        post(
            "no secret-id",
            "auth/approle/role/none/secret-id",
            &json!({}),
        ),
        list("list approle roles", "auth/approle/role"),
        post("approle login", login, &good)
            .token("")
            .save("approle_token", "/auth/client_token"),
        get("lookup approle", "auth/token/lookup-self").token("{{approle_token}}"),
        post("renew approle", "auth/token/renew-self", &json!({})).token("{{approle_token}}"),
        post(
            "renew approle too long",
            "auth/token/renew-self",
            &json!({"increment": "1h"}),
        )
        .token("{{approle_token}}"),
        post("approle login, stale token", login, &good).token("bad"),
        post(
            "wrong secret",
            login,
            &json!({"role_id": "{{role_id}}", "secret_id": "no"}),
        )
        .token(""),
        post(
            "wrong role",
            login,
            &json!({"role_id": "no", "secret_id": "no"}),
        )
        .token(""),
        post("no secret", login, &json!({"role_id": "{{role_id}}"})).token(""),
        post("no role_id", login, &json!({"secret_id": "a"})).token(""),
    ]
}

/// Secret ids that are used up.
pub(super) fn one_time() -> Vec<Case> {
    let login = "auth/approle/login";
    vec![
        post(
            "one-time role",
            "auth/approle/role/one",
            &json!({"token_policies": "issuer", "secret_id_num_uses": 1, "secret_id_ttl": "1h"}),
        ),
        get("one-time role-id", "auth/approle/role/one/role-id").save("one_id", "/data/role_id"),
        post(
            "one-time secret-id",
            "auth/approle/role/one/secret-id",
            &json!({}),
        )
        .save("one_secret", "/data/secret_id"),
        post(
            "first use",
            login,
            &json!({"role_id": "{{one_id}}", "secret_id": "{{one_secret}}"}),
        )
        .token(""),
        post(
            "second use",
            login,
            &json!({"role_id": "{{one_id}}", "secret_id": "{{one_secret}}"}),
        )
        .token(""),
    ]
}

pub(super) fn wrapping() -> Vec<Case> {
    let wrapped = || {
        post(
            "wrapped secret-id",
            "auth/approle/role/ag/secret-id",
            &json!({}),
        )
        .header("X-Vault-Wrap-TTL", "5m")
        .save("wrap", "/wrap_info/token")
    };
    let lookup = "sys/wrapping/lookup";
    let unwrap = "sys/wrapping/unwrap";
    let token = json!({"token": "{{wrap}}"});
    vec![
        wrapped(),
        post("wrap lookup", lookup, &token).token(""),
        post("unwrap", unwrap, &json!({})).token("{{wrap}}"),
        post("unwrap again", unwrap, &json!({})).token("{{wrap}}"),
        post("wrap lookup after", lookup, &token).token(""),
        post("wrap lookup of nothing", lookup, &json!({})).token(""),
        wrapped(),
        get("wrapping token is no token", "auth/token/lookup-self").token("{{wrap}}"),
        post("unwrap after misuse", unwrap, &json!({})).token("{{wrap}}"),
        wrapped(),
        post("unwrap by body", unwrap, &token),
        post("unwrap junk", unwrap, &json!({"token": "junk"})),
        post("unwrap junk token", unwrap, &json!({})).token("junk"),
        post("unwrap nothing", unwrap, &json!({})).token(""),
    ]
}

fn now() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(now.unwrap().as_secs()).unwrap()
}

fn claims(changes: &Value) -> Value {
    let now = now();
    let mut claims = json!({"aud": "vault.io", "sub": "s", "nomad_job_id": "loki",
        "nomad_task": "loki", "nomad_namespace": "default",
        "iat": now, "nbf": now, "exp": now + 300});
    if let (Value::Object(claims), Value::Object(changes)) = (&mut claims, changes) {
        for (name, value) in changes {
            match value {
                Value::Null => claims.remove(name),
                value => claims.insert(name.clone(), value.clone()),
            };
        }
    }
    claims
}

fn signed(key: &KeyPair, alg: Algorithm, claims: &Value) -> String {
    let pem = key.serialize_pem();
    let key = match alg {
        Algorithm::RS256 => EncodingKey::from_rsa_pem(pem.as_bytes()),
        Algorithm::ES256 => EncodingKey::from_ec_pem(pem.as_bytes()),
        _ => EncodingKey::from_ed_pem(pem.as_bytes()),
    };
    jsonwebtoken::encode(&Header::new(alg), claims, &key.unwrap()).unwrap()
}

fn login(name: &str, body: &Value) -> Case {
    post(name, "auth/jwt/login", body).token("")
}

fn jwt_config(keys: &[String]) -> Vec<Case> {
    let config = "auth/jwt/config";
    vec![
        post("enable jwt", "sys/auth/jwt", &json!({"type": "jwt"})),
        login("jwt: not configured", &json!({"role": "x", "jwt": "y"})),
        post(
            "jwt config: junk key",
            config,
            &json!({"jwt_validation_pubkeys": ["junk"]}),
        ),
        post("jwt config: no key", config, &json!({})),
        post(
            "jwt config",
            config,
            &json!({"jwt_validation_pubkeys": keys}),
        ),
        login("jwt: no role", &json!({"jwt": "x"})),
        post(
            "jwt config, default role",
            config,
            &json!({"jwt_validation_pubkeys": keys, "default_role": "def"}),
        ),
    ]
}

pub(super) fn jwt() -> Vec<Case> {
    let ed = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let ec = KeyPair::generate().unwrap();
    let rsa = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let keys = [
        ed.public_key_pem(),
        ec.public_key_pem(),
        rsa.public_key_pem(),
    ];
    let mut cases = jwt_config(&keys);
    cases.extend(jwt_roles());
    let good = signed(&ed, Algorithm::EdDSA, &claims(&json!({})));
    let other = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let strange = signed(&other, Algorithm::EdDSA, &claims(&json!({})));
    cases.extend([
        login("jwt: good", &json!({"role": "w", "jwt": good}))
            .save("jwt_token", "/auth/client_token"),
        get("lookup jwt", "auth/token/lookup-self").token("{{jwt_token}}"),
        post(
            "renew jwt",
            "auth/token/renew-self",
            &json!({"increment": "1h"}),
        )
        .token("{{jwt_token}}"),
        login("jwt: role in capitals", &json!({"role": "W", "jwt": good})),
        login("jwt: default role missing", &json!({"jwt": good})),
        login("jwt: no token", &json!({"role": "w"})),
        login("jwt: no such role", &json!({"role": "none", "jwt": good})),
        login("jwt: junk", &json!({"role": "w", "jwt": "junk"})),
        login(
            "jwt: three parts of junk",
            &json!({"role": "w", "jwt": "a.b.c"}),
        ),
        login("jwt: strange key", &json!({"role": "w", "jwt": strange})),
        login("jwt: oidc role", &json!({"role": "oidc", "jwt": good})),
    ]);
    for (alg, key) in [(Algorithm::ES256, &ec), (Algorithm::RS256, &rsa)] {
        let jwt = signed(key, alg, &claims(&json!({})));
        cases.push(login(
            &format!("jwt: {alg:?}"),
            &json!({"role": "w", "jwt": jwt}),
        ));
    }
    for (role, changes) in jwt_claims() {
        let jwt = signed(&ed, Algorithm::EdDSA, &claims(&changes));
        let named = changes.to_string();
        cases.push(login(
            &format!("jwt: {role} {named}"),
            &json!({"role": role, "jwt": jwt}),
        ));
    }
    cases
}

fn jwt_roles() -> Vec<Case> {
    let base = json!({"role_type": "jwt", "bound_audiences": ["vault.io"],
        "user_claim": "/nomad_job_id", "user_claim_json_pointer": true,
        "claim_mappings": {"nomad_namespace": "nomad_namespace", "nomad_task": "nomad_task"},
        "token_type": "service", "token_policies": ["issuer"], "token_period": "30m"});
    let with = |changes: &Value| {
        let mut role = base.clone();
        if let (Value::Object(role), Value::Object(changes)) = (&mut role, changes) {
            role.extend(changes.clone());
        }
        role
    };
    let mut cases: Vec<Case> = [
        json!({}),
        json!({"role_type": "jwt"}),
        json!({"role_type": "jwt", "user_claim": "sub"}),
        json!({"user_claim": "sub"}),
        json!({"role_type": "zz", "user_claim": "sub"}),
    ]
    .iter()
    .map(|body| post(&format!("jwt role {body}"), "auth/jwt/role/t", body))
    .collect();
    let bound = json!({"bound_claims": {"nomad_task": ["loki", "x"]}});
    for (name, role) in [
        ("w", base.clone()),
        ("bc", with(&bound)),
        (
            "bs",
            json!({"role_type": "jwt", "user_claim": "sub", "bound_subject": "s",
                   "token_ttl": "10m", "token_max_ttl": "30m"}),
        ),
        (
            "noaud",
            json!({"role_type": "jwt", "user_claim": "sub", "bound_claims": {"sub": "s"},
                   "token_no_default_policy": true}),
        ),
        (
            "batch",
            with(&json!({"token_type": "batch", "token_period": 0})),
        ),
        (
            "oidc",
            json!({"user_claim": "sub", "allowed_redirect_uris": ["http://x"]}),
        ),
        (
            "glob",
            with(&json!({"bound_claims_type": "glob", "bound_claims": {"nomad_task": "lo*"}})),
        ),
    ] {
        cases.push(post(
            &format!("jwt role {name}"),
            &format!("auth/jwt/role/{name}"),
            &role,
        ));
    }
    cases.extend([
        get("read jwt config", "auth/jwt/config"),
        get("read jwt role", "auth/jwt/role/w"),
        get("read no jwt role", "auth/jwt/role/none"),
        list("list jwt roles", "auth/jwt/role"),
        delete("delete no jwt role", "auth/jwt/role/none"),
    ]);
    cases
}

fn jwt_claims() -> Vec<(&'static str, Value)> {
    let now = now();
    vec![
        ("w", json!({"exp": now - 90})),
        ("w", json!({"exp": now - 30})),
        ("w", json!({"nbf": now + 90})),
        ("w", json!({"nbf": now + 30})),
        ("w", json!({"iat": now + 90})),
        ("w", json!({"aud": "x"})),
        ("w", json!({"aud": ["x", "vault.io"]})),
        ("w", json!({"aud": null})),
        ("w", json!({"nomad_job_id": null})),
        ("w", json!({"nomad_job_id": 5})),
        ("w", json!({"nomad_task": null})),
        ("w", json!({"exp": null})),
        ("w", json!({"exp": null, "iat": null, "nbf": null})),
        ("w", json!({"exp": "x"})),
        ("bc", json!({})),
        ("bc", json!({"nomad_task": "zz"})),
        ("bc", json!({"nomad_task": null})),
        ("glob", json!({})),
        ("glob", json!({"nomad_task": "xlo"})),
        ("bs", json!({})),
        ("bs", json!({"aud": null})),
        ("bs", json!({"aud": null, "sub": "zz"})),
        ("noaud", json!({"aud": null})),
        ("noaud", json!({"aud": null, "sub": "z"})),
        ("batch", json!({})),
    ]
}
