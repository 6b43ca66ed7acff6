//! Asks the issuer everything that the checks need, and judges whether it is there at all.
//!
//! Questions only: health, login, what the token may do, the role, the CA. One certificate for each
//! block when that was asked for in so many words. What stays true: a credential that a login would
//! use up is not used.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    time::Duration,
};

use serde_json::Value;

use super::{
    CheckOutcome, DoctorFacts, DoctorFinding,
    credential::{self, Credential, CredentialFile},
    facts::{Asked, HealthAnswer, IssuerFacts, MountFacts},
};
use crate::{
    clock::{Clock as _, SystemClock},
    config::{Auth, CertConfig, Config, VaultConfig},
    issuance::{self, extras},
    issuer::Issuer as _,
    model::{
        failure::{Failure, FailureClass},
        origin::ChosenOrigin,
        request::Request,
        time::Timestamp,
    },
    vault::{Health, TokenFacts, Vault},
};

/// The longest that one question may take: a person is waiting.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(5);
/// JWTs and certificates bear half a minute, what people compare by hand does too.
const MAX_CLOCK_OFFSET: Duration = Duration::from_secs(30);

impl IssuerFacts {
    /// The facts of the mount and role that this certificate comes from.
    pub(super) fn mount(&self, config: &CertConfig) -> Option<&MountFacts> {
        self.mounts.get(&key_of(&config.request))
    }

    /// Some address serves.
    fn serves(&self) -> bool {
        self.addresses
            .iter()
            .any(|(_, answer)| matches!(answer, Ok((health, _)) if usable(health)))
    }
}

fn usable(health: &Health) -> bool {
    health.initialized && !health.sealed
}

fn key_of(request: &Request) -> String {
    format!("{}/{}/{}", request.mount, request.mode, request.role)
}

pub(super) async fn ask(config: &Config, order: bool, now: Timestamp) -> IssuerFacts {
    let settings = VaultConfig {
        timeout: config.vault.timeout.min(QUESTION_TIMEOUT),
        max_retries: 0,
        ..config.vault.clone()
    };
    let mut facts = IssuerFacts {
        addresses: addresses(&settings, &config.auth).await,
        credential: credential::look(&config.auth),
        login: Asked::Not("no listed address serves".to_owned()),
        mounts: BTreeMap::new(),
        orders: BTreeMap::new(),
    };
    let vault = Vault::new(&settings, config.auth.clone());
    if let (true, Ok(vault)) = (facts.serves(), vault) {
        facts.login = log_in(&vault, &facts, &config.auth, order, now).await;
        let why = no_questions(&facts.login);
        for certificate in &config.certificates {
            let request = &certificate.request;
            if let Entry::Vacant(place) = facts.mounts.entry(key_of(request)) {
                place.insert(mount(&vault, request, why.as_deref()).await);
            }
            if order && matches!(facts.login, Asked::Had(_)) {
                // Judged as the agent judges it; of a file that can't be used another check speaks.
                let extra = certificate.extra_ca.as_deref().map(extras::read);
                let extra = extra.and_then(Result::ok).unwrap_or_default();
                let done = issuance::issue(certificate, &vault, &extra, &SystemClock)
                    .await
                    .map(drop);
                facts.orders.insert(certificate.name.clone(), done);
            }
        }
        vault.close().await;
    }
    facts
}

async fn addresses(settings: &VaultConfig, auth: &Auth) -> Vec<(String, HealthAnswer)> {
    let mut found = Vec::new();
    for address in &settings.addresses {
        let one = VaultConfig {
            addresses: vec![address.clone()],
            // Health belongs to no namespace.
            namespace: None,
            ..settings.clone()
        };
        let answer = match Vault::new(&one, auth.clone()) {
            Ok(vault) => timed(&vault).await,
            Err(failure) => Err(failure),
        };
        found.push((address.clone(), answer));
    }
    found
}

