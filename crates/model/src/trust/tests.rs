//! Which anchors stand in CA.pem, and for how long.

mod policies;

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::{
    leaf::sha256,
    request::Request,
    testing::ca::{Authority, TestCa, ca_params, moment},
};

const NOW: Timestamp = Timestamp::from_unix_secs(1_795_600_000);
const HOUR: Duration = Duration::from_secs(3600);
const OVERLAP: Duration = Duration::from_secs(24 * 3600);

fn union_at(vouched: Vouched<'_>, memory: &Memory, now: Timestamp) -> Trust {
    union(vouched, memory, &TrustPolicy::default(), OVERLAP, now)
}

/// Issuers that have their keys and are not revoked.
fn able(ders: impl IntoIterator<Item = Vec<u8>>) -> Vec<MountIssuer> {
    let all = ders.into_iter().map(|der| MountIssuer {
        der,
        id: String::new(),
        name: String::new(),
        standing: Standing::Able,
    });
    all.collect()
}

#[test]
fn a_root_that_left_stays_for_the_overlap_and_goes_then() {
    let old = Authority::root("Old", NOW).der;
    let new = Authority::root("New", NOW).der;
    let (only_old, only_new) = (std::slice::from_ref(&old), std::slice::from_ref(&new));
    let chain = |anchors| Vouched {
        chain: anchors,
        mount: Some(&[]),
        extras: &[],
    };
    let first = union_at(chain(only_old), &Memory::new(), NOW);
    assert_eq!(first.anchors, only_old);
    let second = union_at(chain(only_new), &first.memory, NOW.plus(HOUR));
    assert_eq!(second.anchors.len(), 2);
    let edge = NOW.plus(OVERLAP);
    let third = union_at(chain(only_new), &second.memory, edge);
    assert_eq!(third.anchors, second.anchors, "still within the overlap");
    let late = edge.plus(Duration::from_millis(1));
    let fourth = union_at(chain(only_new), &third.memory, late);
    assert_eq!(fourth.anchors, only_new);
}

#[test]
fn nothing_is_dropped_while_the_mount_cannot_be_asked() {
    let ca = TestCa::new(NOW);
    let other = Authority::root("Next", NOW).der;
    let chain = [ca.root.der.clone()];
    let mount = able([ca.int.der.clone(), ca.root.der.clone(), other.clone()]);
    let asked = Vouched {
        chain: &chain,
        mount: Some(&mount),
        extras: &[],
    };
    let first = union_at(asked, &Memory::new(), NOW);
    assert_eq!(
        first.anchors,
        ordered(&[ca.root.der.clone(), other.clone()])
    );
    let silent = Vouched {
        mount: None,
        ..asked
    };
    let later = NOW.plus(30 * OVERLAP);
    assert_eq!(
        union_at(silent, &first.memory, later).anchors,
        first.anchors
    );
}

#[test]
fn an_intermediate_of_the_mount_is_an_anchor_only_without_its_root() {
    let ca = TestCa::new(NOW);
    let int = able([ca.int.der.clone()]);
    let both = able([ca.int.der.clone(), ca.root.der.clone()]);
    fn mount(issuers: &[MountIssuer]) -> Vouched<'_> {
        Vouched {
            mount: Some(issuers),
            ..Vouched::default()
        }
    }
    let alone = union_at(mount(&int), &Memory::new(), NOW);
    assert_eq!(alone.anchors, std::slice::from_ref(&ca.int.der));
    let got = union_at(mount(&both), &Memory::new(), NOW);
    assert_eq!(got.anchors, std::slice::from_ref(&ca.root.der));
}

#[test]
fn leaves_and_junk_never_become_anchors() {
    let key = crate::testing::ca::new_key(crate::request::KeyType::EcP256);
    let ca = TestCa::new(NOW);
    let request = Request::example();
    let leaf = ca
        .int
        .sign(crate::testing::ca::leaf_params(&request, NOW), &key);
    let mount = able([leaf, b"junk".to_vec()]);
    let vouched = Vouched {
        mount: Some(&mount),
        ..Vouched::default()
    };
    assert_eq!(union_at(vouched, &Memory::new(), NOW).anchors.len(), 0);
    let mut memory = Memory::new();
    let junk = |pem: &str| Remembered {
        pem: pem.to_owned(),
        listed_at: NOW,
        name: String::new(),
        revoked: false,
    };
    memory.insert("00".to_owned(), junk("junk"));
    memory.insert("01".to_owned(), junk(&ca.root.pem()));
    let got = union_at(Vouched::default(), &memory, NOW);
    assert_eq!((got.anchors.len(), got.memory.len()), (0, 0));
}

