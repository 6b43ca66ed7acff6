//! Chains of many shapes, and what is odd about them and no fault.

use super::*;

/// Our column of the table; the others are held against the programs by the integration tests.
#[test]
fn hierarchies_are_accepted_or_refused_by_name() {
    let request = Request::example();
    let mut wrong = Vec::new();
    for one in ca::hierarchies(&request, NOW) {
        let mut request = request.clone();
        request.key_type_open = true;
        let refused = judge(&one.body, &expect(&request)).err();
        let fits = match (&refused, one.ours) {
            (None, None) => true,
            (Some(refusal), Some((code, part))) => {
                let only = refusal
                    .problems
                    .iter()
                    .all(|problem| problem.code != "chain-invalid");
                only && refusal.code() == code && refusal.problems[0].message.contains(part)
            }
            _ => false,
        };
        if !fits {
            wrong.push(format!("{}: {refused:?}, not {:?}", one.name, one.ours));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_leaf_for_every_use_passes_with_a_warning() {
    let ca = TestCa::new(NOW);
    let request = Request::example();
    let verified = judge_leaf(&ca, &request, |params| params.extended_key_usages.clear()).unwrap();
    let warnings = verified.warnings();
    assert_eq!(warnings.len(), 1);
    assert!(
        warnings[0].contains("no extended key usage"),
        "{warnings:?}"
    );
}

/// A root that nothing here needs takes nothing from a chain that holds without it.
#[test]
fn an_anchor_that_can_not_be_used_refuses_no_other_chain() {
    let ca = TestCa::new(NOW);
    let request = Request::example();
    let mut params = ca::ca_params("Odd", NOW);
    let mut extension = rcgen::CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
    extension.set_criticality(true);
    params.custom_extensions.push(extension);
    let odd = [Authority::root_from(params).der];
    let expect = Expect {
        extra_anchors: &odd,
        ..expect(&request)
    };
    let verified = judge(&ca.answer(&request, NOW), &expect).unwrap();
    assert_eq!(verified.path_anchor(), &ca.root.der);
    assert!(verified.anchors().contains(&odd[0]));
}

/// A role may allow none (`require_cn=false`), or one that is no name for a TLS client.
#[test]
fn a_common_name_may_be_absent_or_no_host_name() {
    let ca = TestCa::new(NOW);
    for cn in ["", "system:node:x", "app user", "me@example.com"] {
        let mut request = Request::example();
        request.names.common_name = cn.to_owned();
        let made = Request::example();
        let key = ca::new_key(KeyType::EcP256);
        let mut params = ca::leaf_params(&made, NOW);
        params.distinguished_name = match cn {
            "" => rcgen::DistinguishedName::new(),
            cn => ca::subject(cn),
        };
        let leaf = ca.int.sign(params, &key);
        let body = ca.envelope(&leaf, Some(&key)).to_string();
        judge(body.as_bytes(), &expect(&request))
            .unwrap_or_else(|refusal| panic!("{cn}: {refusal}"));
        // Another one than requested is refused all the same.
        request.names.common_name = "other".to_owned();
        let refused = judge(body.as_bytes(), &expect(&request)).unwrap_err();
        assert!(refused.code().starts_with("common-name"), "{cn}: {refused}");
    }
}
