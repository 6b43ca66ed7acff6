//! Durations as they are written and printed.

use proptest::prelude::*;

use super::*;

#[test]
fn reads_what_vault_and_go_write() {
    for (text, millis) in [
        ("10d", 864_000_000),
        ("240h", 864_000_000),
        ("240h0m", 864_000_000),
        ("1.5h", 5_400_000),
        ("1h30m", 5_400_000),
        ("1d12h", 129_600_000),
        ("90s", 90_000),
        ("90", 90_000),
        ("0.25", 250),
        ("500ms", 500),
        (".5s", 500),
        ("5.s", 5_000),
        (" 30s ", 30_000),
        ("0", 0),
        ("9000us", 9),
    ] {
        assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
    }
}

#[test]
fn refuses_with_a_reason() {
    for (text, part) in [
        ("", "empty"),
        ("-3600", "negative"),
        ("abc", "unknown unit `abc`"),
        ("1w", "unknown unit `w`"),
        ("10 d", "unknown unit ` d`"),
        ("1h30", "number without a unit"),
        ("1.2.3s", "not a duration"),
        (".s", "not a duration"),
        ("h", "not a duration"),
        ("300000d", "longer than 292 years"),
        ("99999999999999999999999999999999999999999999d", "longer"),
    ] {
        let problem = parse(text).unwrap_err().to_string();
        assert!(problem.contains(part), "{text}: {problem}");
    }
}

#[test]
fn prints_the_shortest_exact_form() {
    for (millis, text, people) in [
        (0, "0s", "0s"),
        (250, "250ms", "250ms"),
        (1_500, "1.5s", "1.5s"),
        (61_000, "1m1s", "1m 1s"),
        (200_000, "3m20s", "3m 20s"),
        (5_400_000, "1h30m", "1h 30m"),
        (864_000_000, "10d", "10d"),
        (576_000_000, "6d16h", "6d 16h"),
        (576_001_250, "6d16h1.25s", "6d 16h"),
    ] {
        let duration = Duration::from_millis(millis);
        assert_eq!(print(duration), text);
        assert_eq!(brief(duration), people);
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC*") {
        drop(parse(&text));
    }

    #[test]
    fn no_text_near_a_duration_panics(text in "[-0-9.dhmsuµn ]{0,60}") {
        drop(parse(&text));
    }

    #[test]
    fn what_is_printed_is_read_again(nanos in 0..=i64::MAX as u64) {
        let duration = Duration::from_nanos(nanos);
        prop_assert_eq!(parse(&print(duration)), Ok(duration));
        prop_assert!(!brief(duration).is_empty());
    }

    #[test]
    fn any_duration_can_be_printed(secs in any::<u64>(), nanos in 0..1_000_000_000_u32) {
        prop_assert!(!print(Duration::new(secs, nanos)).is_empty());
    }
}
