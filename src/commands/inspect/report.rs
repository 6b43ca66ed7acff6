//! Facts and verdict of what was read, as one value that is printed as text or JSON.
//!
//! Never reads a file. What stays true: it holds no key.

use std::path::Path;

use serde::Serialize;

use crate::model::{
    bundle::PrivateKey,
    leaf::CertFacts,
    pem::{self, FileError},
    record::Record,
    request::{Mode, Names, Request},
    schedule::Validity,
    secret::Secret,
    time::Timestamp,
    verify::{self, Expect},
};

/// With less than this share of life left a certificate is worth a warning.
const SHORT_LIFETIME_SHARE: f64 = 0.1;

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Inspection {
    pub(super) path: String,
    pub(super) kind: InspectedKind,
    pub(super) generation: Option<String>,
    pub(super) verdict: Verdict,
    pub(super) problems: Vec<VerdictReason>,
    pub(super) warnings: Vec<String>,
    /// Leaf first, then the chain; of a file, all certificates in it.
    pub(super) certificates: Vec<InspectedCertificate>,
    /// What is in CA.pem.
    pub(super) anchors: Vec<InspectedCertificate>,
    pub(super) key: Option<Key>,
    /// When the published certificate came, from the agent's record.
    pub(super) obtained_at: Option<String>,
    /// When the agent plans to renew it, from its record.
    pub(super) due_at: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum InspectedKind {
    Directory,
    File,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    Valid,
    Warning,
    Invalid,
}

/// One reason for a bad verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct VerdictReason {
    pub(super) code: &'static str,
    pub(super) message: String,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct InspectedCertificate {
    pub(super) subject: String,
    pub(super) issuer: String,
    pub(super) serial: String,
    pub(super) dns: Vec<String>,
    pub(super) ips: Vec<String>,
    pub(super) uris: Vec<String>,
    pub(super) other_names: Vec<String>,
    pub(super) not_before: String,
    pub(super) not_after: String,
    pub(super) seconds_left: u64,
    /// Between 0 and 1.
    pub(super) life_left: f64,
    pub(super) server_auth: bool,
    pub(super) client_auth: bool,
    pub(super) ca: bool,
    pub(super) self_signed: bool,
    pub(super) key: String,
    pub(super) sha256: String,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Key {
    pub(super) kind: String,
    /// Whether it belongs to the first certificate; unknown without one.
    pub(super) fits: Option<bool>,
}

/// The texts of a set; what could not be read, as the reason.
pub(super) struct SetTexts {
    pub(super) ca: Result<String, String>,
    pub(super) cert: String,
    pub(super) key: Result<Secret, String>,
    pub(super) state: Option<Record>,
    pub(super) generation: Option<String>,
}

/// The report on a certificate directory.
pub(super) fn of_set(path: &Path, set: &SetTexts, now: Timestamp) -> Inspection {
    let mut report = Inspection::new(path, InspectedKind::Directory);
    let leaves = report.certificates_in("cert-file", "cert.pem", &set.cert);
    let leaf = leaves.first().cloned();
    report.certificates = described(&leaves, now);
    match &set.ca {
        Ok(ca) => report.anchors = described(&report.certificates_in("ca-file", "CA.pem", ca), now),
        Err(reason) => report.problem("ca-file", reason.clone()),
    }
    match &set.key {
        Ok(key) => report.key(key.expose(), leaf.as_ref()),
        Err(reason) => report.problem("key-file", reason.clone()),
    }
    if let (Ok(ca), Ok(key), Some(leaf)) = (&set.ca, &set.key, &leaf) {
        report.verify(&[ca.as_str(), set.cert.as_str()], key, leaf, now);
    } else if let Some(leaf) = &leaf {
        report.times(leaf, leaf.validity(), now);
    }
    report.generation.clone_from(&set.generation);
    report.record(set.state.as_ref(), now);
    report.judged()
}

/// The report on one file: PEM with certificates or a key, or one certificate in DER.
pub(super) fn of_file(path: &Path, bytes: &[u8], now: Timestamp) -> Inspection {
    let mut report = Inspection::new(path, InspectedKind::File);
    let certificates = match std::str::from_utf8(bytes) {
        Ok(text) => report.mixed(text),
        Err(_) => match CertFacts::read(bytes) {
            Ok(facts) => vec![facts],
            Err(error) => {
                report.problem("cert-file", format!("neither PEM nor DER: {error}"));
                Vec::new()
            }
        },
    };
    for facts in &certificates {
        report.times(facts, facts.validity(), now);
    }
    report.certificates = described(&certificates, now);
    report.judged()
}

impl Inspection {
    fn new(path: &Path, kind: InspectedKind) -> Self {
        Self {
            path: path.display().to_string(),
            kind,
            generation: None,
            verdict: Verdict::Valid,
            problems: Vec::new(),
            warnings: Vec::new(),
            certificates: Vec::new(),
            anchors: Vec::new(),
            key: None,
            obtained_at: None,
            due_at: None,
        }
    }

    /// Each reason once, whichever check came upon it.
    fn problem(&mut self, code: &'static str, message: String) {
        if self.problems.iter().all(|known| known.code != code) {
            self.problems.push(VerdictReason { code, message });
        }
    }

    fn judged(mut self) -> Self {
        self.verdict = if !self.problems.is_empty() {
            Verdict::Invalid
        } else if !self.warnings.is_empty() {
            Verdict::Warning
        } else {
            Verdict::Valid
        };
        self
    }

    /// Every certificate that can be read; what can't is a problem.
    fn certificates_in(&mut self, code: &'static str, name: &str, text: &str) -> Vec<CertFacts> {
        let ders = pem::certificates(text).unwrap_or_else(|error| {
            self.problem(code, format!("{name}: {error}"));
            Vec::new()
        });
        let mut all = Vec::new();
        for der in ders {
            match CertFacts::read(&der) {
                Ok(facts) => all.push(facts),
                Err(error) => self.problem(code, format!("{name}: {error}")),
            }
        }
        all
    }

    /// Certificates of a file that may also hold a key.
    fn mixed(&mut self, text: &str) -> Vec<CertFacts> {
        let blocks = match pem::parse_file(text) {
            Ok(blocks) => blocks,
            Err(error) => {
                self.problem("cert-file", error.to_string());
                return Vec::new();
            }
        };
        let (certificates, others): (Vec<_>, Vec<_>) = blocks
            .into_iter()
            .partition(|block| block.label == pem::CERTIFICATE);
        let mut all = Vec::new();
        for block in certificates {
            match CertFacts::read(&block.der) {
                Ok(facts) => all.push(facts),
                Err(error) => self.problem("cert-file", error.to_string()),
            }
        }
        for block in others {
            if block.label.ends_with(pem::CERTIFICATE) {
                let error = FileError::Trusted(block.label);
                self.problem("cert-file", error.to_string());
                continue;
            }
            if !block.label.ends_with("PRIVATE KEY") {
                continue;
            }
            let key = PrivateKey::from_block(&block).map_err(|error| error.to_string());
            self.take_key(key, all.first());
        }
        all
    }

    fn key(&mut self, text: &str, leaf: Option<&CertFacts>) {
        let key = PrivateKey::from_file(text).map_err(|error| error.to_string());
        self.take_key(key, leaf);
    }

    fn take_key(&mut self, key: Result<PrivateKey, String>, leaf: Option<&CertFacts>) {
        let key = match key {
            Ok(key) => key,
            Err(reason) => return self.problem("key-file", reason),
        };
        let fits = leaf.map(|leaf| leaf.public_key == key.public_key());
        if fits == Some(false) {
            let message = "the key does not belong to the certificate".to_owned();
            self.problem("key-mismatch", message);
        }
        self.key = Some(Key {
            kind: key.facts().to_string(),
            fits,
        });
    }

    /// The checks of an answer, against the request that asks for exactly what the leaf says.
    fn verify(&mut self, [ca, cert]: &[&str; 2], key: &Secret, leaf: &CertFacts, now: Timestamp) {
        let request = as_issued(leaf);
        let expect = Expect::of(&request);
        let verified =
            verify::reread(ca, cert, key).and_then(|bundle| verify::verify(bundle, &expect, now));
        match verified {
            Ok(verified) => {
                self.warnings.extend_from_slice(verified.warnings());
                self.times(leaf, verified.validity(), now);
            }
            Err(refusal) => {
                for problem in refusal.problems {
                    self.problem(problem.code, problem.message);
                }
            }
        }
    }

    fn times(&mut self, facts: &CertFacts, validity: Validity, now: Timestamp) {
        if validity.not_after <= now {
            let message = format!("{} expired at {}", facts.subject, validity.not_after);
            self.problem("expired", message);
        } else if validity.not_before > now {
            let starts = format!("{} starts at {}", facts.subject, validity.not_before);
            self.warnings.push(format!("{starts}, in the future"));
        } else if share_left(validity, now) < SHORT_LIFETIME_SHARE {
            let expires = format!("{} expires at {}", facts.subject, validity.not_after);
            self.warnings.push(format!(
                "{expires}, less than a tenth of its lifetime is left"
            ));
        }
    }

    /// What the agent wrote down about the published files.
    fn record(&mut self, state: Option<&Record>, now: Timestamp) {
        let Some(state) = state.filter(|state| state.generation == self.generation) else {
            return;
        };
        self.obtained_at = state.obtained_at.map(|at| at.to_string());
        self.due_at = state.due_at.map(|at| at.to_string());
        if let Some(due) = state.due_at.filter(|due| *due < now) {
            self.warnings
                .push(format!("it was due for renewal at {due}"));
        }
    }
}

/// The request that asks for exactly what the leaf says.
fn as_issued(facts: &CertFacts) -> Request {
    Request {
        mount: String::new(),
        role: String::new(),
        mode: Mode::Issue,
        names: Names {
            common_name: facts.common_name.clone().unwrap_or_default(),
            dns: facts.names.dns.clone(),
            ips: facts.names.ips.clone(),
            uris: facts.names.uris.clone(),
        },
        ttl: facts.validity().life(),
        key_type: facts.key.kind().unwrap_or_default(),
        key_type_open: false,
        reuse_key: false,
        issuer_sha256: None,
    }
}

fn share_left(validity: Validity, now: Timestamp) -> f64 {
    let life = validity.life().as_secs_f64();
    if life > 0.0 {
        (validity.remaining(now).as_secs_f64() / life).min(1.0)
    } else {
        0.0
    }
}

fn described(all: &[CertFacts], now: Timestamp) -> Vec<InspectedCertificate> {
    all.iter()
        .map(|facts| InspectedCertificate {
            subject: facts.subject.clone(),
            issuer: facts.issuer.clone(),
            serial: facts.serial.clone(),
            dns: facts.names.dns.iter().cloned().collect(),
            ips: facts.names.ips.iter().map(ToString::to_string).collect(),
            uris: facts.names.uris.iter().cloned().collect(),
            other_names: facts.names.others.iter().cloned().collect(),
            not_before: facts.not_before.to_string(),
            not_after: facts.not_after.to_string(),
            seconds_left: facts.validity().remaining(now).as_secs(),
            life_left: share_left(facts.validity(), now),
            server_auth: facts.server_auth,
            client_auth: facts.client_auth,
            ca: facts.is_ca,
            self_signed: facts.self_signed,
            key: facts.key.to_string(),
            sha256: facts.sha256.clone(),
        })
        .collect()
}
