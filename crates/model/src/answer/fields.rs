//! The fields of an answer, each to its type, each fault with its own code.
//!
//! Never repeats the text of a field that could hold a key.

use serde_json::{Map, Number, Value};

use super::MAX_CHAIN_CERTIFICATES;
use crate::{
    bundle::{KeyError, PrivateKey},
    foreign::shortened,
    leaf::CertFacts,
    pem::{self, Block},
    verify::RefusalReason,
};

/// The most warnings that are kept.
const MAX_WARNINGS: usize = 20;
/// The most characters of a text of the answer that are shown.
pub(super) const MAX_TEXT_CHARS: usize = 400;

/// A certificate with its facts.
pub(super) type Cert = (Vec<u8>, CertFacts);

/// A list of texts.
pub(super) fn texts(value: &Value) -> Option<Vec<String>> {
    value
        .as_array()?
        .iter()
        .map(|item| item.as_str().map(str::to_owned))
        .collect()
}

/// `warnings`: null, absent, or a list of texts; the first [`MAX_WARNINGS`] of them, shortened.
pub(super) fn warnings(value: Option<&Value>, problems: &mut Vec<RefusalReason>) -> Vec<String> {
    match value {
        None | Some(Value::Null) => Vec::new(),
        Some(value) => texts(value).map(few).unwrap_or_else(|| {
            problems.push(RefusalReason::new(
                "warnings-wrong-type",
                "`warnings` is not a list of texts",
            ));
            Vec::new()
        }),
    }
}

fn few(all: Vec<String>) -> Vec<String> {
    let more = all.len().saturating_sub(MAX_WARNINGS);
    let first = all.iter().take(MAX_WARNINGS);
    let mut few: Vec<String> = first.map(|text| shortened(text, MAX_TEXT_CHARS)).collect();
    if more > 0 {
        few.push(format!("{more} more warnings are left out"));
    }
    few
}

/// `lease_id`: absent, null or empty means none.
pub(super) fn lease_id(value: Option<&Value>, problems: &mut Vec<RefusalReason>) -> Option<String> {
    match value {
        None | Some(Value::Null) => None,
        Some(Value::String(lease)) => Some(lease.clone()).filter(|lease| !lease.is_empty()),
        Some(_) => {
            problems.push(RefusalReason::new(
                "lease-wrong-type",
                "`lease_id` is not text",
            ));
            None
        }
    }
}

/// `certificate`: exactly one certificate in PEM.
pub(super) fn certificate(
    value: Option<&Value>,
    problems: &mut Vec<RefusalReason>,
) -> Option<Cert> {
    let found = match value {
        None | Some(Value::Null) => Err(RefusalReason::new(
            "certificate-missing",
            "the answer has no `certificate`",
        )),
        Some(Value::String(text)) => leaf(text),
        Some(_) => Err(RefusalReason::new(
            "certificate-wrong-type",
            "`certificate` is not text",
        )),
    };
    found.map_err(|problem| problems.push(problem)).ok()
}

fn leaf(text: &str) -> Result<Cert, RefusalReason> {
    if text.trim().is_empty() {
        return Err(RefusalReason::new(
            "certificate-empty",
            "`certificate` is empty",
        ));
    }
    if looks_like_der(text) {
        return Err(RefusalReason::new(
            "certificate-der",
            "`certificate` is base64 without PEM lines",
        ));
    }
    let blocks = pem::parse(text).map_err(|error| {
        RefusalReason::new("certificate-not-pem", format!("`certificate`: {error}"))
    })?;
    if holds_key(&blocks) {
        return Err(RefusalReason::new(
            "certificate-holds-key",
            "`certificate` contains a private key, as with format=pem_bundle",
        ));
    }
    label("certificate-label", "certificate", &blocks)?;
    let [block] = blocks.as_slice() else {
        let message = format!(
            "`certificate` contains {} certificates, not one",
            blocks.len()
        );
        return Err(RefusalReason::new("certificate-several", message));
    };
    facts("certificate-malformed", "certificate", block)
}

/// Base64 of a DER SEQUENCE begins with `MI`.
fn looks_like_der(text: &str) -> bool {
    text.starts_with("MI") && !text.contains("-----")
}

fn holds_key(blocks: &[Block]) -> bool {
    blocks
        .iter()
        .any(|block| block.label.ends_with("PRIVATE KEY"))
}

fn label(code: &'static str, field: &str, blocks: &[Block]) -> Result<(), RefusalReason> {
    match blocks.iter().find(|block| block.label != pem::CERTIFICATE) {
        None => Ok(()),
        Some(other) => Err(RefusalReason::new(
            code,
            format!("`{field}` contains a `{}` block", other.label),
        )),
    }
}

fn facts(code: &'static str, field: &str, block: &Block) -> Result<Cert, RefusalReason> {
    CertFacts::read(&block.der)
        .map(|facts| (block.der.to_vec(), facts))
        .map_err(|error| RefusalReason::new(code, format!("`{field}`: {error}")))
}

