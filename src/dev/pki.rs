//! A `pki` mount: its state and the way of a request to the right handler.
//!
//! Never decides whether a caller may. No CRL, no OCSP, no ACME: the agent does not use them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::model::time::Timestamp;

use super::{
    answer::{Answer, Outcome, Refused},
    call::{Call, Op},
    fields::Kind,
    store::{self, Store},
    token::{Token, rfc3339},
};

mod authority;
mod certs;
mod issue;
mod issuers;
mod keys;
pub(super) mod names;
mod roles;

use issuers::Issuers;

/// A certificate that `cert/:serial` can show.
struct Stored {
    pem: String,
    issuer_id: String,
    revoked: Option<Timestamp>,
}

/// One `pki` mount.
#[derive(Default)]
pub(super) struct Pki {
    issuers: Issuers,
    roles: BTreeMap<String, roles::Role>,
    certs: BTreeMap<String, Stored>,
}

/// What of the mount's settings matters to its handlers.
#[derive(Clone)]
struct Limits {
    path: String,
    default_ttl: u64,
    max_ttl: u64,
}

/// Whether a path below the mount needs no token (OpenBao, pki `backend.go`, `Unauthenticated`).
pub(super) fn is_public(op: Op, rest: &str) -> bool {
    let read = matches!(op, Op::Read);
    let parts: Vec<&str> = rest.split('/').collect();
    match parts[..] {
        ["ca"] | ["ca", "pem"] | ["ca_chain"] => read,
        ["cert", name] => read && !name.is_empty(),
        ["issuers", ""] => op == Op::List,
        ["issuer", _, "json" | "pem" | "der"] => read,
        _ => false,
    }
}

/// Answers below a mount.
pub(super) fn answer(
    store: &mut Store,
    call: &Call,
    mount: &str,
    rest: &str,
    token: Option<&Token>,
) -> Outcome {
    let Some(entry) = store.pkis.get_mut(mount) else {
        return Err(Refused::no_path());
    };
    let limits = Limits {
        path: mount.to_owned(),
        default_ttl: entry.default_ttl(),
        max_ttl: entry.max_ttl(),
    };
    let pki = &mut entry.kind;
    let parts: Vec<&str> = rest.split('/').collect();
    let (order, role) = match parts[..] {
        [verb @ ("issue" | "sign"), role] if !role.is_empty() => ((verb, None), role),
        ["issuer", issuer, verb @ ("issue" | "sign"), role] => ((verb, Some(issuer)), role),
        _ => return pki.answer(call, &limits, &parts),
    };
    if call.op != Op::Update {
        return Err(match call.op {
            Op::List => Refused::no_path(),
            _ => Refused::no_operation(),
        });
    }
    let issued = issue::issue(pki, call, &limits, order, role)?;
    if let (Some(serial), Some(token)) = (issued.leased, token) {
        store.tokens.lease(token, mount, &serial);
    }
    Ok(issued.answer)
}

impl Pki {
    fn answer(&mut self, call: &Call, limits: &Limits, parts: &[&str]) -> Outcome {
        match (parts, call.op) {
            (["roles", ""], Op::List) => store::keys(self.roles.keys().cloned().collect()),
            (["roles", name], _) if !name.is_empty() => {
                let ready = self.issuers.find("default").is_ok();
                roles::answer(&mut self.roles, call, name, ready)
            }
            (["ca"], Op::Read) => self.issuers.default_raw(false),
            (["ca", "pem"], Op::Read) => self.issuers.default_raw(true),
            (["ca_chain"], Op::Read) => self.issuers.default_chain(),
            (["cert", "ca"], Op::Read) => self.default_cert(false),
            (["cert", "ca_chain"], Op::Read) => self.default_cert(true),
            (["cert", serial], Op::Read) => self.cert(serial),
            (["certs", ""], Op::List) => store::keys(self.certs.keys().cloned().collect()),
            (["revoke"], Op::Update) => self.revoke(call),
            (["issuers", ""], Op::List) => self.issuers.list(),
            (["config", "issuers"], _) => self.issuers.config(call, "default"),
            (["root", "replace"], Op::Update) => self.issuers.config(call, "default"),
            (["issuer", issuer, form @ ("json" | "pem" | "der")], Op::Read) => {
                self.issuers.show(issuer, form)
            }
            (["issuer", issuer], Op::Read | Op::Update) => self.issuers.settings(call, issuer),
            (["root", "generate" | "rotate", exported], Op::Update) => {
                authority::root(self, call, limits, exported)
            }
            (["intermediate", "generate", _], Op::Update) => authority::request(self, call),
            (["root", "sign-intermediate"], Op::Update) => {
                authority::sign(self, call, limits, "default")
            }
            (["issuer", issuer, "sign-intermediate"], Op::Update) => {
                authority::sign(self, call, limits, issuer)
            }
            (["intermediate", "set-signed"] | ["issuers", "import", _], Op::Update) => {
                authority::import(self, call)
            }
            (
                ["ca" | "ca_chain" | "revoke"]
                | ["ca", "pem"]
                | ["cert", _]
                | ["issuers" | "certs"]
                | ["root", "replace" | "sign-intermediate"]
                | ["intermediate", "set-signed"],
                Op::Read | Op::Update | Op::Delete,
            ) => Err(Refused::no_operation()),
            _ => Err(Refused::no_path()),
        }
    }

