//! The whole state of the embedded PKI, and the way of a request through it: seal, mount, token,
//! policy, handler.
//!
//! Never does I/O. What stays true: nothing but a public path is reached without a live token whose
//! policies allow it, in OpenBao's order of checks.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::model::time::Timestamp;

use super::{
    acl::{self, Policy},
    answer::{Answer, Envelope, Outcome, Refused},
    approle, auth,
    call::{Call, Op},
    jwt,
    pki::{self, Pki},
    random, sys, token,
    token::Tokens,
    wrapping,
};

/// What is mounted under `auth/`.
pub(super) enum AuthKind {
    /// Logs in with a JWT.
    Jwt(jwt::Jwt),
    /// Logs in with role id and secret id.
    AppRole(approle::AppRole),
    /// `auth/token`, always there.
    Token,
}

/// One mount: a PKI or an auth method.
pub(super) struct Mount<Kind> {
    pub(super) accessor: String,
    pub(super) uuid: String,
    pub(super) description: String,
    /// Seconds; 0 means the system's.
    pub(super) default_ttl: u64,
    /// Seconds; 0 means the system's.
    pub(super) max_ttl: u64,
    pub(super) kind: Kind,
}

/// A policy with what `sys/policies` says about it.
pub(super) struct PolicyEntry {
    pub(super) policy: Policy,
    pub(super) modified: Timestamp,
    pub(super) version: u64,
}

/// Everything.
pub(super) struct Store {
    pub(super) sealed: bool,
    pub(super) unseal_key: String,
    pub(super) cluster_id: String,
    pub(super) pkis: BTreeMap<String, Mount<Pki>>,
    pub(super) auths: BTreeMap<String, Mount<AuthKind>>,
    pub(super) policies: BTreeMap<String, PolicyEntry>,
    pub(super) tokens: Tokens,
    pub(super) wrapped: BTreeMap<String, wrapping::Wrapped>,
    /// Entity ids by auth mount and user.
    pub(super) entities: BTreeMap<(String, String), String>,
}

/// Vault's system default and maximum of all lifetimes: 768 h.
pub(super) const SYSTEM_TTL: u64 = 768 * 3600;

impl<Kind> Mount<Kind> {
    /// A fresh mount.
    pub(super) fn new(kind: Kind, name: &str) -> Self {
        Self {
            accessor: format!("{name}_{}", &random::letters::<8>().to_lowercase()),
            uuid: random::uuid(),
            description: String::new(),
            default_ttl: 0,
            max_ttl: 0,
            kind,
        }
    }

    /// The effective default lifetime in seconds.
    pub(super) fn default_ttl(&self) -> u64 {
        match self.default_ttl {
            0 => SYSTEM_TTL.min(self.max_ttl()),
            secs => secs,
        }
    }

    /// The effective longest lifetime in seconds.
    pub(super) fn max_ttl(&self) -> u64 {
        match self.max_ttl {
            0 => SYSTEM_TTL,
            secs => secs,
        }
    }
}

impl Store {
    /// An empty server with one root token.
    pub(super) fn new(root_token: &str, now: Timestamp) -> Self {
        let mut store = Self {
            sealed: false,
            unseal_key: random::letters::<32>(),
            cluster_id: random::uuid(),
            pkis: BTreeMap::new(),
            auths: BTreeMap::new(),
            policies: BTreeMap::new(),
            tokens: Tokens::with_root(root_token, now),
            wrapped: BTreeMap::new(),
            entities: BTreeMap::new(),
        };
        store.auths.insert(
            "token/".to_owned(),
            Mount::new(AuthKind::Token, "auth_token"),
        );
        for (name, text) in [("default", acl::DEFAULT_POLICY), ("root", "")] {
            if let Ok(policy) = Policy::parse(text) {
                let entry = PolicyEntry {
                    policy,
                    modified: now,
                    version: 1,
                };
                store.policies.insert(name.to_owned(), entry);
            }
        }
        store
    }

    /// Answers one request.
    pub(super) fn answer(&mut self, call: &Call) -> Outcome {
        if let Some(outcome) = sys::always(self, call) {
            return outcome;
        }
        if self.sealed {
            return Err(Refused::new(503, "Vault is sealed"));
        }
        self.expire(call.now);
        let answer = self.route(call)?;
        Ok(match call.wrap {
            Some(secs) => wrapping::wrap(self, call, secs, answer),
            None => answer,
        })
    }

