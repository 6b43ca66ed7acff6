//! Wrong bodies, types, texts and PEM.

use serde_json::{Value, json};

use super::Bench;
use crate::{pem, testing::ca::keys};

pub(super) fn bodies(bench: &mut Bench<'_>) {
    bench.raw("empty body", "body-empty", "");
    bench.raw("blank body", "body-empty", " \r\n");
    bench.raw(
        "HTML body",
        "body-html",
        "<!DOCTYPE html><p>502 Bad Gateway</p>",
    );
    bench.raw(
        "not UTF-8",
        "body-not-utf8",
        b"{\"data\":\"\xff\xfe\"}".as_slice(),
    );
    bench.raw("plain text", "body-not-json", "OK");
    bench.raw("a list", "body-not-object", "[]");
    bench.raw("a text", "body-not-object", "\"ok\"");
    let good = bench.ca.answer(bench.request, bench.now);
    bench.raw(
        "cut in the middle",
        "body-truncated",
        &good[..good.len() / 2],
    );
    bench.raw("one byte short", "body-truncated", &good[..good.len() - 1]);
    bench.raw(
        "two answers",
        "body-not-json",
        [good.as_slice(), good.as_slice()].concat(),
    );
    let certificate = bench.ca.int.pem();
    let count = 1024 * 1024 / certificate.len() + 1;
    bench.set(
        "chain of 1 MiB",
        "body-too-large",
        "ca_chain",
        vec![certificate; count],
    );
    bench.raw(
        "only errors",
        "errors-listed",
        r#"{"errors":["permission denied"]}"#,
    );
    bench.bend("errors beside data", "errors-listed", |answer| {
        answer["errors"] = json!(["1 error occurred"]);
    });
    bench.bend("errors as text", "errors-listed", |answer| {
        answer["errors"] = json!("no")
    });
    bench.bend("wrapped", "answer-wrapped", |answer| {
        answer["wrap_info"] = json!({"token": "s.x", "ttl": 60});
        answer["data"] = Value::Null;
    });
    bench.raw("no data", "data-missing", r#"{"request_id":"x"}"#);
    bench.bend("data is null", "data-null", |answer| {
        answer["data"] = Value::Null
    });
    bench.bend("data is a list", "data-wrong-type", |answer| {
        answer["data"] = json!([])
    });
    bench.bend("data is text", "data-wrong-type", |answer| {
        answer["data"] = json!("{}")
    });
}

pub(super) fn certificate(bench: &mut Bench<'_>) {
    let field = "certificate";
    bench.set(
        "certificate is null",
        "certificate-missing",
        field,
        Value::Null,
    );
    bench.bend("no certificate", "certificate-missing", |answer| {
        answer["data"]
            .as_object_mut()
            .unwrap()
            .remove("certificate");
    });
    bench.set(
        "certificate is a number",
        "certificate-wrong-type",
        field,
        7,
    );
    bench.set(
        "certificate is a list",
        "certificate-wrong-type",
        field,
        json!(["x"]),
    );
    bench.set("certificate is empty", "certificate-empty", field, "");
    bench.text("format=der", "certificate-der", field, |text| {
        text.lines().filter(|line| !line.starts_with('-')).collect()
    });
    bench.bend("format=pem_bundle", "certificate-holds-key", |answer| {
        let data = &mut answer["data"];
        let part = |name: &str| data[name].as_str().unwrap().to_owned();
        let bundle = [part("private_key"), part("certificate"), part("issuing_ca")].join("\n");
        data["certificate"] = bundle.into();
    });
}

pub(super) fn certificate_pem(bench: &mut Bench<'_>) {
    let field = "certificate";
    let junk = "certificate-not-pem";
    bench.text("junk before the PEM", junk, field, |text| {
        format!("subject=CN\n{text}")
    });
    bench.text("junk after the PEM", junk, field, |text| {
        format!("{text}\nEOF")
    });
    bench.text("junk in the PEM", junk, field, |text| {
        text.replacen('M', "!", 1)
    });
    bench.text("PEM cut short", junk, field, |text| text[..200].to_owned());
    bench.text("PEM without END", junk, field, |text| {
        text.replace("END ", "EMD ")
    });
    bench.text("literal backslash n", junk, field, |text| {
        text.replace('\n', "\\n")
    });
    bench.text("a CSR label", "certificate-label", field, |text| {
        text.replace("CERTIFICATE", "CERTIFICATE REQUEST")
    });
    bench.text("certificate twice", "certificate-several", field, |text| {
        format!("{text}\n{text}")
    });
    let bad = "certificate-malformed";
    bench.set(
        "PEM of other bytes",
        bad,
        field,
        pem::encode(pem::CERTIFICATE, b"no DER"),
    );
    bench.text("byte after the DER", bad, field, |text| {
        redo(text, |der| der.push(0))
    });
    bench.text("DER cut short", bad, field, |text| {
        redo(text, |der| der.truncate(300))
    });
}

/// The same PEM block with other bytes.
pub(super) fn redo(text: &str, change: impl FnOnce(&mut Vec<u8>)) -> String {
    let block = pem::parse(text).unwrap().remove(0);
    let mut der = block.der.to_vec();
    change(&mut der);
    pem::encode(&block.label, &der)
}

pub(super) fn key(bench: &mut Bench<'_>) {
    let field = "private_key";
    bench.set("key is null", "key-missing", field, Value::Null);
    bench.bend("no key", "key-missing", |answer| {
        answer["data"]
            .as_object_mut()
            .unwrap()
            .remove("private_key");
    });
    bench.set("key is an object", "key-wrong-type", field, json!({}));
    bench.set("key is blank", "key-empty", field, "\n");
    bench.text("junk after the key", "key-not-pem", field, |text| {
        format!("{text}\nx")
    });
    bench.text("key is not base64", "key-not-pem", field, |text| {
        text.replacen('M', "*", 1)
    });
    bench.text("certificate as key", "key-label", field, |text| {
        text.replace("PRIVATE KEY", "CERTIFICATE")
    });
    bench.set(
        "EC parameters and key",
        "key-several",
        field,
        keys::EC_P256_WITH_PARAMS,
    );
    bench.text("key twice", "key-several", field, |text| {
        format!("{text}\n{text}")
    });
    bench.set(
        "encrypted PKCS#8",
        "key-encrypted",
        field,
        keys::ENCRYPTED_PKCS8,
    );
    bench.set(
        "encrypted SEC1",
        "key-encrypted",
        field,
        keys::ENCRYPTED_SEC1,
    );
}

pub(super) fn key_content(bench: &mut Bench<'_>) {
    let field = "private_key";
    bench.text("key cut short", "key-malformed", field, |text| {
        redo(text, |der| der.truncate(90))
    });
    bench.set(
        "key of other bytes",
        "key-malformed",
        field,
        pem::encode(pem::PRIVATE_KEY, b"0"),
    );
    bench.set("RSA 1024 key", "key-weak", field, keys::RSA_1024_PKCS8);
    bench.set(
        "RSA 1024 key in PKCS#1",
        "key-weak",
        field,
        keys::RSA_1024_PKCS1,
    );
    bench.set("P-521 key", "key-mismatch", field, keys::EC_P521_PKCS8);
    bench.set(
        "secp256k1 key",
        "key-unsupported",
        field,
        keys::EC_K256_SEC1,
    );
    bench.set(
        "another P-256 key",
        "key-mismatch",
        field,
        keys::EC_P256_PKCS8,
    );
    bench.set(
        "an RSA key for an EC certificate",
        "key-mismatch",
        field,
        keys::RSA_2048_PKCS8,
    );
}

pub(super) fn chain(bench: &mut Bench<'_>) {
    let field = "ca_chain";
    let int = bench.ca.int.pem();
    bench.bend("no chain, no issuing CA", "chain-missing", |answer| {
        let data = answer["data"].as_object_mut().unwrap();
        data.remove("ca_chain");
        data.remove("issuing_ca");
    });
    bench.bend("empty chain, empty issuing CA", "chain-missing", |answer| {
        answer["data"]["ca_chain"] = json!([]);
        answer["data"]["issuing_ca"] = json!("");
    });
    bench.set("chain is text", "chain-wrong-type", field, int.as_str());
    bench.set(
        "chain of numbers",
        "chain-entry-wrong-type",
        field,
        json!([int, 1]),
    );
    bench.set(
        "chain with an empty text",
        "chain-not-pem",
        field,
        json!([int, ""]),
    );
    bench.set(
        "junk in the chain",
        "chain-not-pem",
        field,
        json!([format!("{int}\njunk")]),
    );
    let csr = int.replace("CERTIFICATE", "X509 CRL");
    bench.set("a CRL in the chain", "chain-label", field, json!([csr]));
    bench.set(
        "a key in the chain",
        "chain-holds-key",
        field,
        json!([keys::EC_P256_PKCS8]),
    );
    let both = format!("{int}\n{}", bench.ca.root.pem());
    bench.set(
        "two in one entry",
        "chain-entry-several",
        field,
        json!([both]),
    );
    let bytes = pem::encode(pem::CERTIFICATE, b"no DER");
    bench.set(
        "other bytes in the chain",
        "chain-malformed",
        field,
        json!([bytes]),
    );
    bench.set("chain of 17", "chain-too-long", field, vec![int; 17]);
    let field = "issuing_ca";
    bench.set("issuing CA is a bool", "issuing-ca-wrong-type", field, true);
    bench.set("issuing CA is no PEM", "issuing-ca-not-pem", field, "int");
    bench.set(
        "issuing CA of other bytes",
        "issuing-ca-malformed",
        field,
        bytes,
    );
}

pub(super) fn beside(bench: &mut Bench<'_>) {
    bench.set(
        "serial is a number",
        "serial-wrong-type",
        "serial_number",
        5,
    );
    bench.set(
        "another serial",
        "serial-disagrees",
        "serial_number",
        "01:02",
    );
    bench.set(
        "expiration is text",
        "expiration-wrong-type",
        "expiration",
        "soon",
    );
    bench.set(
        "another expiration",
        "expiration-disagrees",
        "expiration",
        4_000_000_000_u64,
    );
    bench.set(
        "expiration with a fraction",
        "expiration-disagrees",
        "expiration",
        1.5,
    );
    bench.bend("warnings is text", "warnings-wrong-type", |answer| {
        answer["warnings"] = json!("no");
    });
    bench.bend("warnings of numbers", "warnings-wrong-type", |answer| {
        answer["warnings"] = json!([1]);
    });
    bench.bend("lease is a number", "lease-wrong-type", |answer| {
        answer["lease_id"] = json!(1)
    });
}

pub(super) fn odd(bench: &mut Bench<'_>) {
    let each = |answer: &mut Value, change: &dyn Fn(&str) -> String| {
        for field in ["certificate", "private_key", "issuing_ca"] {
            let text = change(answer["data"][field].as_str().unwrap());
            answer["data"][field] = text.into();
        }
        for entry in answer["data"]["ca_chain"].as_array_mut().unwrap() {
            *entry = change(entry.as_str().unwrap()).into();
        }
    };
    bench.tolerate("CRLF", "", |answer| {
        each(answer, &|text| text.replace('\n', "\r\n"))
    });
    bench.tolerate("final newlines", "", |answer| {
        each(answer, &|text| format!("{text}\n\n"))
    });
    bench.tolerate("no final newlines", "", |answer| {
        each(answer, &|text| text.trim().into())
    });
    bench.tolerate(
        "a lease",
        "is revoked when the login token expires",
        |answer| {
            answer["lease_id"] = json!("pki/issue/internal/abc");
            answer["lease_duration"] = json!(3600);
        },
    );
    bench.tolerate("a warning", "longer than permitted maxTTL", |answer| {
        answer["warnings"] = json!(["TTL \"9000h\" is longer than permitted maxTTL"]);
    });
    bench.tolerate("no optional fields", "", |answer| {
        let data = answer["data"].as_object_mut().unwrap();
        for field in [
            "serial_number",
            "expiration",
            "not_before",
            "private_key_type",
        ] {
            data.remove(field);
        }
        let envelope = answer.as_object_mut().unwrap();
        envelope.retain(|field, _| field == "data");
    });
    bench.tolerate("a SEC1 label on PKCS#8", "", |answer| {
        let key = answer["data"]["private_key"].as_str().unwrap();
        answer["data"]["private_key"] = key.replace("PRIVATE", "EC PRIVATE").into();
    });
    bench.tolerate("unknown fields", "", |answer| {
        answer["mount_type"] = json!("pki");
        answer["data"]["extra"] = json!({"a": [1, null]});
    });
    bench.tolerate("the end with a decimal point", "", |answer| {
        let end = answer["data"]["expiration"].as_f64().unwrap();
        answer["data"]["expiration"] = json!(end);
    });
    bench.tolerate("an empty list of errors", "", |answer| {
        answer["errors"] = json!([])
    });
    bench.tolerate("serial in upper case", "", |answer| {
        let serial = answer["data"]["serial_number"].as_str().unwrap();
        answer["data"]["serial_number"] = serial.to_uppercase().into();
    });
}
