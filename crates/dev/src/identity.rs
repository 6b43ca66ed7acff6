//! Workload identities: signed as Nomad does, checked as the JWT login does.
//!
//! Never leaves the process: the key is made at start and forgotten at the end. What stays true: no
//! claim is looked at before the signature is verified.

use std::{io, sync::Arc, time::Duration};

use certagent_model::{secret::Secret, time::Timestamp};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, errors::ErrorKind};
use rcgen::{KeyPair, PKCS_ED25519};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::answer::ApiError;

/// The mount of the login.
pub const JWT_MOUNT: &str = "jwt-nomad";
/// The role of the login, which is also the default role.
pub const JWT_ROLE: &str = "certagent";
/// The audience that JWTs must name.
pub const AUDIENCE: &str = "vault.io";

/// Clock skew allowed both ways, in seconds (OpenBao, JWT role field `clock_skew_leeway`).
const SKEW_SECS: i64 = 60;

/// The identity of one pretended Nomad task; clones share the key.
#[derive(Clone)]
pub struct Workload {
    key: Arc<KeyPair>,
}

/// The claims of a Nomad workload identity (Nomad, "Workload Identity").
#[derive(Deserialize)]
pub(crate) struct WorkloadIdentity {
    nomad_job_id: String,
    nomad_task: String,
    iat: Option<i64>,
    nbf: Option<i64>,
    exp: i64,
}

impl WorkloadIdentity {
    /// Who has logged in.
    pub(crate) fn user(&self) -> &str {
        &self.nomad_job_id
    }

    /// The metadata of its token.
    pub(crate) fn metadata(&self) -> Value {
        json!({ "role": JWT_ROLE, "nomad_task": self.nomad_task })
    }

    fn check_times(&self, now: Timestamp) -> Result<(), &'static str> {
        let now = now.unix_secs();
        if now > self.exp.saturating_add(SKEW_SECS) {
            return Err("invalid expiration time (exp) claim: token is expired");
        }
        let early = |at: &i64| now < at.saturating_sub(SKEW_SECS);
        if self.nbf.or(self.iat).as_ref().is_some_and(early) {
            return Err("invalid not before (nbf) claim: token not yet valid");
        }
        if self.iat.as_ref().is_some_and(early) {
            return Err("invalid issued at (iat) claim: token issued in the future");
        }
        Ok(())
    }
}

impl Workload {
    /// Makes the key.
    ///
    /// # Errors
    /// The crypto library made none.
    pub(crate) fn new() -> io::Result<Self> {
        let key = KeyPair::generate_for(&PKCS_ED25519).map_err(io::Error::other)?;
        Ok(Self { key: Arc::new(key) })
    }

    /// The public key in PEM, for `jwt_validation_pubkeys` of another server.
    #[must_use]
    pub fn public_pem(&self) -> String {
        self.key.public_key_pem()
    }

    /// A JWT with the claims that Nomad puts in, valid from `now` for `life`.
    ///
    /// # Errors
    /// It could not be signed.
    pub fn token(&self, task: &str, now: Timestamp, life: Duration) -> io::Result<Secret> {
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

    /// A JWT with these claims, signed with EdDSA.
    ///
    /// # Errors
    /// It could not be signed.
    pub fn sign(&self, claims: &Value) -> io::Result<Secret> {
        let key = EncodingKey::from_ed_der(self.key.serialized_der());
        let signed = jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), claims, &key);
        signed.map(Secret::new).map_err(io::Error::other)
    }

    /// The identity in a JWT that this workload has signed and that counts at this moment.
    pub(crate) fn check(&self, jwt: &str, now: Timestamp) -> Result<WorkloadIdentity, ApiError> {
        let refused = |why: &str| ApiError::bad(format!("error validating token: {why}"));
        let mut wanted = Validation::new(Algorithm::EdDSA);
        wanted.set_audience(&[AUDIENCE]);
        wanted.required_spec_claims.clear();
        // Checked below: the library reads the clock itself.
        wanted.validate_exp = false;
        let key = DecodingKey::from_ed_pem(self.public_pem().as_bytes())
            .map_err(|error| refused(&error.to_string()))?;
        let identity = jsonwebtoken::decode::<WorkloadIdentity>(jwt, &key, &wanted)
            .map_err(|error| refused(cause(error.kind())))?
            .claims;
        identity.check_times(now).map_err(refused)?;
        Ok(identity)
    }
}

/// OpenBao's texts; only the signature's is exact for all kinds of junk.
fn cause(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidAudience => {
            "invalid audience (aud) claim: audience claim does not match any expected audience"
        }
        ErrorKind::MissingRequiredClaim(_) | ErrorKind::Json(_) => "failed to unmarshal claims",
        _ => {
            "error verifying token signature: no known key successfully validated the token signature"
        }
    }
}
