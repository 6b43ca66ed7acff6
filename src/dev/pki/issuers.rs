//! The issuers of a mount: lookup by reference, chains, the default and its flip.
//!
//! Never signs. What stays true: the default, once set, is an issuer of the mount.

use std::sync::Arc;

use rcgen::KeyPair;
use serde_json::{Map, Value, json};

use super::{
    super::{
        answer::{Answer, Outcome, Refused},
        call::{Call, Op},
        fields::{Fields, Kind, Schema},
        random,
    },
    certs::{self, Facts},
    insert,
};

/// One issuer: a certificate, and its key when the mount has it.
#[derive(Clone)]
pub(super) struct IssuerEntry {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) key_id: String,
    pub(super) key: Option<Arc<KeyPair>>,
    pub(super) der: Vec<u8>,
    pub(super) facts: Facts,
    /// `err`, `truncate` or `permit`.
    pub(super) behavior: String,
    usage: String,
}

impl IssuerEntry {
    /// PEM without a final newline.
    pub(super) fn pem(&self) -> String {
        certs::pem("CERTIFICATE", &self.der)
    }

    /// Whether subject and issuer are the same.
    pub(super) fn is_root(&self) -> bool {
        self.facts.subject == self.facts.issuer
    }
}

/// All issuers of a mount, and the keys whose certificate is still to come.
#[derive(Default)]
pub(super) struct Issuers {
    entries: Vec<IssuerEntry>,
    pub(super) pending: Vec<(String, Arc<KeyPair>)>,
    default: String,
    follow: bool,
}

const SETTINGS: Schema = &[
    ("issuer_name", Kind::Text),
    ("leaf_not_after_behavior", Kind::Text),
    ("usage", Kind::List),
    ("manual_chain", Kind::List),
    ("revocation_signature_algorithm", Kind::Text),
];

const USAGE: &str = "crl-signing,issuing-certificates,ocsp-signing,read-only";

impl Issuers {
    /// The issuer behind an id, a name or `default`; the text when there is none.
    pub(super) fn find(&self, reference: &str) -> Result<&IssuerEntry, String> {
        let reference = match reference {
            "default" if self.default.is_empty() => {
                return Err("no default issuer currently configured".to_owned());
            }
            "default" => &self.default,
            other => other,
        };
        self.entries
            .iter()
            .find(|entry| entry.id == reference || entry.name == reference)
            .ok_or_else(|| format!("unable to find PKI issuer for reference: {reference}"))
    }

    /// Refuses a name that another issuer has.
    pub(super) fn check_name(&self, name: &str) -> Result<(), Refused> {
        let taken = !name.is_empty() && self.entries.iter().any(|entry| entry.name == name);
        match taken {
            true => Err(Refused::bad("issuer name already in use")),
            false => Ok(()),
        }
    }

    /// Adds a certificate; the first one with a key, or the newest when so configured, becomes the
    /// default. A certificate that is there already is not added again.
    pub(super) fn add(&mut self, der: Vec<u8>, key: Option<Arc<KeyPair>>) -> Option<IssuerEntry> {
        if let Some(known) = self.entries.iter().find(|entry| entry.der == der) {
            return Some(known.clone());
        }
        let facts = certs::facts(&der)?;
        let (key_id, key) = self.key_for(&facts.key_id, key);
        let entry = IssuerEntry {
            id: random::uuid(),
            name: String::new(),
            key_id,
            key,
            der,
            facts,
            behavior: "err".to_owned(),
            usage: USAGE.to_owned(),
        };
        if entry.key.is_some() && (self.default.is_empty() || self.follow) {
            self.default.clone_from(&entry.id);
        }
        self.entries.push(entry.clone());
        Some(entry)
    }

    fn key_for(&self, id: &[u8], key: Option<Arc<KeyPair>>) -> (String, Option<Arc<KeyPair>>) {
        if let Some(key) = key {
            return (random::uuid(), Some(key));
        }
        let pending = self.pending.iter();
        let mut pending = pending.filter(|(_, key)| certs::key_id(&**key) == id);
        if let Some((key_id, key)) = pending.next() {
            return (key_id.clone(), Some(Arc::clone(key)));
        }
        // A cross-signed copy: the same key is already here under another certificate.
        let twin = self.entries.iter().find(|entry| entry.facts.key_id == id);
        match twin {
            Some(twin) => (twin.key_id.clone(), twin.key.clone()),
            None => (String::new(), None),
        }
    }

