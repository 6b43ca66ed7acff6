//! What passes, what is refused, and with which code.

mod hierarchies;

use std::{collections::BTreeSet, time::Duration};

use rcgen::SanType;

use super::*;
use crate::{
    answer,
    leaf::sha256,
    request::{KeyType, Mode},
    testing::ca::{self, Authority, TestCa, keys},
};

pub(crate) const NOW: Timestamp = Timestamp::from_unix_secs(1_795_600_000);

fn expect(request: &Request) -> Expect<'_> {
    Expect {
        min_remaining: MinRemaining::Configured(Duration::from_secs(60)),
        ..Expect::of(request)
    }
}

#[test]
fn a_good_answer_passes() {
    let request = Request::example();
    let ca = TestCa::new(NOW);
    let bundle = answer::parse(&ca.answer(&request, NOW), None).unwrap();
    let verified = verify(bundle, &expect(&request), NOW).unwrap();
    assert_eq!(verified.starts_at(), NOW);
    assert_eq!(verified.warnings(), [] as [String; 0]);
    assert_eq!(verified.anchors(), std::slice::from_ref(&ca.root.der));
    assert!(verified.cert_pem().ends_with("-----\n"));
}

/// Everything an answer goes through.
fn judge(body: &[u8], expect: &Expect<'_>) -> Result<Verified, Refusal> {
    verify(answer::parse(body, None)?, expect, NOW)
}

