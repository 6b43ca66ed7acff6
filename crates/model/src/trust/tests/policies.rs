//! Which issuers of a mount count, by standing, scope and name.

use super::*;

const ALL: [Standing; 4] = [
    Standing::Able,
    Standing::Unseen,
    Standing::Keyless,
    Standing::Revoked,
];

fn issuer(der: &[u8], name: &str, standing: Standing) -> MountIssuer {
    MountIssuer {
        der: der.to_vec(),
        id: format!("id-{name}"),
        name: name.to_owned(),
        standing,
    }
}

/// The first four roots in the four standings, named `root-0` to `root-3`.
fn four() -> Vec<MountIssuer> {
    let named = ALL.iter().enumerate();
    named
        .map(|(at, standing)| issuer(&ROOTS[at].0, &format!("root-{at}"), *standing))
        .collect()
}

fn names(all: &[&str]) -> Vec<AnchorName> {
    all.iter().map(|name| AnchorName::new(name)).collect()
}

fn policy(scope: TrustScope, named: &[&str], distrusted: &[&str]) -> TrustPolicy {
    TrustPolicy {
        scope,
        named: names(named),
        distrusted: names(distrusted),
    }
}

fn codes(trust: &Trust) -> Vec<&'static str> {
    trust.notes.iter().map(TrustNote::code).collect()
}

/// Which of [`ROOTS`] are in CA.pem.
fn held(trust: &Trust) -> Vec<usize> {
    let all = (0..ROOTS.len()).filter(|at| trust.anchors.contains(&ROOTS[*at].0));
    all.collect()
}

#[test]
fn what_counts_of_a_mount_is_a_matter_of_scope_standing_and_name() {
    use TrustScope::{Chain, Issuers, Mount};
    let hash = sha256(&ROOTS[2].0);
    let own = [ROOTS[5].0.clone()];
    let mount = four();
    let vouched = Vouched {
        chain: &own,
        mount: Some(&mount),
        extras: &[],
    };
    for (scope, named, distrusted, wanted) in [
        (Chain, &[][..], &[][..], vec![5]),
        (Issuers, &[], &[], vec![0, 1, 5]),
        (Mount, &[], &[], vec![0, 1, 2, 5]),
        // by name, id and fingerprint; never a revoked one
        (
            Chain,
            &["root-0", "id-root-1", hash.as_str(), "root-3"],
            &[],
            vec![0, 1, 2, 5],
        ),
        (Issuers, &["root-2"], &[], vec![0, 1, 2, 5]),
        // out by name, id and fingerprint
        (Mount, &[], &["root-0", "id-root-1", hash.as_str()], vec![5]),
        // what is distrusted stays out although it is named
        (Chain, &["root-0"], &["id-root-0"], vec![5]),
    ] {
        let policy = policy(scope, named, distrusted);
        let got = union(vouched, &Memory::new(), &policy, OVERLAP, NOW);
        assert_eq!(held(&got), wanted, "{policy:?}");
    }
}

#[test]
fn a_keyless_root_counts_with_the_issuer_that_it_signed_and_a_forged_one_does_not() {
    let ca = TestCa::new(NOW);
    // the same name and key identifier, another key
    let mut params = ca_params("Test Root", NOW);
    let real = CertFacts::read(&ca.root.der).unwrap();
    params.key_identifier_method = rcgen::KeyIdMethod::PreSpecified(real.key_id.unwrap());
    let forged = Authority::root_from(params).der;
    let facts = |der: &[u8]| CertFacts::read(der).unwrap();
    assert!(facts(&ca.int.der).names_as_issuer(&facts(&forged)));
    let other = Authority::root("Other", NOW).der;
    for (int, root, wanted) in [
        (Standing::Able, Standing::Keyless, vec![&ca.root.der]),
        // the intermediate must not stand in for a root that is revoked
        (Standing::Able, Standing::Revoked, vec![]),
        (Standing::Keyless, Standing::Keyless, vec![]),
        (Standing::Revoked, Standing::Keyless, vec![]),
    ] {
        let mount = [
            issuer(&ca.int.der, "int", int),
            issuer(&ca.root.der, "root", root),
            issuer(&forged, "forged", Standing::Keyless),
            issuer(&other, "other", Standing::Keyless),
        ];
        let vouched = Vouched {
            mount: Some(&mount),
            ..Vouched::default()
        };
        let got = union_at(vouched, &Memory::new(), NOW);
        let got: Vec<&Vec<u8>> = got.anchors.iter().collect();
        assert_eq!(got, wanted, "{int:?} {root:?}");
    }
}

