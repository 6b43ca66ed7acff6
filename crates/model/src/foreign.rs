//! Text from outside: an issuer, an application, Nomad, a hook, a file.
//!
//! Never believes it. What stays true: whatever comes out of [`harmless`] is one line that steers
//! neither a terminal nor a reader of lines, and is valid inside a JSON string as it is.

use std::fmt::Write as _;

/// `text` with each character made visible that ends a line, steers a terminal or turns the
/// direction of text.
#[must_use]
pub fn harmless(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => clean.push_str("\\n"),
            '\r' => clean.push_str("\\r"),
            '\t' => clean.push_str("\\t"),
            // JSON's notation (RFC 8259, 7); none of them is above U+FFFF
            c if steers(c) => write!(clean, "\\u{:04x}", u32::from(c)).unwrap_or_default(),
            c => clean.push(c),
        }
    }
    clean
}

/// As [`harmless`], and at most `longest` characters of it, with a mark when something is missing.
#[must_use]
pub fn shortened(text: &str, longest: usize) -> String {
    match text.char_indices().nth(longest) {
        Some((end, _)) => format!("{}…", harmless(text.get(..end).unwrap_or_default())),
        None => harmless(text),
    }
}

/// Controls (C0, DEL, C1), line and paragraph separators, and the property Bidi_Control (UAX 9).
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{2028}' | '\u{2029}' | '\u{61c}' | '\u{200e}' | '\u{200f}'
        )
        || ('\u{202a}'..='\u{202e}').contains(&c)
        || ('\u{2066}'..='\u{2069}').contains(&c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_is_one_line_and_steers_nothing() {
        assert_eq!(
            harmless("CN=a\x1b[2J\r\n\0\u{9b}2J\u{7f}\t\u{202e}\u{2028}ä…"),
            "CN=a\\u001b[2J\\r\\n\\u0000\\u009b2J\\u007f\\t\\u202e\\u2028ä…"
        );
    }

    #[test]
    fn what_was_made_visible_is_valid_in_json() {
        let all: String = ('\0'..='\u{ffff}').filter(|c| steers(*c)).collect();
        let json = format!("\"{}\"", harmless(&all));
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), all);
    }

    #[test]
    fn long_text_is_cut_between_characters_before_it_grows() {
        assert_eq!(shortened("äöü", 3), "äöü");
        assert_eq!(shortened("äöü\n", 3), "äöü…");
        assert_eq!(shortened("\n\n\n", 2), "\\n\\n…");
        assert_eq!(shortened("", 0), "");
    }
}
