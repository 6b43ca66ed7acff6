//! `sys/mounts` and `sys/auth`: enable, read, tune, disable.
//!
//! Never mounts what the embedded PKI does not have: `pki`, `jwt` and `approle` are all.

use serde_json::{Value, json};

use super::{
    super::{
        answer::{Answer, Outcome, Refused},
        approle::AppRole,
        call::{Call, Op},
        fields::{Kind, Schema},
        jwt::Jwt,
        pki::Pki,
        store::{AuthKind, Mount, Store},
    },
    nested_seconds,
};

const MOUNT: Schema = &[
    ("type", Kind::Text),
    ("description", Kind::Text),
    ("config", Kind::Object),
    ("local", Kind::Bool),
    ("seal_wrap", Kind::Bool),
    ("options", Kind::Object),
    ("plugin_version", Kind::Text),
];

const TUNE: Schema = &[
    ("default_lease_ttl", Kind::Seconds),
    ("max_lease_ttl", Kind::Seconds),
    ("description", Kind::Text),
    ("passthrough_request_headers", Kind::List),
    ("allowed_response_headers", Kind::List),
];

/// Answers `mounts...` and `auth...` below `sys/`.
pub(super) fn answer(store: &mut Store, call: &Call, path: &str) -> Outcome {
    match path.split_once('/') {
        None if path == "mounts" && call.op == Op::Read => Ok(listed(&store.pkis, false)),
        None if path == "auth" && call.op == Op::Read => Ok(listed(&store.auths, true)),
        Some(("mounts", name)) => one(&mut store.pkis, call, name, false, |kind| {
            (kind == "pki").then(Pki::default)
        }),
        Some(("auth", name)) => one(&mut store.auths, call, name, true, |kind| match kind {
            "jwt" => Some(AuthKind::Jwt(Jwt::default())),
            "approle" => Some(AuthKind::AppRole(AppRole::default())),
            _ => None,
        }),
        _ => Err(Refused::no_path()),
    }
}

type Mounts<K> = std::collections::BTreeMap<String, Mount<K>>;

/// What a mount calls its type.
trait Named {
    fn name(&self) -> &'static str;
}

impl Named for Pki {
    fn name(&self) -> &'static str {
        "pki"
    }
}

impl Named for AuthKind {
    fn name(&self) -> &'static str {
        match self {
            Self::Jwt(_) => "jwt",
            Self::AppRole(_) => "approle",
            Self::Token => "token",
        }
    }
}

fn listed<K: Named>(mounts: &Mounts<K>, auth: bool) -> Answer {
    let entries = mounts
        .iter()
        .map(|(path, mount)| (path.clone(), described(mount, auth)));
    Answer::flat(Value::Object(entries.collect()))
}

fn described<K: Named>(mount: &Mount<K>, auth: bool) -> Value {
    let mut config = json!({
        "default_lease_ttl": mount.default_ttl,
        "force_no_cache": false,
        "max_lease_ttl": mount.max_ttl,
    });
    if auth {
        config["token_type"] = json!("default-service");
    }
    let mut entry = json!({
        "accessor": mount.accessor,
        "config": config,
        "description": mount.description,
        "external_entropy_access": false,
        "local": false,
        "options": {},
        "plugin_version": "",
        "running_plugin_version": "v2.7.2+builtin.bao",
        "running_sha256": "",
        "seal_wrap": false,
        "type": mount.kind.name(),
        "uuid": mount.uuid,
    });
    match mount.kind.name() {
        "token" => entry["options"] = Value::Null,
        _ => entry["deprecation_status"] = json!("supported"),
    }
    entry
}

fn one<K: Named>(
    mounts: &mut Mounts<K>,
    call: &Call,
    name: &str,
    auth: bool,
    make: impl Fn(&str) -> Option<K>,
) -> Outcome {
    let name = name.trim_end_matches('/');
    if let Some(name) = name.strip_suffix("/tune") {
        return tune(mounts, call, &format!("{name}/"), auth);
    }
    let path = format!("{name}/");
    match call.op {
        Op::Read => match mounts.get(&path) {
            Some(mount) => Ok(Answer::flat(described(mount, auth))),
            None => Err(Refused::bad(match auth {
                true => format!("no auth engine at {path}"),
                false => format!("No secret engine mount at {path}"),
            })),
        },
        Op::Delete => {
            mounts.remove(&path);
            Ok(Answer::Nothing)
        }
        Op::List => Err(Refused::no_path()),
        Op::Update => {
            let fields = call.fields(MOUNT)?;
            let kind = fields.text("type");
            if kind.is_empty() {
                return Err(Refused::bad("backend type must be specified as a string"));
            }
            let made = make(kind)
                .ok_or_else(|| Refused::bad(format!("plugin not found in the catalog: {kind}")))?;
            if mounts.contains_key(&path) {
                return Err(Refused::bad(format!("path is already in use at {path}")));
            }
            let label = match auth {
                true => format!("auth_{kind}"),
                false => kind.to_owned(),
            };
            let mut mount = Mount::new(made, &label);
            fields
                .text("description")
                .clone_into(&mut mount.description);
            let config = fields.value("config");
            mount.default_ttl = nested_seconds(config, "default_lease_ttl")?;
            mount.max_ttl = nested_seconds(config, "max_lease_ttl")?;
            mounts.insert(path, mount);
            Ok(Answer::Nothing)
        }
    }
}

fn tune<K>(mounts: &mut Mounts<K>, call: &Call, path: &str, auth: bool) -> Outcome {
    let Some(mount) = mounts.get_mut(path) else {
        return Err(Refused::bad(format!("no mount entry found at {path}")));
    };
    match call.op {
        Op::Read => {
            let mut data = json!({
                "default_lease_ttl": mount.default_ttl(),
                "description": mount.description,
                "force_no_cache": false,
                "max_lease_ttl": mount.max_ttl(),
            });
            if auth {
                data["token_type"] = json!("default-service");
            }
            Ok(Answer::flat(data))
        }
        Op::Update => {
            let fields = call.fields(TUNE)?;
            if fields.value("default_lease_ttl").is_some() {
                mount.default_ttl = fields.number("default_lease_ttl");
            }
            if fields.value("max_lease_ttl").is_some() {
                mount.max_ttl = fields.number("max_lease_ttl");
            }
            if fields.value("description").is_some() {
                fields
                    .text("description")
                    .clone_into(&mut mount.description);
            }
            Ok(Answer::Nothing)
        }
        _ => Err(Refused::no_operation()),
    }
}
