use proptest::prelude::*;

use super::*;
use crate::fleet::{
    AnchorRow, RowState,
    tests::{HOUR, NOW, leaf, row},
};

const OLD: &str = "aaaaaaaa01";
const NEW: &str = "bbbbbbbb02";

fn anchor(root: &str, loaded: Option<bool>) -> AnchorRow {
    let age = if root == NEW { HOUR } else { HOUR * 100 };
    AnchorRow {
        subject: format!("CN={root}"),
        sha256: root.to_owned(),
        not_before: NOW.minus(age),
        loaded,
    }
}

/// An instance whose leaf is signed by `root` and that trusts these.
fn instance(root: &str, trusts: &[(&str, Option<bool>)]) -> Row {
    let anchors = trusts
        .iter()
        .map(|(root, loaded)| anchor(root, *loaded))
        .collect();
    Row {
        anchors,
        ..row("ingester", RowState::Ready, Some(leaf(9, root)))
    }
}

fn issuer(root: &str, is_default: bool) -> Authority {
    let anchor = anchor(root, None);
    Authority {
        anchors: [root.to_owned()].into(),
        subject: anchor.subject,
        not_before: anchor.not_before,
        id: Some(format!("id-{root}")),
        sha256: anchor.sha256,
        is_default,
    }
}

const YES: Option<bool> = Some(true);
const NO: Option<bool> = Some(false);

#[test]
fn each_phase_is_read_from_certificates_and_mount() {
    let both =
        |new_is_default: bool| vec![issuer(OLD, !new_is_default), issuer(NEW, new_is_default)];
    let old = instance(OLD, &[(OLD, YES)]);
    let pending = instance(OLD, &[(OLD, YES), (NEW, NO)]);
    let ready = instance(OLD, &[(OLD, YES), (NEW, YES)]);
    let new = instance(NEW, &[(OLD, YES), (NEW, YES)]);
    let out = instance(NEW, &[(NEW, YES)]);
    let table = [
        (vec![old.clone()], vec![issuer(OLD, true)], CaPhase::OneRoot),
        (vec![old.clone()], both(false), CaPhase::NotTrusted),
        (
            vec![ready.clone(), old.clone()],
            both(false),
            CaPhase::NotTrusted,
        ),
        (vec![ready.clone(), pending], vec![], CaPhase::NotTrusted),
        (vec![new.clone(), old], both(true), CaPhase::NotTrusted),
        (
            vec![ready.clone(), ready.clone()],
            both(false),
            CaPhase::Trusted,
        ),
        (vec![ready.clone()], both(true), CaPhase::Mixed),
        (vec![ready, new.clone()], vec![], CaPhase::Mixed),
        (vec![new.clone(), new.clone()], both(true), CaPhase::Renewed),
        (vec![out.clone(), out.clone()], both(true), CaPhase::Renewed),
        (
            vec![out.clone(), new],
            vec![issuer(NEW, true)],
            CaPhase::Renewed,
        ),
    ];
    for (at, (rows, issuers, wanted)) in table.into_iter().enumerate() {
        let change = change(&rows, &issuers, None, None).unwrap();
        assert_eq!(change.phase(&rows), wanted, "{at}: {change:?}");
    }
    let rows = [out];
    let named = change(&rows, &[issuer(NEW, true)], None, Some(OLD)).unwrap();
    assert_eq!(
        named.phase(&rows),
        CaPhase::Done,
        "the old one is nowhere, and was named"
    );
    let named = change(&rows, &[issuer(NEW, true)], Some(NEW), None).unwrap();
    assert_eq!(named.phase(&rows), CaPhase::Done);
    let unnamed = change(&rows, &[issuer(NEW, true)], None, None).unwrap();
    assert_eq!(unnamed.phase(&rows), CaPhase::OneRoot);
    assert!(unnamed.blockers(Goal::Removed, &rows).is_empty());
    assert_eq!(
        unnamed.blockers(Goal::Trusted, &rows)[0].hindrance,
        Hindrance::NoNew
    );
}

