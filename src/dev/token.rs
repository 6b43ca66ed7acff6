//! Tokens: made, used, renewed, expired, revoked; the answers of `auth/token`.
//!
//! Never checks policies. What stays true: a token that is not in the table, or has run out, is no
//! token, whatever its text says.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Map, Value, json};

use crate::model::time::Timestamp;

use super::{
    answer::{Answer, Outcome, Refused},
    call::{Call, Op},
    duration,
    fields::{Kind, Schema},
    random,
    store::{SYSTEM_TTL, Store},
};

/// One token. Not `Debug`: the id is a secret.
#[derive(Clone)]
pub(super) struct Token {
    id: String,
    accessor: String,
    pub(super) policies: Vec<String>,
    meta: Value,
    display_name: String,
    path: String,
    created: Timestamp,
    renewed: Option<Timestamp>,
    /// When it runs out; never, for root tokens.
    expires: Option<Timestamp>,
    ttl: u64,
    max_ttl: u64,
    explicit_max_ttl: u64,
    period: u64,
    renewable: bool,
    pub(super) batch: bool,
    orphan: bool,
    entity_id: String,
    parent: Option<String>,
    num_uses: u64,
    uses_left: u64,
    /// Mount and serial of certificates that live only as long as this token.
    pub(super) leases: Vec<(String, String)>,
}

/// What a new token shall be.
#[derive(Clone, Default)]
pub(super) struct Grant {
    pub(super) id: Option<String>,
    pub(super) policies: Vec<String>,
    pub(super) meta: Option<Map<String, Value>>,
    pub(super) display_name: String,
    pub(super) path: String,
    /// Seconds; 0 asks for the system default.
    pub(super) ttl: u64,
    pub(super) max_ttl: u64,
    pub(super) explicit_max_ttl: u64,
    pub(super) period: u64,
    pub(super) renewable: bool,
    pub(super) batch: bool,
    pub(super) orphan: bool,
    pub(super) entity_id: String,
    pub(super) parent: Option<String>,
    pub(super) num_uses: u64,
    /// No end, as the first root token has none.
    pub(super) forever: bool,
}

impl Token {
    /// The `auth` part of an answer.
    pub(super) fn auth(&self, now: Timestamp) -> Value {
        let left = self.expires.map_or(0, |at| ceil_secs(at.since(now)));
        let mut auth = json!({
            "client_token": self.id,
            "accessor": self.accessor,
            "policies": self.policies,
            "metadata": self.meta,
            "lease_duration": left,
            "renewable": self.renewable,
            "entity_id": self.entity_id,
            "token_type": self.kind(),
            "orphan": self.orphan,
            "mfa_requirement": null,
            "num_uses": self.num_uses,
        });
        if !self.policies.is_empty() {
            auth["token_policies"] = json!(self.policies);
        }
        auth
    }

    /// Whether this was the last of its counted uses.
    pub(super) fn used_up(&self) -> bool {
        self.num_uses > 0 && self.uses_left == 0
    }

    fn kind(&self) -> &'static str {
        if self.batch { "batch" } else { "service" }
    }

    /// The `data` of a lookup.
    fn lookup(&self, now: Timestamp) -> Value {
        let mut data = json!({
            "accessor": self.accessor,
            "creation_time": self.created.unix_secs(),
            "creation_ttl": self.ttl,
            "display_name": self.display_name,
            "entity_id": self.entity_id,
            "expire_time": self.expires.map(rfc3339),
            "explicit_max_ttl": self.explicit_max_ttl,
            "id": self.id,
            "issue_time": rfc3339(self.created),
            "meta": self.meta,
            "num_uses": self.uses_left,
            "orphan": self.orphan,
            "path": self.path,
            "policies": self.policies,
            "renewable": self.renewable,
            "ttl": self.expires.map_or(0, |at| ceil_secs(at.since(now))),
            "type": self.kind(),
        });
        if self.period > 0 {
            data["period"] = json!(self.period);
        }
        if let Some(at) = self.renewed {
            data["last_renewal"] = json!(rfc3339(at));
            data["last_renewal_time"] = json!(at.unix_secs());
        }
        data
    }

    /// The latest end that renewals can reach.
    fn limit(&self) -> Timestamp {
        let secs = match (self.period > 0, self.explicit_max_ttl, self.max_ttl) {
            (_, explicit, _) if explicit > 0 => explicit,
            (true, ..) => return Timestamp::MAX,
            (_, _, max) if max > 0 => max,
            _ => SYSTEM_TTL,
        };
        self.created.plus(Duration::from_secs(secs))
    }
}

/// RFC 3339 with milliseconds.
pub(super) fn rfc3339(at: Timestamp) -> String {
    let whole = at.to_string();
    let millis = at.unix_millis().rem_euclid(1000);
    format!("{}.{millis:03}Z", whole.trim_end_matches('Z'))
}

