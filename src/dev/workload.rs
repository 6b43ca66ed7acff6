//! Signs workload-identity JWTs as Nomad does, for the seeded login.
//!
//! Never leaves the process: the key is made at start and forgotten at the end.

use std::{sync::Arc, time::Duration};

use rcgen::{KeyPair, PKCS_ED25519};
use serde_json::{Value, json};

use crate::model::{secret::Secret, time::Timestamp};

use super::seed::AUDIENCE;

/// The identity of one pretended Nomad task; clones share the key.
#[derive(Clone)]
pub struct Workload {
    key: Option<Arc<KeyPair>>,
}

impl Default for Workload {
    fn default() -> Self {
        let key = KeyPair::generate_for(&PKCS_ED25519);
        Self {
            key: key.ok().map(Arc::new),
        }
    }
}

impl Workload {
    /// The public key for `jwt_validation_pubkeys`.
    #[must_use]
    pub fn public_pem(&self) -> String {
        let key = self.key.as_ref();
        key.map(|key| key.public_key_pem()).unwrap_or_default()
    }

    /// A JWT with the claims Nomad puts in, valid from `now` for `life`.
    #[must_use]
    pub fn token(&self, task: &str, now: Timestamp, life: Duration) -> Secret {
        let secs = now.unix_secs();
        self.sign(&json!({
            "aud": AUDIENCE,
            "sub": format!("global:default:loki:ingester:{task}:vault_default"),
            "nomad_namespace": "default",
            "nomad_job_id": "loki",
            "nomad_task": task,
            "nomad_allocation_id": "5f5a3e6e-0000-4000-8000-000000000001",
            "iat": secs,
            "nbf": secs,
            "exp": now.plus(life).unix_secs(),
        }))
    }

    /// A JWT with these claims, signed with EdDSA; empty when no key could be made.
    #[must_use]
    pub fn sign(&self, claims: &Value) -> Secret {
        let Some(key) = &self.key else {
            return Secret::new(String::new());
        };
        let key = jsonwebtoken::EncodingKey::from_ed_der(key.serialized_der());
        let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::EdDSA);
        Secret::new(jsonwebtoken::encode(&header, claims, &key).unwrap_or_default())
    }
}
