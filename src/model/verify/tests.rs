use std::{collections::BTreeSet, time::Duration};

use super::*;
use crate::{
    model::{answer, leaf::sha256, request::Mode},
    testing::ca::{self, TestCa},
};

pub(crate) const NOW: Timestamp = Timestamp::from_unix_secs(1_795_600_000);

fn expect(request: &Request) -> Expect<'_> {
    Expect {
        request,
        min_remaining: Duration::from_secs(60),
        known_serials: &[],
        extra_anchors: &[],
    }
}

#[test]
fn a_good_answer_passes() {
    let request = ca::request();
    let ca = TestCa::new(NOW);
    let bundle = answer::parse(&ca.answer(&request, NOW), None).unwrap();
    let verified = verify(bundle, &expect(&request), NOW).unwrap();
    assert_eq!(verified.starts_at(), NOW);
    assert_eq!(verified.warnings(), [] as [String; 0]);
    assert_eq!(verified.anchors(), [ca.root.der.clone()]);
    assert!(verified.cert_pem().ends_with("-----\n"));
}

/// Everything an answer goes through.
fn judge(body: &[u8], expect: &Expect<'_>) -> Result<Verified, Refusal> {
    verify(answer::parse(body, None)?, expect, NOW)
}

#[test]
fn every_mutation_is_refused_with_its_code_and_every_code_has_one() {
    let ca = TestCa::new(NOW);
    let mut request = ca::request();
    request.issuer_pin = Some(sha256(&ca.int.der));
    let live = ca.answer(&request, NOW);
    let verified = judge(&live, &expect(&request)).unwrap();
    let known = [verified.leaf().serial.clone()];
    let expect = Expect {
        known_serials: &known,
        ..expect(&request)
    };
    let mutations = ca::mutations(&ca, &request, NOW, &live);
    let mut seen = BTreeSet::new();
    let mut wrong: Vec<String> = Vec::new();
    for mutation in &mutations {
        let refused = judge(&mutation.body, &expect);
        let code = refused.as_ref().map_err(Refusal::code).err();
        if code != Some(mutation.code) {
            wrong.push(format!(
                "{}: {code:?}, not {}: {refused:?}",
                mutation.name, mutation.code
            ));
        }
        seen.insert(mutation.code);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(mutations.len() >= 70, "{}", mutations.len());
    let names: BTreeSet<&str> = mutations.iter().map(|mutation| mutation.name).collect();
    assert_eq!(names.len(), mutations.len(), "a name twice");
    // Not from an answer in issue mode: files on disk, our own key, and webpki's rest.
    let elsewhere = [
        "cert-file",
        "ca-file",
        "key-file",
        "key-unexpected",
        "chain-invalid",
    ];
    let unseen: Vec<&str> = codes::CODES
        .iter()
        .map(|code| code.name)
        .filter(|name| !seen.contains(name) && !elsewhere.contains(name))
        .collect();
    assert_eq!(unseen, [] as [&str; 0]);
}

#[test]
fn odd_but_harmless_answers_pass() {
    let request = ca::request();
    let ca = TestCa::new(NOW);
    for odd in ca::tolerated(&ca, &request, NOW) {
        let verified = judge(&odd.body, &expect(&request))
            .unwrap_or_else(|refusal| panic!("{}: {refusal}", odd.name));
        let warnings = verified.warnings().join("; ");
        assert_eq!(
            warnings.is_empty(),
            odd.warning.is_empty(),
            "{}: {warnings}",
            odd.name
        );
        assert!(warnings.contains(odd.warning), "{}: {warnings}", odd.name);
        for text in [
            verified.ca_pem(),
            verified.cert_pem(),
            verified.key_pem().expose(),
        ] {
            assert!(
                text.ends_with("-----\n") && !text.contains('\r'),
                "{}",
                odd.name
            );
        }
    }
}

#[test]
fn a_signed_csr_passes() {
    let mut request = ca::request();
    request.mode = Mode::Sign;
    let ca = TestCa::new(NOW);
    let key = ca::new_key(request.key_type);
    let csr = rcgen::CertificateParams::default()
        .serialize_request(&key)
        .unwrap();
    let own = bundle::PrivateKey::from_pkcs8(key.serialized_der()).unwrap();
    let body = ca.sign_answer(&request, &csr.pem().unwrap(), NOW);
    let bundle = answer::parse(&body, Some(own)).unwrap();
    verify(bundle, &expect(&request), NOW).unwrap();
}
