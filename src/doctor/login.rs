//! Checks of the credential, the login and the token.
//!
//! Never shows a credential. What stays true: what the file itself shows is said before the issuer
//! is asked, and each cause of a refused login has one code.

use std::time::Duration;

use super::{
    CheckOutcome, DoctorFacts, DoctorFinding,
    credential::{Claims, Credential, CredentialFile},
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
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(60);

fn credential(facts: &DoctorFacts) -> Result<&Credential, CheckOutcome> {
    let none = || CheckOutcome::skipped("the credential is not in a file");
    facts.issuer()?.credential.as_ref().ok_or_else(none)
}

fn judged(facts: &DoctorFacts, judge: impl Fn(&CredentialFile) -> Option<String>) -> CheckOutcome {
    match credential(facts) {
        Ok(credential) => match judge(&credential.state) {
            Some(reason) => CheckOutcome::wrong(credential.path.display().to_string(), reason),
            None => CheckOutcome::Fine,
        },
        Err(skipped) => skipped,
    }
}

pub(super) fn missing(facts: &DoctorFacts) -> CheckOutcome {
    judged(facts, |state| {
        matches!(state, CredentialFile::Missing).then(|| "there is no such file".to_owned())
    })
}

pub(super) fn unreadable(facts: &DoctorFacts) -> CheckOutcome {
    judged(facts, |state| match state {
        CredentialFile::Unreadable(why) => Some(why.clone()),
        _ => None,
    })
}

pub(super) fn open_to_all(facts: &DoctorFacts) -> CheckOutcome {
    judged(facts, |state| match state {
        CredentialFile::Readable { mode, .. } if mode & 0o004 != 0 => Some(format!(
            "its mode is {mode:04o}: every user of this machine can log in with it"
        )),
        _ => None,
    })
}

pub(super) fn malformed(facts: &DoctorFacts) -> CheckOutcome {
    judged(facts, |state| {
        let reason = "what is in it is no JWT (three parts with dots between them)";
        matches!(state, CredentialFile::Malformed).then(|| reason.to_owned())
    })
}

pub(super) fn expired(facts: &DoctorFacts) -> CheckOutcome {
    jwt(facts, "jwt-expired", |claims| {
        let ends = claims.ends().filter(|end| *end <= facts.now)?;
        Some(format!("it expired at {ends}"))
    })
}

pub(super) fn not_yet_valid(facts: &DoctorFacts) -> CheckOutcome {
    jwt(facts, "jwt-not-yet-valid", |claims| {
        let starts = claims
            .starts()
            .filter(|start| *start > facts.now.plus(MAX_CLOCK_SKEW))?;
        Some(format!("it is not valid before {starts}"))
    })
}

pub(super) fn audience(facts: &DoctorFacts) -> CheckOutcome {
    jwt(facts, "jwt-audience", |_| None)
}

/// By the claims, or by Vault's answer with this code.
fn jwt(
    facts: &DoctorFacts,
    code: &str,
    by_claims: impl Fn(&Claims) -> Option<String>,
) -> CheckOutcome {
    let credential = match credential(facts) {
        Ok(credential) => credential,
        Err(skipped) => return skipped,
    };
    let path = credential.path.display().to_string();
    let CredentialFile::Readable {
        claims: Some(claims),
        ..
    } = &credential.state
    else {
        return CheckOutcome::skipped("there is no JWT to check");
    };
    if let Some(reason) = by_claims(claims) {
        return CheckOutcome::wrong(path, reason);
    }
    match refusal(facts) {
        Some(failure) if failure.code == code => {
            let reason = format!("{} (its aud: {})", failure.message, claims.audience());
            let found = DoctorFinding::new(path, reason);
            CheckOutcome::Wrong(vec![match &failure.hint {
                Some(hint) => found.todo(hint.clone()),
                None => found,
            }])
        }
        _ => CheckOutcome::Fine,
    }
}

fn refusal(facts: &DoctorFacts) -> Option<&Failure> {
    match &facts.issuer.as_ref()?.login {
        Asked::Refused(failure) => Some(failure),
        Asked::Had(_) | Asked::Not(_) => None,
    }
}

/// Every other reason for a refused login.
pub(super) fn refused(facts: &DoctorFacts) -> CheckOutcome {
    let issuer = match facts.issuer() {
        Ok(issuer) => issuer,
        Err(skipped) => return skipped,
    };
    let own = ["jwt-expired", "jwt-not-yet-valid", "jwt-audience"];
    match &issuer.login {
        Asked::Refused(failure) if own.contains(&failure.code.as_str()) => CheckOutcome::Fine,
        Asked::Refused(failure) => CheckOutcome::Wrong(vec![of_failure("", failure)]),
        Asked::Had(_) => CheckOutcome::Fine,
        Asked::Not(why) => CheckOutcome::skipped(why.clone()),
    }
}

/// What Vault says of the token, given or had by a login.
fn token(facts: &DoctorFacts, judge: impl Fn(&TokenFacts) -> Option<String>) -> CheckOutcome {
    let issuer = match facts.issuer() {
        Ok(issuer) => issuer,
        Err(skipped) => return skipped,
    };
    match &issuer.login {
        Asked::Had(Asked::Had(token)) => match judge(token) {
            Some(reason) => CheckOutcome::wrong("", reason),
            None => CheckOutcome::Fine,
        },
        Asked::Had(Asked::Refused(failure)) => {
            CheckOutcome::skipped(format!("the token may not be looked up: {}", failure.code))
        }
        Asked::Had(Asked::Not(why)) | Asked::Not(why) => CheckOutcome::skipped(why.clone()),
        Asked::Refused(_) => CheckOutcome::skipped("the login was refused"),
    }
}

pub(super) fn token_invalid(facts: &DoctorFacts) -> CheckOutcome {
    match facts.issuer().map(|issuer| &issuer.login) {
        Ok(Asked::Had(Asked::Refused(failure))) if failure.code == "token-invalid" => {
            CheckOutcome::Wrong(vec![of_failure("", failure)])
        }
        _ => token(facts, |_| None),
    }
}

pub(super) fn token_uses(facts: &DoctorFacts) -> CheckOutcome {
    token(facts, |token| {
        (token.num_uses > 0).then(|| {
            format!(
                "it is valid for {} more requests, including this one; after these renewals fail",
                token.num_uses
            )
        })
    })
}

/// A given token that can't be renewed ends before the second renewal.
pub(super) fn token_ends(facts: &DoctorFacts) -> CheckOutcome {
    let Some(config) = &facts.config else {
        return CheckOutcome::skipped("there is no usable configuration");
    };
    if !matches!(config.auth, Auth::Token(_)) {
        return CheckOutcome::skipped("only a configured token can't be replaced by a login");
    }
    let longest = config.certificates.iter().map(|one| one.request.ttl).max();
    token(facts, |token| {
        let left = Duration::from_secs(token.ttl);
        let short = token.ttl > 0 && !token.renewable && left < longest.unwrap_or_default();
        short.then(|| {
            format!(
                "it expires in {} and can't be renewed; the certificate's ttl is {}",
                duration::print(left),
                duration::print(longest.unwrap_or_default())
            )
        })
    })
}
