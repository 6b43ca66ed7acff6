//! Chains that do not hold, and odd ones that do.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, GeneralSubtree,
    IsCa, KeyIdMethod, NameConstraints,
};
use serde_json::json;

use super::{Bench, fields::redo};
use crate::{
    request::KeyType,
    testing::ca::{Authority, ca_params, envelope, leaf_params, moment, new_key},
    time::Timestamp,
};

const HOUR: Duration = Duration::from_secs(3600);

impl Bench<'_> {
    /// A leaf of the last of `authorities`, with all of them as its chain.
    fn chained(&self, authorities: &[&Authority]) -> String {
        let key = new_key(KeyType::EcP256);
        let signer = authorities.last().unwrap();
        let leaf = signer.sign(leaf_params(self.request, self.now), &key);
        let chain: Vec<&Vec<u8>> = authorities.iter().rev().map(|ca| &ca.der).collect();
        envelope(&leaf, &chain, Some(&key)).to_string()
    }

    /// A leaf below an intermediate of another shape.
    fn below(
        &mut self,
        name: &'static str,
        code: &'static str,
        change: impl FnOnce(&mut CertificateParams),
    ) {
        let mut params = ca_params("Odd Intermediate", self.now);
        change(&mut params);
        let int = self.ca.root.intermediate_from(params);
        let body = self.chained(&[&self.ca.root, &int]);
        self.raw(name, code, body);
    }

    /// A leaf below an intermediate of a root of another shape.
    fn under(
        &mut self,
        name: &'static str,
        code: &'static str,
        change: impl FnOnce(&mut CertificateParams),
    ) {
        let mut params = ca_params("Odd Root", self.now);
        change(&mut params);
        let root = Authority::root_from(params);
        let int = root.intermediate("Odd Intermediate", self.now);
        let body = self.chained(&[&root, &int]);
        self.raw(name, code, body);
    }
}

fn limited(most: u8) -> IsCa {
    IsCa::Ca(BasicConstraints::Constrained(most))
}

pub(super) fn all(bench: &mut Bench<'_>) {
    missing_parts(bench);
    bad_signatures(bench);
    bad_cas(bench);
    limits(bench);
    if bench.request.issuer_sha256.is_some() {
        let root = Authority::root("Other Root", bench.now);
        let int = root.intermediate("Other Intermediate", bench.now);
        let body = bench.chained(&[&root, &int]);
        bench.raw("another CA than the pinned one", "issuer-sha256", body);
    }
}

fn missing_parts(bench: &mut Bench<'_>) {
    let root = bench.ca.root.pem();
    let unknown = "chain-unknown-issuer";
    bench.bend("missing intermediate", unknown, |answer| {
        answer["data"]["ca_chain"] = json!([root]);
        answer["data"]["issuing_ca"] = json!(root);
    });
    let other = Authority::root("Other Root", bench.now);
    let other_int = other.intermediate("Other Intermediate", bench.now);
    bench.bend("chain of another CA", unknown, |answer| {
        answer["data"]["ca_chain"] = json!([other_int.pem(), other.pem()]);
        answer["data"]["issuing_ca"] = json!(other_int.pem());
    });
    // The same names, other keys: only key identifiers and signatures tell them apart.
    let copy = crate::testing::ca::TestCa::new(bench.now);
    bench.bend("chain of the same names", unknown, |answer| {
        answer["data"]["ca_chain"] = json!([copy.int.pem(), copy.root.pem()]);
        answer["data"]["issuing_ca"] = json!(copy.int.pem());
    });
}