    fn default_cert(&self, chain: bool) -> Outcome {
        let issuer = self.issuers.find("default").map_err(Refused::bad)?;
        let pems = match chain {
            true => self.issuers.chain(issuer).join("\n"),
            false => issuer.pem(),
        };
        let mut data = json!({
            "certificate": pems,
            "revocation_time": 0,
            "revocation_time_rfc3339": "",
        });
        if chain {
            data["ca_chain"] = json!(pems);
        }
        Ok(Answer::data(data))
    }

    fn cert(&self, serial: &str) -> Outcome {
        let serial = serial.replace('-', ":").to_lowercase();
        let stored = self.certs.get(&serial).ok_or_else(Refused::absent)?;
        let mut data = json!({
            "certificate": stored.pem,
            "revocation_time": stored.revoked.map_or(0, Timestamp::unix_secs),
            "revocation_time_rfc3339": stored.revoked.map(rfc3339).unwrap_or_default(),
        });
        if stored.revoked.is_some() {
            data["issuer_id"] = json!(stored.issuer_id);
        }
        Ok(Answer::data(data))
    }

    fn store(&mut self, serial: &str, pem: String, issuer_id: &str) {
        let stored = Stored {
            pem,
            issuer_id: issuer_id.to_owned(),
            revoked: None,
        };
        self.certs.insert(serial.to_owned(), stored);
    }

    fn revoke(&mut self, call: &Call) -> Outcome {
        let fields = call.fields(&[("serial_number", Kind::Text), ("certificate", Kind::Text)])?;
        let serial = match (fields.text("serial_number"), fields.text("certificate")) {
            ("", "") => {
                return Err(Refused::bad(
                    "The serial number or certificate to revoke must be provided.",
                ));
            }
            ("", pem) => certs::serial_of_pem(pem)
                .ok_or_else(|| Refused::bad("certificate contains no data"))?,
            (serial, _) => serial.replace('-', ":").to_lowercase(),
        };
        let Some(at) = self.revoke_serial(&serial, call.now) else {
            return Err(Refused::bad(format!(
                "certificate with serial {serial} not found."
            )));
        };
        Ok(Answer::data(json!({
            "revocation_time": at.unix_secs(),
            "revocation_time_rfc3339": rfc3339(at),
            "state": "revoked",
        })))
    }

    /// Revokes a stored certificate; says when it was (first) revoked.
    pub(super) fn revoke_serial(&mut self, serial: &str, now: Timestamp) -> Option<Timestamp> {
        let stored = self.certs.get_mut(serial)?;
        Some(*stored.revoked.get_or_insert(now))
    }
}

/// Warnings as a value list, without the absent ones.
fn warnings(list: impl IntoIterator<Item = Option<String>>) -> Vec<String> {
    list.into_iter().flatten().collect()
}

/// A JSON object under construction.
fn insert(data: &mut Value, key: &str, value: impl Into<Value>) {
    data[key] = value.into();
}
