//! The whole state: seal, mounts, tokens, and whose JWTs log in.
//!
//! Never does I/O.

use certagent_model::time::Timestamp;

use crate::{
    answer::ApiError,
    authority::Mount,
    identity::{Workload, WorkloadIdentity},
    random,
    token::{IssuedToken, Tokens},
};

/// Everything.
pub(crate) struct Store {
    pub(crate) sealed: bool,
    unseal_key: String,
    pub(crate) mounts: [Mount; 2],
    pub(crate) tokens: Tokens,
    pub(crate) workload: Workload,
    /// All that log in are one entity: the identities are of one job.
    entity_id: String,
}

impl Store {
    /// An unsealed server with a root token, both mounts and the login.
    pub(crate) fn new(
        root_token: &str,
        unseal_key: &str,
        workload: Workload,
        now: Timestamp,
    ) -> Result<Self, rcgen::Error> {
        Ok(Self {
            sealed: false,
            unseal_key: unseal_key.to_owned(),
            mounts: Mount::both(now)?,
            tokens: Tokens::new(root_token, now),
            workload,
            entity_id: random::uuid(),
        })
    }

    /// The mount with this path.
    pub(crate) fn mount(&self, path: &str) -> Option<&Mount> {
        self.mounts.iter().find(|mount| mount.path == path)
    }

    /// A token for a checked identity.
    pub(crate) fn log_in(&mut self, identity: &WorkloadIdentity, now: Timestamp) -> IssuedToken {
        let path = "auth/jwt-nomad/login";
        self.tokens.grant(identity, path, &self.entity_id, now)
    }

    /// Ends the seal with the right key.
    pub(crate) fn unseal(&mut self, key: &str) -> Result<(), ApiError> {
        match key {
            "" => Err(ApiError::bad(
                "'key' must be specified in request body as JSON, or 'reset' set to true",
            )),
            key if key == self.unseal_key => {
                self.sealed = false;
                Ok(())
            }
            _ => Err(ApiError::bad("failed to decode unseal key")),
        }
    }
}
