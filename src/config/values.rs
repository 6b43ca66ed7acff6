//! From the text of one value to its type; the words of what is wrong with it.
//!
//! Never knows where the text came from. What stays true: a message says what would be right.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use super::types::is_here;
use crate::model::{schedule::RenewAt, secret::Secret, trust::AnchorName};

/// `10d`, `1h30m`, `90s`, or seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    crate::model::duration::parse(text).map_err(|error| error.to_string())
}

/// A duration of at least one second.
pub(super) fn positive(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        short if short < Duration::from_secs(1) => Err("needs at least 1s".to_owned()),
        enough => Ok(enough),
    }
}

pub(super) fn count(text: &str) -> Result<u32, String> {
    text.parse()
        .map_err(|_| "not a whole number from 0 to 4294967295".to_owned())
}

pub(super) fn at_least_one(text: &str) -> Result<u32, String> {
    match count(text)? {
        0 => Err("needs at least 1".to_owned()),
        some => Ok(some),
    }
}

/// As Go's `strconv.ParseBool`, which the Vault and OpenBao clients use.
pub(super) fn truth(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("not true or false".to_owned()),
    }
}

/// An octal file mode that lets the owner read and no user execute.
pub(super) fn mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).map_err(|_| "not an octal mode such as 0640")?;
    if mode & 0o400 == 0 {
        return Err("the owner has to be able to read the file".to_owned());
    }
    if mode & !0o666 != 0 {
        return Err("only read and write bits make sense".to_owned());
    }
    Ok(mode)
}

/// A key is never for every user.
pub(super) fn key_perms(text: &str) -> Result<u32, String> {
    match mode(text)? {
        open if open & 0o007 != 0 => {
            Err("a private key must not be readable by every user".to_owned())
        }
        closed => Ok(closed),
    }
}

pub(super) fn ip(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| {
        let bare = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        let zone = text.split_once('%').map(|(address, _)| address);
        let is_ip = |part: Option<&str>| part.is_some_and(|part| part.parse::<IpAddr>().is_ok());
        let why = if is_ip(bare) {
            "not an IP address: write it without brackets"
        } else if is_ip(zone) {
            "not an IP address: a certificate has no zone, write it without % and what follows"
        } else {
            "not an IP address"
        };
        why.to_owned()
    })
}

/// A DNS name, with a wildcard label in front at most.
pub(super) fn dns_name(text: &str) -> Result<String, String> {
    let name = text.strip_prefix("*.").unwrap_or(text);
    let good = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    if name.len() > 253 || !name.split('.').all(good) {
        return Err("not a DNS name".to_owned());
    }
    Ok(text.to_ascii_lowercase())
}

/// The common name: what fits the field (RFC 5280 appendix A, ub-common-name). Empty means none, for
/// roles with `require_cn=false`; what is no host name is for roles without `enforce_hostnames`.
pub(super) fn common_name(text: &str) -> Result<String, String> {
    if text.chars().count() > 64 {
        return Err(format!(
            "{} characters; a common name has at most 64: leave it empty (\"\") with a role that \
             has require_cn=false, and write the name into dns_sans",
            text.chars().count()
        ));
    }
    if text.is_empty() {
        return Ok(String::new());
    }
    if text.trim() != text || !text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
        return Err("a common name is plain ASCII, without blanks around it".to_owned());
    }
    Ok(dns_name(text).unwrap_or_else(|_| text.to_owned()))
}

/// `scheme:rest` (RFC 3986 section 3.1), printable ASCII only (RFC 5280 section 4.2.1.6).
pub(super) fn uri(text: &str) -> Result<String, String> {
    let scheme = text.split_once(':').map(|(scheme, _)| scheme);
    let good = scheme.is_some_and(|scheme| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    });
    if good && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(text.to_owned())
    } else {
        Err("not a URI such as spiffe://example/loki".to_owned())
    }
}

/// A path of a mount or namespace, or one name in it; slashes at the ends do not count.
pub(super) fn api_path(text: &str) -> Result<String, String> {
    let path = text.trim_matches('/');
    let good = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && part
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && !b"?#%\\".contains(&byte))
    };
    if path.split('/').all(good) {
        Ok(path.to_owned())
    } else {
        Err("not a path in the API, such as pki or team/pki".to_owned())
    }
}

/// A name without slashes: a role.
pub(super) fn api_name(text: &str) -> Result<String, String> {
    if text.contains('/') {
        return Err("a name without slashes is needed".to_owned());
    }
    api_path(text).map_err(|_| "not a name".to_owned())
}

