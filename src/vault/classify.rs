//! Status code and text of an answer to a failure: its class, its code, what to do.
//!
//! Never decides from the code alone where it has several meanings (403, 429 and 500 have). Pure.
//! The table is that of the API documentation and of measurements with OpenBao 2.7.

use serde::Deserialize;

use crate::model::failure::{Failure, FailureClass};

/// What the sender does after a refusal, before the caller's retry plan takes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
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
pub(super) struct Judged {
    pub class: FailureClass,
    pub code: &'static str,
    pub hint: &'static str,
    pub next: Next,
}

/// The issuer's words: `errors` when it was JSON, else a piece of the text.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// True for `{"errors": [...]}`: it comes from the issuer and not from something in between.
    pub by_issuer: bool,
    /// In one line.
    pub text: String,
}

#[derive(Deserialize)]
struct Errors {
    errors: Vec<String>,
}

/// Part of the issuer's words, code, hint.
type Row = (&'static str, &'static str, &'static str);

/// The longest piece of foreign text in a message.
const LONGEST: usize = 400;

impl Said {
    /// Reads an error body; takes anything.
    pub(super) fn read(body: &[u8]) -> Self {
        if let Ok(Errors { errors }) = serde_json::from_slice(body) {
            return Self {
                by_issuer: true,
                text: one_line(&errors.join("; ")),
            };
        }
        let text = String::from_utf8_lossy(&body[..body.len().min(4096)]);
        Self {
            by_issuer: false,
            text: one_line(&strip_tags(&text)),
        }
    }

    fn has(&self, part: &str) -> bool {
        self.text.contains(part)
    }
}

/// White space and control characters to single spaces, shortened.
fn one_line(text: &str) -> String {
    let words = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty());
    let line = words.collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST) {
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

/// Judges an answer that is no success.
pub(super) fn judge(status: u16, said: &Said, who: Who) -> Judged {
    match status {
        429 => throttled(said),
        400 if !said.by_issuer && said.has("HTTP request to an HTTPS server") => Judged {
            class: FailureClass::Misconfigured,
            code: "https-expected",
            hint: "the server speaks TLS: write https:// in the address",
            next: Next::Stop,
        },
        407 => Judged {
            class: FailureClass::Misconfigured,
            code: "proxy-auth",
            hint: "the proxy wants a user: put it into VAULT_PROXY_ADDR",
            next: Next::Stop,
        },
        500..=599 | 472 | 473 | 408 | 412 => server_side(status, said),
        _ if !said.by_issuer => Judged {
            class: FailureClass::Unavailable,
            code: "not-vault",
            hint: "something else than Vault answered: check scheme (https?), path prefix and proxy",
            next: Next::Elsewhere,
        },
        403 => forbidden(said, who),
        404 => not_found(said),
        400 if who == Who::Login => login_refused(said),
        400 => bad_request(said),
        405 => wrong(
            "unsupported-operation",
            "check mount and role: this path is none of PKI",
        ),
        _ => wrong("refused", ""),
    }
}

fn throttled(said: &Said) -> Judged {
    let (code, hint) = if said.has("quota") {
        (
            "rate-limited",
            "raise the issuer's rate limit quota for this path",
        )
    } else {
        ("busy", "")
    };
    Judged {
        class: FailureClass::Throttled,
        code,
        hint,
        next: Next::Stop,
    }
}

/// 5xx and friends. Some permanent faults of the mount come as 500.
fn server_side(status: u16, said: &Said) -> Judged {
    let permanent = [
        (
            "no default issuer",
            "no-issuer",
            "make or import a CA in this mount and set it as default",
        ),
        (
            "could not fetch the CA certificate",
            "no-issuer",
            "make or import a CA in this mount and set it as default",
        ),
        (
            "requested usage",
            "issuer-usage",
            "give the role's issuer the usage issuing-certificates",
        ),
        (
            "unable to find PKI issuer",
            "unknown-issuer",
            "the role names an issuer that is gone: set its issuer_ref",
        ),
    ];
    if let Some((_, code, hint)) = permanent.iter().find(|(part, _, _)| said.has(part)) {
        return wrong(code, hint);
    }
    if said.has("does not exist during renewal") {
        return denied(
            "role-removed",
            "the auth role is gone: make it again",
            Next::LoginAgain,
        );
    }
    let (code, hint) = match status {
        _ if said.has("sealed") => ("sealed", "unseal it; the live certificate stays in use"),
        _ if said.has("not active") || said.has("no active") => ("standby", ""),
        _ if said.has("not initialized") => ("not-initialized", "initialise and unseal it"),
        412 => ("replication-lag", ""),
        472 | 473 => ("standby", ""),
        501 => ("not-initialized", "initialise and unseal it"),
        502 | 504 => (
            "bad-gateway",
            "the proxy before the issuer gets no answer from it",
        ),
        _ if !said.by_issuer => (
            "not-vault",
            "something in between answered: check the proxy",
        ),
        503 => ("unavailable", ""),
        _ => ("server-error", "look into the issuer's own log"),
    };
    Judged {
        class: FailureClass::Unavailable,
        code,
        hint,
        next: Next::Elsewhere,
    }
}

/// 403 has two meanings: token not known, or token known and not permitted.
fn forbidden(said: &Said, who: Who) -> Judged {
    if who == Who::Login {
        let hint =
            "check the auth mount's path and the role; repeated wrong logins lock a user out";
        return denied("login-forbidden", hint, Next::Stop);
    }
    if who == Who::Nobody {
        let hint = "check the mount's path and the namespace: what is not there is forbidden, too";
        return denied("forbidden", hint, Next::Stop);
    }
    if said.has("invalid token") || !said.has("1 error occurred") && said.has("permission denied") {
        let hint = "the token has ended or was revoked";
        return denied("token-invalid", hint, Next::LoginAgain);
    }
    let hint = "the token's policy must grant `update` on this path";
    denied("permission-denied", hint, Next::Settle)
}

fn not_found(said: &Said) -> Judged {
    if said.has("namespace not found") {
        wrong("namespace-not-found", "check the namespace")
    } else if said.text.is_empty() {
        wrong("empty-list", "")
    } else {
        wrong(
            "no-such-path",
            "check the mount's path, and that the PKI engine is mounted there",
        )
    }
}

/// Refused logins.
const LOGIN: &[Row] = &[
    (
        "wrapping token is not valid",
        "wrapping-token-used",
        "somebody else may have unwrapped it: treat the secret id as stolen, destroy it and issue a new one",
    ),
    (
        "token is expired",
        "jwt-expired",
        "wait until the file is rewritten; check that Nomad's servers can be reached",
    ),
    (
        "not yet valid",
        "jwt-not-yet-valid",
        "compare the clocks of this machine, of Nomad's servers and of the issuer",
    ),
    (
        "issued at",
        "jwt-not-yet-valid",
        "compare the clocks of this machine, of Nomad's servers and of the issuer",
    ),
    (
        "audience",
        "jwt-audience",
        "the role's bound_audiences must hold the identity's aud",
    ),
    (
        "signature",
        "jwt-signature",
        "the auth mount must know the signer's public keys (jwks_url, jwt_validation_pubkeys)",
    ),
    (
        "claim",
        "jwt-claims",
        "compare the role's bound_claims and user_claim with the token's claims",
    ),
    (
        "invalid role or secret ID",
        "secret-id-refused",
        "role id or secret id is wrong, has expired or was used up: issue a new secret id",
    ),
    (
        "missing secret_id",
        "secret-id-refused",
        "the role wants a secret id: configure one",
    ),
    (
        "client certificate",
        "client-certificate-refused",
        "the auth mount must hold the CA of this client certificate, and the certificate must be valid",
    ),
    (
        "could not be found",
        "login-role-unknown",
        "check the role's name in this auth mount",
    ),
    (
        "invalid role name",
        "login-role-unknown",
        "check the role's name in this auth mount",
    ),
    (
        "missing role",
        "login-role-unknown",
        "name a role: the auth mount has no default role",
    ),
    ("oidc", "login-role-unknown", "the role needs role_type jwt"),
];

/// Login errors come as 400. None of them is for ever: a new file, clock or role can cure it.
fn login_refused(said: &Said) -> Judged {
    let found = LOGIN.iter().find(|(part, _, _)| said.has(part));
    let (code, hint) = found.map_or(("login-refused", ""), |(_, code, hint)| (*code, *hint));
    denied(code, hint, Next::Stop)
}

/// Refused orders.
const ORDER: &[Row] = &[
    (
        "beyond the expiration of the CA",
        "ca-ends-first",
        "renew the CA, ask for a shorter ttl, or set leaf_not_after_behavior",
    ),
    (
        "Either ttl or not_after",
        "role-has-not-after",
        "the role has a fixed not_after: take it out, certagent always sends a ttl",
    ),
    (
        "not_after_bound",
        "role-has-not-after",
        "the role bounds not_after: certagent sends a ttl",
    ),
    (
        "not allowed by this role",
        "name-not-allowed",
        "let the role allow it (allowed_domains, allow_subdomains, allow_bare_domains), or ask for another name",
    ),
    (
        "not allowed in this role",
        "name-not-allowed",
        "let the role allow it (allow_ip_sans, allowed_ip_sans_cidr), or leave the name out",
    ),
    (
        "Subject Alternative Names are not allowed",
        "name-not-allowed",
        "let the role allow it (allow_ip_sans, allowed_uri_sans), or leave the name out",
    ),
    (
        "not valid for this role",
        "name-not-allowed",
        "let the role's allowed_uri_sans match it",
    ),
    (
        "is not a valid IP address",
        "name-not-allowed",
        "check the IP SANs",
    ),
    (
        "common_name field is required",
        "common-name-missing",
        "set a common name",
    ),
    (
        "role requires",
        "key-not-allowed",
        "set key_type to what the role asks for",
    ),
    ("RSA keys <", "key-not-allowed", "use at least rsa-2048"),
    ("role key type", "key-not-allowed", "set key_type"),
    ("for field \"ttl\"", "ttl", "check the ttl"),
];

fn bad_request(said: &Said) -> Judged {
    if said.has("wrapping token is not valid") {
        return login_refused(said);
    }
    if said.has("unknown role") {
        return Judged {
            next: Next::Settle,
            ..wrong(
                "unknown-role",
                "check the role's name, or make the role in this mount",
            )
        };
    }
    let found = ORDER.iter().find(|(part, _, _)| said.has(part));
    let (code, hint) = found.map_or(("refused", ""), |(_, code, hint)| (*code, *hint));
    wrong(code, hint)
}

fn denied(code: &'static str, hint: &'static str, next: Next) -> Judged {
    Judged {
        class: FailureClass::Denied,
        code,
        hint,
        next,
    }
}

fn wrong(code: &'static str, hint: &'static str) -> Judged {
    Judged {
        class: FailureClass::Misconfigured,
        code,
        hint,
        next: Next::Stop,
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
