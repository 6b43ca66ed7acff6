//! `certagent doctor` against seeded misconfigurations of real parts: OpenBao, files and mounts,
//! processes, sockets.
//!
//! Never trusts a run that found too much: everything else that a seed brings about is listed with
//! it. What stays true: each check of the table has a seed, and no run changes a file or makes a
//! certificate that was not asked for.

mod bench;
mod disk;
mod issuer;
mod nearby;

use std::{collections::BTreeSet, path::Path};

use certagent::doctor::{CHECKS, Check, Severity, table::headed};

use self::bench::{Bench, Ran, Shared};

/// Brings one misconfiguration about.
struct Seed {
    /// The check that has to name it.
    code: &'static str,
    /// What else follows from it, and may be found.
    also: &'static [&'static str],
    /// The more exact code of the finding.
    finding: Option<&'static str>,
    plant: fn(&mut Bench<'_>),
}

const fn seed(
    code: &'static str,
    also: &'static [&'static str],
    plant: fn(&mut Bench<'_>),
) -> Seed {
    Seed {
        code,
        also,
        finding: None,
        plant,
    }
}

fn seeds() -> Vec<&'static Seed> {
    let all = [issuer::SEEDS, disk::SEEDS, nearby::SEEDS];
    all.into_iter().flatten().collect()
}

fn check(code: &str) -> &'static Check {
    let found = CHECKS.iter().find(|check| check.code == code);
    found.unwrap_or_else(|| panic!("no check has the code {code}"))
}

/// What is wrong with a run of the doctor on this seed.
fn judge(seed: &Seed, ran: &Ran) -> Vec<String> {
    let mut wrong = Vec::new();
    let wanted = match check(seed.code).severity {
        Severity::Warn => "warn",
        Severity::Fail => "fail",
    };
    if ran.status(seed.code) != wanted {
        wrong.push(format!("it is {}, not {wanted}", ran.status(seed.code)));
    }
    if ran.finding(seed.code) != seed.finding {
        wrong.push(format!("the finding: {}", ran.reasons(seed.code)));
    }
    for code in ran.found() {
        if code != seed.code && !seed.also.contains(&code.as_str()) {
            wrong.push(format!("{code} was found, too: {}", ran.reasons(&code)));
        }
    }
    let failed = ran.found().into_iter().map(|code| check(&code));
    let exits = failed
        .filter(|check| check.severity == Severity::Fail)
        .map(|check| check.exit.code());
    // 2 to 6 in the order of the stages; 1 is for everything else.
    let exit = exits.min_by_key(|code| if *code == 1 { 9 } else { *code });
    if ran.exit != i32::from(exit.unwrap_or(0)) {
        wrong.push(format!("exit code {}, not {exit:?}", ran.exit));
    }
    let ordered = u64::from(ran.asked && ran.ordered());
    if ran.issued != ordered {
        wrong.push(format!(
            "{} certificates were issued, not {ordered}",
            ran.issued
        ));
    }
    if ran.tokens != 0 {
        wrong.push(format!("{} tokens were left behind", ran.tokens));
    }
    wrong.extend(
        ran.changed
            .iter()
            .map(|change| format!("changed: {change}")),
    );
    wrong
}