/// The name of a certificate: it appears in file names, logs and metrics.
pub(super) fn label(text: &str) -> Result<String, String> {
    let good = (1..=64).contains(&text.len())
        && !text.starts_with('.')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if good {
        Ok(text.to_owned())
    } else {
        Err("a name has 1 to 64 letters, digits, dots, dashes and underscores".to_owned())
    }
}

/// An address of the issuer; a path prefix is kept, slashes at its end are not.
pub(super) fn address(text: &str) -> Result<String, String> {
    const WANTED: &str = "not an address such as https://vault.example:8200";
    let (scheme, rest) = text.split_once("://").ok_or(WANTED)?;
    // RFC 3986 section 3.1: a scheme may be written in capitals, and means the same
    let scheme = &*scheme.to_ascii_lowercase();
    let text = &*format!("{scheme}://{rest}");
    let printable = rest.bytes().all(|byte| byte.is_ascii_graphic());
    if !printable || rest.contains('@') || rest.contains('?') || rest.contains('#') {
        return Err(format!("{WANTED}, without user, query and fragment"));
    }
    match scheme {
        "unix" if rest.starts_with('/') => Ok(text.to_owned()),
        "unix" => Err("needs an absolute path: unix:///run/vault.sock".to_owned()),
        "http" | "https" => {
            let uri: http::Uri = text.parse().map_err(|_| WANTED)?;
            let named = uri.host().is_some_and(|host| !host.is_empty());
            // The crate takes a port that is no number from 0 to 65535 and says it has none.
            let authority = uri.authority().map(http::uri::Authority::as_str);
            let last = authority.and_then(|text| text.rsplit(']').next());
            let odd = last.is_some_and(|text| text.contains(':')) && uri.port_u16().is_none();
            if named && !odd {
                Ok(text.trim_end_matches('/').to_owned())
            } else {
                Err(WANTED.to_owned())
            }
        }
        _ => Err(format!("{WANTED}; the scheme is http, https or unix")),
    }
}

/// `http://` to this machine: elsewhere the request would be open to others on its way.
pub(super) fn loopback_url(text: &str) -> Result<String, String> {
    const WANTED: &str = "not a URL such as http://127.0.0.1:8080/-/reload";
    let uri: http::Uri = text.parse().map_err(|_| WANTED)?;
    if uri.scheme_str() != Some("http") || text.contains('@') {
        return Err(WANTED.to_owned());
    }
    if is_here(text) {
        Ok(text.to_owned())
    } else {
        Err("only http:// on loopback".to_owned())
    }
}

/// The path of a variable in Nomad (structs/variables.go): at most 128 characters.
pub(super) fn variable_path(text: &str) -> Result<String, String> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_~/".contains(&byte);
    if (1..=128).contains(&text.len()) && text.bytes().all(good) {
        Ok(text.to_owned())
    } else {
        Err("not the path of a Nomad variable, such as nomad/jobs/loki/lock".to_owned())
    }
}

/// A proxy's address, with the user and the password that it wants (RFC 3986 section 3.2.1).
pub(super) fn proxy(text: &str) -> Result<Secret, String> {
    const WANTED: &str = "not a proxy such as http://proxy.example:3128 or \
                          http://user:password@proxy.example:3128; write / ? # @ and % of a \
                          password as %2F %3F %23 %40 and %25";
    let (scheme, rest) = text.split_once("://").ok_or(WANTED)?;
    let scheme = scheme.to_ascii_lowercase();
    let (user, host) = rest.rsplit_once('@').unwrap_or(("", rest));
    let good = |byte: u8| byte.is_ascii_graphic() && !b"/?#@".contains(&byte);
    let named = rest == host || !user.is_empty() && !user.starts_with(':');
    match address(&format!("{scheme}://{host}")) {
        Ok(_) if scheme == "unix" || host.contains('/') => Err(WANTED.to_owned()),
        Ok(_) if named && user.bytes().all(good) => Ok(Secret::new(format!("{scheme}://{rest}"))),
        _ => Err(WANTED.to_owned()),
    }
}

/// Whom a certificate has to prove: a DNS name without a wildcard, or an IP address.
pub(super) fn server_name(text: &str) -> Result<String, String> {
    match (ip(text), dns_name(text)) {
        (Ok(ip), _) => Ok(ip.to_string()),
        (_, Ok(name)) if !name.starts_with('*') => Ok(name),
        _ => Err("neither a DNS name nor an IP address".to_owned()),
    }
}

