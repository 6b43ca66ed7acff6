//! What in a text looks like a secret, and the text as it may be shown.
//!
//! Never shortens: whoever shows a text covers it first and cuts it then, or half a secret is left.
//! What stays true: what is covered leaves no part of itself behind.

mod key_traces;

pub use key_traces::KeyTraces;

/// Stands for what was covered.
const COVERED: &str = "[secret]";
/// Stands for a text that holds PEM.
const PEM: &str = "[PEM text]";

/// What a secret is called: in front of `=`, and in the name of a variable that holds one.
const WORDS: [&str; 10] = [
    "token",
    "secret",
    "secret_id",
    "password",
    "passwd",
    "api_key",
    "apikey",
    "credential",
    "credentials",
    "headers",
];

/// `-----` in base64: how PEM in base64 begins.
const DASHES: &str = "LS0tLS1";

/// Does it hold a private key, or a token? Such a text belongs into a file or a variable of its own.
#[must_use]
pub fn holds_secret(text: &str) -> bool {
    text.contains("PRIVATE KEY") || text.contains(DASHES) || der(text) || tokens(text) != text
}

/// Does a variable of this name hold a secret? That of a file or directory does not.
#[must_use]
pub fn names_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let path = ["_file", "_path", "_dir"]
        .iter()
        .any(|end| name.ends_with(end));
    !path && WORDS.iter().any(|word| name.contains(word))
}

/// Does a URL in it hold a user with a password?
#[must_use]
pub fn holds_password(text: &str) -> bool {
    password(text).is_some()
}

/// The password of the first URL in it that has one.
#[must_use]
pub fn password(text: &str) -> Option<&str> {
    text.match_indices("://").find_map(|(at, mark)| {
        let rest = text.get(at + mark.len()..)?;
        let (user, _) = rest.split(['/', '?', '#']).next()?.rsplit_once('@')?;
        user.split_once(':').map(|(_, password)| password)
    })
}

/// Is there a word such as `password=`, a user with a password, or a URL with a query?
#[must_use]
pub fn may_hold_secret(text: &str) -> bool {
    after_words(text) != text || is_like_url(text) && url(text) != text
}

/// A URL, or `user:password@host` without its scheme; no path.
fn is_like_url(text: &str) -> bool {
    let user = text.rsplit_once('@').map_or("", |(user, _)| user);
    text.contains("://") || user.contains(':') && !text.starts_with('/')
}

/// Any text of a setting.
#[must_use]
pub fn setting(text: &str) -> String {
    if text.contains("-----") || text.contains(DASHES) || der(text) {
        return PEM.to_owned();
    }
    if is_like_url(text) {
        return url(text);
    }
    after_words(&tokens(text))
}

/// A URL, or what was meant to be one: without user, query and fragment.
#[must_use]
pub fn url(text: &str) -> String {
    if text.contains("-----") || text.contains(DASHES) || der(text) {
        return PEM.to_owned();
    }
    let text = tokens(text);
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), &*text),
    };
    let query = rest.find(['?', '#']);
    let shown = match (rest.rfind('@'), query) {
        // either could be part of the other
        (Some(_), Some(_)) => COVERED.to_owned(),
        (Some(at), None) => format!("{COVERED}{}", rest.get(at..).unwrap_or_default()),
        (None, Some(at)) => {
            let (before, mark) = rest.split_at(at);
            format!("{}{}{COVERED}", port(before), &mark[..1])
        }
        (None, None) => port(rest),
    };
    after_words(&format!("{scheme}{shown}"))
}

/// `host:port/path`; what stands for the port and is no number may be half of a password.
fn port(text: &str) -> String {
    let authority = text.split('/').next().unwrap_or_default();
    let last = authority.rfind(']').map_or(0, |at| at + 1);
    let Some(colon) = authority.get(last..).and_then(|rest| rest.find(':')) else {
        return text.to_owned();
    };
    let (before, rest) = text.split_at(last + colon + 1);
    let number = rest.split('/').next().unwrap_or_default();
    match number.bytes().all(|byte| byte.is_ascii_digit()) {
        true => text.to_owned(),
        false => format!("{before}{COVERED}"),
    }
}

/// `text` without tokens of Vault and OpenBao and without JWTs, which are known by their form, and
/// without users with passwords in URLs.
#[must_use]
pub fn tokens(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((at, length)) = next_token(rest) {
        shown.push_str(rest.get(..at).unwrap_or_default());
        shown.push_str(COVERED);
        rest = rest.get(at + length..).unwrap_or_default();
    }
    shown.push_str(rest);
    shown
}

/// Where the first token begins, and how long it is.
fn next_token(text: &str) -> Option<(usize, usize)> {
    let starts = ["hvs.", "hvb.", "hvr.", "s.", "b.", "r.", "eyJ"];
    let found = starts.iter().flat_map(|start| text.match_indices(start));
    let tokens = found.filter_map(|(at, start)| {
        let before = text.get(..at)?.chars().next_back();
        if before.is_some_and(|one| one.is_ascii_alphanumeric()) {
            return None;
        }
        let length = token(text.get(at..)?, start)?;
        Some((at, length))
    });
    tokens.min()
}

/// The length of the token that begins here, if it is one.
fn token(text: &str, start: &str) -> Option<usize> {
    let part = |one: char| one.is_ascii_alphanumeric() || "-_.".contains(one);
    let length = text.find(|one| !part(one)).unwrap_or(text.len());
    let body = text.get(start.len()..length)?;
    let long = match start {
        "eyJ" => body.contains('.') && body.len() >= 20,
        "s." | "b." | "r." => {
            // 24 letters and digits, in a namespace with its id of 5 behind (vault/token_store.go)
            let letters = body.split('.').next().unwrap_or_default();
            letters.len() >= 24 && letters.bytes().all(|one| one.is_ascii_alphanumeric())
        }
        _ => body.len() >= 16,
    };
    long.then_some(length)
}

/// Covers all that follows a word such as `password=`.
fn after_words(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let ends = WORDS.iter().flat_map(|word| {
        let found = lower.match_indices(word);
        found.map(|(at, word)| at + word.len())
    });
    let first = ends.filter(|end| {
        let rest = lower.get(*end..).unwrap_or_default();
        let rest = rest.trim_start_matches(['"', '\'', ' ']);
        rest.starts_with(['=', ':']) && !rest.starts_with("://")
    });
    match first.min() {
        Some(end) => format!("{}={COVERED}", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// A word that is DER in base64: a SEQUENCE of more than some bytes (X.690 8.9) begins so.
fn der(text: &str) -> bool {
    let other = |one: char| !one.is_ascii_alphanumeric() && !"+/=".contains(one);
    let mut words = text.split(other);
    words.any(|word| {
        let mut letters = word.chars();
        let head = (letters.next(), letters.next());
        word.len() >= 40 && matches!(head, (Some('M'), Some('C'..='I')))
    })
}

#[cfg(test)]
mod tests;
