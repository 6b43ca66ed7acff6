//! What a fresh embedded PKI holds: two mounts, roles, a policy, two logins.
//!
//! Never touches the state directly: it sends the same requests that set up a real server.

use serde_json::{Map, Value, json};

use crate::model::{secret::Secret, time::Timestamp};

use super::{
    Workload,
    answer::{Answer, Refused},
    call::{Call, Op},
    store::Store,
};

/// The seeded mounts: a root, and an intermediate that the root signed.
pub const MOUNTS: [&str; 2] = ["pki", "pki_int"];
/// The role both mounts have: `*.service.consul`, `localhost`, IP and SPIFFE SANs, at most 8760 h,
/// keys of any kind.
pub const ROLE: &str = "internal";
/// The mount of the seeded JWT login.
pub const JWT_MOUNT: &str = "jwt-nomad";
/// Its role, which is also the default role.
pub const JWT_ROLE: &str = "certagent";
/// The audience its JWTs must name.
pub const AUDIENCE: &str = "vault.io";
/// The mount of the seeded AppRole login; its role is called as [`JWT_ROLE`].
pub const APPROLE: &str = "approle";

const POLICY: &str = r#"
path "+/issue/internal" { capabilities = ["update"] }
path "+/sign/internal" { capabilities = ["update"] }
"#;

struct Seeding<'a> {
    store: &'a mut Store,
    token: &'a Secret,
    now: Timestamp,
}

impl Seeding<'_> {
    fn send(&mut self, op: Op, path: &str, body: Value) -> Result<Value, String> {
        let call = Call {
            op,
            path: path.to_owned(),
            query: Vec::new(),
            input: match body {
                Value::Object(map) => map,
                _ => Map::new(),
            },
            token: Some(self.token.expose().to_owned()),
            wrap: None,
            now: self.now,
        };
        match self.store.answer(&call) {
            Ok(Answer::Envelope(envelope)) => Ok(envelope.data.unwrap_or(Value::Null)),
            Ok(_) => Ok(Value::Null),
            Err(Refused { status, errors }) => {
                Err(format!("set-up of {path} failed with {status}: {errors:?}"))
            }
        }
    }

    fn update(&mut self, path: &str, body: Value) -> Result<Value, String> {
        self.send(Op::Update, path, body)
    }

    fn authorities(&mut self) -> Result<(), String> {
        for (mount, hours) in [("pki", "87600h"), ("pki_int", "43800h")] {
            self.update(
                &format!("sys/mounts/{mount}"),
                json!({"type": "pki", "config": {"max_lease_ttl": hours}}),
            )?;
        }
        self.update(
            "pki/root/generate/internal",
            json!({"common_name": "certagent dev root", "issuer_name": "root", "key_type": "ec",
                   "ttl": "87600h"}),
        )?;
        let request = self.update(
            "pki_int/intermediate/generate/internal",
            json!({"common_name": "certagent dev intermediate", "key_type": "ec"}),
        )?;
        let signed = self.update(
            "pki/root/sign-intermediate",
            json!({"csr": request["csr"], "format": "pem_bundle", "ttl": "43800h",
                   "common_name": "certagent dev intermediate"}),
        )?;
        self.update(
            "pki_int/intermediate/set-signed",
            json!({"certificate": signed["certificate"]}),
        )?;
        for mount in MOUNTS {
            self.update(
                &format!("{mount}/roles/{ROLE}"),
                json!({"allowed_domains": ["service.consul", "localhost"],
                       "allow_subdomains": true, "allow_bare_domains": true,
                       "allowed_uri_sans": ["spiffe://*"], "max_ttl": "8760h",
                       "key_type": "any"}),
            )?;
        }
        Ok(())
    }

    fn logins(&mut self, workload: &Workload) -> Result<(String, Secret), String> {
        self.update("sys/policies/acl/certagent", json!({ "policy": POLICY }))?;
        self.update(&format!("sys/auth/{JWT_MOUNT}"), json!({"type": "jwt"}))?;
        self.update(
            &format!("auth/{JWT_MOUNT}/config"),
            json!({"jwt_validation_pubkeys": [workload.public_pem()], "default_role": JWT_ROLE}),
        )?;
        self.update(
            &format!("auth/{JWT_MOUNT}/role/{JWT_ROLE}"),
            json!({"role_type": "jwt", "bound_audiences": [AUDIENCE],
                   "user_claim": "/nomad_job_id", "user_claim_json_pointer": true,
                   "claim_mappings": {"nomad_namespace": "nomad_namespace",
                                      "nomad_job_id": "nomad_job_id", "nomad_task": "nomad_task"},
                   "token_type": "service", "token_policies": ["certagent"],
                   "token_period": "30m"}),
        )?;
        self.update(&format!("sys/auth/{APPROLE}"), json!({"type": "approle"}))?;
        let role = format!("auth/{APPROLE}/role/{JWT_ROLE}");
        self.update(
            &role,
            json!({"token_policies": ["certagent"], "token_ttl": "30m"}),
        )?;
        let role_id = self.send(Op::Read, &format!("{role}/role-id"), Value::Null)?;
        let secret_id = self.update(&format!("{role}/secret-id"), json!({}))?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok((
            text(&role_id["role_id"]),
            Secret::new(text(&secret_id["secret_id"])),
        ))
    }
}

/// Sets up mounts, roles, policy and logins; returns role id and secret id.
pub(super) fn seed(
    store: &mut Store,
    token: &Secret,
    workload: &Workload,
    now: Timestamp,
) -> Result<(String, Secret), String> {
    let mut seeding = Seeding { store, token, now };
    seeding.authorities()?;
    seeding.logins(workload)
}