/// Health, and how far the answer's clock is ahead of ours. `Date` is cut to whole seconds, so half
/// of one is added.
async fn timed(vault: &Vault) -> HealthAnswer {
    let before = SystemClock.now();
    let health = vault.health().await?;
    let after = SystemClock.now();
    let middle = i64::midpoint(before.unix_millis(), after.unix_millis());
    let ahead = health.date.map(|date| date.unix_millis() + 500 - middle);
    Ok((health, ahead))
}

async fn log_in(
    vault: &Vault,
    facts: &IssuerFacts,
    auth: &Auth,
    order: bool,
    now: Timestamp,
) -> Asked<Asked<TokenFacts>> {
    if let Some(why) = unusable(facts.credential.as_ref(), now) {
        return Asked::Not(why.to_owned());
    }
    match auth {
        Auth::AppRole { wrapped: true, .. } => {
            return Asked::Not("unwrapping the secret id would use it up".to_owned());
        }
        Auth::AppRole { .. } if !order => {
            let why = "a login may use the secret id up; --test-issue logs in all the same";
            return Asked::Not(why.to_owned());
        }
        _ => {}
    }
    match vault.token().await {
        Ok(_) => Asked::Had(vault.token_facts().await.into()),
        Err(failure) => Asked::Refused(failure),
    }
}

/// Why a login with this can't work.
fn unusable(credential: Option<&Credential>, now: Timestamp) -> Option<&'static str> {
    match &credential?.state {
        CredentialFile::Missing => Some("the credential is missing"),
        CredentialFile::Unreadable(_) => Some("the credential can't be read"),
        CredentialFile::Malformed => Some("the credential is no JWT"),
        CredentialFile::Readable { claims, .. } => {
            let ended = claims.as_ref()?.ends()? <= now;
            ended.then_some("the JWT has expired")
        }
    }
}

/// Why the token is not used for questions.
fn no_questions(login: &Asked<Asked<TokenFacts>>) -> Option<String> {
    match login {
        Asked::Had(Asked::Had(facts)) if facts.num_uses > 0 => {
            Some("each question would use up one of the token's uses".to_owned())
        }
        Asked::Had(Asked::Refused(failure)) if failure.code == "token-invalid" => {
            Some("the token is not valid".to_owned())
        }
        Asked::Had(_) => None,
        Asked::Refused(_) => Some("the login was refused".to_owned()),
        Asked::Not(why) => Some(why.clone()),
    }
}

async fn mount(vault: &Vault, request: &Request, no_token: Option<&str>) -> MountFacts {
    let (origin, may) = match no_token {
        Some(why) => (
            ChosenOrigin::first(request).origin,
            Asked::Not(why.to_owned()),
        ),
        None => {
            let (origin, may) = vault.permitted(request).await;
            (origin, may.into())
        }
    };
    let role = match no_token {
        Some(why) => Asked::Not(why.to_owned()),
        None => vault.role(&request.mount, &request.role).await.into(),
    };
    let named = match &role {
        Asked::Had(fields) => fields.get("issuer_ref").and_then(Value::as_str),
        _ => None,
    };
    let reference = named.filter(|name| !name.is_empty()).unwrap_or("default");
    MountFacts {
        issuers: vault.issuers(&request.mount).await.into(),
        signer: vault.signer(&request.mount, reference).await.into(),
        may,
        role,
        origin,
    }
}

pub(super) fn unreachable(facts: &DoctorFacts) -> CheckOutcome {
    addresses_where(facts, |failure| !failure.code.starts_with("tls-"), true)
}

pub(super) fn tls(facts: &DoctorFacts) -> CheckOutcome {
    addresses_where(facts, |failure| failure.code.starts_with("tls-"), true)
}

pub(super) fn dead_address(facts: &DoctorFacts) -> CheckOutcome {
    addresses_where(facts, |_| true, false)
}