#[test]
fn every_mutation_is_refused_with_its_code_and_every_code_has_one() {
    let ca = TestCa::new(NOW);
    let mut request = Request::example();
    request.issuer_sha256 = Some(sha256(&ca.int.der));
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
    let request = Request::example();
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
    let mut request = Request::example();
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

/// An answer with that leaf, key and chain, judged.
fn judge_leaf(
    ca: &TestCa,
    request: &Request,
    change: impl FnOnce(&mut rcgen::CertificateParams),
) -> Result<Verified, Refusal> {
    let key = ca::new_key(KeyType::EcP256);
    let mut params = ca::leaf_params(request, NOW);
    change(&mut params);
    let leaf = ca.int.sign(params, &key);
    judge(
        ca.envelope(&leaf, Some(&key)).to_string().as_bytes(),
        &expect(request),
    )
}

#[test]
fn an_open_key_type_takes_what_the_role_makes_but_no_weak_key() {
    let ca = TestCa::new(NOW);
    let mut request = Request::example();
    request.key_type = KeyType::EcP256;
    let own = bundle::PrivateKey::from_pem(keys::RSA_2048_PKCS1).unwrap();
    let key = rcgen::KeyPair::try_from(own.expose_pkcs8()).unwrap();
    let leaf = ca.int.sign(ca::leaf_params(&request, NOW), &key);
    let mut answer = ca.envelope(&leaf, None);
    answer["data"]["private_key"] = keys::RSA_2048_PKCS1.into();
    let body = answer.to_string();
    let refusal = judge(body.as_bytes(), &expect(&request)).unwrap_err();
    assert_eq!(refusal.code(), "key-type");
    request.key_type_open = true;
    let verified = judge(body.as_bytes(), &expect(&request)).unwrap();
    assert_eq!(verified.leaf().key.kind(), Some(KeyType::Rsa2048));
}

#[test]
fn every_key_type_passes_when_asked_for() {
    let ca = TestCa::new(NOW);
    let texts = [
        keys::EC_P256_SEC1,
        keys::EC_P384_SEC1,
        keys::EC_P521_SEC1,
        keys::ED25519_PKCS8,
        keys::RSA_2048_PKCS1,
        keys::RSA_3072_PKCS1,
        keys::RSA_4096_PKCS1,
    ];
    for (kind, text) in KeyType::ALL.into_iter().zip(texts) {
        let mut request = Request::example();
        request.key_type = kind;
        let own = bundle::PrivateKey::from_pem(text).unwrap();
        let key = rcgen::KeyPair::try_from(own.expose_pkcs8()).unwrap();
        let leaf = ca.int.sign(ca::leaf_params(&request, NOW), &key);
        let mut answer = ca.envelope(&leaf, None);
        answer["data"]["private_key"] = text.into();
        let verified = judge(answer.to_string().as_bytes(), &expect(&request)).unwrap();
        assert_eq!(verified.leaf().key.kind(), Some(kind));
        assert_eq!(verified.key_pem(), &own.to_pem());
        // The same kind, another key.
        answer["data"]["private_key"] = match kind {
            KeyType::Rsa3072 | KeyType::Rsa4096 => keys::RSA_2048_PKCS1.into(),
            other => ca::new_key(other).serialize_pem().into(),
        };
        let refusal = judge(answer.to_string().as_bytes(), &expect(&request)).unwrap_err();
        assert_eq!(refusal.code(), "key-mismatch", "{kind}");
    }
}

#[test]
fn names_are_compared_as_tls_clients_do() {
    let ca = TestCa::new(NOW);
    let dns = |name: &str| SanType::DnsName(name.try_into().unwrap());
    // What is asked for, what the certificate has, whether it covers.
    let table: &[(&str, &str, bool)] = &[
        ("a.example", "a.example", true),
        ("A.Example", "a.eXAMPLE", true),
        ("a.example.", "a.example", true),
        ("a.example", "a.example.", true),
        ("a.example", "*.example", true),
        ("b.a.example", "*.example", false),
        ("example", "*.example", false),
        ("*.example", "*.example", true),
        ("*.example", "a.example", false),
        ("*.a.example", "*.example", false),
        ("a.example", "b.example", false),
    ];
    for (wanted, has, covered) in table {
        let mut request = Request::example();
        request.names.dns = [(*wanted).to_owned()].into();
        let got = judge_leaf(&ca, &request, |params| {
            params
                .subject_alt_names
                .retain(|san| !matches!(san, SanType::DnsName(_)));
            params.subject_alt_names.push(dns(has));
            params
                .subject_alt_names
                .push(dns(&request.names.common_name.to_uppercase()));
        });
        let code = got.map_err(|refusal| refusal.code()).err();
        let expected = (!covered).then_some("dns-missing");
        assert_eq!(code, expected, "{wanted} from {has}");
    }
}

#[test]
fn an_address_as_common_name_wants_an_ip_san() {
    let ca = TestCa::new(NOW);
    for address in ["10.0.0.9", "fd00::9"] {
        let mut request = Request::example();
        request.names.common_name = address.to_owned();
        let san = SanType::IpAddress(address.parse().unwrap());
        judge_leaf(&ca, &request, |params| params.subject_alt_names.push(san)).unwrap();
        let refusal = judge_leaf(&ca, &request, |_| {}).unwrap_err();
        assert_eq!(refusal.code(), "ip-missing");
    }
    // IPv4 in IPv6 form is the same address.
    let mut request = Request::example();
    request.names.ips = ["::ffff:10.0.0.7".parse().unwrap()].into();
    judge_leaf(&ca, &request, |params| {
        params
            .subject_alt_names
            .retain(|san| !matches!(san, SanType::IpAddress(_)));
        params
            .subject_alt_names
            .push(SanType::IpAddress([10, 0, 0, 7].into()));
    })
    .unwrap();
}

#[test]
fn names_that_were_not_asked_for_are_a_warning() {
    let ca = TestCa::new(NOW);
    let request = Request::example();
    let extra = SanType::DnsName("vault.service.consul".try_into().unwrap());
    let verified = judge_leaf(&ca, &request, |params| {
        params.subject_alt_names.push(extra);
    })
    .unwrap();
    let expected = "it has names that were not requested: vault.service.consul";
    assert_eq!(verified.warnings(), [expected]);
}

#[test]
fn a_leaf_from_the_future_passes_and_says_when_it_starts() {
    let ca = TestCa::new(NOW);
    let request = Request::example();
    let starts = NOW.plus(Duration::from_secs(7200));
    let verified = judge_leaf(&ca, &request, |params| {
        params.not_before = ca::moment(starts);
    })
    .unwrap();
    assert_eq!(verified.starts_at(), starts);
}

#[test]
fn the_margin_is_exact() {
    let ca = TestCa::new(NOW);
    let request = Request::example();
    for (left, code) in [(61, None), (60, Some("too-short")), (0, Some("expired"))] {
        let got = judge_leaf(&ca, &request, |params| {
            params.not_after = ca::moment(NOW.plus(Duration::from_secs(left)));
        });
        assert_eq!(got.map_err(|refusal| refusal.code()).err(), code, "{left}");
    }
}

#[test]
fn a_ca_that_ends_first_cuts_the_validity_short() {
    let now = NOW;
    let mut params = ca::ca_params("Short Root", now);
    let ends = now.plus(Duration::from_secs(86_400));
    params.not_after = ca::moment(ends);
    let root = Authority::root_from(params);
    let int = root.intermediate("I", now);
    let ca = TestCa { root, int };
    let request = Request::example();
    let verified = judge(&ca.answer(&request, now), &expect(&request)).unwrap();
    assert_eq!(verified.validity().not_after, ends);
    assert!(verified.leaf().not_after > ends);
    assert!(verified.warnings()[0].contains("before the certificate does"));
}

#[test]
fn all_problems_come_at_once_and_the_failure_names_the_first() {
    let ca = TestCa::new(NOW);
    let request = Request::example();
    let refusal = judge_leaf(&ca, &request, |params| {
        params.not_after = ca::moment(NOW.plus(Duration::from_secs(5)));
        params.subject_alt_names.truncate(1);
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::CodeSigning];
    })
    .unwrap_err();
    let codes: Vec<&str> = refusal
        .problems
        .iter()
        .map(|problem| problem.code)
        .collect();
    let expected = [
        "too-short",
        "dns-missing",
        "ip-missing",
        "uri-missing",
        "server-auth",
        "client-auth",
    ];
    assert_eq!(codes, expected);
    let failure = crate::failure::Failure::from(refusal);
    assert_eq!(failure.class, crate::failure::FailureClass::BadAnswer);
    assert_eq!(failure.code, "too-short");
    assert!(failure.hint.is_some_and(|hint| hint.contains("ttl")));
}

