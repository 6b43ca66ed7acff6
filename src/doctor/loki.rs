//! Loki's configuration: which connections are without TLS, and which keep an old certificate.
//!
//! Judges the blocks that Loki 2.7 to 3.7 has for gRPC between its components (research: loki.md 2);
//! it does not validate the rest. Never starts Loki. What stays true: a value that is a variable
//! (`${...}`) is not judged.

mod yaml;

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Facts, Found, Outcome};
use crate::disk;

/// Bytes; larger ones are no configuration.
const LARGEST: u64 = 1 << 20;

/// Loki's configuration file.
#[derive(Debug)]
pub(super) struct LokiFacts {
    path: PathBuf,
    config: Result<Value, String>,
}

impl LokiFacts {
    pub(super) fn read(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            config: read(path),
        }
    }
}

fn read(path: &Path) -> Result<Value, String> {
    let found = disk::read(path, LARGEST).map_err(|refusal| refusal.to_string())?;
    yaml::parse(found.text().ok_or("it is no UTF-8 text")?)
}

/// A block of a gRPC client, and when Loki uses it.
struct Client {
    /// JSON pointer; the first one that is there counts.
    at: &'static [&'static str],
    who: &'static str,
    used: fn(&Value) -> bool,
}

const CLIENTS: &[Client] = &[
    Client {
        at: &["/ingester_client/grpc_client_config"],
        who: "distributor, querier and ruler to ingester",
        used: |_| true,
    },
    Client {
        at: &["/frontend/grpc_client_config"],
        who: "query-frontend to scheduler",
        used: |_| true,
    },
    Client {
        at: &[
            "/frontend_worker/query_scheduler_grpc_client",
            "/frontend_worker/grpc_client_config",
        ],
        who: "querier to scheduler",
        used: |_| true,
    },
    Client {
        at: &[
            "/frontend_worker/query_frontend_grpc_client",
            "/frontend_worker/grpc_client_config",
        ],
        who: "querier to query-frontend",
        used: |_| true,
    },
    Client {
        at: &["/query_scheduler/grpc_client_config"],
        who: "scheduler to query-frontend",
        used: |_| true,
    },
    Client {
        at: &["/storage_config/tsdb_shipper/index_gateway_client/grpc_client_config"],
        who: "querier and ruler to index-gateway",
        used: |all| has(all, "/storage_config/tsdb_shipper/index_gateway_client"),
    },
    Client {
        at: &["/storage_config/boltdb_shipper/index_gateway_client/grpc_client_config"],
        who: "querier and ruler to index-gateway",
        used: |all| has(all, "/storage_config/boltdb_shipper/index_gateway_client"),
    },
    Client {
        at: &["/compactor_grpc_client"],
        who: "querier, query-frontend and ruler to compactor",
        used: |all| has(all, "/common/compactor_grpc_address"),
    },
    Client {
        at: &["/ruler/ruler_client"],
        who: "ruler to ruler",
        used: |all| is_true(all, "/ruler/enable_sharding"),
    },
    Client {
        at: &["/ruler/evaluation/query_frontend"],
        who: "ruler to query-frontend",
        used: |all| text(all, "/ruler/evaluation/mode") == Some("remote"),
    },
];

fn has(all: &Value, pointer: &str) -> bool {
    all.pointer(pointer).is_some_and(|value| !value.is_null())
}

fn text<'a>(all: &'a Value, pointer: &str) -> Option<&'a str> {
    all.pointer(pointer).and_then(Value::as_str)
}

/// True, or a variable that may be.
fn is_true(all: &Value, pointer: &str) -> bool {
    all.pointer(pointer).is_some_and(truth)
}

fn truth(value: &Value) -> bool {
    match value {
        Value::Bool(truth) => *truth,
        Value::String(text) => text == "true" || text.contains("${"),
        _ => false,
    }
}

/// `a.b.c`, as people write it.
fn dotted(pointer: &str) -> String {
    pointer.trim_start_matches('/').replace('/', ".")
}

fn config(facts: &Facts) -> Result<&Value, Outcome> {
    let none = || Outcome::skipped("no configuration of Loki was named (--loki-config)");
    let loki = facts.loki.as_ref().ok_or_else(none)?;
    let unread = |_: &String| Outcome::skipped("the file can't be understood");
    loki.config.as_ref().map_err(unread)
}

fn judged(facts: &Facts, judge: impl Fn(&Value) -> Vec<Found>) -> Outcome {
    match config(facts) {
        Ok(all) => Outcome::of(judge(all)),
        Err(skipped) => skipped,
    }
}

pub(super) fn file(facts: &Facts) -> Outcome {
    match &facts.loki {
        Some(LokiFacts {
            path,
            config: Err(why),
        }) => Outcome::wrong(path.display().to_string(), why.clone()),
        _ => judged(facts, |_| Vec::new()),
    }
}

pub(super) fn server_without_tls(facts: &Facts) -> Outcome {
    judged(facts, |all| {
        let lacking: Vec<_> = ["cert_file", "key_file", "client_ca_file"]
            .into_iter()
            .filter(|name| !has(all, &format!("/server/grpc_tls_config/{name}")))
            .collect();
        if lacking.is_empty() {
            return Vec::new();
        }
        let reason = format!("it lacks {}", lacking.join(", "));
        vec![Found::new("server.grpc_tls_config", reason)]
    })
}