fn ceil_secs(left: Duration) -> u64 {
    left.as_secs() + u64::from(left.subsec_millis() >= 500)
}

/// All live tokens by id.
pub(super) struct Tokens {
    by_id: BTreeMap<String, Token>,
}

impl Tokens {
    /// A table with one root token.
    pub(super) fn with_root(id: &str, now: Timestamp) -> Self {
        let mut tokens = Self {
            by_id: BTreeMap::new(),
        };
        let root = Grant {
            id: Some(id.to_owned()),
            policies: vec!["root".to_owned()],
            display_name: "token".to_owned(),
            path: "auth/token/create".to_owned(),
            orphan: true,
            forever: true,
            ..Grant::default()
        };
        tokens.grant(root, now, &mut Vec::new());
        tokens
    }

    /// Makes a token.
    pub(super) fn grant(
        &mut self,
        grant: Grant,
        now: Timestamp,
        warnings: &mut Vec<String>,
    ) -> Token {
        let ttl = match grant.forever {
            true => 0,
            false => capped(&grant, warnings),
        };
        let token = Token {
            id: grant.id.unwrap_or_else(|| new_id(grant.batch)),
            accessor: match grant.batch {
                true => String::new(),
                false => random::letters::<24>(),
            },
            policies: grant.policies,
            meta: grant.meta.map_or(Value::Null, Value::Object),
            display_name: grant.display_name,
            path: grant.path,
            created: now,
            renewed: None,
            expires: (!grant.forever).then(|| now.plus(Duration::from_secs(ttl))),
            ttl,
            max_ttl: grant.max_ttl,
            explicit_max_ttl: grant.explicit_max_ttl,
            period: grant.period,
            renewable: grant.renewable && !grant.batch && !grant.forever,
            batch: grant.batch,
            orphan: grant.orphan,
            entity_id: grant.entity_id,
            parent: grant.parent,
            num_uses: grant.num_uses,
            uses_left: grant.num_uses,
            leases: Vec::new(),
        };
        self.by_id.insert(token.id.clone(), token.clone());
        token
    }

    /// The token behind a request; counts the use when uses are counted.
    pub(super) fn use_once(&mut self, id: Option<&str>) -> Result<Token, Refused> {
        let id = id.unwrap_or_default();
        let token = self.by_id.get_mut(id).ok_or_else(Refused::no_token)?;
        token.uses_left = token.uses_left.saturating_sub(1);
        let found = token.clone();
        if found.used_up() {
            self.by_id.remove(id);
        }
        Ok(found)
    }

    /// Ids of the tokens that have run out.
    pub(super) fn expired(&self, now: Timestamp) -> Vec<String> {
        let gone = self.by_id.values();
        gone.filter(|token| token.expires.is_some_and(|at| at <= now))
            .map(|token| token.id.clone())
            .collect()
    }

    /// Removes a token and its children; returns them.
    pub(super) fn remove(&mut self, id: &str) -> Vec<Token> {
        let mut removed: Vec<Token> = self.by_id.remove(id).into_iter().collect();
        let mut next = 0;
        while next < removed.len() {
            let parent = removed[next].id.clone();
            let children: Vec<String> = self
                .by_id
                .values()
                .filter(|token| token.parent.as_deref() == Some(parent.as_str()))
                .map(|token| token.id.clone())
                .collect();
            removed.extend(children.iter().filter_map(|id| self.by_id.remove(id)));
            next += 1;
        }
        removed
    }

    /// Ties a certificate to a token.
    pub(super) fn lease(&mut self, token: &Token, mount: &str, serial: &str) {
        if let Some(token) = self.by_id.get_mut(&token.id) {
            token.leases.push((mount.to_owned(), serial.to_owned()));
        }
    }
}

fn new_id(batch: bool) -> String {
    match batch {
        true => format!("b.{}", random::letters::<138>()),
        false => format!("s.{}", random::letters::<24>()),
    }
}

/// The first lifetime in seconds, capped as Vault's `CalculateTTL` does.
fn capped(grant: &Grant, warnings: &mut Vec<String>) -> u64 {
    if grant.period > 0 {
        return match grant.explicit_max_ttl {
            0 => grant.period,
            explicit => grant.period.min(explicit),
        };
    }
    let asked = if grant.ttl > 0 { grant.ttl } else { SYSTEM_TTL };
    let limits = [grant.max_ttl, grant.explicit_max_ttl, SYSTEM_TTL];
    let limit = limits.into_iter().filter(|secs| *secs > 0).min();
    let limit = limit.unwrap_or(SYSTEM_TTL);
    if asked > limit && grant.ttl > 0 {
        warnings.push(too_long(asked, limit));
    }
    asked.min(limit)
}

