//! `sys/`: health and seal, mounts, auth mounts, policies, capabilities.
//!
//! Never more than the agent, its set-up scripts and its tests use.

use serde_json::{Value, json};

use super::{
    acl::Policy,
    answer::{Answer, Outcome, Refused},
    call::{Call, Op},
    fields::{self, Kind, Schema},
    store::{self, PolicyEntry, Store},
    token::{Token, rfc3339},
};

mod mounts;

/// The version that `sys/health` names: the OpenBao whose behaviour is imitated.
const VERSION: &str = "2.7.2";

/// What is answered whether sealed or not, without a token.
pub(super) fn always(store: &mut Store, call: &Call) -> Option<Outcome> {
    let outcome = match (call.path.as_str(), call.op) {
        ("sys/health", _) => health(store, call),
        ("sys/seal-status", Op::Read) => Ok(Answer::Plain(200, seal_status(store))),
        ("sys/init", Op::Read) => Ok(Answer::Plain(200, json!({ "initialized": true }))),
        ("sys/leader", Op::Read) => Ok(Answer::Plain(200, json!({ "ha_enabled": false }))),
        ("sys/unseal", Op::Update) => unseal(store, call),
        _ => return None,
    };
    Some(outcome)
}

fn health(store: &Store, call: &Call) -> Outcome {
    let (name, default) = match store.sealed {
        true => ("sealedcode", 503),
        false => ("activecode", 200),
    };
    let status = match call.query(name) {
        None => default,
        Some(text) => text.parse().map_err(|_| Refused {
            status: 400,
            errors: Vec::new(),
        })?,
    };
    let mut body = json!({
        "initialized": true,
        "sealed": store.sealed,
        "standby": store.sealed,
        "replication_performance_mode": if store.sealed { "unknown" } else { "disabled" },
        "replication_dr_mode": if store.sealed { "unknown" } else { "disabled" },
        "server_time_utc": call.now.unix_secs(),
        "version": VERSION,
    });
    if !store.sealed {
        body["cluster_name"] = json!("certagent-dev");
        body["cluster_id"] = json!(store.cluster_id);
    }
    Ok(Answer::Plain(status, body))
}

fn seal_status(store: &Store) -> Value {
    let mut body = json!({
        "type": "shamir", "initialized": true, "sealed": store.sealed, "t": 1, "n": 1,
        "progress": 0, "nonce": "", "recovery_seal": false, "version": VERSION,
        "commit_date": "2026-10-26T20:32:27Z", "migration": false, "storage_type": "inmem",
    });
    if !store.sealed {
        body["cluster_name"] = json!("certagent-dev");
        body["cluster_id"] = json!(store.cluster_id);
    }
    body
}

fn unseal(store: &mut Store, call: &Call) -> Outcome {
    let fields = call.fields(&[("key", Kind::Text), ("reset", Kind::Bool)])?;
    match fields.text("key") {
        "" => Err(Refused::bad(
            "'key' must be specified in request body as JSON, or 'reset' set to true",
        )),
        key if key == store.unseal_key => {
            store.sealed = false;
            Ok(Answer::Plain(200, seal_status(store)))
        }
        _ => Err(Refused::bad("failed to decode unseal key")),
    }
}

/// Answers below `sys/` with a token.
pub(super) fn answer(store: &mut Store, call: &Call, token: Option<&Token>) -> Outcome {
    let token = token.ok_or_else(Refused::no_token)?;
    let path = call.after("sys/");
    match (path, call.op) {
        ("seal", Op::Update) => {
            store.sealed = true;
            Ok(Answer::Nothing)
        }
        ("capabilities-self", Op::Update) => capabilities(store, call, token),
        ("policies/acl/" | "policy/", Op::List) | ("policy", Op::Read) => {
            store::keys(store.policies.keys().cloned().collect())
        }
        _ => {
            for (prefix, key) in [("policies/acl/", "policy"), ("policy/", "rules")] {
                if let Some(name) = path.strip_prefix(prefix) {
                    return policy(store, call, name, key);
                }
            }
            mounts::answer(store, call, path)
        }
    }
}

const CAPABILITIES: Schema = &[("paths", Kind::List), ("path", Kind::List)];

fn capabilities(store: &Store, call: &Call, token: &Token) -> Outcome {
    let fields = call.fields(CAPABILITIES)?;
    let mut paths = fields.list("paths");
    paths.extend(fields.list("path"));
    if token.used_up() {
        // OpenBao looks the token up again, and finds it spent by this very request.
        return Err(Refused::framed(400, "invalid token"));
    }
    if paths.is_empty() {
        return Err(Refused::bad("paths must be supplied"));
    }
    let mut data = json!({});
    for path in &paths {
        data[path.as_str()] = json!(store.capabilities(&token.policies, path));
    }
    if let [path] = &paths[..] {
        data["capabilities"] = data[path.as_str()].clone();
    }
    Ok(Answer::flat(data))
}

const POLICY: Schema = &[("policy", Kind::Text), ("rules", Kind::Text)];

fn policy(store: &mut Store, call: &Call, name: &str, key: &str) -> Outcome {
    let name = name.to_lowercase();
    match call.op {
        Op::Read => {
            let entry = store.policies.get(&name).ok_or_else(Refused::absent)?;
            let mut data = json!({
                "allow_slashes_in_identity_templates": false,
                "allow_wildcards_in_identity_templates": false,
                "cas_required": false,
                "modified": rfc3339(entry.modified),
                "name": name,
                "version": entry.version,
            });
            data[key] = json!(entry.policy.text);
            Ok(match key {
                "rules" => Answer::flat(data),
                _ => Answer::data(data),
            })
        }
        Op::Update => {
            let fields = call.fields(POLICY)?;
            let text = match fields.text("policy") {
                "" => fields.text("rules"),
                text => text,
            };
            if text.is_empty() {
                return Err(Refused::bad("'policy' parameter not supplied or empty"));
            }
            let policy = Policy::parse(text)
                .map_err(|why| Refused::bad(format!("failed to parse policy: {why}")))?;
            let version = store.policies.get(&name).map_or(1, |old| old.version + 1);
            let entry = PolicyEntry {
                policy,
                modified: call.now,
                version,
            };
            store.policies.insert(name, entry);
            Ok(Answer::Nothing)
        }
        Op::Delete => {
            if matches!(name.as_str(), "default" | "root") {
                return Err(Refused::bad(format!("cannot delete \"{name}\" policy")));
            }
            store.policies.remove(&name);
            Ok(Answer::Nothing)
        }
        Op::List => Err(Refused::no_path()),
    }
}

/// Reads a field of a nested `config` object as seconds.
fn nested_seconds(config: Option<&Value>, name: &'static str) -> Result<u64, Refused> {
    let Some(Value::Object(config)) = config else {
        return Ok(0);
    };
    let value = config.get(name).cloned().unwrap_or(Value::Null);
    let mut input = serde_json::Map::new();
    input.insert("secs".to_owned(), value);
    let fields = fields::Fields::read(&input, &[("secs", Kind::Seconds)])?;
    Ok(fields.number("secs"))
}
