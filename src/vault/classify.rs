//! Status code and text of an answer to a failure: its class, its code, what to do.
//!
//! Never decides from the code alone where it has several meanings (403, 429 and 500 have). Pure.
//! The words that are known are in `messages.rs`.

use serde::Deserialize;

use super::{
    cause::PROXY_USER,
    messages::{self, Message},
};
use crate::model::{
    failure::{Failure, FailureClass},
    origin::PERMISSION_DENIED,
};

/// What the sender does after a refusal, before the caller's retry plan takes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AfterRefusal {
    /// Nothing: the answer would be the same everywhere.
    Stop,
    /// Try the next address.
    Elsewhere,
    /// The token is not known: log in again, once.
    LoginAgain,
    /// May be settled a moment after a login, when a standby lags: wait, once.
    Settle,
}

/// Whose request was refused: the same words mean different things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// A login: its credentials were refused.
    Login,
    /// Sent without a token.
    Nobody,
    /// Sent with a token.
    Token,
}

/// A judged answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct JudgedAnswer {
    pub class: FailureClass,
    pub code: &'static str,
    pub hint: &'static str,
    pub next: AfterRefusal,
}

/// The issuer's words: `errors` when it was JSON, else a piece of the text.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// True for `{"errors": [...]}`: it comes from Vault and not from something in between.
    pub by_issuer: bool,
    /// In one line.
    pub text: String,
}

#[derive(Deserialize)]
struct Errors {
    errors: Vec<String>,
}

/// The longest piece of foreign text in a message.
const MAX_MESSAGE_CHARS: usize = 400;

impl Said {
    /// Reads an error body; takes anything. `cover` takes our own secrets out, before anything is cut.
    pub(super) fn read(body: &[u8], cover: impl Fn(String) -> String) -> Self {
        if let Ok(Errors { errors }) = serde_json::from_slice(body) {
            return Self {
                by_issuer: true,
                text: one_line(&cover(errors.join("; "))),
            };
        }
        let text = cover(String::from_utf8_lossy(body).into_owned());
        Self {
            by_issuer: false,
            text: one_line(&strip_tags(&text)),
        }
    }
}

/// White space and control characters to single spaces, shortened.
fn one_line(text: &str) -> String {
    let words = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty());
    let line = words.collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MAX_MESSAGE_CHARS) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

/// The text of an HTML page, roughly.
fn strip_tags(text: &str) -> String {
    let mut inside = false;
    text.chars()
        .filter_map(|c| match c {
            '<' => {
                inside = true;
                Some(' ')
            }
            '>' if inside => {
                inside = false;
                None
            }
            c => (!inside).then_some(c),
        })
        .collect()
}

/// RFC 1123 section 2.1: Vault's `enforce_hostnames` takes letters, digits and dashes only.
const UNDERSCORE: &str = "the name has an underscore, which no host name has: use a dash instead \
                          (set component or common_name), or set enforce_hostnames=false in the role";

/// What the sender does after this refusal.
fn next_after(message: &Message) -> AfterRefusal {
    match message.code {
        "role-removed" => AfterRefusal::LoginAgain,
        "unknown-role" => AfterRefusal::Settle,
        _ if message.class == FailureClass::Unavailable => AfterRefusal::Elsewhere,
        _ => AfterRefusal::Stop,
    }
}

