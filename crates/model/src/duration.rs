//! Durations as Vault and Go write them (`10d`, `1.5h`, `90s`, `1h30m`, plain seconds), read and printed.
//!
//! Never rounds to zero and never panics: what is under the unit a caller needs is refused by the
//! caller. What stays true: `parse(&print(d))` is `d` again for every duration that parses.

use std::time::Duration;

/// Go keeps durations in 63 bits of nanoseconds (`time.Duration`), and so Vault can't take more.
const LONGEST_NANOS: u128 = i64::MAX as u128;

/// Units and their nanoseconds.
const UNITS: [(&str, u128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60 * 1_000_000_000),
    ("h", 3_600 * 1_000_000_000),
    ("d", 86_400 * 1_000_000_000),
];

/// Why a text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Nothing was written.
    #[error("empty duration; write something like 10d, 1h30m or 90s")]
    Empty,
    /// A minus sign.
    #[error("negative duration `{0}`; a length of time can't be below zero")]
    Negative(String),
    /// No number where one was expected.
    #[error("`{0}` is not a duration; write something like 10d, 1h30m or 90s")]
    Number(String),
    /// A unit that is not known.
    #[error("unknown unit `{unit}` in duration `{text}`; use d, h, m, s, ms, us or ns")]
    Unit {
        /// The whole text.
        text: String,
        /// What stands where a unit was expected.
        unit: String,
    },
    /// A number without a unit beside others that have one.
    #[error("`{0}` has a number without a unit; only plain seconds may stand without one")]
    Bare(String),
    /// Longer than Vault can express.
    #[error("duration `{0}` is longer than 292 years")]
    TooLong(String),
}

/// Reads a duration: a number of seconds, or numbers with units one after the other.
///
/// Every unit takes decimals. Days may be combined with smaller units (`1d12h`), which Vault itself
/// refuses: certagent always sends whole seconds. Parts of a nanosecond are cut off, as in Go.
///
/// # Errors
/// [`DurationError`] for anything else: signs, blanks inside, unknown units, more than 292 years.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let whole = text.trim();
    if whole.is_empty() {
        return Err(DurationError::Empty);
    }
    if whole.starts_with('-') {
        return Err(DurationError::Negative(whole.to_owned()));
    }
    let mut nanos: u128 = 0;
    let mut rest = whole;
    while !rest.is_empty() {
        let (digits, after) = split_at_first(rest, |c| !c.is_ascii_digit() && c != '.');
        let (unit, next) = split_at_first(after, |c| c.is_ascii_digit() || c == '.');
        let scale = scale_of(whole, unit, digits.len() == whole.len())?;
        let part = scaled(digits, scale).ok_or_else(|| DurationError::Number(whole.to_owned()))?;
        nanos = nanos.saturating_add(part);
        rest = next;
    }
    if nanos > LONGEST_NANOS {
        return Err(DurationError::TooLong(whole.to_owned()));
    }
    let secs = u64::try_from(nanos / 1_000_000_000).unwrap_or(u64::MAX);
    let below = u32::try_from(nanos % 1_000_000_000).unwrap_or(0);
    Ok(Duration::new(secs, below))
}

fn split_at_first(text: &str, stop: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(stop).unwrap_or(text.len()))
}

fn scale_of(whole: &str, unit: &str, alone: bool) -> Result<u128, DurationError> {
    if unit.is_empty() {
        return if alone {
            Ok(1_000_000_000)
        } else {
            Err(DurationError::Bare(whole.to_owned()))
        };
    }
    UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .map(|(_, scale)| *scale)
        .ok_or_else(|| DurationError::Unit {
            text: whole.to_owned(),
            unit: unit.to_owned(),
        })
}

/// `digits` (with at most one point) times `scale`; `None` when it is no number.
fn scaled(digits: &str, scale: u128) -> Option<u128> {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    // More places than these are far below a nanosecond of any unit.
    let fraction = &fraction[..fraction.len().min(18)];
    let power = 10_u128.pow(u32::try_from(fraction.len()).unwrap_or(0));
    let below = number(fraction).saturating_mul(scale) / power;
    Some(number(whole).saturating_mul(scale).saturating_add(below))
}

fn number(digits: &str) -> u128 {
    digits.bytes().fold(0, |sum: u128, digit| {
        sum.saturating_mul(10)
            .saturating_add(u128::from(digit.wrapping_sub(b'0')))
    })
}

/// The exact duration in units from days down, as `10d`, `1h30m`, `3.5s`, `250ms`; `0s` for none.
#[must_use]
pub fn print(duration: Duration) -> String {
    let secs = duration.as_secs();
    let nanos = duration.subsec_nanos();
    let mut text = String::new();
    for (unit, size, wrap) in [
        ("d", 86_400, u64::MAX),
        ("h", 3_600, 24),
        ("m", 60, 60),
        ("s", 1, 60),
    ] {
        let count = (secs / size) % wrap;
        if unit == "s" && nanos > 0 && (secs > 0 || !nanos.is_multiple_of(1_000_000)) {
            let fraction = format!("{nanos:09}");
            text.push_str(&format!("{count}.{}s", fraction.trim_end_matches('0')));
        } else if count > 0 {
            text.push_str(&format!("{count}{unit}"));
        }
    }
    if text.is_empty() && nanos > 0 {
        text = format!("{}ms", nanos / 1_000_000);
    }
    if text.is_empty() {
        text.push_str("0s");
    }
    text
}

/// For people: the two largest units, rounded down, as `6d 16h`, `3m 20s`, `1.4s`, `<1ms`.
#[must_use]
pub fn brief(duration: Duration) -> String {
    let secs = duration.as_secs();
    let pair = |large: u64, large_unit: &str, small: u64, small_unit: &str| {
        let (whole, rest) = (secs / large, secs % large / small);
        if rest == 0 {
            format!("{whole}{large_unit}")
        } else {
            format!("{whole}{large_unit} {rest}{small_unit}")
        }
    };
    match secs {
        86_400.. => pair(86_400, "d", 3_600, "h"),
        3_600.. => pair(3_600, "h", 60, "m"),
        60.. => pair(60, "m", 1, "s"),
        10.. => format!("{secs}s"),
        1.. => format!("{}.{}s", secs, duration.subsec_millis() / 100),
        0 if duration.is_zero() => "0s".to_owned(),
        0 if duration.subsec_millis() == 0 => "<1ms".to_owned(),
        0 => format!("{}ms", duration.subsec_millis()),
    }
}

#[cfg(test)]
mod tests;
