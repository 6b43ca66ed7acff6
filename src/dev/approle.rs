//! AppRole: roles, role ids, secret ids with uses and lifetime, login.
//!
//! Never wraps a secret id: `wrapping.rs` does that for any answer. User lockout is not imitated.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Map, Value, json};

use crate::model::time::Timestamp;

use super::{
    answer::{Answer, Outcome, Refused},
    auth::{Login, overlay},
    call::{Call, Op},
    fields::{Kind, Schema},
    random, store,
};

struct SecretId {
    secret_id: String,
    /// 0 means without limit.
    uses_left: u64,
    expires: Timestamp,
}

struct Role {
    role_id: String,
    settings: Map<String, Value>,
    secret_ids: Vec<SecretId>,
}

/// One AppRole mount.
#[derive(Default)]
pub(super) struct AppRole {
    roles: BTreeMap<String, Role>,
}

const ROLE: Schema = &[
    ("bind_secret_id", Kind::Bool),
    ("local_secret_ids", Kind::Bool),
    ("secret_id_bound_cidrs", Kind::List),
    ("secret_id_num_uses", Kind::Int),
    ("secret_id_ttl", Kind::Seconds),
    ("role_id", Kind::Text),
    ("token_policies", Kind::List),
    ("token_ttl", Kind::Seconds),
    ("token_max_ttl", Kind::Seconds),
    ("token_explicit_max_ttl", Kind::Seconds),
    ("token_period", Kind::Seconds),
    ("token_num_uses", Kind::Int),
    ("token_no_default_policy", Kind::Bool),
    ("token_type", Kind::Text),
    ("token_bound_cidrs", Kind::List),
];

const LOGIN: Schema = &[("role_id", Kind::Text), ("secret_id", Kind::Text)];

const SECRET_ID: Schema = &[
    ("metadata", Kind::Text),
    ("cidr_list", Kind::List),
    ("num_uses", Kind::Int),
    ("ttl", Kind::Seconds),
];

fn defaults() -> Map<String, Value> {
    let defaults = json!({
        "bind_secret_id": true,
        "local_secret_ids": false,
        "secret_id_bound_cidrs": null,
        "secret_id_num_uses": 0,
        "secret_id_ttl": 0,
        "token_bound_cidrs": [],
        "token_explicit_max_ttl": 0,
        "token_max_ttl": 0,
        "token_no_default_policy": false,
        "token_num_uses": 0,
        "token_period": 0,
        "token_policies": [],
        "token_strictly_bind_ip": false,
        "token_ttl": 0,
        "token_type": "default",
    });
    match defaults {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

impl AppRole {
    /// Answers below the mount, login excepted.
    pub(super) fn answer(&mut self, call: &Call, rest: &str) -> Outcome {
        if rest == "role/" && call.op == Op::List {
            return store::keys(self.roles.keys().cloned().collect());
        }
        let Some(path) = rest.strip_prefix("role/") else {
            return Err(Refused::no_path());
        };
        match path.split_once('/') {
            None => self.role(call, path),
            Some((name, "role-id")) => self.role_id(call, name),
            Some((name, "secret-id")) if call.op == Op::Update => self.new_secret_id(call, name),
            Some(_) => Err(Refused::no_path()),
        }
    }

    fn role(&mut self, call: &Call, name: &str) -> Outcome {
        match call.op {
            Op::Read => {
                let role = self.roles.get(name).ok_or_else(Refused::absent)?;
                Ok(Answer::data(Value::Object(role.settings.clone())))
            }
            Op::Delete => {
                self.roles.remove(name);
                Ok(Answer::Nothing)
            }
            Op::List => Err(Refused::no_path()),
            Op::Update => {
                let fields = call.fields(ROLE)?;
                let role = self.roles.entry(name.to_owned()).or_insert_with(|| Role {
                    role_id: random::uuid(),
                    settings: defaults(),
                    secret_ids: Vec::new(),
                });
                overlay(&mut role.settings, &fields);
                if let Some(Value::String(role_id)) = role.settings.remove("role_id") {
                    role.role_id = role_id;
                }
                Ok(Answer::Nothing)
            }
        }
    }

    fn role_id(&mut self, call: &Call, name: &str) -> Outcome {
        let role = self.roles.get_mut(name).ok_or_else(Refused::absent)?;
        match call.op {
            Op::Read => Ok(Answer::data(json!({ "role_id": role.role_id }))),
            Op::Update => {
                let fields = call.fields(&[("role_id", Kind::Text)])?;
                if fields.text("role_id").is_empty() {
                    return Err(Refused::bad("missing role_id"));
                }
                fields.text("role_id").clone_into(&mut role.role_id);
                Ok(Answer::Nothing)
            }
            _ => Err(Refused::no_operation()),
        }
    }

    fn new_secret_id(&mut self, call: &Call, name: &str) -> Outcome {
        let fields = call.fields(SECRET_ID)?;
        let Some(role) = self.roles.get_mut(name) else {
            return Err(Refused::new(404, format!("role \"{name}\" does not exist")));
        };
        let setting = |name| role.settings.get(name).and_then(Value::as_u64).unwrap_or(0);
        let or = |given, setting| if given == 0 { setting } else { given };
        let uses = or(fields.number("num_uses"), setting("secret_id_num_uses"));
        let ttl = or(fields.number("ttl"), setting("secret_id_ttl"));
        let secret_id = random::uuid();
        role.secret_ids.push(SecretId {
            secret_id: secret_id.clone(),
            uses_left: uses,
            expires: match ttl {
                0 => Timestamp::MAX,
                secs => call.now.plus(Duration::from_secs(secs)),
            },
        });
        Ok(Answer::data(json!({
            "secret_id": secret_id,
            "secret_id_accessor": random::uuid(),
            "secret_id_num_uses": uses,
            "secret_id_ttl": ttl,
        })))
    }

    /// Checks role id and secret id.
    pub(super) fn login(&mut self, call: &Call) -> Result<Login, Refused> {
        let fields = call.fields(LOGIN)?;
        let role_id = fields.text("role_id");
        if role_id.is_empty() {
            // OpenBao really answers 500 here: the alias lookahead fails before the login itself.
            return Err(Refused::new(500, "missing role_id"));
        }
        let invalid = || Refused::bad("invalid role or secret ID");
        let found = self.roles.iter_mut().find(|(_, r)| r.role_id == role_id);
        let (name, role) = found.ok_or_else(invalid)?;
        if role.settings.get("bind_secret_id") == Some(&Value::Bool(true)) {
            let secret_id = fields.text("secret_id");
            if secret_id.is_empty() {
                return Err(Refused::bad("missing secret_id"));
            }
            role.secret_ids.retain(|entry| entry.expires > call.now);
            let at = role
                .secret_ids
                .iter()
                .position(|entry| entry.secret_id == secret_id)
                .ok_or_else(invalid)?;
            match role.secret_ids[at].uses_left {
                0 => {}
                1 => {
                    role.secret_ids.remove(at);
                }
                _ => role.secret_ids[at].uses_left -= 1,
            }
        }
        let mut meta = Map::new();
        meta.insert("role_name".to_owned(), json!(name));
        Ok(Login {
            user: role_id.to_owned(),
            display_name: "approle".to_owned(),
            meta,
            role: role.settings.clone(),
        })
    }
}
