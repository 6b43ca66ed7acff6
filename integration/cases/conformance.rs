//! The same requests to the embedded PKI and to a real OpenBao; differences fail.
//!
//! Never checks an answer on its own: OpenBao's answer is the expectation. What stays true: one list
//! of requests (`cases.rs`), one comparison (`normal.rs`), one table of allowed differences (below).

mod cases;
mod normal;

use std::{collections::BTreeMap, time::SystemTime};

use serde_json::json;

use cases::{Case, cases};
use normal::differences;

use crate::rig::{Embedded, OpenBao, Options, http};

/// Differences we allow: the case (a prefix), the place (a part of it), and why.
const ALLOWED: &[(&str, &str, &str)] = &[
    ("health", "/body/cluster_", "one node is no cluster"),
    ("", "/2.5.29.19", "the embedded PKI says CA:FALSE in leaves"),
    (
        "junk",
        "/body/errors",
        "the embedded PKI has texts of its own for junk",
    ),
];

/// An answer, and when it came (seconds since the epoch).
struct Answer {
    http: http::Answer,
    at: i64,
}

/// Runs all cases against one server; returns the answers in order.
fn run(address: &str, root: &str, cases: &[Case]) -> Vec<Answer> {
    let mut saved = BTreeMap::from([("root", root.to_owned())]);
    let ask = |case: &Case, saved: &BTreeMap<&str, String>| {
        let token = saved.get(case.token).map_or(case.token, String::as_str);
        let headers = [("X-Vault-Token", token)];
        let headers = &headers[..usize::from(!token.is_empty())];
        let path = format!("/v1/{}", case.path);
        let body = case.body.as_ref();
        let http = http::request(address, None, case.method, &path, headers, body);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Answer {
            http: http.unwrap_or_else(|error| panic!("{}: {error}", case.name)),
            at: i64::try_from(now.unwrap().as_secs()).unwrap(),
        }
    };
    let mut answers = Vec::new();
    for case in cases {
        let answer = ask(case, &saved);
        if let Some(name) = case.save {
            let json = answer.http.json();
            let token = json["auth"]["client_token"].as_str();
            let token = token.unwrap_or_else(|| panic!("{}: no token in {json}", case.name));
            saved.insert(name, token.to_owned());
        }
        answers.push(answer);
    }
    answers
}

#[test]
#[ignore = "needs openbao"]
fn the_embedded_pki_answers_as_openbao_does() {
    let options = Options {
        always_openbao: true,
        ..Options::default()
    };
    let openbao = OpenBao::start_with(&options);
    openbao.set_up();
    let embedded = Embedded::start();
    openbao.write(
        "auth/jwt-nomad/config",
        &json!({ "jwt_validation_pubkeys": [embedded.workload.public_pem()],
                 "default_role": "certagent" }),
    );
    let cases = cases(&embedded.workload);
    let theirs = run(&openbao.address, &openbao.token, &cases);
    let ours = run(&embedded.address, &embedded.token, &cases);
    let mut wrong = Vec::new();
    let mut used = vec![false; ALLOWED.len()];
    for (case, (theirs, ours)) in cases.iter().zip(theirs.iter().zip(&ours)) {
        for difference in differences(theirs, ours) {
            let place = difference.split(": ").next().unwrap_or_default();
            let allowed = ALLOWED
                .iter()
                .position(|(name, part, _)| case.name.starts_with(name) && place.contains(part));
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
    assert!(cases.len() >= 60, "{} cases", cases.len());
}