fn too_long(asked: u64, limit: u64) -> String {
    format!(
        "TTL of \"{}\" exceeded the effective max_ttl of \"{}\"; TTL value is capped accordingly",
        duration::short_text(asked),
        duration::short_text(limit)
    )
}

/// The answers of `auth/token/...`.
pub(super) fn answer(store: &mut Store, call: &Call, rest: &str, token: &Token) -> Outcome {
    match (rest, call.op) {
        ("lookup-self", Op::Read | Op::Update) => Ok(Answer::data(token.lookup(call.now))),
        ("renew-self", Op::Update) => renew_self(store, call, token),
        ("revoke-self", Op::Update) if token.batch => {
            Err(Refused::bad("batch tokens cannot be revoked"))
        }
        ("revoke-self", Op::Update) => {
            store.revoke_token(&token.id, call.now);
            Ok(Answer::Nothing)
        }
        ("create" | "create-orphan", Op::Update) => create(store, call, token, rest),
        ("lookup-self" | "renew-self" | "revoke-self" | "create" | "create-orphan", _) => {
            Err(Refused::no_operation())
        }
        _ => Err(Refused::no_path()),
    }
}

const RENEW: Schema = &[("increment", Kind::Seconds), ("token", Kind::Text)];

fn renew_self(store: &mut Store, call: &Call, token: &Token) -> Outcome {
    let increment = call.fields(RENEW)?.number("increment");
    if token.batch {
        return Err(Refused::bad("batch tokens cannot be renewed"));
    }
    if !token.renewable {
        return Err(Refused::bad("lease is not renewable"));
    }
    let asked = match (token.period, increment) {
        (0, 0) => token.ttl,
        (0, increment) => increment,
        (period, _) => period,
    };
    let left = token.limit().since(call.now);
    let mut warnings = Vec::new();
    let ttl = Duration::from_secs(asked).min(left);
    if Duration::from_secs(asked) > left {
        warnings.push(too_long(asked, ceil_secs(left)));
    }
    let Some(live) = store.tokens.by_id.get_mut(&token.id) else {
        return Err(Refused::no_token());
    };
    live.expires = Some(call.now.plus(ttl));
    live.renewed = Some(call.now);
    Ok(Answer::auth(live.auth(call.now), warnings))
}

const CREATE: Schema = &[
    ("id", Kind::Text),
    ("policies", Kind::List),
    ("no_default_policy", Kind::Bool),
    ("no_parent", Kind::Bool),
    ("renewable", Kind::Bool),
    ("ttl", Kind::Seconds),
    ("explicit_max_ttl", Kind::Seconds),
    ("period", Kind::Seconds),
    ("num_uses", Kind::Int),
    ("display_name", Kind::Text),
    ("meta", Kind::Object),
    ("type", Kind::Text),
];

fn create(store: &mut Store, call: &Call, parent: &Token, rest: &str) -> Outcome {
    let fields = call.fields(CREATE)?;
    let mut policies = fields.list("policies");
    if fields.value("policies").is_none() {
        policies.clone_from(&parent.policies);
    }
    let policies = with_default(policies, fields.flag("no_default_policy"));
    let orphan = rest == "create-orphan" || fields.flag("no_parent");
    let root = policies.iter().any(|name| name == "root");
    let display = match fields.text("display_name") {
        "" => "token".to_owned(),
        name => format!("token-{name}"),
    };
    let grant = Grant {
        id: fields.value("id").map(|_| fields.text("id").to_owned()),
        meta: match fields.value("meta") {
            Some(Value::Object(meta)) => Some(meta.clone()),
            _ => None,
        },
        display_name: display,
        path: format!("auth/token/{rest}"),
        ttl: fields.number("ttl"),
        explicit_max_ttl: fields.number("explicit_max_ttl"),
        period: fields.number("period"),
        renewable: fields.value("renewable").is_none() || fields.flag("renewable"),
        batch: fields.text("type") == "batch",
        orphan,
        parent: (!orphan).then(|| parent.id.clone()),
        num_uses: fields.number("num_uses"),
        forever: root && fields.number("ttl") == 0 && fields.number("period") == 0,
        policies,
        ..Grant::default()
    };
    let (auth, warnings) = store.grant(grant, call.now);
    Ok(Answer::auth(auth, warnings))
}

/// Sorted, without repeats, with `default` unless it is not wanted.
pub(super) fn with_default(mut policies: Vec<String>, without: bool) -> Vec<String> {
    let root = policies.iter().any(|name| name == "root");
    match without {
        true => policies.retain(|name| name != "default"),
        false if root => {}
        false => policies.push("default".to_owned()),
    }
    policies.sort();
    policies.dedup();
    policies
}