#[test]
fn a_revoked_root_goes_at_once_and_never_comes_back() {
    let mount = |standing| [issuer(&ROOTS[4].0, "old", standing)];
    let at = |mount: Option<&[MountIssuer]>, memory: &Memory, now| {
        let vouched = Vouched {
            mount,
            ..Vouched::default()
        };
        union_at(vouched, memory, now)
    };
    let first = at(Some(&mount(Standing::Able)), &Memory::new(), NOW);
    assert_eq!(held(&first), [4]);
    let revoked = at(Some(&mount(Standing::Revoked)), &first.memory, NOW);
    assert_eq!(held(&revoked), [0; 0], "no overlap for a revoked one");
    // over a restart
    let text = serde_json::to_string(&revoked.memory).unwrap();
    let memory: Memory = serde_json::from_str(&text).unwrap();
    for later in [Some(&mount(Standing::Unseen)[..]), Some(&[]), None] {
        let got = at(later, &memory, NOW.plus(HOUR));
        assert_eq!(held(&got), [0; 0], "{later:?}");
    }
}

#[test]
fn what_is_distrusted_leaves_memory_and_extras_and_needs_the_mount_for_nothing() {
    let chain = [ROOTS[5].0.clone()];
    let extras = [ROOTS[3].0.clone()];
    let mount = [issuer(&ROOTS[4].0, "old", Standing::Able)];
    let with = Vouched {
        chain: &chain,
        mount: Some(&mount),
        extras: &extras,
    };
    let first = union_at(with, &Memory::new(), NOW);
    assert_eq!(held(&first), [3, 4, 5]);
    let hash = sha256(&ROOTS[3].0);
    for mount in [Some(&[][..]), None] {
        // its last name is enough when the mount does not have it any more
        let policy = policy(TrustScope::Issuers, &[], &["old", &hash]);
        let vouched = Vouched { mount, ..with };
        let got = union(vouched, &first.memory, &policy, OVERLAP, NOW.plus(HOUR));
        assert_eq!(held(&got), [5], "{mount:?}");
        assert_eq!(got.memory.len(), 1, "nothing to come back from");
        assert_eq!(codes(&got), [""; 0]);
    }
}

#[test]
fn our_own_anchor_is_said_to_stay_when_it_is_revoked_or_distrusted() {
    let chain = [ROOTS[4].0.clone()];
    for (standing, distrusted) in [(Standing::Revoked, &[][..]), (Standing::Able, &["old"])] {
        let mount = [issuer(&ROOTS[4].0, "old", standing)];
        let vouched = Vouched {
            chain: &chain,
            mount: Some(&mount),
            extras: &[],
        };
        let policy = policy(TrustScope::Issuers, &[], distrusted);
        let got = union(vouched, &Memory::new(), &policy, OVERLAP, NOW);
        assert_eq!(codes(&got), ["trust-still-needed"]);
        assert!(got.notes[0].is_degrading());
        let text = got.notes[0].to_string();
        assert!(text.starts_with("`CN=Root 4` (issuer old) is"), "{text}");
        // with the next certificate it goes, without an overlap
        let next = Vouched {
            chain: &[ROOTS[5].0.clone()],
            ..vouched
        };
        let got = union(next, &got.memory, &policy, OVERLAP, NOW.plus(HOUR));
        assert_eq!(held(&got), [5]);
        assert_eq!(codes(&got), [""; 0]);
    }
}

#[test]
fn every_anchor_without_a_chain_of_ours_is_named_unless_it_was_chosen() {
    let chain = [ROOTS[0].0.clone()];
    let extras = [ROOTS[1].0.clone()];
    let mount = [
        issuer(&ROOTS[0].0, "own", Standing::Able),
        issuer(&ROOTS[2].0, "chosen", Standing::Keyless),
        issuer(&ROOTS[3].0, "stranger", Standing::Able),
        issuer(&ROOTS[5].0, "gone", Standing::Unseen),
    ];
    let vouched = Vouched {
        chain: &chain,
        mount: Some(&mount),
        extras: &extras,
    };
    let policy = policy(TrustScope::Issuers, &["chosen"], &[]);
    let first = union(vouched, &Memory::new(), &policy, OVERLAP, NOW);
    let mut found = codes(&first);
    found.sort_unstable();
    assert_eq!(found, ["trust-unseen", "trust-unused", "trust-unused"]);
    let text: Vec<String> = first.notes.iter().map(ToString::to_string).collect();
    let text = text.join("\n");
    assert!(text.contains("`CN=Root 3` (issuer stranger)"), "{text}");
    assert!(text.contains(&sha256(&ROOTS[3].0)), "{text}");
    assert!(
        text.contains("can't be seen for `CN=Root 5` (issuer gone)"),
        "{text}"
    );
    // what left the mount is named with the time at which it leaves CA.pem
    let left = Vouched {
        mount: Some(&mount[..3]),
        ..vouched
    };
    let later = union(left, &first.memory, &policy, OVERLAP, NOW.plus(HOUR));
    let text: Vec<String> = later.notes.iter().map(ToString::to_string).collect();
    let until = format!("it leaves at {}", NOW.plus(OVERLAP));
    assert!(text.join("\n").contains(&until), "{text:?}");
}

