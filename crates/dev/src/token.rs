//! Tokens: made, found, renewed, revoked.
//!
//! Never checks policies. What stays true: a token that is not in the table, or has expired, is no
//! token, whatever its text says.

use std::{collections::BTreeMap, time::Duration};

use certagent_model::time::Timestamp;
use serde_json::{Value, json};

use crate::{
    identity::{JWT_MOUNT, WorkloadIdentity},
    random,
};

/// The period of a login's token: it can be renewed for that long, again and again.
const TOKEN_PERIOD: Duration = Duration::from_secs(30 * 60);

/// The policies of a login's token.
const POLICIES: &[&str] = &["certagent", "default"];

/// One token. Not `Debug`: the id is a secret.
#[derive(Clone)]
pub(crate) struct IssuedToken {
    pub(crate) id: String,
    accessor: String,
    pub(crate) policies: &'static [&'static str],
    meta: Value,
    display_name: String,
    path: &'static str,
    entity_id: String,
    created: Timestamp,
    renewed: Option<Timestamp>,
    /// Never, for the root token.
    expires: Option<Timestamp>,
}

/// A new token's text.
pub(crate) fn new_id() -> String {
    format!("s.{}", random::letters::<24>())
}

impl IssuedToken {
    fn root(id: &str, now: Timestamp) -> Self {
        Self {
            id: id.to_owned(),
            accessor: random::letters::<24>(),
            policies: &["root"],
            meta: Value::Null,
            display_name: "token".to_owned(),
            path: "auth/token/create",
            entity_id: String::new(),
            created: now,
            renewed: None,
            expires: None,
        }
    }

    fn of(
        identity: &WorkloadIdentity,
        path: &'static str,
        entity_id: String,
        now: Timestamp,
    ) -> Self {
        Self {
            id: new_id(),
            policies: POLICIES,
            meta: identity.metadata(),
            display_name: format!("{JWT_MOUNT}-{}", identity.user()),
            path,
            entity_id,
            expires: Some(now.plus(TOKEN_PERIOD)),
            ..Self::root("", now)
        }
    }

    fn seconds_left(&self, now: Timestamp) -> u64 {
        let left = self.expires.map(|at| at.since(now)).unwrap_or_default();
        left.as_millis()
            .div_ceil(1000)
            .try_into()
            .unwrap_or(u64::MAX)
    }

    /// The `auth` part of an answer (Vault API, "JWT/OIDC auth method", "JWT login").
    pub(crate) fn auth(&self, now: Timestamp) -> Value {
        json!({
            "client_token": self.id,
            "accessor": self.accessor,
            "policies": self.policies,
            "token_policies": self.policies,
            "metadata": self.meta,
            "lease_duration": self.seconds_left(now),
            "renewable": self.expires.is_some(),
            "entity_id": self.entity_id,
            "token_type": "service",
            "orphan": true,
            "mfa_requirement": null,
            "num_uses": 0,
        })
    }

    /// The `data` of a lookup (Vault API, "Token auth method", "Lookup a token (self)").
    pub(crate) fn lookup(&self, now: Timestamp) -> Value {
        let mut data = json!({
            "accessor": self.accessor,
            "creation_time": self.created.unix_secs(),
            "creation_ttl": 0,
            "display_name": self.display_name,
            "entity_id": self.entity_id,
            "expire_time": self.expires.map(|at| at.to_string()),
            "explicit_max_ttl": 0,
            "id": self.id,
            "issue_time": self.created.to_string(),
            "meta": self.meta,
            "num_uses": 0,
            "orphan": true,
            "path": self.path,
            "policies": self.policies,
            "renewable": self.expires.is_some(),
            "ttl": self.seconds_left(now),
            "type": "service",
        });
        if self.expires.is_some() {
            data["creation_ttl"] = json!(TOKEN_PERIOD.as_secs());
            data["period"] = json!(TOKEN_PERIOD.as_secs());
        }
        if let Some(at) = self.renewed {
            data["last_renewal"] = json!(at.to_string());
            data["last_renewal_time"] = json!(at.unix_secs());
        }
        data
    }
}

/// All live tokens by their text.
pub(crate) struct Tokens(BTreeMap<String, IssuedToken>);

impl Tokens {
    /// A table with the root token.
    pub(crate) fn new(root: &str, now: Timestamp) -> Self {
        Self(BTreeMap::from([(
            root.to_owned(),
            IssuedToken::root(root, now),
        )]))
    }

    /// The live token with this text.
    pub(crate) fn find(&mut self, id: &str, now: Timestamp) -> Option<&IssuedToken> {
        self.0
            .retain(|_, token| token.expires.is_none_or(|at| at > now));
        self.0.get(id)
    }

    /// A new token for who has logged in at `path`.
    pub(crate) fn grant(
        &mut self,
        identity: &WorkloadIdentity,
        path: &'static str,
        entity_id: &str,
        now: Timestamp,
    ) -> IssuedToken {
        let token = IssuedToken::of(identity, path, entity_id.to_owned(), now);
        self.0.insert(token.id.clone(), token.clone());
        token
    }

    /// The token with a new period; `None` when it is gone or never expires.
    pub(crate) fn renew(&mut self, id: &str, now: Timestamp) -> Option<IssuedToken> {
        let token = self.0.get_mut(id)?;
        token.expires = Some(token.expires.map(|_| now.plus(TOKEN_PERIOD))?);
        token.renewed = Some(now);
        Some(token.clone())
    }

    /// Ends a token.
    pub(crate) fn revoke(&mut self, id: &str) {
        self.0.remove(id);
    }
}
