use std::time::Duration;

use super::*;
use crate::{
    model::{answer, request::Mode},
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

#[test]
fn every_mutation_has_its_code() {
    let request = ca::request();
    let ca = TestCa::new(NOW);
    for mutation in ca::mutations(&ca, &request, NOW) {
        let refused = answer::parse(&mutation.body, None)
            .and_then(|bundle| verify(bundle, &expect(&request), NOW));
        let code = refused.map_err(|refusal| refusal.code()).err();
        assert_eq!(code, Some(mutation.code), "{}", mutation.name);
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
