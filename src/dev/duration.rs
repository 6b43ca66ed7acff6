//! Durations as Vault reads them: whole seconds, `10d`, or a Go duration; and Go's way to print one.
//!
//! Never the agent's own parser (`model/duration.rs`): this one imitates Go, its texts included.

use serde_json::Value;

/// Whole seconds of a JSON value, or Go's text about it.
pub(super) fn seconds(value: &Value) -> Result<u64, String> {
    let secs = match value {
        Value::Number(number) => number
            .as_i64()
            .ok_or_else(|| "could not parse duration from input".to_owned())?,
        Value::String(text) => of_text(text)?,
        _ => return Err("could not parse duration from input".to_owned()),
    };
    u64::try_from(secs).map_err(|_| format!("cannot provide negative value '{secs}'"))
}

fn of_text(text: &str) -> Result<i64, String> {
    if text.is_empty() {
        return Ok(0);
    }
    if let Ok(secs) = text.parse::<i64>() {
        return Ok(secs);
    }
    if let Some(days) = text.strip_suffix('d') {
        let days: i64 = days
            .parse()
            .map_err(|_| format!("strconv.ParseInt: parsing {days:?}: invalid syntax"))?;
        return Ok(days.saturating_mul(86_400));
    }
    go_duration(text)
}

/// Go's `time.ParseDuration`, cut to whole seconds.
fn go_duration(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let number: f64 = number.parse().map_err(|_| invalid())?;
        let unit_end = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {text:?}"));
        }
        let scale = unit_seconds(unit)
            .ok_or_else(|| format!("time: unknown unit {unit:?} in duration {text:?}"))?;
        total += number * scale;
        rest = after;
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a cast from float saturates"
    )]
    Ok((sign * total) as i64)
}

fn unit_seconds(unit: &str) -> Option<f64> {
    Some(match unit {
        "ns" => 1e-9,
        "us" | "µs" | "μs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    })
}

/// Go's `Duration.String` of whole seconds: `720h0m0s`, `1m30s`, `0s`.
pub(super) fn go_text(secs: u64) -> String {
    let (hours, minutes, secs) = (secs / 3600, secs / 60 % 60, secs % 60);
    match (hours, minutes) {
        (0, 0) => format!("{secs}s"),
        (0, _) => format!("{minutes}m{secs}s"),
        _ => format!("{hours}h{minutes}m{secs}s"),
    }
}

/// As [`go_text`] without trailing zero units: `768h`, `2s`.
pub(super) fn short_text(secs: u64) -> String {
    let text = go_text(secs);
    let text = match text.strip_suffix("m0s") {
        Some(cut) if secs >= 60 => format!("{cut}m"),
        _ => text,
    };
    match text.strip_suffix("h0m") {
        Some(cut) => format!("{cut}h"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_what_vault_reads() {
        for (input, expected) in [
            (json!(90), Ok(90)),
            (json!("90"), Ok(90)),
            (json!("10d"), Ok(864_000)),
            (json!("240h0m"), Ok(864_000)),
            (json!("1.5h"), Ok(5_400)),
            (json!("500ms"), Ok(0)),
            (json!(""), Ok(0)),
            (
                json!("1d12h"),
                Err("time: unknown unit \"d\" in duration \"1d12h\""),
            ),
            (
                json!("1w"),
                Err("time: unknown unit \"w\" in duration \"1w\""),
            ),
            (
                json!("1.5d"),
                Err("strconv.ParseInt: parsing \"1.5\": invalid syntax"),
            ),
            (json!("abc"), Err("time: invalid duration \"abc\"")),
            (json!("-3600"), Err("cannot provide negative value '-3600'")),
            (json!(true), Err("could not parse duration from input")),
        ] {
            assert_eq!(seconds(&input), expected.map_err(str::to_owned), "{input}");
        }
    }

    #[test]
    fn prints_as_go_does() {
        for (secs, long, short) in [
            (2_592_000, "720h0m0s", "720h"),
            (90, "1m30s", "1m30s"),
            (600, "10m0s", "10m"),
            (1, "1s", "1s"),
            (0, "0s", "0s"),
            (3_660, "1h1m0s", "1h1m"),
        ] {
            assert_eq!(go_text(secs), long);
            assert_eq!(short_text(secs), short);
        }
    }
}