#[test]
fn a_pin_fits_the_issuer_in_any_writing_and_its_cross_signed_copy() {
    let ca = TestCa::new(NOW);
    let mut request = Request::example();
    let pin = sha256(&ca.int.der).to_uppercase();
    let pairs: Vec<&str> = pin
        .as_bytes()
        .chunks(2)
        .map(|two| std::str::from_utf8(two).unwrap())
        .collect();
    request.issuer_sha256 = Some(pairs.join(":"));
    let body = ca.answer(&request, NOW);
    let verified = judge(&body, &expect(&request)).unwrap();
    assert_eq!(verified.issuer_sha256(), sha256(&ca.int.der));
    request.issuer_sha256 = Some(sha256(&ca.root.der));
    assert_eq!(
        judge(&body, &expect(&request)).unwrap_err().code(),
        "issuer-sha256"
    );

    let old = Authority::root("Old", NOW);
    let cross = old.cross_sign(&ca.root);
    let key = ca::new_key(KeyType::EcP256);
    let leaf = ca.root.sign(ca::leaf_params(&request, NOW), &key);
    let answer = ca::envelope(&leaf, &[&ca.root.der, &cross, &old.der], Some(&key));
    for pinned in [&ca.root.der, &cross] {
        request.issuer_sha256 = Some(sha256(pinned));
        judge(answer.to_string().as_bytes(), &expect(&request)).unwrap();
    }
}

#[test]
fn a_pinned_root_above_a_chain_without_root_becomes_the_anchor() {
    let ca = TestCa::new(NOW);
    let request = Request::example();
    let mut answer = ca.answer_json(&request, NOW);
    answer["data"]["ca_chain"] = serde_json::json!([ca.int.pem()]);
    let body = answer.to_string();
    let verified = judge(body.as_bytes(), &expect(&request)).unwrap();
    assert_eq!(verified.anchors(), std::slice::from_ref(&ca.int.der));
    assert_eq!(verified.cert_pem().matches("BEGIN").count(), 1);
    let extra_anchors = [ca.root.der.clone()];
    let pinned = Expect {
        extra_anchors: &extra_anchors,
        ..expect(&request)
    };
    let verified = judge(body.as_bytes(), &pinned).unwrap();
    assert_eq!(verified.anchors(), std::slice::from_ref(&ca.root.der));
    assert_eq!(verified.cert_pem().matches("BEGIN").count(), 2);
}

#[test]
fn expired_links_beside_the_path_are_left_out() {
    let ca = TestCa::new(NOW);
    let request = Request::example();
    let mut params = ca::ca_params("Gone", NOW);
    params.not_after = ca::moment(NOW.minus(Duration::from_secs(1)));
    let gone = Authority::root_from(params);
    let cross = gone.cross_sign(&ca.root);
    let mut answer = ca.answer_json(&request, NOW);
    let pem = ca::vault_pem;
    answer["data"]["ca_chain"] =
        serde_json::json!([ca.int.pem(), ca.root.pem(), pem(&cross), gone.pem()]);
    let verified = judge(answer.to_string().as_bytes(), &expect(&request)).unwrap();
    assert_eq!(verified.anchors(), std::slice::from_ref(&ca.root.der));
    assert_eq!(verified.warnings(), ["left out, expired: CN=Gone"]);
}

#[test]
fn a_set_read_back_from_disk_is_the_same_set() {
    let ca = TestCa::new(NOW);
    let request = Request::example();
    let first = judge(&ca.answer(&request, NOW), &expect(&request)).unwrap();
    let other = Authority::root("Other", NOW).der;
    let first = first.with_anchors(&[other, b"junk".to_vec()]);
    assert_eq!(first.anchors().len(), 2, "the chain's own anchor stays");
    let bundle = reread(first.ca_pem(), first.cert_pem(), first.key_pem()).unwrap();
    let again = verify(bundle, &expect(&request), NOW).unwrap();
    assert_eq!(again.ca_pem(), first.ca_pem());
    assert_eq!(again.cert_pem(), first.cert_pem());
    assert_eq!(again.key_pem(), first.key_pem());
    assert_eq!(again.leaf(), first.leaf());
    // With the anchors of the chain alone the file is as it was.
    assert_eq!(
        again.with_anchors(&[]).anchors(),
        std::slice::from_ref(&ca.root.der)
    );
}

