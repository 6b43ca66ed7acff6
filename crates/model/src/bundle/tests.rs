//! Keys and chains as they are brought into order, and what is never shown of a key.

use super::*;
use crate::{
    leaf::{CertFacts, KeyFacts},
    request::{KeyType, Request},
    testing::ca::{Authority, TestCa, keys, leaf_params, new_key},
    time::Timestamp,
};

const NOW: Timestamp = Timestamp::from_unix_secs(1_795_600_000);

#[test]
fn every_key_format_becomes_the_same_pkcs8() {
    let table = [
        (keys::RSA_2048_PKCS1, KeyType::Rsa2048),
        (keys::RSA_2048_PKCS8, KeyType::Rsa2048),
        (keys::RSA_3072_PKCS1, KeyType::Rsa3072),
        (keys::RSA_4096_PKCS1, KeyType::Rsa4096),
        (keys::EC_P256_SEC1, KeyType::EcP256),
        (keys::EC_P256_PKCS8, KeyType::EcP256),
        (keys::EC_P384_SEC1, KeyType::EcP384),
        (keys::EC_P384_PKCS8, KeyType::EcP384),
        (keys::EC_P521_SEC1, KeyType::EcP521),
        (keys::EC_P521_PKCS8, KeyType::EcP521),
        (keys::ED25519_PKCS8, KeyType::Ed25519),
    ];
    for (text, kind) in table {
        let key = PrivateKey::from_pem(text).unwrap();
        assert_eq!(key.facts(), KeyFacts::from(kind), "{kind}");
        assert_eq!(key.facts().kind(), Some(kind));
        let pem = key.to_pem();
        assert!(
            pem.expose().starts_with("-----BEGIN PRIVATE KEY-----\n"),
            "{kind}"
        );
        assert!(
            pem.expose().ends_with("-----END PRIVATE KEY-----\n"),
            "{kind}"
        );
        assert_eq!(PrivateKey::from_pem(pem.expose()).unwrap(), key, "{kind}");
    }
    let two_formats = [
        (keys::RSA_2048_PKCS1, keys::RSA_2048_PKCS8),
        (keys::EC_P256_SEC1, keys::EC_P256_PKCS8),
        (keys::EC_P384_SEC1, keys::EC_P384_PKCS8),
    ];
    for (one, other) in two_formats {
        assert_eq!(PrivateKey::from_pem(one), PrivateKey::from_pem(other));
    }
}

#[test]
fn unusable_keys_say_why_and_nothing_else() {
    let table = [
        (keys::RSA_1024_PKCS1, KeyError::Weak),
        (keys::RSA_1024_PKCS8, KeyError::Weak),
        (keys::EC_P224_SEC1, KeyError::Unsupported),
        (keys::EC_P224_PKCS8, KeyError::Unsupported),
        (keys::EC_K256_SEC1, KeyError::Unsupported),
        (keys::EC_K256_PKCS8, KeyError::Unsupported),
        (keys::ENCRYPTED_PKCS8, KeyError::Encrypted),
        (keys::ENCRYPTED_SEC1, KeyError::Encrypted),
        (keys::RSA_1024_PUBLIC, KeyError::Label),
        (keys::EC_P256_WITH_PARAMS, KeyError::Several(2)),
    ];
    for (text, error) in table {
        let found = PrivateKey::from_pem(text).unwrap_err();
        assert_eq!(found, error);
        let shown = format!("{found} {found:?}");
        for line in text.lines().filter(|line| line.len() > 8) {
            assert!(!shown.contains(line), "{shown}");
        }
    }
}

#[test]
fn debug_shows_the_kind_of_a_key_alone() {
    let key = PrivateKey::from_pem(keys::EC_P256_SEC1).unwrap();
    assert_eq!(format!("{key:?}"), "PrivateKey(ec-p256)");
}

fn certs(ders: &[&Vec<u8>]) -> Vec<(Vec<u8>, CertFacts)> {
    ders.iter()
        .map(|der| ((*der).clone(), CertFacts::read(der).unwrap()))
        .collect()
}

/// Every order of the pool must give the same result.
fn arrange_all(leaf: &[u8], pool: &[&Vec<u8>]) -> Arranged {
    let leaf = CertFacts::read(leaf).unwrap();
    let first = arrange(&leaf, certs(pool));
    let mut turned = pool.to_vec();
    for _ in 0..pool.len() {
        turned.rotate_left(1);
        assert_eq!(arrange(&leaf, certs(&turned)), first);
        turned.reverse();
        assert_eq!(arrange(&leaf, certs(&turned)), first);
        turned.reverse();
    }
    first
}

fn leaf_of(ca: &Authority) -> Vec<u8> {
    ca.sign(
        leaf_params(&Request::example(), NOW),
        &new_key(KeyType::EcP256),
    )
}

#[test]
fn three_intermediates_come_out_in_verify_order() {
    let root = Authority::root("R", NOW);
    let a = root.intermediate("A", NOW);
    let b = a.intermediate("B", NOW);
    let c = b.intermediate("C", NOW);
    let got = arrange_all(&leaf_of(&c), &[&a.der, &root.der, &c.der, &b.der]);
    assert_eq!(got.chain, [c.der.clone(), b.der.clone(), a.der.clone()]);
    assert_eq!(got.anchors, std::slice::from_ref(&root.der));
    // Without the root the top is the anchor.
    let got = arrange_all(&leaf_of(&c), &[&b.der, &a.der, &c.der]);
    assert_eq!(got.chain, [c.der.clone(), b.der.clone()]);
    assert_eq!(got.anchors, std::slice::from_ref(&a.der));
}

#[test]
fn a_leaf_straight_from_the_root_has_no_intermediate() {
    let root = Authority::root("R", NOW);
    let got = arrange_all(&leaf_of(&root), &[&root.der]);
    assert_eq!((got.chain.len(), got.anchors), (0, vec![root.der]));
}

#[test]
fn a_cross_signed_root_is_an_intermediate_and_both_roots_are_anchors() {
    let old = Authority::root("Old", NOW);
    let new = Authority::root("New", NOW);
    let cross = old.cross_sign(&new);
    let got = arrange_all(&leaf_of(&new), &[&new.der, &cross, &old.der]);
    assert_eq!(got.chain, std::slice::from_ref(&cross));
    assert_eq!(got.anchors.len(), 2);
    // With remove_roots_from_chain only the cross-signed link is sent.
    let got = arrange_all(&leaf_of(&new), &[&cross]);
    assert_eq!((got.chain.len(), got.anchors), (0, vec![cross]));
}

#[test]
fn unrelated_certificates_and_copies_of_the_leaf_are_left_out() {
    let ca = TestCa::new(NOW);
    let stranger = Authority::root("Stranger", NOW);
    let leaf = leaf_of(&ca.int);
    let got = arrange_all(&leaf, &[&stranger.der, &ca.root.der, &ca.int.der, &leaf]);
    assert_eq!(got.chain, std::slice::from_ref(&ca.int.der));
    assert_eq!(got.anchors, std::slice::from_ref(&ca.root.der));
    assert_eq!(got.unrelated, ["CN=Stranger"]);
}

#[test]
fn two_cas_that_signed_each_other_do_not_loop() {
    let one = Authority::root("One", NOW);
    let two = Authority::root("Two", NOW);
    let (a, b) = (one.cross_sign(&two), two.cross_sign(&one));
    let got = arrange_all(&leaf_of(&one), &[&a, &b]);
    assert_eq!(got.chain.len() + got.anchors.len(), 2);
}
