//! Checks of the credential, the login and the token.
//!
//! Never shows a credential. What stays true: what the file itself tells is told before the issuer
//! is asked, and each cause of a refused login has one code.

use std::time::Duration;

use super::{
    Facts, Found, Outcome,
    credential::{Claims, Credential, State},
    facts::Asked,
    issuer::of_failure,
};
use crate::{
    config::Auth,
    model::{duration, failure::Failure},
    vault::TokenFacts,
};

/// Clocks that differ less are no reason to speak of a JWT that does not count yet (the issuer
/// bears 60 s).
const LEEWAY: Duration = Duration::from_secs(60);

fn credential(facts: &Facts) -> Result<&Credential, Outcome> {
    let none = || Outcome::skipped("the credential is not in a file");
    facts.issuer()?.credential.as_ref().ok_or_else(none)
}

fn judged(facts: &Facts, judge: impl Fn(&State) -> Option<String>) -> Outcome {
    match credential(facts) {
        Ok(credential) => match judge(&credential.state) {
            Some(reason) => Outcome::wrong(credential.path.display().to_string(), reason),
            None => Outcome::Fine,
        },
        Err(skipped) => skipped,
    }
}

pub(super) fn missing(facts: &Facts) -> Outcome {
    judged(facts, |state| {
        matches!(state, State::Missing).then(|| "there is no such file".to_owned())
    })
}

pub(super) fn unreadable(facts: &Facts) -> Outcome {
    judged(facts, |state| match state {
        State::Unreadable(why) => Some(why.clone()),
        _ => None,
    })
}

pub(super) fn open_to_all(facts: &Facts) -> Outcome {
    judged(facts, |state| match state {
        State::Readable { mode, .. } if mode & 0o004 != 0 => Some(format!(
            "its mode is {mode:04o}: every user of this machine can log in with it"
        )),
        _ => None,
    })
}

pub(super) fn malformed(facts: &Facts) -> Outcome {
    judged(facts, |state| {
        let reason = "what is in it is no JWT (three parts with dots between them)";
        matches!(state, State::Malformed).then(|| reason.to_owned())
    })
}

pub(super) fn expired(facts: &Facts) -> Outcome {
    jwt(facts, "jwt-expired", |claims| {
        let ends = claims.ends().filter(|end| *end <= facts.now)?;
        Some(format!("it ended at {ends}"))
    })
}

pub(super) fn not_yet_valid(facts: &Facts) -> Outcome {
    jwt(facts, "jwt-not-yet-valid", |claims| {
        let starts = claims
            .starts()
            .filter(|start| *start > facts.now.plus(LEEWAY))?;
        Some(format!("it does not count before {starts}"))
    })
}

pub(super) fn audience(facts: &Facts) -> Outcome {
    jwt(facts, "jwt-audience", |_| None)
}

/// By the claims, or by the issuer's answer with this code.
fn jwt(facts: &Facts, code: &str, by_claims: impl Fn(&Claims) -> Option<String>) -> Outcome {
    let credential = match credential(facts) {
        Ok(credential) => credential,
        Err(skipped) => return skipped,
    };
    let path = credential.path.display().to_string();
    let State::Readable {
        claims: Some(claims),
        ..
    } = &credential.state
    else {
        return Outcome::skipped("there is no JWT to look at");
    };
    if let Some(reason) = by_claims(claims) {
        return Outcome::wrong(path, reason);
    }
    match refusal(facts) {
        Some(failure) if failure.code == code => {
            let reason = format!("{} (its aud: {})", failure.message, claims.audience());
            let found = Found::new(path, reason);
            Outcome::Wrong(vec![match &failure.hint {
                Some(hint) => found.todo(hint.clone()),
                None => found,
            }])
        }
        _ => Outcome::Fine,
    }
}

fn refusal(facts: &Facts) -> Option<&Failure> {
    match &facts.issuer.as_ref()?.login {
        Asked::Refused(failure) => Some(failure),
        Asked::Had(_) | Asked::Not(_) => None,
    }
}

/// Every other reason for a refused login.
pub(super) fn refused(facts: &Facts) -> Outcome {
    let issuer = match facts.issuer() {
        Ok(issuer) => issuer,
        Err(skipped) => return skipped,
    };
    let own = ["jwt-expired", "jwt-not-yet-valid", "jwt-audience"];
    match &issuer.login {
        Asked::Refused(failure) if own.contains(&failure.code.as_str()) => Outcome::Fine,
        Asked::Refused(failure) => Outcome::Wrong(vec![of_failure("", failure)]),
        Asked::Had(_) => Outcome::Fine,
        Asked::Not(why) => Outcome::skipped(why.clone()),
    }
}

/// What the issuer says of the token, given or had by a login.
fn token(facts: &Facts, judge: impl Fn(&TokenFacts) -> Option<String>) -> Outcome {
    let issuer = match facts.issuer() {
        Ok(issuer) => issuer,
        Err(skipped) => return skipped,
    };
    match &issuer.login {
        Asked::Had(Asked::Had(token)) => match judge(token) {
            Some(reason) => Outcome::wrong("", reason),
            None => Outcome::Fine,
        },
        Asked::Had(Asked::Refused(failure)) => {
            Outcome::skipped(format!("the token may not be looked up: {}", failure.code))
        }
        Asked::Had(Asked::Not(why)) | Asked::Not(why) => Outcome::skipped(why.clone()),
        Asked::Refused(_) => Outcome::skipped("the login was refused"),
    }
}

pub(super) fn token_invalid(facts: &Facts) -> Outcome {
    match facts.issuer().map(|issuer| &issuer.login) {
        Ok(Asked::Had(Asked::Refused(failure))) if failure.code == "token-invalid" => {
            Outcome::Wrong(vec![of_failure("", failure)])
        }
        _ => token(facts, |_| None),
    }
}

pub(super) fn token_uses(facts: &Facts) -> Outcome {
    token(facts, |token| {
        (token.num_uses > 0).then(|| {
            format!(
                "it is good for {} more requests, this look included: renewals end with it",
                token.num_uses
            )
        })
    })
}

/// A given token that can't be renewed ends before the second renewal.
pub(super) fn token_ends(facts: &Facts) -> Outcome {
    let Some(config) = &facts.config else {
        return Outcome::skipped("there is no usable configuration");
    };
    if !matches!(config.auth, Auth::Token(_)) {
        return Outcome::skipped("only a token that was given ends for good");
    }
    let longest = config.certificates.iter().map(|one| one.request.ttl).max();
    token(facts, |token| {
        let left = Duration::from_secs(token.ttl);
        let short = token.ttl > 0 && !token.renewable && left < longest.unwrap_or_default();
        short.then(|| {
            format!(
                "it ends in {} and can't be renewed; the certificate's ttl is {}",
                duration::print(left),
                duration::print(longest.unwrap_or_default())
            )
        })
    })
}