/// For each hindrance an instance that has it.
fn hindered() -> Vec<(Goal, Row, Hindrance)> {
    let silent = Row::unseen(
        RowState::NoAnswer,
        row("ruler", RowState::Ready, None).who,
        "gone".to_owned(),
    );
    let unloaded = Row {
        trust_loaded: NO,
        ..instance(NEW, &[(NEW, YES)])
    };
    let unknown = Row {
        trust_loaded: None,
        ..instance(NEW, &[(NEW, None)])
    };
    vec![
        (
            Goal::Trusted,
            instance(OLD, &[(OLD, YES)]),
            Hindrance::NotOnDisk,
        ),
        (
            Goal::Trusted,
            instance(OLD, &[(NEW, NO)]),
            Hindrance::NotLoaded,
        ),
        (Goal::Trusted, unknown.clone(), Hindrance::LoadUnknown),
        (
            Goal::Trusted,
            silent.clone(),
            Hindrance::Unseen("gone".to_owned()),
        ),
        (
            Goal::Renewed,
            instance(OLD, &[(NEW, YES)]),
            Hindrance::OldLeaf,
        ),
        (Goal::Renewed, silent, Hindrance::Unseen("gone".to_owned())),
        (
            Goal::Removed,
            instance(OLD, &[(NEW, YES)]),
            Hindrance::OldLeaf,
        ),
        (
            Goal::Removed,
            instance(NEW, &[(OLD, YES), (NEW, YES)]),
            Hindrance::OldOnDisk,
        ),
        (Goal::Removed, unloaded, Hindrance::OldLoaded),
        (Goal::Removed, unknown.clone(), Hindrance::LoadUnknown),
    ]
}

#[test]
fn each_hindrance_is_named_with_its_instance() {
    let issuers = [issuer(OLD, true), issuer(NEW, false)];
    for (goal, row, wanted) in hindered() {
        let well = instance(NEW, &[(NEW, YES)]);
        let rows = [well, row];
        let change = change(&rows, &issuers, None, None).unwrap();
        let found = change.blockers(goal, &rows);
        assert_eq!(found.len(), 1, "{goal:?} {wanted:?} {found:?}");
        assert_eq!(found[0].hindrance, wanted);
        assert_eq!(
            found[0].until.is_some(),
            wanted == Hindrance::OldLeaf,
            "an estimate from the renewal time"
        );
        assert!(
            found[0].to_string().contains("1f0c2d9a on node-1: "),
            "{}",
            found[0]
        );
        let assumed = Change {
            assume_loaded: true,
            ..change
        };
        assert_eq!(
            assumed.blockers(goal, &rows).is_empty(),
            wanted == Hindrance::LoadUnknown
        );
    }
}

#[test]
fn a_leaf_that_is_new_before_it_is_trusted_everywhere_is_named() {
    let rows = [
        instance(NEW, &[(OLD, YES), (NEW, YES)]),
        instance(OLD, &[(OLD, YES)]),
    ];
    let change = change(&rows, &[], None, None).unwrap();
    assert_eq!(change.refused(&rows), ["ingester 1f0c2d9a on node-1"]);
    assert!(change.refused(&rows[..1]).is_empty());
}

#[test]
fn going_back_is_the_same_change_turned_round() {
    let rows = [
        instance(OLD, &[(OLD, YES), (NEW, YES)]),
        instance(NEW, &[(OLD, YES), (NEW, YES)]),
    ];
    let issuers = [issuer(OLD, false), issuer(NEW, true)];
    let back = change(&rows, &issuers, Some(OLD), Some(NEW)).unwrap();
    assert_eq!(
        (
            back.new.as_ref().unwrap().sha256.as_str(),
            back.old[0].sha256.as_str()
        ),
        (OLD, NEW)
    );
    assert_eq!(back.phase(&rows), CaPhase::Mixed);
    assert_eq!(back.phase(&rows[..1]), CaPhase::Renewed);
}

#[test]
fn a_change_of_the_intermediate_leaves_the_root_that_both_have() {
    const ROOT: &str = "cccccccc03";
    let below = |name, is_default| Authority {
        anchors: [name, ROOT].map(str::to_owned).into(),
        ..issuer(name, is_default)
    };
    let issuers = [below(OLD, true), below(NEW, false)];
    let old = Row {
        leaf: Some(LeafRow {
            anchor_sha256: ROOT.to_owned(),
            ..leaf(9, OLD)
        }),
        ..instance(OLD, &[(ROOT, YES)])
    };
    let new = Row {
        leaf: Some(LeafRow {
            anchor_sha256: ROOT.to_owned(),
            ..leaf(9, NEW)
        }),
        ..old.clone()
    };
    let found = |rows: &[Row]| change(rows, &issuers, None, None).unwrap().phase(rows);
    assert_eq!(found(std::slice::from_ref(&old)), CaPhase::Trusted);
    assert_eq!(found(&[old, new.clone()]), CaPhase::Mixed);
    let gone = change(
        std::slice::from_ref(&new),
        &issuers[1..],
        Some(NEW),
        Some(OLD),
    )
    .unwrap();
    assert_eq!(gone.phase(&[new]), CaPhase::Done);
}

