//! The auth mounts: sends a request to the right method and turns a login into a token.
//!
//! Never checks a credential itself.

use serde_json::{Map, Value};

use super::{
    answer::{Answer, Outcome, Refused},
    call::{Call, Op},
    fields::{self, Fields},
    store::{AuthKind, Store},
    token::{self, Grant, Token, with_default},
};

/// What a method found out about a caller.
pub(super) struct Login {
    /// The user within the mount: a claim, a role id.
    pub(super) user: String,
    pub(super) display_name: String,
    pub(super) meta: Map<String, Value>,
    /// The `token_*` settings of the role.
    pub(super) role: Map<String, Value>,
}

/// Copies the given fields over a role's defaults.
pub(super) fn overlay(role: &mut Map<String, Value>, fields: &Fields) {
    for (name, value) in fields.values() {
        role.insert(name.to_owned(), value.clone());
    }
}

/// Answers below `auth/<mount>/`.
pub(super) fn answer(
    store: &mut Store,
    call: &Call,
    mount: &str,
    rest: &str,
    token: Option<&Token>,
) -> Outcome {
    let Some(entry) = store.auths.get_mut(mount) else {
        return Err(Refused::no_path());
    };
    let login = match (&mut entry.kind, rest, call.op) {
        (AuthKind::Token, ..) => {
            let token = token.ok_or_else(Refused::no_token)?;
            return token::answer(store, call, rest, token);
        }
        (AuthKind::Jwt(jwt), "login", Op::Update) => jwt.login(call)?,
        (AuthKind::AppRole(approle), "login", _) => approle.login(call)?,
        (AuthKind::Jwt(jwt), ..) => return jwt.answer(call, rest),
        (AuthKind::AppRole(approle), ..) => return approle.answer(call, rest),
    };
    let accessor = entry.accessor.clone();
    let (default_ttl, max_ttl) = (entry.default_ttl(), entry.max_ttl());
    let entity_id = store.entity(&accessor, &login.user);
    let grant = grant(mount, login, entity_id, (default_ttl, max_ttl));
    let (auth, warnings) = store.grant(grant, call.now);
    Ok(Answer::auth(auth, warnings))
}

fn grant(mount: &str, login: Login, entity_id: String, (ttl, max_ttl): (u64, u64)) -> Grant {
    let number = |name| login.role.get(name).and_then(Value::as_u64).unwrap_or(0);
    let policies = fields::strings(login.role.get("token_policies"));
    let without = login.role.get("token_no_default_policy") == Some(&Value::Bool(true));
    let or = |secs, other| if secs == 0 { other } else { secs };
    Grant {
        policies: with_default(policies, without),
        meta: Some(login.meta),
        display_name: login.display_name,
        path: format!("auth/{mount}login"),
        ttl: or(number("token_ttl"), ttl),
        max_ttl: or(number("token_max_ttl"), max_ttl),
        explicit_max_ttl: number("token_explicit_max_ttl"),
        period: number("token_period"),
        renewable: true,
        batch: login.role.get("token_type").and_then(Value::as_str) == Some("batch"),
        orphan: true,
        entity_id,
        num_uses: number("token_num_uses"),
        ..Grant::default()
    }
}