/// Runs these seeds; all that is wrong with all of them.
fn run(seeds: &[Seed]) {
    let shared = Shared::start();
    let mut wrong = Vec::new();
    for seed in seeds {
        let mut bench = Bench::new(&shared);
        (seed.plant)(&mut bench);
        let ran = bench.run();
        for one in judge(seed, &ran) {
            wrong.push(format!("{}: {one}\n{}", seed.code, ran.err));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_check_has_a_seed_and_every_seed_a_check() {
    let seeded: BTreeSet<_> = seeds().iter().map(|seed| seed.code).collect();
    let checked: BTreeSet<_> = CHECKS.iter().map(|check| check.code).collect();
    assert_eq!(seeded, checked);
    assert!(checked.len() >= 20);
    for code in seeds().iter().flat_map(|seed| seed.also) {
        assert!(checked.contains(code), "{code}");
    }
}

#[test]
#[ignore = "needs openbao"]
fn misconfigurations_of_issuer_and_login_are_named_and_nothing_changes() {
    run(issuer::SEEDS);
}

#[test]
#[ignore = "needs openbao, userns"]
fn misconfigurations_of_files_are_named_and_nothing_changes() {
    run(disk::SEEDS);
}

#[test]
#[ignore = "needs openbao"]
fn misconfigurations_of_nomad_process_and_application_are_named_and_nothing_changes() {
    run(nearby::SEEDS);
}

#[test]
#[ignore = "needs openbao"]
fn a_healthy_place_is_found_healthy_before_and_after_a_publication() {
    let shared = Shared::start();
    let mut bench = Bench::new(&shared);
    let ran = bench.run();
    assert_eq!((ran.exit, ran.found()), (0, Vec::new()), "{}", ran.all());
    bench.publish();
    nearby::serve_published(&mut bench);
    bench.args(&["--test-issue"]);
    let ran = bench.run();
    assert_eq!((ran.exit, ran.found()), (0, Vec::new()), "{}", ran.all());
    assert_eq!((ran.issued, ran.tokens, ran.changed.len()), (1, 0, 0));
    for code in [
        "not-served",
        "issuance-refused",
        "name-not-allowed",
        "policy-missing",
    ] {
        assert_eq!(ran.status(code), "ok", "{}", ran.all());
    }
}

#[test]
#[ignore = "needs openbao"]
fn where_the_role_may_not_be_read_it_says_so_and_ask_finds_out() {
    let shared = Shared::start();
    let mut bench = Bench::new(&shared);
    bench.blind_role(
        &serde_json::json!({ "allowed_domains": ["example.com"], "allow_subdomains": true }),
    );
    let ran = bench.run();
    assert_eq!(ran.status("name-not-allowed"), "skipped");
    assert_eq!((ran.exit, ran.issued), (0, 0), "{}", ran.all());
    bench.args(&["--test-issue"]);
    let ran = bench.run();
    assert_eq!(ran.status("issuance-refused"), "fail");
    assert_eq!(ran.exit, 4);
}

#[test]
#[ignore = "needs openbao"]
fn people_see_what_it_means_and_what_to_do() {
    let shared = Shared::start();
    let mut bench = Bench::new(&shared);
    bench.set("CERTAGENT_TTL", "soon");
    let text = bench.text();
    // The longest code decides how wide the column is.
    let line = "FAIL config-invalid the configuration can't be used";
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.lines().any(|one| words(one) == line), "{text}");
    assert!(text.contains("        -> fix it"), "{text}");
    assert!(
        text.contains("\n        docs/doctor.md#config-invalid\n"),
        "{text}"
    );
    assert!(
        text.starts_with("Configuration\nFAIL"),
        "one message: {text}"
    );
    let last = text.lines().last().unwrap();
    assert!(last.starts_with("1 failure (config-invalid); "), "{text}");
    assert!(last.ends_with("no certificate was requested"), "{text}");
    assert!(!text.contains('\x1b'), "colour in a pipe: {text}");
}

#[test]
fn the_documented_checks_are_those_of_the_code() {
    const BEGIN: &str = "<!-- made from src/doctor/table.rs; CERTAGENT_TEST_BLESS=1 cargo test doctor:: rewrites it -->\n";
    let mut wanted = String::new();
    for (heading, checks) in headed() {
        wanted.push_str(&format!("\n## {heading}\n"));
        for check in checks {
            let severity = match check.severity {
                Severity::Warn => "Warning".to_owned(),
                Severity::Fail => format!("Failure, exit code {}", check.exit.code()),
            };
            let (means, todo) = (check.means, check.todo);
            wanted.push_str(&format!(
                "\n### {}\n\n{severity}: {means}.\n\nTo do: {todo}.\n",
                check.code
            ));
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/doctor.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, found) = text.split_once(BEGIN).expect("the mark");
    if std::env::var_os("CERTAGENT_TEST_BLESS").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{wanted}")).unwrap();
        return;
    }
    assert!(found == wanted, "docs/doctor.md is behind the code");
}
