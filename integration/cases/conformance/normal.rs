//! Two answers without what must differ: ids, tokens, moments; certificates become their facts.

use serde_json::{Map, Value, json};
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate, X509Name};

use super::Answer;

/// Seconds that two runs of the same request may lie apart.
const TOLERANCE: i64 = 4;

/// Keys whose numbers are moments: compared by their distance from the answer.
const MOMENTS: &[&str] = &[
    "expiration",
    "not_before",
    "creation_time",
    "revocation_time",
    "server_time_utc",
    "last_renewal_time",
];

/// Keys whose numbers are remaining seconds.
const REMAINING: &[&str] = &["lease_duration", "ttl"];

/// Keys whose text is random.
const RANDOM: &[&str] = &[
    "accessor",
    "client_token",
    "id",
    "token",
    "uuid",
    "cluster_id",
    "cluster_name",
    "wrapped_accessor",
    "private_key_der",
];

/// Every place where two answers differ, as `place: theirs / ours`.
pub(super) fn differences(theirs: &Answer, ours: &Answer) -> Vec<String> {
    let mut found = Vec::new();
    compare("", &shown(theirs), &shown(ours), &mut found);
    found
}

fn shown(answer: &Answer) -> Value {
    let body = match &answer.http.json() {
        Value::Null => plain(&answer.http.text),
        json => normal("", json, answer.at),
    };
    let kind = answer
        .http
        .head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-type"))
        .map_or("", |(_, value)| value.trim());
    json!({"status": answer.http.status, "type": kind, "body": body})
}

/// A body that is not JSON: PEM, DER or nothing.
fn plain(text: &str) -> Value {
    match text.contains("-----BEGIN") {
        true => pem(text),
        false if text.is_empty() => json!(""),
        false => json!("<binary>"),
    }
}

fn compare(place: &str, theirs: &Value, ours: &Value, found: &mut Vec<String>) {
    match (theirs, ours) {
        (Value::Object(a), Value::Object(b)) => {
            let keys = a.keys().chain(b.keys().filter(|key| !a.contains_key(*key)));
            for key in keys {
                let absent = json!("<absent>");
                let (a, b) = (a.get(key).unwrap_or(&absent), b.get(key).unwrap_or(&absent));
                compare(&format!("{place}/{key}"), a, b, found);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (at, (a, b)) in a.iter().zip(b).enumerate() {
                compare(&format!("{place}/{at}"), a, b, found);
            }
        }
        (Value::Number(a), Value::Number(b)) if place.ends_with('~') => {
            let (a, b) = (a.as_i64().unwrap_or(0), b.as_i64().unwrap_or(0));
            if (a - b).abs() > TOLERANCE {
                found.push(format!("{place}: {a} / {b}"));
            }
        }
        _ if theirs == ours => {}
        _ => found.push(format!("{place}: {theirs} / {ours}")),
    }
}

fn normal(key: &str, value: &Value, at: i64) -> Value {
    match value {
        Value::Object(map) if map.keys().any(|key| is_uuid(key)) => {
            let mut values: Vec<Value> = map.values().map(|v| normal("", v, at)).collect();
            values.sort_by_key(Value::to_string);
            json!({ "<by uuid>": values })
        }
        Value::Object(map) => {
            let mut out = Map::new();
            for (key, value) in map {
                let moment = MOMENTS.contains(&key.as_str()) && value.as_i64() != Some(0);
                let name = match moment || REMAINING.contains(&key.as_str()) {
                    true if value.is_number() => format!("{key}~"),
                    _ => key.clone(),
                };
                let value = match (moment, value.as_i64()) {
                    (true, Some(secs)) => json!(secs - at),
                    _ => normal(key, value, at),
                };
                out.insert(name, value);
            }
            Value::Object(out)
        }
        Value::Array(items) => {
            let mut items: Vec<Value> = items.iter().map(|item| normal(key, item, at)).collect();
            if key == "warnings" || key == "errors" || key == "ca_chain" {
                return Value::Array(items);
            }
            items.sort_by_key(Value::to_string);
            Value::Array(items)
        }
        Value::String(text) if RANDOM.contains(&key) && !text.is_empty() => json!("<random>"),
        Value::String(text) if text.contains("-----BEGIN") => pem(text),
        Value::String(text) if key == "lease_id" && !text.is_empty() => {
            json!(text.rsplit_once('/').map(|(path, _)| path.to_owned()))
        }
        Value::String(text) if is_der(text) => json!("<der>"),
        Value::String(text) => json!(masked(text)),
        other => other.clone(),
    }
}

/// A text with its ids, serials and moments masked, word by word.
fn masked(text: &str) -> String {
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '.' | '-' | '+');
    let mut out = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c| !word(c)).unwrap_or(rest.len());
        let (head, tail) = rest.split_at(end);
        out.push_str(mask(head.trim_end_matches('.')).unwrap_or(head));
        if mask(head.trim_end_matches('.')).is_some() && head.ends_with('.') {
            out.push('.');
        }
        let mut chars = tail.chars();
        out.extend(chars.next());
        rest = chars.as_str();
    }
    out
}

