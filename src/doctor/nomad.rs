//! Nomad's Task API: is it there, does it take our token, may we signal and restart?
//!
//! What stays true: no task that there is gets a signal.

use std::{path::PathBuf, time::Duration};

use tokio::time::timeout;

use super::{CheckOutcome, DoctorFacts, DoctorFinding, facts::NomadFacts};
use crate::{
    config::{App, Config, Environment, ReloadStep},
    model::reload::{Action, ReloadFailure},
    reload::nomad::{Nomad, NomadConfig},
};

const QUESTION_TIMEOUT: Duration = Duration::from_secs(5);

fn variable<'a>(environment: &'a Environment, name: &str) -> Option<&'a String> {
    environment.get(name).filter(|text| !text.is_empty())
}

/// Where the socket is, on Nomad.
pub(super) fn socket(environment: &Environment) -> Option<PathBuf> {
    let secrets = variable(environment, "NOMAD_SECRETS_DIR")?;
    Some(PathBuf::from(secrets).join("api.sock"))
}

/// Not asked where no reload goes through it, and outside of an allocation.
pub(super) async fn ask(
    config: Option<&Config>,
    environment: &Environment,
) -> Result<NomadFacts, &'static str> {
    if !config.is_some_and(uses_nomad) {
        return Err("no reload goes through Nomad");
    }
    if variable(environment, "NOMAD_ALLOC_ID").is_none() {
        return Err("this is no allocation of Nomad (NOMAD_ALLOC_ID is not set)");
    }
    let checked = async {
        let nomad = NomadConfig::of(environment, Duration::ZERO).and_then(Nomad::new)?;
        nomad.check().await
    };
    let refusal = match timeout(QUESTION_TIMEOUT, checked).await {
        Ok(checked) => checked.err(),
        Err(_) => Some(ReloadFailure::passing(
            "nomad-timeout",
            "asking Nomad: no answer in time".to_owned(),
            "",
        )),
    };
    Ok(NomadFacts { refusal })
}

/// `auto` restarts Loki at least when its trust anchors change.
fn uses_nomad(config: &Config) -> bool {
    let reloads = config
        .certificates
        .iter()
        .filter_map(|one| one.reload.as_ref());
    reloads.into_iter().any(|reload| {
        let steps = reload.on_cert_change.iter().chain(&reload.on_ca_change);
        let through = |step: &ReloadStep| match step {
            ReloadStep::Auto => reload.app == App::Loki,
            ReloadStep::Do(action) => matches!(
                action,
                Action::NomadSignal { .. } | Action::NomadRestart { .. }
            ),
        };
        reload.lock.is_some() || steps.into_iter().any(through)
    })
}

const NO_SOCKET: [&str; 2] = ["nomad-socket-missing", "nomad-unreachable"];
const NO_TOKEN: [&str; 1] = ["nomad-token-missing"];
const BAD_TOKEN: [&str; 3] = [
    "nomad-token-unknown",
    "nomad-token-unverified",
    "nomad-token-unreadable",
];
const DENIED: [&str; 1] = ["nomad-denied"];

pub(super) fn no_socket(facts: &DoctorFacts) -> CheckOutcome {
    refused(facts, |code| NO_SOCKET.contains(&code))
}

pub(super) fn no_token(facts: &DoctorFacts) -> CheckOutcome {
    refused(facts, |code| NO_TOKEN.contains(&code))
}

pub(super) fn bad_token(facts: &DoctorFacts) -> CheckOutcome {
    refused(facts, |code| BAD_TOKEN.contains(&code))
}

pub(super) fn no_lifecycle(facts: &DoctorFacts) -> CheckOutcome {
    refused(facts, |code| DENIED.contains(&code))
}

/// Everything else that went wrong.
pub(super) fn failing(facts: &DoctorFacts) -> CheckOutcome {
    let own = [&NO_SOCKET[..], &NO_TOKEN, &BAD_TOKEN, &DENIED].concat();
    refused(facts, |code| !own.contains(&code))
}

fn refused(facts: &DoctorFacts, own: impl Fn(&str) -> bool) -> CheckOutcome {
    let nomad = match &facts.nomad {
        Ok(nomad) => nomad,
        Err(why) => return CheckOutcome::skipped(*why),
    };
    match &nomad.refusal {
        None => CheckOutcome::Fine,
        Some(failure) if own(failure.code) => {
            let found = DoctorFinding::new("", failure.message.clone());
            CheckOutcome::Wrong(vec![match failure.hint.is_empty() {
                true => found,
                false => found.todo(failure.hint),
            }])
        }
        Some(failure) if NO_SOCKET.contains(&failure.code) => {
            CheckOutcome::skipped("the Task API can't be reached")
        }
        Some(failure) if NO_TOKEN.contains(&failure.code) => {
            CheckOutcome::skipped("there is no token")
        }
        Some(_) => CheckOutcome::Fine,
    }
}
