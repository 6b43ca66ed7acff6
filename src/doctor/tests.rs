//! The doctor's codes and verdict, without any server.

use super::*;

#[test]
fn codes_are_distinct_words_and_every_check_says_what_to_do() {
    let mut codes: Vec<_> = CHECKS.iter().map(|check| check.code).collect();
    codes.sort_unstable();
    let count = codes.len();
    codes.dedup();
    assert_eq!(codes.len(), count);
    for check in CHECKS {
        let word = |c: char| c.is_ascii_lowercase() || c == '-';
        assert!(check.code.chars().all(word), "{}", check.code);
        for text in [check.means, check.todo] {
            assert!(!text.is_empty() && !text.ends_with('.'), "{}", check.code);
        }
        let done = check.exit == Exit::Done;
        assert_eq!(done, check.severity == Severity::Warn, "{}", check.code);
    }
}

#[test]
fn the_first_stage_that_fails_gives_the_exit_code() {
    let row = |code: &str, status| Row {
        check: CHECKS.iter().find(|check| check.code == code).unwrap(),
        status,
        found: Vec::new(),
        skipped: None,
    };
    let table: [(&[(&str, Status)], Exit); 6] = [
        (&[("config-invalid", Status::Ok)], Exit::Done),
        (&[("role-leases", Status::Warn)], Exit::Done),
        (&[("disk-full", Status::Skipped)], Exit::Done),
        (
            &[("clock-off", Status::Fail), ("disk-full", Status::Fail)],
            Exit::CannotPublish,
        ),
        (
            &[("disk-full", Status::Fail), ("jwt-expired", Status::Fail)],
            Exit::Denied,
        ),
        (
            &[("clock-off", Status::Fail), ("role-leases", Status::Warn)],
            Exit::Failure,
        ),
    ];
    for (rows, exit) in table {
        let rows = rows.iter().map(|(code, status)| row(code, *status));
        let report = Report {
            rows: rows.collect(),
        };
        assert_eq!(report.exit(), exit, "{report:?}");
    }
}

#[test]
fn what_is_wrong_wins_over_what_can_not_be_told() {
    let wrong = || Outcome::wrong("a", "b");
    let skipped = || Outcome::skipped("c");
    assert_eq!(Outcome::all([skipped(), wrong(), Outcome::Fine]), wrong());
    assert_eq!(Outcome::all([Outcome::Fine, skipped()]), skipped());
    assert_eq!(Outcome::all([Outcome::Fine]), Outcome::Fine);
    assert!(matches!(Outcome::all([]), Outcome::Skipped(_)));
}