fn mask(word: &str) -> Option<&'static str> {
    if is_uuid(word) {
        return Some("<uuid>");
    }
    if is_serial(word) {
        return Some("<serial>");
    }
    let date = word.len() >= 20 && word.as_bytes()[4] == b'-' && word.as_bytes()[10] == b'T';
    date.then_some("<moment>")
}

fn is_uuid(text: &str) -> bool {
    let parts: Vec<usize> = text.split('-').map(str::len).collect();
    parts == [8, 4, 4, 4, 12] && text.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit())
}

/// 20 bytes; 19 when the first happens to be zero.
fn is_serial(text: &str) -> bool {
    let parts: Vec<&str> = text.split([':', '-']).collect();
    let pair = |part: &&str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
    (19..=20).contains(&parts.len()) && parts.iter().all(pair)
}

fn is_der(text: &str) -> bool {
    text.len() > 100 && text.starts_with('M') && !text.contains(char::is_whitespace)
}

/// Labels, facts, and whether the text ends with a newline.
fn pem(text: &str) -> Value {
    let mut blocks = Vec::new();
    for part in text.split("-----BEGIN ").skip(1) {
        let (label, rest) = part.split_once("-----").expect("a PEM label");
        let whole = format!("-----BEGIN {label}-----{rest}");
        let facts = match label {
            "CERTIFICATE" => certificate(&whole),
            "CERTIFICATE REQUEST" => json!("<csr>"),
            _ => json!(key_size_class(&whole)),
        };
        blocks.push(json!({ "label": label, "facts": facts }));
    }
    json!({ "blocks": blocks, "newline": text.ends_with('\n') })
}

/// Keys differ; their encoded length, up to a few bytes, does not.
fn key_size_class(pem: &str) -> usize {
    pem.len() / 16
}

fn certificate(text: &str) -> Value {
    let (_, block) = x509_parser::pem::parse_x509_pem(text.as_bytes()).expect("PEM");
    let (_, cert) = X509Certificate::from_der(&block.contents).expect("a certificate");
    let mut extensions = Map::new();
    for extension in cert.extensions() {
        let facts = extension_facts(extension.parsed_extension());
        let entry = json!({"critical": extension.critical, "value": facts});
        extensions.insert(extension.oid.to_id_string(), entry);
    }
    let life = cert.validity().not_after.timestamp() - cert.validity().not_before.timestamp();
    let spki = cert.public_key();
    json!({
        "subject": named(cert.subject()),
        "issuer": named(cert.issuer()),
        "version": cert.version().0,
        "life~": life,
        "serial": is_serial(&cert.raw_serial_as_string()),
        "signature": cert.signature_algorithm.algorithm.to_id_string(),
        "key": [spki.algorithm.algorithm.to_id_string(),
                spki.subject_public_key.data.len().to_string()],
        "extensions": extensions,
    })
}

/// A name; the two roots and intermediates are called alike.
fn named(name: &X509Name<'_>) -> String {
    name.to_string().replace("certagent dev ", "test ")
}

fn extension_facts(parsed: &ParsedExtension<'_>) -> Value {
    match parsed {
        ParsedExtension::SubjectAlternativeName(san) => {
            let mut names: Vec<String> = san.general_names.iter().map(general_name).collect();
            names.sort();
            json!(names)
        }
        ParsedExtension::KeyUsage(usage) => json!(usage.flags),
        ParsedExtension::ExtendedKeyUsage(usage) => json!(format!("{usage:?}")),
        ParsedExtension::BasicConstraints(basic) => {
            json!([basic.ca, basic.path_len_constraint])
        }
        ParsedExtension::SubjectKeyIdentifier(id) => json!(id.0.len()),
        ParsedExtension::AuthorityKeyIdentifier(id) => json!([
            id.key_identifier.as_ref().map(|id| id.0.len()),
            id.authority_cert_serial.is_some()
        ]),
        other => json!(format!("{other:?}")),
    }
}

fn general_name(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::DNSName(name) => format!("dns:{name}"),
        GeneralName::RFC822Name(name) => format!("email:{name}"),
        GeneralName::URI(name) => format!("uri:{name}"),
        GeneralName::IPAddress(bytes) => format!("ip:{bytes:?}"),
        other => format!("{other:?}"),
    }
}