/// `rate` or `rate:burst`, per second; the burst is the rate, rounded down, when absent.
pub(super) fn rate(text: &str) -> Result<(f64, u32), String> {
    const WANTED: &str = "not a rate such as 10 or 10:20";
    let (rate, burst) = match text.split_once(':') {
        Some((rate, burst)) => (rate, Some(burst)),
        None => (text, None),
    };
    let rate: f64 = rate.parse().map_err(|_| WANTED)?;
    if !rate.is_finite() || rate <= 0.0 {
        return Err(format!("{WANTED}; the rate is more than 0"));
    }
    let burst = match burst {
        Some(burst) => at_least_one(burst).map_err(|_| WANTED)?,
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to the range of u32 first"
        )]
        None => rate.clamp(1.0, f64::from(u32::MAX)) as u32,
    };
    Ok((rate, burst))
}

/// `2/3`, `66%`, `0.66`, or a duration before the end.
pub(super) fn renew_at(text: &str) -> Result<RenewAt, String> {
    let share = if let Some((part, whole)) = text.split_once('/') {
        let (part, whole): (f64, f64) = match (part.parse(), whole.parse()) {
            (Ok(part), Ok(whole)) if whole > 0.0 => (part, whole),
            _ => return Err(RENEW_AT.to_owned()),
        };
        part / whole
    } else if let Some(percent) = text.strip_suffix('%') {
        percent.parse::<f64>().map_err(|_| RENEW_AT)? / 100.0
    } else if let Ok(share) = text.parse::<f64>() {
        share
    } else {
        let before = positive(text).map_err(|why| format!("{RENEW_AT}: {why}"))?;
        return Ok(RenewAt::Before(before));
    };
    if (0.1..=0.95).contains(&share) {
        Ok(RenewAt::Share(share))
    } else {
        Err("a share of the life is from 0.1 to 0.95".to_owned())
    }
}

const RENEW_AT: &str = "not a share such as 2/3, 66% or 0.66, nor a duration such as 24h";

/// SHA-256 in hex; colons and capitals are taken.
pub(super) fn sha256(text: &str) -> Result<String, String> {
    let digits = text.replace(':', "").to_ascii_lowercase();
    if digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(digits)
    } else {
        Err("not a SHA-256 fingerprint: 64 hexadecimal digits".to_owned())
    }
}

/// The SHA-256 of a certificate, or the name or id of an issuer.
pub(super) fn anchor(name: &str) -> Result<AnchorName, String> {
    let digits = name.replace(':', "");
    let hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if hex && (digits.len() >= 32 || digits.len() < name.len()) {
        return Ok(AnchorName::new(&sha256(name)?));
    }
    let plain = name.len() <= 128 && name.bytes().all(|byte| byte.is_ascii_graphic());
    if name.is_empty() || !plain {
        return Err("neither a SHA-256 fingerprint nor the name or id of an issuer".to_owned());
    }
    Ok(AnchorName::new(name))
}

/// Any text without control characters (a header value, a name).
pub(super) fn text(text: &str) -> Result<String, String> {
    if text.is_empty() {
        Err("must not be empty".to_owned())
    } else if text.chars().any(char::is_control) {
        Err("must not contain control characters".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

/// `Name: value`; the value is a secret, so it is in no message.
pub(super) fn header(text: &str) -> Result<(String, Secret), String> {
    const WANTED: &str = "not an object of header names and texts, as {\"X-Name\": \"value\"}";
    let (name, value) = text.split_once(": ").ok_or(WANTED)?;
    http::HeaderName::from_bytes(name.as_bytes()).map_err(|_| WANTED)?;
    http::HeaderValue::from_str(value).map_err(|_| WANTED)?;
    Ok((name.to_owned(), Secret::new(value.to_owned())))
}

/// PEM text with at least one certificate in it.
pub(super) fn pem(text: &str) -> Result<String, String> {
    if text.contains("-----BEGIN CERTIFICATE-----") {
        Ok(text.to_owned())
    } else {
        Err("no certificate in PEM form in it".to_owned())
    }
}

/// `; did you mean x?`, or the list of what is known.
pub(super) fn similar<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: BTreeSet<_> = known.into_iter().collect();
    let near = known
        .iter()
        .map(|one| (distance(word, one), *one))
        .min()
        .filter(|(_, one)| is_near(word, one));
    match near {
        Some((_, one)) => format!("; did you mean {one}?"),
        None => {
            let list: Vec<_> = known.into_iter().collect();
            format!("; known are {}", list.join(", "))
        }
    }
}

/// Whether one is likely meant for the other.
pub(crate) fn is_near(word: &str, known: &str) -> bool {
    distance(word, known) <= 1 + word.len() / 4
}

/// Levenshtein distance in bytes; the words are short.
fn distance(left: &str, right: &str) -> usize {
    let right = right.as_bytes();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, byte) in left.bytes().enumerate() {
        let mut diagonal = index;
        row[0] = index + 1;
        for column in 0..right.len() {
            let changed = diagonal + usize::from(byte != right[column]);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests;