fn bad_signatures(bench: &mut Bench<'_>) {
    bench.text(
        "a bit of the leaf's signature flipped",
        "chain-signature",
        "certificate",
        |text| redo(text, |der| *der.last_mut().unwrap() ^= 1),
    );
    let flipped = redo(&bench.ca.int.pem(), |der| *der.last_mut().unwrap() ^= 1);
    bench.bend(
        "a bit of the intermediate's signature flipped",
        "chain-signature",
        |answer| {
            answer["data"]["ca_chain"][0] = json!(flipped);
            answer["data"]["issuing_ca"] = json!(flipped);
        },
    );
    // An impostor with the name and key identifier of the real one, and another key.
    let same_id = |now: Timestamp| {
        let mut params = ca_params("Twin", now);
        params.key_identifier_method = KeyIdMethod::PreSpecified(vec![7; 20]);
        params
    };
    let real = bench.ca.root.intermediate_from(same_id(bench.now));
    let twin = bench.ca.root.intermediate_from(same_id(bench.now));
    let key = new_key(KeyType::EcP256);
    let leaf = real.sign(leaf_params(bench.request, bench.now), &key);
    let answer = envelope(&leaf, &[&twin.der, &bench.ca.root.der], Some(&key));
    bench.raw(
        "an impostor as intermediate",
        "chain-signature",
        answer.to_string(),
    );
    // ecdsa-with-SHA224 (1.2.840.10045.4.3.1) in place of SHA256, in both places.
    bench.text(
        "a weak signature algorithm",
        "chain-weak-signature",
        "certificate",
        |text| {
            redo(text, |der| {
                let sha256 = [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
                for at in 0..der.len() - sha256.len() {
                    if der[at..].starts_with(&sha256) {
                        der[at + 7] = 1;
                    }
                }
            })
        },
    );
}

fn bad_cas(bench: &mut Bench<'_>) {
    let now = bench.now;
    let hour_ago = moment(now.minus(HOUR));
    let in_an_hour = moment(now.plus(HOUR));
    bench.below("intermediate expired", "chain-expired", |params| {
        params.not_after = hour_ago
    });
    bench.under("root expired", "chain-expired", |params| {
        params.not_after = hour_ago
    });
    let early = "chain-not-yet-valid";
    bench.below("intermediate not valid yet", early, |params| {
        params.not_before = in_an_hour
    });
    bench.under("root not valid yet", early, |params| {
        params.not_before = in_an_hour
    });
    bench.below("intermediate ends in a second", "too-short", |params| {
        params.not_after = moment(now.plus(Duration::from_secs(1)));
    });
    bench.below("intermediate is no CA", "chain-not-ca", |params| {
        params.is_ca = IsCa::ExplicitNoCa;
    });
    bench.under("root is no CA", "chain-not-ca", |params| {
        params.is_ca = IsCa::ExplicitNoCa
    });
}

fn limits(bench: &mut Bench<'_>) {
    let now = bench.now;
    bench.under(
        "root allows no intermediate",
        "chain-path-length",
        |params| {
            params.is_ca = limited(0);
        },
    );
    let mut params = ca_params("Short Intermediate", now);
    params.is_ca = limited(0);
    let upper = bench.ca.root.intermediate_from(params);
    let lower = upper.intermediate("Lower Intermediate", now);
    let body = bench.chained(&[&bench.ca.root, &upper, &lower]);
    bench.raw(
        "intermediate allows no intermediate",
        "chain-path-length",
        body,
    );
    let only_example = |params: &mut CertificateParams| {
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName("example.com".to_owned())],
            excluded_subtrees: vec![],
        });
    };
    bench.below(
        "intermediate forbids the name",
        "chain-name-constraint",
        only_example,
    );
    bench.under(
        "root forbids the name",
        "chain-name-constraint",
        only_example,
    );
    bench.below(
        "intermediate for code signing",
        "chain-key-usage",
        |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        },
    );
    bench.below(
        "intermediate for servers only",
        "chain-key-usage",
        |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        },
    );
    bench.below(
        "intermediate with a critical extension",
        "chain-critical-extension",
        |params| {
            let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
            extension.set_criticality(true);
            params.custom_extensions.push(extension);
        },
    );
}

pub(super) fn odd(bench: &mut Bench<'_>) {
    let (int, root) = (bench.ca.int.pem(), bench.ca.root.pem());
    bench.tolerate("chain upside down", "", |answer| {
        answer["data"]["ca_chain"] = json!([root, int]);
    });
    bench.tolerate("chain with duplicates and the leaf", "", |answer| {
        let leaf = answer["data"]["certificate"].clone();
        answer["data"]["ca_chain"] = json!([leaf, int, int, root, root]);
    });
    bench.tolerate("no issuing CA", "", |answer| {
        answer["data"]["issuing_ca"] = json!(null)
    });
    bench.tolerate("the mount knows no root", "", |answer| {
        answer["data"]["ca_chain"] = json!([int]);
    });
    bench.tolerate("no chain, only the issuing CA", "", |answer| {
        answer["data"].as_object_mut().unwrap().remove("ca_chain");
    });
    let stranger = Authority::root("Stranger", bench.now).pem();
    bench.tolerate(
        "an unrelated CA in the chain",
        "not above the leaf",
        |answer| {
            answer["data"]["ca_chain"] = json!([stranger, int, root]);
        },
    );
}