#[test]
fn files_that_cannot_be_read_back_have_their_codes() {
    let ca = TestCa::new(NOW);
    let request = Request::example();
    let set = judge(&ca.answer(&request, NOW), &expect(&request)).unwrap();
    let (root, cert, key) = (set.ca_pem(), set.cert_pem(), set.key_pem());
    let cut = |text: &str| text[..text.len() / 2].to_owned();
    let secret = |text: String| Secret::new(text);
    let table = [
        ("ca-file", cut(root), cert.to_owned(), key.clone()),
        ("ca-file", String::new(), cert.to_owned(), key.clone()),
        ("cert-file", root.to_owned(), cut(cert), key.clone()),
        (
            "cert-file",
            root.to_owned(),
            key.expose().to_owned(),
            key.clone(),
        ),
        (
            "key-file",
            root.to_owned(),
            cert.to_owned(),
            secret(cut(key.expose())),
        ),
        (
            "key-file",
            root.to_owned(),
            cert.to_owned(),
            secret(cert.to_owned()),
        ),
    ];
    for (code, ca_pem, cert_pem, key_pem) in table {
        let refusal = reread(&ca_pem, &cert_pem, &key_pem).unwrap_err();
        assert_eq!(refusal.code(), code);
    }
    let swapped = reread(root, root, key).unwrap();
    assert_eq!(
        verify(swapped, &expect(&request), NOW).unwrap_err().code(),
        "leaf-is-ca"
    );
}

#[test]
fn codes_are_unique_and_explained() {
    let names: BTreeSet<&str> = codes::CODES.iter().map(|code| code.name).collect();
    assert_eq!(names.len(), codes::CODES.len());
    for code in codes::CODES {
        let plain = |c: char| c.is_ascii_lowercase() || c == '-' || c.is_ascii_digit();
        assert!(code.name.chars().all(plain), "{}", code.name);
        assert!(
            !code.meaning.is_empty() && !code.hint.is_empty(),
            "{}",
            code.name
        );
    }
}

#[test]
fn debug_of_a_verified_set_shows_no_key() {
    let ca = TestCa::new(NOW);
    let request = Request::example();
    let set = judge(&ca.answer(&request, NOW), &expect(&request)).unwrap();
    let shown = format!("{set:?}");
    for line in set.key_pem().expose().lines() {
        assert!(!shown.contains(line), "{shown}");
    }
}

/// Answers of OpenBao 2.7.2, issued at this moment to `Request::example()`.
const BAO_NOW: Timestamp = Timestamp::from_unix_secs(1_795_574_175);

fn judge_openbao(body: &str) -> Result<Verified, Refusal> {
    let request = Request::example();
    verify(
        answer::parse(body.as_bytes(), None)?,
        &expect(&request),
        BAO_NOW,
    )
}

#[test]
fn answers_of_openbao_are_understood() {
    let issued = judge_openbao(include_str!("../testing/ca/openbao/issue.json")).unwrap();
    assert_eq!(issued.leaf().issuer, "CN=Int");
    assert_eq!(issued.warnings(), [] as [&str; 0]);
    let roots = issued
        .anchors()
        .iter()
        .map(|der| CertFacts::read(der).unwrap().subject);
    assert_eq!(roots.collect::<Vec<String>>(), ["CN=Root"]);

    let leased = judge_openbao(include_str!("../testing/ca/openbao/leased.json")).unwrap();
    assert!(
        leased
            .warnings()
            .iter()
            .any(|text| text.contains("generate_lease=false"))
    );

    let rootless = judge_openbao(include_str!("../testing/ca/openbao/rootless.json")).unwrap();
    let top = CertFacts::read(&rootless.anchors()[0]).unwrap();
    assert_eq!(top.subject, "CN=Int");
    assert!(
        rootless
            .warnings()
            .iter()
            .any(|text| text.contains("bogus"))
    );
}

#[test]
fn other_formats_of_openbao_are_refused_by_name() {
    let code = |body| judge_openbao(body).map_err(|refusal| refusal.code()).err();
    let bundle = include_str!("../testing/ca/openbao/bundle.json");
    assert_eq!(code(bundle), Some("certificate-holds-key"));
    let der = include_str!("../testing/ca/openbao/der.json");
    assert_eq!(code(der), Some("certificate-der"));
}