#[test]
fn a_setting_that_names_nothing_is_said_once_the_mount_was_asked() {
    let mount = [issuer(&ROOTS[0].0, "own", Standing::Able)];
    let hash = "ab".repeat(32);
    let policy = policy(TrustScope::Issuers, &["own", "typo"], &[&hash]);
    let at = |mount| {
        let vouched = Vouched {
            mount,
            ..Vouched::default()
        };
        union(vouched, &Memory::new(), &policy, OVERLAP, NOW)
    };
    let said = at(Some(&mount[..]));
    assert_eq!(codes(&said), ["trust-unknown", "trust-unknown"]);
    let text: Vec<String> = said.notes.iter().map(ToString::to_string).collect();
    assert!(
        text[0].starts_with("trust_issuers names typo, and neither"),
        "{text:?}"
    );
    assert!(
        text[1].starts_with(&format!("distrust names {hash}")),
        "{text:?}"
    );
    assert_eq!(codes(&at(None)), [""; 0], "it may be there");
}

#[test]
fn a_revoked_issuer_that_is_named_is_said_to_be_left_out() {
    let mount = four();
    let vouched = Vouched {
        mount: Some(&mount),
        ..Vouched::default()
    };
    let policy = policy(TrustScope::Chain, &["root-3"], &[]);
    let got = union(vouched, &Memory::new(), &policy, OVERLAP, NOW);
    assert_eq!(held(&got), [0; 0]);
    assert_eq!(codes(&got), ["trust-revoked"]);
}

fn any_scope() -> impl Strategy<Value = TrustScope> {
    prop_oneof![
        Just(TrustScope::Chain),
        Just(TrustScope::Issuers),
        Just(TrustScope::Mount)
    ]
}

fn any_standing() -> impl Strategy<Value = Standing> {
    (0..ALL.len()).prop_map(|at| ALL[at])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn nothing_revoked_or_distrusted_is_ever_held_and_nothing_wanted_is_missing(
        steps in prop::collection::vec(
            (any_scope(), prop::collection::vec(any_standing(), 6), 0u8..64, 0u8..64, 0u8..64, any::<bool>()),
            1..6,
        )
    ) {
        let mut memory = Memory::new();
        let mut revoked = [false; 6];
        for (at, (scope, standings, chain, named, distrusted, asked)) in steps.into_iter().enumerate() {
            let now = NOW.plus(HOUR * u32::try_from(at).unwrap());
            let bits = |bits: u8| (0..6).filter(move |at| bits & 1 << at != 0);
            let policy = TrustPolicy {
                scope,
                named: bits(named).map(|at| AnchorName::new(&format!("root-{at}"))).collect(),
                distrusted: bits(distrusted).map(|at| AnchorName::new(&sha256(&ROOTS[at].0))).collect(),
            };
            let mount: Vec<MountIssuer> = standings.iter().enumerate()
                .map(|(at, standing)| issuer(&ROOTS[at].0, &format!("root-{at}"), *standing))
                .collect();
            let chained = picked(chain);
            let vouched = Vouched { chain: &chained, mount: asked.then_some(&mount[..]), extras: &[] };
            let got = union(vouched, &memory, &policy, OVERLAP, now);
            for at in 0..6 {
                revoked[at] |= asked && standings[at] == Standing::Revoked;
                let is_held = got.anchors.contains(&ROOTS[at].0);
                let is_distrusted = distrusted & 1 << at != 0;
                prop_assert!(!(is_held && (revoked[at] || is_distrusted)), "root {at} is held");
                let wanted = chain & 1 << at != 0
                    || asked && match scope {
                        TrustScope::Chain => named & 1 << at != 0,
                        TrustScope::Issuers => named & 1 << at != 0 || standings[at] != Standing::Keyless,
                        TrustScope::Mount => true,
                    };
                if wanted && !revoked[at] && !is_distrusted {
                    prop_assert!(is_held, "root {at} is missing");
                }
            }
            let again = union(vouched, &got.memory, &policy, OVERLAP, now);
            prop_assert_eq!(&again.anchors, &got.anchors, "the same input changed something");
            let mut turned = mount.clone();
            turned.reverse();
            let vouched = Vouched { mount: asked.then_some(&turned[..]), ..vouched };
            prop_assert_eq!(union(vouched, &memory, &policy, OVERLAP, now).anchors, got.anchors);
            memory = got.memory;
        }
    }
}