pub(super) fn server_open(facts: &Facts) -> Outcome {
    judged(facts, |all| {
        if !has(all, "/server/grpc_tls_config") {
            return Vec::new();
        }
        let pointer = "/server/grpc_tls_config/client_auth_type";
        let kind = text(all, pointer).unwrap_or("NoClientCert");
        if kind == "RequireAndVerifyClientCert" || kind.contains("${") {
            return Vec::new();
        }
        let reason = format!("it is {kind}: clients without a certificate of ours are let in");
        vec![Found::new(dotted(pointer), reason)]
    })
}

pub(super) fn client_without_tls(facts: &Facts) -> Outcome {
    judged(facts, without_tls)
}

fn without_tls(all: &Value) -> Vec<Found> {
    let used = CLIENTS.iter().filter(|client| (client.used)(all));
    let found = used.filter_map(|client| {
        let there = client.at.iter().find(|pointer| has(all, pointer));
        let Some(pointer) = there else {
            let reason = format!("the block is missing: {} goes in the clear", client.who);
            return Some(Found::new(dotted(client.at[0]), reason));
        };
        if is_true(all, &format!("{pointer}/tls_enabled")) {
            return None;
        }
        let paths = has(all, &format!("{pointer}/tls_cert_path"));
        let aside = if paths {
            "; its TLS paths are ignored in silence"
        } else {
            ""
        };
        let reason = format!(
            "tls_enabled is not true: {} goes in the clear{aside}",
            client.who
        );
        Some(Found::new(dotted(pointer), reason))
    });
    found.collect()
}

pub(super) fn skip_verify(facts: &Facts) -> Outcome {
    judged(facts, |all| {
        let mut found = Vec::new();
        walk(all, String::new(), &mut |path, name, value| {
            if name == "tls_insecure_skip_verify" && truth(value) {
                found.push(Found::new(path, "nobody is verified on this connection"));
            }
        });
        found
    })
}

fn walk(value: &Value, path: String, see: &mut impl FnMut(&str, &str, &Value)) {
    let Value::Object(fields) = value else { return };
    for (name, value) in fields {
        let path = match path.is_empty() {
            true => name.clone(),
            false => format!("{path}.{name}"),
        };
        see(&path, name, value);
        walk(value, path, see);
    }
}

pub(super) fn memberlist(facts: &Facts) -> Outcome {
    judged(facts, |all| {
        if !is_true(all, "/memberlist/tls_enabled") {
            return Vec::new();
        }
        let reason = "memberlist serves the certificate of its start for ever: the ring breaks when \
                      that one ends, although the files are new";
        vec![Found::new("memberlist.tls_enabled", reason)]
    })
}

pub(super) fn http(facts: &Facts) -> Outcome {
    judged(facts, |all| {
        if !has(all, "/server/http_tls_config/cert_file") {
            return Vec::new();
        }
        let reason = "clients that dial an IP address (no SNI) get the certificate of Loki's start \
                      for ever";
        vec![Found::new("server.http_tls_config", reason)]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks of the given names, all with TLS.
    fn good() -> Value {
        let text = "
            x: &tls {tls_enabled: true, tls_cert_path: /c/cert.pem}
            ingester_client: {grpc_client_config: *tls}
            frontend: {grpc_client_config: {<<: *tls, max_recv_msg_size: 1}}
            frontend_worker: {grpc_client_config: *tls}
            query_scheduler: {grpc_client_config: *tls}
            storage_config: {tsdb_shipper: {index_gateway_client: {grpc_client_config: *tls}}}
            common: {compactor_grpc_address: 'compactor:9095'}
            compactor_grpc_client: *tls
            ruler: {enable_sharding: true, ruler_client: *tls}
        ";
        yaml::parse(text).unwrap()
    }

    #[test]
    fn each_block_in_use_needs_tls_and_no_other_does() {
        assert_eq!(without_tls(&good()), []);
        for pointer in [
            "/ingester_client/grpc_client_config",
            "/frontend/grpc_client_config",
            "/query_scheduler/grpc_client_config",
            "/storage_config/tsdb_shipper/index_gateway_client/grpc_client_config",
            "/compactor_grpc_client",
            "/ruler/ruler_client",
        ] {
            let mut all = good();
            all.pointer_mut(pointer).unwrap()["tls_enabled"] = false.into();
            let found = without_tls(&all);
            assert_eq!(found.len(), 1, "{pointer}");
            assert!(found[0].reason.contains("ignored in silence"), "{pointer}");
            *all.pointer_mut(pointer).unwrap() = Value::Null;
            assert_eq!(without_tls(&all).len(), 1, "{pointer}");
        }
        let mut all = good();
        all["ruler"]["enable_sharding"] = false.into();
        all["ruler"]["ruler_client"] = Value::Null;
        assert_eq!(without_tls(&all), []);
        all["frontend_worker"]["grpc_client_config"] = Value::Null;
        assert_eq!(without_tls(&all).len(), 2);
    }

    #[test]
    fn a_variable_is_not_judged() {
        let mut all = good();
        all["frontend"]["grpc_client_config"]["tls_enabled"] = "${LOKI_TLS}".into();
        assert_eq!(without_tls(&all), []);
    }
}
