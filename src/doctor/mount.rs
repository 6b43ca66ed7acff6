//! Checks of the mount, the role, the policy and the CA against what is asked for.
//!
//! Never orders anything. What stays true: where the issuer does not let us look, a check says so
//! instead of guessing.

use std::time::Duration;

use super::{
    CheckOutcome, DoctorFacts, DoctorFinding,
    facts::{Asked, MountFacts},
    issuer::of_failure,
};
use crate::{
    agent,
    config::CertConfig,
    issuance,
    model::{
        duration,
        failure::Failure,
        leaf::CertFacts,
        origin::{ChosenOrigin, KeyOrigin},
        pem,
        request::Mode,
        role::{self, Misfit},
        time::Timestamp,
    },
    vault::permits,
};

/// Judges mount and role of each certificate.
fn each(
    facts: &DoctorFacts,
    judge: impl Fn(&CertConfig, &MountFacts) -> CheckOutcome,
) -> CheckOutcome {
    let issuer = match facts.issuer() {
        Ok(issuer) => issuer,
        Err(skipped) => return skipped,
    };
    facts.each(|one| match issuer.mount(&one.config) {
        Some(mount) => judge(&one.config, mount),
        None => CheckOutcome::skipped("no listed address serves"),
    })
}

pub(super) fn missing(facts: &DoctorFacts) -> CheckOutcome {
    each(facts, |one, mount| match &mount.issuers {
        Asked::Refused(failure) if failure.class.is_absence() => {
            CheckOutcome::skipped(failure.message.clone())
        }
        Asked::Refused(failure) if failure.code == "namespace-not-found" => {
            CheckOutcome::Wrong(vec![of_failure(&one.name, failure)])
        }
        Asked::Refused(failure) => CheckOutcome::Wrong(vec![DoctorFinding::new(
            one.name.clone(),
            format!(
                "no PKI engine answers at {}/: {}",
                one.request.mount, failure.message
            ),
        )]),
        Asked::Had(_) | Asked::Not(_) => CheckOutcome::Fine,
    })
}

pub(super) fn without_issuer(facts: &DoctorFacts) -> CheckOutcome {
    each(facts, |one, mount| match &mount.issuers {
        Asked::Had(found) if found.issuers.is_empty() => {
            CheckOutcome::wrong(&one.name, format!("{}/ has no issuer", one.request.mount))
        }
        Asked::Had(_) => CheckOutcome::Fine,
        Asked::Refused(_) | Asked::Not(_) => CheckOutcome::skipped("the issuers can't be listed"),
    })
}

pub(super) fn policy(facts: &DoctorFacts) -> CheckOutcome {
    each(facts, |one, mount| match &mount.may {
        Asked::Had(may) if permits(may) => CheckOutcome::Fine,
        Asked::Had(may) => {
            let path = mount.origin.path(&one.request);
            let may = may.join(", ");
            let reason = format!("it may not `update` {path} (it may: {may})");
            let todo =
                format!("add path \"{path}\" {{ capabilities = [\"update\"] }} to its policy");
            CheckOutcome::Wrong(vec![
                DoctorFinding::new(one.name.clone(), reason).todo(todo),
            ])
        }
        Asked::Refused(failure) => CheckOutcome::skipped(format!(
            "the token's capabilities can't be read: {}",
            failure.code
        )),
        Asked::Not(why) => CheckOutcome::skipped(why.clone()),
    })
}

/// Mode auto, and a policy that lets only Vault make the key.
pub(super) fn key_travels(facts: &DoctorFacts) -> CheckOutcome {
    each(facts, |one, mount| match (&mount.may, mount.origin) {
        (Asked::Had(_), KeyOrigin::OfRole | KeyOrigin::Asked(_))
            if one.request.mode == Mode::Auto =>
        {
            let sign = ChosenOrigin::first(&one.request).origin.path(&one.request);
            let reason = format!("it may not `update` {sign}, so Vault makes the key and sends it");
            let todo =
                format!("add path \"{sign}\" {{ capabilities = [\"update\"] }} to its policy");
            CheckOutcome::Wrong(vec![
                DoctorFinding::new(one.name.clone(), reason).todo(todo),
            ])
        }
        (Asked::Had(_), _) => CheckOutcome::Fine,
        _ => CheckOutcome::skipped("the token's capabilities can't be read"),
    })
}