#[test]
fn an_anchor_that_the_mount_has_not_does_not_come_however_new() {
    // as after a change that was taken back, or with a new CA of another mount in `extra_ca`
    let rows = [instance(OLD, &[(OLD, YES), (NEW, YES)])];
    let found = change(&rows, &[issuer(OLD, true)], None, None).unwrap();
    assert_eq!(found.new.as_ref().unwrap().sha256, OLD);
    assert_eq!(found.phase(&rows), CaPhase::Renewed);
    let why = &found.blockers(Goal::Removed, &rows)[0].hindrance;
    assert_eq!(*why, Hindrance::OldOnDisk);
}

#[test]
fn a_name_is_an_id_or_a_fingerprint_and_means_one() {
    let issuers = [issuer(OLD, true), issuer(NEW, false)];
    let to = |name: &str| {
        change(&[], &issuers, Some(name), None).map(|change| change.new.unwrap().sha256)
    };
    assert_eq!(to("id-bbbbbbbb02").unwrap(), NEW);
    assert_eq!(to("AA:AA:AA:AA").unwrap(), OLD);
    for wrong in ["", "aaaa", "dddddddd", "id"] {
        assert!(to(wrong).is_err(), "{wrong}");
    }
    assert!(change(&[], &issuers, None, Some("no such")).is_err());
}

fn any_instance() -> impl Strategy<Value = Row> {
    let trust = prop_oneof![
        Just(None),
        Just(Some(None)),
        Just(Some(NO)),
        Just(Some(YES))
    ];
    (
        any::<bool>(),
        trust.clone(),
        trust,
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(is_new, old, new, seen, loaded)| {
            let trusts: Vec<(&str, Option<bool>)> = [(OLD, old), (NEW, new)]
                .into_iter()
                .filter_map(|(root, state)| Some((root, state?)))
                .collect();
            let row = instance(if is_new { NEW } else { OLD }, &trusts);
            let leaf = row.leaf.clone().filter(|_| seen);
            Row {
                leaf,
                trust_loaded: Some(loaded),
                ..row
            }
        })
}

proptest! {
    #[test]
    fn no_step_is_offered_that_would_hurt(rows in proptest::collection::vec(any_instance(), 1..12), new_is_default: bool) {
        let issuers = [issuer(OLD, !new_is_default), issuer(NEW, new_is_default)];
        let change = change(&rows, &issuers, None, None).unwrap();
        let phase = change.phase(&rows);
        let all_trust = rows.iter().all(|row| row.leaf.is_some()
            && row.anchors.iter().any(|one| one.sha256 == NEW && one.loaded == YES));
        let all_new = rows.iter().all(|row| row.leaf.as_ref().is_some_and(|leaf| leaf.issuer_sha256 == NEW));
        // the default issuer changes after Trusted, the old one goes after Renewed
        prop_assert_eq!(phase >= CaPhase::Trusted, all_trust);
        prop_assert_eq!(phase >= CaPhase::Renewed, all_trust && all_new);
        prop_assert!(phase < CaPhase::Done, "the old one is an issuer still");
        if let Some(goal) = phase.goal().filter(|_| phase != CaPhase::Trusted && phase != CaPhase::Renewed) {
            prop_assert!(!change.blockers(goal, &rows).is_empty());
        }
    }

    #[test]
    fn one_more_instance_never_takes_a_blocker_away(rows in proptest::collection::vec(any_instance(), 1..8), more in any_instance()) {
        let issuers = [issuer(OLD, true), issuer(NEW, false)];
        for goal in [Goal::Trusted, Goal::Renewed, Goal::Removed] {
            let before = change(&rows, &issuers, None, None).unwrap().blockers(goal, &rows).len();
            let mut grown = rows.clone();
            grown.push(more.clone());
            let after = change(&grown, &issuers, None, None).unwrap().blockers(goal, &grown).len();
            prop_assert!(after >= before);
        }
    }
}