    fn route(&mut self, call: &Call) -> Outcome {
        if let Some(outcome) = wrapping::public(self, call) {
            return outcome;
        }
        if self.is_public(call) {
            return self.dispatch(call, None);
        }
        if let Some(wrapping) = &call.token
            && self.wrapped.remove(wrapping).is_some()
        {
            // A wrapping token has one use; any other request burns it.
            return Err(Refused::no_permission());
        }
        let token = self.tokens.use_once(call.token.as_deref())?;
        if !self.allows(&token.policies, &call.path, call.op) {
            return Err(Refused::no_permission());
        }
        self.dispatch(call, Some(&token))
    }

    /// Whether these policies allow the operation.
    fn allows(&self, policies: &[String], path: &str, op: Op) -> bool {
        let caps = self.capabilities(policies, path);
        caps.iter()
            .any(|cap| cap == "root" || cap == op.capability() || (cap == "sudo" && op == Op::Read))
    }

    /// The capabilities of these policies on a path.
    pub(super) fn capabilities(&self, policies: &[String], path: &str) -> Vec<String> {
        if policies.iter().any(|name| name == "root") {
            return vec!["root".to_owned()];
        }
        let known = policies.iter().filter_map(|name| self.policies.get(name));
        acl::capabilities_on(known.map(|entry| &entry.policy), path)
    }

    fn is_public(&self, call: &Call) -> bool {
        if let Some((mount, rest)) = split_mount(&self.pkis, &call.path) {
            return !mount.is_empty() && pki::is_public(call.op, rest);
        }
        let auth = call.path.strip_prefix("auth/").unwrap_or_default();
        split_mount(&self.auths, auth).is_some_and(|(_, rest)| rest == "login")
    }

    fn dispatch(&mut self, call: &Call, token: Option<&token::Token>) -> Outcome {
        if call.path.starts_with("sys/") {
            return sys::answer(self, call, token);
        }
        if let Some(auth_path) = call.path.strip_prefix("auth/") {
            if let Some((mount, rest)) = split_mount(&self.auths, auth_path) {
                let (mount, rest) = (mount.to_owned(), rest.to_owned());
                return auth::answer(self, call, &mount, &rest, token);
            }
        } else if let Some((mount, rest)) = split_mount(&self.pkis, &call.path) {
            let (mount, rest) = (mount.to_owned(), rest.to_owned());
            return pki::answer(self, call, &mount, &rest, token);
        }
        Err(Refused::new(
            404,
            format!(
                "no handler for route \"{}\". route entry not found.",
                call.path
            ),
        ))
    }

    /// Drops what has run out; a certificate with a lease is revoked with its token.
    fn expire(&mut self, now: Timestamp) {
        self.wrapped.retain(|_, wrapped| wrapped.expires > now);
        for gone in self.tokens.expired(now) {
            self.revoke_token(&gone, now);
        }
    }

    /// Removes a token, its children, and what was leased through them.
    pub(super) fn revoke_token(&mut self, id: &str, now: Timestamp) {
        for token in self.tokens.remove(id) {
            for (mount, serial) in &token.leases {
                if let Some(mount) = self.pkis.get_mut(mount) {
                    mount.kind.revoke_serial(serial, now);
                }
            }
        }
    }

    /// The entity behind a login, made at the first one.
    pub(super) fn entity(&mut self, mount: &str, user: &str) -> String {
        let key = (mount.to_owned(), user.to_owned());
        let made = self.entities.entry(key).or_insert_with(random::uuid);
        made.clone()
    }

    /// Makes a token for a login or for `auth/token/create` and the `auth` part of the answer.
    pub(super) fn grant(&mut self, grant: token::Grant, now: Timestamp) -> (Value, Vec<String>) {
        let mut warnings = Vec::new();
        for name in &grant.policies {
            if name != "root" && !self.policies.contains_key(name) {
                warnings.push(format!("Policy \"{name}\" does not exist"));
            }
        }
        let token = self.tokens.grant(grant, now, &mut warnings);
        (token.auth(now), warnings)
    }
}

/// The mount a path lies in (longest wins) and the rest of the path.
pub(super) fn split_mount<'a, Kind>(
    mounts: &'a BTreeMap<String, Mount<Kind>>,
    path: &'a str,
) -> Option<(&'a str, &'a str)> {
    mounts
        .keys()
        .filter_map(|mount| Some((mount.as_str(), path.strip_prefix(mount.as_str())?)))
        .max_by_key(|(mount, _)| mount.len())
}

/// A list answer; 404 when there is nothing to list, as Vault does.
pub(super) fn keys(keys: Vec<String>) -> Outcome {
    if keys.is_empty() {
        return Err(Refused::absent());
    }
    Ok(Answer::Envelope(Envelope {
        data: Some(json!({ "keys": keys })),
        ..Envelope::default()
    }))
}
