//! The same requests to the embedded PKI and to a real OpenBao; differences fail.
//!
//! Never checks an answer on its own: OpenBao's answer is the expectation. What stays true: one list
//! of requests (`cases.rs`), one comparison (`normal.rs`), one table of allowed differences (below).

mod cases;
mod normal;
mod servers;

use std::collections::BTreeMap;

use serde_json::Value;

use cases::{Case, cases};
use normal::differences;
use servers::{Answer, Embedded, Target};

use crate::rig::OpenBao;

/// Differences we allow: the case, the place (a prefix), and why.
const ALLOWED: &[(&str, &str, &str)] = &[
    (
        "bad policy",
        "/body/errors",
        "the text comes from another HCL parser",
    ),
    (
        "sign: truncated csr",
        "/body/errors",
        "the text comes from another ASN.1 parser",
    ),
];

/// Runs all cases against one server; returns the answers in order.
fn run(target: &Target, cases: &[Case]) -> Vec<Answer> {
    let mut saved = BTreeMap::from([("root".to_owned(), target.root.clone())]);
    cases
        .iter()
        .map(|case| {
            let answer = target.send(case, &saved);
            for (name, pointer) in &case.save {
                let value = answer.json.pointer(pointer).and_then(Value::as_str);
                let value = value.unwrap_or_else(|| {
                    panic!(
                        "{}: no {pointer} in {} {}",
                        case.name, answer.status, answer.json
                    )
                });
                saved.insert((*name).to_owned(), value.to_owned());
            }
            answer
        })
        .collect()
}

#[test]
#[ignore = "needs openbao"]
fn the_embedded_pki_answers_as_openbao_does() {
    let openbao = OpenBao::start();
    let embedded = Embedded::start();
    let cases = cases();
    let theirs = run(&Target::new(&openbao.address, &openbao.token), &cases);
    let ours = run(&embedded.target, &cases);
    let mut wrong = Vec::new();
    let mut used = vec![false; ALLOWED.len()];
    for (case, (theirs, ours)) in cases.iter().zip(theirs.iter().zip(&ours)) {
        for difference in differences(theirs, ours) {
            let allowed = ALLOWED
                .iter()
                .position(|(name, place, _)| *name == case.name && difference.starts_with(place));
            match allowed {
                Some(at) => used[at] = true,
                None => wrong.push(format!("{}: {difference}", case.name)),
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} differences in {} cases (OpenBao / embedded):\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
    for ((case, place, reason), used) in ALLOWED.iter().zip(used) {
        assert!(
            used,
            "no such difference any more: {case} {place} ({reason})"
        );
    }
    assert!(cases.len() >= 80, "{} cases", cases.len());
}