pub(super) fn role_missing(facts: &DoctorFacts) -> CheckOutcome {
    each(facts, |one, mount| match &mount.role {
        Asked::Refused(failure) if absent(failure) && is_pki(mount) => CheckOutcome::wrong(
            &one.name,
            format!("{}/ has no role {}", one.request.mount, one.request.role),
        ),
        role => readable(role, |_| CheckOutcome::Fine),
    })
}

fn absent(failure: &Failure) -> bool {
    matches!(
        failure.code.as_str(),
        "empty-list" | "no-such-path" | "unknown-role"
    )
}

fn is_pki(mount: &MountFacts) -> bool {
    matches!(mount.issuers, Asked::Had(_))
}

fn readable<T>(role: &Asked<T>, judge: impl Fn(&T) -> CheckOutcome) -> CheckOutcome {
    match role {
        Asked::Had(role) => judge(role),
        Asked::Refused(failure) if absent(failure) => {
            CheckOutcome::skipped("there is no such role")
        }
        Asked::Refused(failure) => CheckOutcome::skipped(format!(
            "the token may not read the role ({}); --test-issue finds out by a real request",
            failure.code
        )),
        Asked::Not(why) => CheckOutcome::skipped(why.clone()),
    }
}

/// What the role says of the request, one kind at a time.
pub(super) fn misfit(facts: &DoctorFacts, kind: Misfit) -> CheckOutcome {
    each(facts, |one, mount| {
        readable(&mount.role, |role| {
            let judged = role::judge(role, &one.request, mount.origin);
            let found = judged.into_iter().filter(|(misfit, _)| *misfit == kind);
            CheckOutcome::of(
                found
                    .map(|(_, reason)| DoctorFinding::new(one.name.clone(), reason))
                    .collect(),
            )
        })
    })
}

/// What is said of the anchors that the published CA.pem would have now, one kind at a time.
pub(super) fn trust(facts: &DoctorFacts, code: &str) -> CheckOutcome {
    let now = facts.now;
    each(facts, |one, mount| {
        let Asked::Had(found) = &mount.issuers else {
            return CheckOutcome::skipped("the issuers can't be listed");
        };
        let issuers = issuance::listed(found);
        let notes = agent::trust_notes(one, Some(&issuers), now).into_iter();
        let notes = notes.filter(|note| note.code() == code);
        CheckOutcome::of(
            notes
                .map(|note| DoctorFinding::new(one.name.clone(), note.to_string()))
                .collect(),
        )
    })
}

/// The CA's end, when it can be read.
fn ca(mount: &MountFacts) -> Option<(CertFacts, Option<&str>)> {
    let Asked::Had(signer) = &mount.signer else {
        return None;
    };
    let blocks = pem::parse(&signer.certificate).ok()?;
    let facts = CertFacts::read(&blocks.first()?.der).ok()?;
    Some((facts, signer.not_after_behavior.as_deref()))
}

fn against_ca(
    facts: &DoctorFacts,
    wrong: impl Fn(Duration, Timestamp) -> bool,
    about: impl Fn(&str, Option<&str>) -> String,
) -> CheckOutcome {
    each(facts, |one, mount| {
        let Some((ca, behavior)) = ca(mount) else {
            return CheckOutcome::skipped("the CA certificate can't be read");
        };
        let ttl = one.request.ttl;
        if !wrong(ttl, ca.not_after) {
            return CheckOutcome::Fine;
        }
        let seen = format!(
            "the CA {} expires at {}, the ttl is {}",
            ca.subject,
            ca.not_after,
            duration::print(ttl)
        );
        CheckOutcome::wrong(&one.name, about(&seen, behavior))
    })
}

pub(super) fn outlives_ca(facts: &DoctorFacts) -> CheckOutcome {
    let now = facts.now;
    against_ca(
        facts,
        |ttl, end| now.plus(ttl) > end,
        |seen, behavior| match behavior {
            Some("truncate") => {
                format!("{seen}: the certificate's lifetime is cut to that of the CA")
            }
            Some("permit") => {
                format!("{seen}: the certificate expires after its CA, peers refuse it")
            }
            _ => {
                format!("{seen}: the request is refused, unless leaf_not_after_behavior allows it")
            }
        },
    )
}

pub(super) fn ca_ends_soon(facts: &DoctorFacts) -> CheckOutcome {
    let now = facts.now;
    against_ca(
        facts,
        |ttl, end| now.plus(ttl) <= end && now.plus(ttl * 2) > end,
        |seen, _| format!("{seen}: one more renewal fits, and not a second one"),
    )
}