/// `ca_chain` and `issuing_ca`, in any order, duplicates included.
pub(super) fn chain(data: &Map<String, Value>, problems: &mut Vec<RefusalReason>) -> Vec<Cert> {
    let before = problems.len();
    let mut pool = Vec::new();
    match data.get("ca_chain") {
        None | Some(Value::Null) => {}
        Some(Value::Array(entries)) if entries.len() > MAX_CHAIN_CERTIFICATES => {
            let message = format!(
                "`ca_chain` has {} entries, at most {MAX_CHAIN_CERTIFICATES}",
                entries.len()
            );
            problems.push(RefusalReason::new("chain-too-long", message));
        }
        Some(Value::Array(entries)) => {
            for (at, value) in entries.iter().enumerate() {
                match entry(at, value) {
                    Ok(cert) => pool.push(cert),
                    Err(problem) => problems.push(problem),
                }
            }
        }
        Some(_) => problems.push(RefusalReason::new(
            "chain-wrong-type",
            "`ca_chain` is not a list",
        )),
    }
    match data.get("issuing_ca") {
        None | Some(Value::Null) => {}
        // Some backends send it empty when there is a chain.
        Some(Value::String(text)) if text.trim().is_empty() => {}
        Some(Value::String(text)) => match issuing_ca(text) {
            Ok(cert) => pool.push(cert),
            Err(problem) => problems.push(problem),
        },
        Some(_) => problems.push(RefusalReason::new(
            "issuing-ca-wrong-type",
            "`issuing_ca` is not text",
        )),
    }
    if pool.is_empty() && problems.len() == before {
        let message = "the answer has neither `ca_chain` nor `issuing_ca`";
        problems.push(RefusalReason::new("chain-missing", message));
    }
    pool
}

fn entry(at: usize, value: &Value) -> Result<Cert, RefusalReason> {
    let field = format!("ca_chain[{at}]");
    let Value::String(text) = value else {
        return Err(RefusalReason::new(
            "chain-entry-wrong-type",
            format!("`{field}` is not text"),
        ));
    };
    let blocks = pem::parse(text)
        .map_err(|error| RefusalReason::new("chain-not-pem", format!("`{field}`: {error}")))?;
    if holds_key(&blocks) {
        return Err(RefusalReason::new(
            "chain-holds-key",
            format!("`{field}` contains a private key"),
        ));
    }
    label("chain-label", &field, &blocks)?;
    match blocks.as_slice() {
        [block] => facts("chain-malformed", &field, block),
        several => Err(RefusalReason::new(
            "chain-entry-several",
            format!("`{field}` contains {} certificates, not one", several.len()),
        )),
    }
}

fn issuing_ca(text: &str) -> Result<Cert, RefusalReason> {
    let not_pem =
        |why: String| RefusalReason::new("issuing-ca-not-pem", format!("`issuing_ca`: {why}"));
    let blocks = pem::parse(text).map_err(|error| not_pem(error.to_string()))?;
    match blocks.as_slice() {
        [block] if block.label == pem::CERTIFICATE => {
            facts("issuing-ca-malformed", "issuing_ca", block)
        }
        _ => Err(not_pem("not exactly one certificate".to_owned())),
    }
}

/// The private key: from the answer in issue mode, our own in sign mode.
pub(super) fn key(
    value: Option<&Value>,
    own_key: Option<PrivateKey>,
    problems: &mut Vec<RefusalReason>,
) -> Option<PrivateKey> {
    let found = match (value, own_key) {
        (None | Some(Value::Null), Some(own)) => return Some(own),
        (Some(Value::String(text)), Some(own)) if text.is_empty() => return Some(own),
        (Some(_), Some(_)) => Err(RefusalReason::new(
            "key-unexpected",
            "the answer to the CSR contains a `private_key`",
        )),
        (None | Some(Value::Null), None) => Err(RefusalReason::new(
            "key-missing",
            "the answer has no `private_key`",
        )),
        (Some(Value::String(text)), None) if text.trim().is_empty() => {
            Err(RefusalReason::new("key-empty", "`private_key` is empty"))
        }
        (Some(Value::String(text)), None) => PrivateKey::from_pem(text).map_err(|error| {
            RefusalReason::new(key_code(error), format!("`private_key`: {error}"))
        }),
        (Some(_), None) => Err(RefusalReason::new(
            "key-wrong-type",
            "`private_key` is not text",
        )),
    };
    found.map_err(|problem| problems.push(problem)).ok()
}

/// Compared as numbers: 1796778830.0 and 1.79677883e9 are 1796778830 (RFC 8259, 6).
fn is_number(found: &Number, wanted: i64) -> bool {
    found.as_i64() == Some(wanted)
        || found
            .as_f64()
            // exact: times are far below 2^53
            .is_some_and(|found| found.to_string() == wanted.to_string())
}

fn key_code(error: KeyError) -> &'static str {
    match error {
        KeyError::Pem(_) => "key-not-pem",
        KeyError::Several(_) => "key-several",
        KeyError::Label => "key-label",
        KeyError::Encrypted => "key-encrypted",
        KeyError::Malformed(_) => "key-malformed",
        KeyError::Weak => "key-weak",
        KeyError::Unsupported => "key-unsupported",
    }
}

/// `serial_number` and `expiration`, where sent, must be the certificate's own.
pub(super) fn agreement(
    data: &Map<String, Value>,
    facts: &CertFacts,
    problems: &mut Vec<RefusalReason>,
) {
    match data.get("serial_number") {
        None | Some(Value::Null) => {}
        Some(Value::String(serial)) if serial.eq_ignore_ascii_case(&facts.serial) => {}
        Some(Value::String(_)) => problems.push(RefusalReason::new(
            "serial-disagrees",
            format!("`serial_number` is not {}, the certificate's", facts.serial),
        )),
        Some(_) => problems.push(RefusalReason::new(
            "serial-wrong-type",
            "`serial_number` is not text",
        )),
    }
    let not_after = facts.not_after.unix_secs();
    match data.get("expiration") {
        None | Some(Value::Null) => {}
        Some(Value::Number(at)) if is_number(at, not_after) => {}
        Some(Value::Number(at)) => problems.push(RefusalReason::new(
            "expiration-disagrees",
            format!("`expiration` is {at}, the certificate expires at {not_after}"),
        )),
        Some(_) => problems.push(RefusalReason::new(
            "expiration-wrong-type",
            "`expiration` is not a number",
        )),
    }
}