    /// Names an issuer.
    pub(super) fn rename(&mut self, id: &str, name: &str) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.id == id) {
            name.clone_into(&mut entry.name);
        }
    }

    /// The chain from an issuer upward: itself, its cross-signed twins, then their issuers.
    pub(super) fn chain_of<'a>(&'a self, issuer: &'a IssuerEntry) -> Vec<&'a IssuerEntry> {
        let mut chain = vec![issuer];
        let mut next = 0;
        while let Some(at) = chain.get(next).copied() {
            let twins = self.entries.iter().filter(|other| {
                other.facts.subject == at.facts.subject && other.facts.key_id == at.facts.key_id
            });
            let above = self.entries.iter().filter(|other| {
                other.facts.subject == at.facts.issuer
                    && other.facts.key_id == at.facts.authority_key_id
            });
            for other in twins.chain(above) {
                if !chain.iter().any(|known| known.id == other.id) {
                    chain.push(other);
                }
            }
            next += 1;
        }
        chain
    }

    /// The chain as PEM texts without final newlines.
    pub(super) fn chain(&self, issuer: &IssuerEntry) -> Vec<String> {
        let chain = self.chain_of(issuer);
        chain.into_iter().map(IssuerEntry::pem).collect()
    }

    /// `ca` and `ca/pem`.
    pub(super) fn default_raw(&self, pem: bool) -> Outcome {
        let issuer = self.find("default").ok();
        Ok(match pem {
            true => Answer::Raw(
                "application/pem-certificate-chain",
                issuer.map(|issuer| issuer.pem().into()).unwrap_or_default(),
            ),
            false => Answer::Raw(
                "application/pkix-cert",
                issuer.map(|issuer| issuer.der.clone()).unwrap_or_default(),
            ),
        })
    }

    /// `ca_chain`.
    pub(super) fn default_chain(&self) -> Outcome {
        let issuer = self.find("default").ok();
        let text = issuer.map(|issuer| self.chain(issuer).join("\n"));
        Ok(Answer::Raw(
            "application/pkix-cert",
            text.unwrap_or_default().into(),
        ))
    }

    /// LIST `issuers`.
    pub(super) fn list(&self) -> Outcome {
        if self.entries.is_empty() {
            return Err(Refused::absent());
        }
        let mut info = Map::new();
        for entry in &self.entries {
            let about = json!({
                "is_default": entry.id == self.default,
                "issuer_name": entry.name,
                "key_id": entry.key_id,
                "serial_number": entry.facts.serial,
            });
            info.insert(entry.id.clone(), about);
        }
        let keys: Vec<&String> = info.keys().collect();
        Ok(Answer::data(json!({ "keys": keys, "key_info": info })))
    }

    /// `config/issuers` and `root/replace`.
    pub(super) fn config(&mut self, call: &Call, field: &str) -> Outcome {
        match call.op {
            Op::Read => {}
            Op::Update => {
                let fields = call.fields(&[
                    ("default", Kind::Text),
                    ("default_follows_latest_issuer", Kind::Bool),
                ])?;
                let wanted = fields.text(field);
                if wanted.is_empty() || wanted == "default" {
                    return Err(Refused::bad(
                        "Invalid issuer specification; must be non-empty and can't be 'default'.",
                    ));
                }
                let found = self.find(wanted).map(|entry| entry.id.clone());
                self.default = found.map_err(|why| {
                    Refused::bad(format!("Error resolving issuer reference: {why}"))
                })?;
                if fields.value("default_follows_latest_issuer").is_some() {
                    self.follow = fields.flag("default_follows_latest_issuer");
                }
            }
            _ => return Err(Refused::no_operation()),
        }
        Ok(Answer::data(json!({
            "default": self.default,
            "default_follows_latest_issuer": self.follow,
        })))
    }

    /// `issuer/:ref/json`, `/pem`, `/der`.
    pub(super) fn show(&self, reference: &str, form: &str) -> Outcome {
        let found = self.find(reference);
        let issuer = found.map_err(|why| Refused::new(500, why))?;
        Ok(match form {
            "pem" => Answer::Raw(
                "application/pem-certificate-chain",
                format!("{}\n", issuer.pem()).into(),
            ),
            "der" => Answer::Raw("application/pkix-cert", issuer.der.clone()),
            _ => Answer::data(self.described(issuer)),
        })
    }

    fn described(&self, issuer: &IssuerEntry) -> Value {
        let chain = self.chain(issuer);
        let chain: Vec<String> = chain.into_iter().map(|pem| pem + "\n").collect();
        json!({
            "ca_chain": chain,
            "certificate": issuer.pem() + "\n",
            "issuer_id": issuer.id,
            "issuer_name": issuer.name,
        })
    }

    /// `issuer/:ref`, read and update.
    pub(super) fn settings(&mut self, call: &Call, reference: &str) -> Outcome {
        let found = self.find(reference).map(|entry| entry.id.clone());
        let id = found.map_err(|why| Refused::framed(500, &why))?;
        if call.op == Op::Update {
            let fields = call.fields(SETTINGS)?;
            self.change(&id, &fields)?;
        }
        let issuer = self.find(&id).map_err(|why| Refused::framed(500, &why))?;
        let mut data = self.described(issuer);
        for (name, value) in [
            ("crl_distribution_points", json!([])),
            ("delta_crl_distribution_points", json!([])),
            ("issuing_certificates", json!([])),
            ("ocsp_servers", json!([])),
            ("key_id", json!(issuer.key_id)),
            ("leaf_not_after_behavior", json!(issuer.behavior)),
            ("manual_chain", Value::Null),
            ("revocation_signature_algorithm", json!("")),
            ("revoked", json!(false)),
            ("usage", json!(issuer.usage)),
        ] {
            insert(&mut data, name, value);
        }
        Ok(Answer::data(data))
    }

    fn change(&mut self, id: &str, fields: &Fields) -> Result<(), Refused> {
        let behavior = match fields.text("leaf_not_after_behavior") {
            "" => "err",
            known @ ("err" | "truncate" | "permit") => known,
            other => {
                return Err(Refused::bad(format!(
                    "Unknown value for field `leaf_not_after_behavior`: {other}"
                )));
            }
        };
        let name = fields.text("issuer_name");
        let taken = |entry: &IssuerEntry| entry.name == name && entry.id != id;
        if !name.is_empty() && self.entries.iter().any(taken) {
            return Err(Refused::bad("issuer name already in use"));
        }
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.id == id) {
            behavior.clone_into(&mut entry.behavior);
            name.clone_into(&mut entry.name);
        }
        Ok(())
    }
}