#[test]
fn memory_survives_json() {
    let root = [Authority::root("R", NOW).der];
    let vouched = Vouched {
        chain: &root,
        ..Vouched::default()
    };
    let memory = union_at(vouched, &Memory::new(), NOW).memory;
    let text = serde_json::to_string(&memory).unwrap();
    assert_eq!(serde_json::from_str::<Memory>(&text).unwrap(), memory);
}

/// Six roots; root `n` expires `20 * (n + 1)` hours after NOW.
static ROOTS: LazyLock<Vec<(Vec<u8>, Timestamp)>> = LazyLock::new(|| {
    let root = |at: u32| {
        let ends = NOW.plus(20 * (at + 1) * HOUR);
        let mut params = ca_params(&format!("Root {at}"), NOW);
        params.not_after = moment(ends);
        (Authority::root_from(params).der, ends)
    };
    (0..6).map(root).collect()
});

/// Hours that pass, and which roots chain, mount and extras name then, as bits.
type Step = (u32, u8, Option<u8>, u8);

fn picked(bits: u8) -> Vec<Vec<u8>> {
    let picked = (0..6).filter(|at| bits & 1 << at != 0);
    picked.map(|at| ROOTS[at].0.clone()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_union_holds_what_was_vouched_for_and_nothing_else(
        steps in prop::collection::vec(
            (0u32..30, 0u8..64, prop::option::weighted(0.8, 0u8..64), 0u8..64),
            1..12,
        )
    ) {
        let steps: Vec<Step> = steps;
        let mut memory = Memory::new();
        let mut now = NOW;
        let mut last_vouched = [None::<Timestamp>; 6];
        for (hours, chain, mount, extras) in steps {
            now = now.plus(hours * HOUR);
            let mounted = mount.map(|bits| able(picked(bits)));
            let (chained, pinned) = (picked(chain), picked(extras));
            let vouched = Vouched {
                chain: &chained,
                mount: mounted.as_deref(),
                extras: &pinned,
            };
            let got = union_at(vouched, &memory, now);
            for at in 0..6 {
                let named = (chain | extras | mount.unwrap_or(0)) & 1 << at != 0;
                if named {
                    last_vouched[at] = Some(now);
                }
                let (der, ends) = &ROOTS[at];
                let held = got.anchors.contains(der);
                let recent = last_vouched[at].is_some_and(|last| now <= last.plus(OVERLAP));
                if *ends <= now {
                    prop_assert!(!held, "an expired root is held");
                } else if recent {
                    prop_assert!(held, "a root vouched for within the overlap was dropped");
                } else if mount.is_some() {
                    prop_assert!(!held, "a root is held beyond the overlap");
                }
                // What was dropped for good does not come back from a silent mount.
                if !held {
                    last_vouched[at] = None;
                }
            }
            let hashes: Vec<String> = got.anchors.iter().map(|der| sha256(der)).collect();
            let unique: std::collections::BTreeSet<&String> = hashes.iter().collect();
            prop_assert_eq!(unique.len(), hashes.len(), "duplicates");
            let again = union_at(vouched, &got.memory, now);
            prop_assert_eq!(&again, &got, "the same input changed something");
            let mut reversed = chained.clone();
            reversed.reverse();
            let turned = union_at(Vouched { chain: &reversed, ..vouched }, &memory, now);
            prop_assert_eq!(&turned, &got, "the order of the input matters");
            memory = got.memory;
        }
    }

    #[test]
    fn a_clock_that_goes_back_drops_no_anchor(back in 0u32..20_000) {
        let root = [ROOTS[5].0.clone()];
        let vouched = Vouched { chain: &root, ..Vouched::default() };
        let memory = union_at(vouched, &Memory::new(), NOW).memory;
        let early = NOW.minus(back * HOUR);
        let got = union_at(Vouched { mount: Some(&[]), ..Vouched::default() }, &memory, early);
        prop_assert_eq!(got.anchors, root);
    }
}

#[test]
fn extra_anchors_may_stand_in_text_and_must_be_cas() {
    let ca = TestCa::new(NOW);
    let pem = format!("{}\n", ca.root.pem());
    let of = |text: &str| extras(text).map(|ders| ders.len());
    assert_eq!(of(&pem), Ok(1));
    assert_eq!(of(&format!("\u{feff}{pem}# and again\n{pem}")), Ok(2));
    assert!(of("# nothing").unwrap_err().contains("no PEM block"));
    assert!(
        of(&pem.replace("CERT", "TRUSTED CERT"))
            .unwrap_err()
            .contains("TRUSTED CERTIFICATE")
    );
    let request = Request::example();
    let answer = ca.answer_json(&request, NOW);
    let leaf = answer["data"]["certificate"].as_str().unwrap();
    let refused = of(&format!("{pem}{leaf}\n")).unwrap_err();
    assert!(refused.starts_with("certificate 2, `CN="), "{refused}");
    assert!(refused.contains("is no CA"), "{refused}");
}
