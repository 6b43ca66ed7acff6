//! The issuer's JSON body to a [`Bundle`], or a coded problem.
//!
//! Never guesses: a field of the wrong type is refused, not converted. No text from the body that
//! could be a key reaches an error message.

mod fields;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Deserializer, de::Error};
use serde_json::{Map, Number, Value};
use zeroize::Zeroize;

use super::{
    bundle::{self, Bundle, PrivateKey},
    foreign::shortened,
    leaf::CertFacts,
    verify::{Refusal, RefusalReason},
};

/// The largest body that is read, in bytes. A real one has about 6 KiB.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;
/// The most certificates that `ca_chain` may hold.
pub const MAX_CHAIN_CERTIFICATES: usize = 16;

/// A whole number in whatever notation it is written: 60.0 and 6e1 are 60 (RFC 8259, section 6).
///
/// # Errors
/// It is none, is negative, or too large for its type.
pub fn whole<'de, D: Deserializer<'de>, T: TryFrom<u64>>(from: D) -> Result<T, D::Error> {
    let found = Number::deserialize(from)?;
    // a float shows itself without exponent, and with a point only where it is no whole number
    let float = || found.as_f64()?.to_string().parse().ok();
    let whole: Option<u64> = found.as_u64().or_else(float);
    let fits = whole.and_then(|number| T::try_from(number).ok());
    fits.ok_or_else(|| D::Error::custom("not a whole number in its range"))
}

/// Reads the answer of `issue` or `sign` (Vault PKI API, "Generate certificate and key").
/// `own_key` is our key in sign mode; in issue mode the key is in the answer.
///
/// # Errors
/// Everything that is wrong with the form of the answer. What was issued is judged by
/// [`verify`](super::verify::verify).
pub fn parse(body: &[u8], own_key: Option<PrivateKey>) -> Result<Bundle, Refusal> {
    let mut root = Wiped(json(body)?);
    let Value::Object(envelope) = &mut root.0 else {
        return Err(Refusal::one(
            "body-not-object",
            "the answer is not a JSON object",
        ));
    };
    let mut problems = Vec::new();
    envelope_problems(envelope, &mut problems);
    let warnings = fields::warnings(envelope.get("warnings"), &mut problems);
    let lease_id = fields::lease_id(envelope.get("lease_id"), &mut problems);
    let Some(data) = data(envelope, &mut problems) else {
        return Err(refusal(problems));
    };
    let leaf = fields::certificate(data.get("certificate"), &mut problems);
    let pool = fields::chain(data, &mut problems);
    let key = fields::key(data.get("private_key"), own_key, &mut problems);
    match &leaf {
        // Said here already: the fields that describe the leaf then disagree, which helps no reader.
        Some((_, facts)) if facts.is_ca => {
            let message = format!("`certificate` is a CA: {}", facts.subject);
            problems.push(RefusalReason::new("leaf-is-ca", message));
        }
        Some((_, facts)) => fields::agreement(data, facts, &mut problems),
        None => {}
    }
    let (Some(leaf), Some(key), true) = (leaf, key, problems.is_empty()) else {
        return Err(refusal(problems));
    };
    Ok(assemble(leaf, pool, key, lease_id, warnings))
}

fn assemble(
    (leaf, facts): (Vec<u8>, CertFacts),
    pool: Vec<(Vec<u8>, CertFacts)>,
    key: PrivateKey,
    lease_id: Option<String>,
    mut warnings: Vec<String>,
) -> Bundle {
    let arranged = bundle::arrange(&facts, pool);
    for subject in &arranged.unrelated {
        warnings.push(format!(
            "left out of the chain, not above the leaf: {subject}"
        ));
    }
    if let Some(lease) = &lease_id {
        warnings.push(format!(
            "the certificate has lease {}: it is revoked when the login token expires; set \
             generate_lease=false in the role",
            shortened(lease, fields::MAX_TEXT_CHARS)
        ));
    }
    Bundle {
        leaf,
        chain: arranged.chain,
        anchors: arranged.anchors,
        key,
        lease_id,
        warnings,
    }
}

fn refusal(problems: Vec<RefusalReason>) -> Refusal {
    match Refusal::unless_none(problems) {
        Err(refusal) => refusal,
        // Unreachable by construction, and still no panic on foreign input.
        Ok(()) => Refusal::one("body-not-json", "the answer cannot be read"),
    }
}

/// JSON values that may hold a key: all texts are wiped on drop.
struct Wiped(Value);

impl Drop for Wiped {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(wipe),
        Value::Object(map) => map.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn json(body: &[u8]) -> Result<Value, Refusal> {
    if body.len() > MAX_BODY_BYTES {
        let message = format!(
            "the answer has {} bytes, at most {MAX_BODY_BYTES} are read",
            body.len()
        );
        return Err(Refusal::one("body-too-large", message));
    }
    let text = body.trim_ascii();
    if text.is_empty() {
        return Err(Refusal::one("body-empty", "the answer is empty"));
    }
    if text.starts_with(b"<") {
        return Err(Refusal::one(
            "body-html",
            "the answer is an HTML or XML page",
        ));
    }
    if std::str::from_utf8(text).is_err() {
        return Err(Refusal::one(
            "body-not-utf8",
            "the answer is not UTF-8 text",
        ));
    }
    serde_json::from_slice(text).map_err(|error| {
        let code = if error.is_eof() {
            "body-truncated"
        } else {
            "body-not-json"
        };
        let (line, column) = (error.line(), error.column());
        // Not the error's own text: it may repeat a part of the body.
        Refusal::one(
            code,
            format!("the answer stops being JSON at line {line} column {column}"),
        )
    })
}

fn envelope_problems(envelope: &Map<String, Value>, problems: &mut Vec<RefusalReason>) {
    if let Some(errors) = envelope.get("errors").filter(|errors| !errors.is_null()) {
        let listed = fields::texts(errors).unwrap_or_default();
        if !listed.is_empty() || !errors.is_array() {
            let message = format!(
                "Vault's answer lists errors: {}",
                shortened(&listed.join(", "), fields::MAX_TEXT_CHARS)
            );
            problems.push(RefusalReason::new("errors-listed", message));
        }
    }
    if envelope
        .get("wrap_info")
        .is_some_and(|info| !info.is_null())
    {
        problems.push(RefusalReason::new(
            "answer-wrapped",
            "the answer is response-wrapped",
        ));
    }
}

fn data<'a>(
    envelope: &'a Map<String, Value>,
    problems: &mut Vec<RefusalReason>,
) -> Option<&'a Map<String, Value>> {
    // A listed error or a wrapped answer says it all: the missing `data` follows from it.
    let explained = !problems.is_empty();
    let problem = match envelope.get("data") {
        Some(Value::Object(data)) => return Some(data),
        None => RefusalReason::new("data-missing", "the answer has no `data`"),
        Some(Value::Null) => RefusalReason::new("data-null", "`data` is null"),
        Some(_) => RefusalReason::new("data-wrong-type", "`data` is not an object"),
    };
    if !explained {
        problems.push(problem);
    }
    None
}
