//! HTTP dates and Retry-After (RFC 9110 sections 5.6.7 and 10.2.3).
//!
//! Never guesses: a form that is not known is none.

use std::time::Duration;

use crate::model::time::Timestamp;

/// A server that asks for more than this is not believed.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);

/// `Sun, 06 Nov 1994 08:49:37 GMT`, or one of the two obsolete forms of RFC 9110 section 5.6.7.
pub(super) fn http_date(text: &str) -> Option<Timestamp> {
    httpdate::parse_http_date(text.trim())
        .ok()
        .map(Timestamp::from)
}

/// Seconds, or a date that is counted from `now`; at most a day.
/// RFC 9110 section 10.2.3.
pub(super) fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    let wait = match text.parse() {
        Ok(secs) => Duration::from_secs(secs),
        Err(_) => http_date(text)?.since(now),
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_retry_after_are_understood() {
        let now = http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        assert_eq!(now.unix_secs(), 784_111_777);
        let table = [
            ("120", Some(120)),
            (" 1 ", Some(1)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sun, 06 Nov 1994 08:49:00 GMT", Some(0)),
            ("99999999", Some(86_400)),
            ("-1", None),
            ("soon", None),
            ("Sun, 31 Feb 1994 08:49:00 GMT", None),
            ("Sun, 06 Nov 1994 08:49:00 CET", None),
            ("", None),
        ];
        for (text, secs) in table {
            let wait = secs.map(Duration::from_secs);
            assert_eq!(retry_after(text, now), wait, "{text:?}");
        }
    }
}