/// The addresses that failed in this way: when none serves (`alone`), or when others do.
fn addresses_where(
    facts: &DoctorFacts,
    fits: impl Fn(&Failure) -> bool,
    alone: bool,
) -> CheckOutcome {
    let issuer = match facts.issuer() {
        Ok(issuer) => issuer,
        Err(skipped) => return skipped,
    };
    let answered = issuer.addresses.iter().any(|(_, answer)| answer.is_ok());
    if answered == alone {
        return CheckOutcome::Fine;
    }
    let found = issuer.addresses.iter().filter_map(|(address, answer)| {
        let failure = answer.as_ref().err().filter(|failure| fits(failure))?;
        Some(of_failure(address, failure))
    });
    CheckOutcome::of(found.collect())
}

/// A failure as a finding; its hint is more exact than the table's text.
pub(super) fn of_failure(subject: &str, failure: &Failure) -> DoctorFinding {
    let found = DoctorFinding::new(subject, failure.message.clone());
    match &failure.hint {
        Some(hint) => found.todo(hint.clone()),
        None => found,
    }
}

pub(super) fn sealed(facts: &DoctorFacts) -> CheckOutcome {
    healthy(facts, |health| {
        (health.initialized && health.sealed).then(|| "it is sealed".to_owned())
    })
}

pub(super) fn uninitialized(facts: &DoctorFacts) -> CheckOutcome {
    healthy(facts, |health| {
        (!health.initialized).then(|| "it was never initialised".to_owned())
    })
}

fn healthy(facts: &DoctorFacts, wrong: impl Fn(&Health) -> Option<String>) -> CheckOutcome {
    let issuer = match facts.issuer() {
        Ok(issuer) => issuer,
        Err(skipped) => return skipped,
    };
    let answers = issuer.addresses.iter();
    CheckOutcome::all(answers.map(|(address, answer)| match answer {
        Ok((health, _)) => match wrong(health) {
            Some(reason) => CheckOutcome::wrong(address, reason),
            None => CheckOutcome::Fine,
        },
        Err(_) => CheckOutcome::skipped("Vault does not answer"),
    }))
}

pub(super) fn clock(facts: &DoctorFacts) -> CheckOutcome {
    let issuer = match facts.issuer() {
        Ok(issuer) => issuer,
        Err(skipped) => return skipped,
    };
    let answers = issuer.addresses.iter();
    CheckOutcome::all(answers.map(|(address, answer)| {
        let Ok((_, Some(ahead))) = answer else {
            return CheckOutcome::skipped("no answer with a date");
        };
        let off = Duration::from_millis(ahead.unsigned_abs());
        if off <= MAX_CLOCK_OFFSET {
            return CheckOutcome::Fine;
        }
        let side = if *ahead > 0 { "behind" } else { "ahead of" };
        let reason = format!("this machine's clock is {} s {side} Vault's", off.as_secs());
        CheckOutcome::wrong(address, reason)
    }))
}

pub(super) fn order_refused(facts: &DoctorFacts) -> CheckOutcome {
    orders(facts, |failure| failure.class != FailureClass::BadAnswer)
}

pub(super) fn answer_refused(facts: &DoctorFacts) -> CheckOutcome {
    orders(facts, |failure| failure.class == FailureClass::BadAnswer)
}

fn orders(facts: &DoctorFacts, fits: impl Fn(&Failure) -> bool) -> CheckOutcome {
    if !facts.options.test_issue {
        return CheckOutcome::skipped("no certificate is requested without --test-issue");
    }
    let issuer = match facts.issuer() {
        Ok(issuer) => issuer,
        Err(skipped) => return skipped,
    };
    facts.each(|one| match issuer.orders.get(&one.config.name) {
        None => CheckOutcome::skipped("Vault could not be asked: see the lines above"),
        Some(Err(failure)) if fits(failure) => {
            CheckOutcome::Wrong(vec![of_failure(&one.config.name, failure)])
        }
        Some(_) => CheckOutcome::Fine,
    })
}
