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
    let table: [(&[(&str, CheckStatus)], Exit); 6] = [
        (&[("config-invalid", CheckStatus::Ok)], Exit::Done),
        (&[("role-leases", CheckStatus::Warn)], Exit::Done),
        (&[("disk-full", CheckStatus::Skipped)], Exit::Done),
        (
            &[
                ("clock-off", CheckStatus::Fail),
                ("disk-full", CheckStatus::Fail),
            ],
            Exit::CannotPublish,
        ),
        (
            &[
                ("disk-full", CheckStatus::Fail),
                ("jwt-expired", CheckStatus::Fail),
            ],
            Exit::Denied,
        ),
        (
            &[
                ("clock-off", CheckStatus::Fail),
                ("role-leases", CheckStatus::Warn),
            ],
            Exit::Failure,
        ),
    ];
    for (rows, exit) in table {
        let rows = rows.iter().map(|(code, status)| row(code, *status));
        let report = DoctorReport {
            rows: rows.collect(),
        };
        assert_eq!(report.exit(), exit, "{report:?}");
    }
}

#[test]
fn what_is_wrong_wins_over_what_can_not_be_told() {
    let wrong = || CheckOutcome::wrong("a", "b");
    let skipped = || CheckOutcome::skipped("c");
    assert_eq!(
        CheckOutcome::all([skipped(), wrong(), CheckOutcome::Fine]),
        wrong()
    );
    assert_eq!(
        CheckOutcome::all([CheckOutcome::Fine, skipped()]),
        skipped()
    );
    assert_eq!(CheckOutcome::all([CheckOutcome::Fine]), CheckOutcome::Fine);
    assert!(matches!(CheckOutcome::all([]), CheckOutcome::Skipped(_)));
}

#[test]
fn every_check_stands_under_one_heading() {
    let headed = table::headed();
    assert!(headed.iter().all(|(_, checks)| !checks.is_empty()));
    let codes = headed.iter().flat_map(|(_, checks)| checks.iter());
    let codes: Vec<_> = codes.map(|check| check.code).collect();
    let all: Vec<_> = CHECKS.iter().map(|check| check.code).collect();
    assert_eq!(codes, all);
}