/// Judges an answer that is no success: by the table of messages, else by its status.
pub(super) fn judge(status: u16, said: &Said, who: Who) -> JudgedAnswer {
    if (said.by_issuer || status >= 500)
        && let Some(message) = messages::find(status, who == Who::Login, &said.text)
    {
        return JudgedAnswer {
            class: message.class,
            code: message.code,
            hint: match message.code {
                "name-not-allowed" if said.text.contains('_') => UNDERSCORE,
                _ => message.hint,
            },
            next: next_after(message),
        };
    }
    match status {
        429 => JudgedAnswer {
            class: FailureClass::Throttled,
            code: "busy",
            hint: "",
            next: AfterRefusal::Stop,
        },
        // net/http of Go, which both servers are built with.
        400 if !said.by_issuer && said.text.contains("HTTP request to an HTTPS server") => {
            JudgedAnswer {
                class: FailureClass::Misconfigured,
                code: "https-expected",
                hint: "the server speaks TLS: write https:// in the address",
                next: AfterRefusal::Stop,
            }
        }
        407 => JudgedAnswer {
            class: FailureClass::Misconfigured,
            code: "proxy-auth",
            hint: PROXY_USER,
            next: AfterRefusal::Stop,
        },
        500..=599 | 472 | 473 | 408 | 412 => server_side(status, said),
        _ if !said.by_issuer => JudgedAnswer {
            class: FailureClass::Unavailable,
            code: "not-vault",
            hint: "something else than Vault answered: check scheme (https?), path prefix and proxy",
            next: AfterRefusal::Elsewhere,
        },
        403 => forbidden(said, who),
        404 if said.text.is_empty() => wrong("empty-list", ""),
        404 => wrong(
            "no-such-path",
            "check the mount's path, and that the PKI engine is mounted there",
        ),
        // None is for ever: a new file, clock or role can cure it.
        400 if who == Who::Login => denied("login-refused", "", AfterRefusal::Stop),
        405 => wrong(
            "unsupported-operation",
            "check mount and role: this path is none of PKI",
        ),
        _ => wrong("refused", ""),
    }
}

/// 5xx and friends, without words that are known.
fn server_side(status: u16, said: &Said) -> JudgedAnswer {
    let (code, hint) = match status {
        412 => ("replication-lag", ""),
        472 | 473 => ("standby", ""),
        501 => ("not-initialized", "initialise and unseal it"),
        502 | 504 => ("bad-gateway", "the proxy gets no answer from Vault"),
        _ if !said.by_issuer => (
            "not-vault",
            "something in between answered: check the proxy",
        ),
        503 => ("unavailable", ""),
        _ => ("server-error", "check Vault's own log"),
    };
    JudgedAnswer {
        class: FailureClass::Unavailable,
        code,
        hint,
        next: AfterRefusal::Elsewhere,
    }
}

/// 403 has two meanings: token not known, or token known and not permitted.
fn forbidden(said: &Said, who: Who) -> JudgedAnswer {
    if who == Who::Login {
        let hint =
            "check the auth mount's path and the role; repeated wrong logins lock a user out";
        return denied("login-forbidden", hint, AfterRefusal::Stop);
    }
    if who == Who::Nobody {
        let hint = "check the mount's path and the namespace: what is not there is forbidden, too";
        return denied("forbidden", hint, AfterRefusal::Stop);
    }
    let says = |part: &str| said.text.contains(part);
    if says("invalid token") || !says("1 error occurred") && says("permission denied") {
        let hint = "the token has expired or was revoked, or it is bound to other addresses (token_bound_cidrs)";
        return denied("token-invalid", hint, AfterRefusal::LoginAgain);
    }
    let hint = "the token's policy must grant `update` on this path; where it does, look for \
                denied_parameters, allowed_parameters, required_parameters and min_wrapping_ttl in it";
    denied(PERMISSION_DENIED, hint, AfterRefusal::Settle)
}

fn denied(code: &'static str, hint: &'static str, next: AfterRefusal) -> JudgedAnswer {
    JudgedAnswer {
        class: FailureClass::Denied,
        code,
        hint,
        next,
    }
}

fn wrong(code: &'static str, hint: &'static str) -> JudgedAnswer {
    JudgedAnswer {
        class: FailureClass::Misconfigured,
        code,
        hint,
        next: AfterRefusal::Stop,
    }
}

/// A failure that only a change of the configuration cures.
pub(super) fn misconfigured(code: &str, message: String, hint: &str) -> Failure {
    failure(FailureClass::Misconfigured, code, message, hint)
}

/// A failure without Retry-After; an empty hint is none.
pub(super) fn failure(class: FailureClass, code: &str, message: String, hint: &str) -> Failure {
    Failure {
        class,
        code: code.to_owned(),
        message,
        hint: (!hint.is_empty()).then(|| hint.to_owned()),
        retry_after: None,
    }
}

#[cfg(test)]
mod tests;
