//! `certagent explain`: every input of the next renewal time, from the configuration and the disk.
//!
//! Never changes anything and asks no server. What stays true: the time comes from the same functions on
//! the same facts as the agent's own, so it is the agent's to the second. Failures are in the memory of
//! the running agent only: it is asked, where it answers.

mod text;

use std::time::Duration;

use serde::Serialize;
use tokio::time::timeout;

use super::ask;
use crate::{
    agent,
    cli::{ExplainArgs, OutputFormat},
    clock::{Clock, SystemClock},
    config::{self, CertConfig, Environment, StatusSocket},
    exit::Exit,
    fleet::report::{ReportedAgent, ReportedCert},
    model::{
        decide::{self, ActionReason, Facts, Next},
        duration,
        failure::FailureClass,
        health,
        origin::{self, ChosenOrigin},
        retry,
        schedule::{self, Due, RenewAt},
        time::Timestamp,
    },
    status::Moment,
    terminal::Screen,
};

/// An agent that runs answers at once.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) async fn run(args: &ExplainArgs, environment: &Environment) -> anyhow::Result<Exit> {
    let loaded = config::load_all(args.flags.file(environment), environment, &args.flags)?;
    let now = SystemClock.now();
    let running = running(loaded.config.status.as_ref()).await;
    let each = loaded.config.certificates.iter().map(|certificate| {
        let mut one = explain(certificate, &agent::on_disk(certificate, now), now);
        one.agent = running.iter().find_map(|seen| RunningAgent::of(seen, &one));
        one
    });
    let all: Vec<Explanation> = each.collect();
    if args.output == OutputFormat::Json {
        let json = serde_json::json!({ "certificates": all });
        super::print(&format!("{json:#}\n"))?;
    } else {
        let screen = Screen::stdout(|name| environment.get(name).map(String::as_str));
        let texts: Vec<String> = all.iter().map(|one| text::render(one, screen)).collect();
        super::print(&texts.join("\n"))?;
    }
    Ok(Exit::Done)
}

/// What the agent at this socket says; nothing where none answers.
async fn running(socket: Option<&StatusSocket>) -> Vec<ReportedCert> {
    let Some(socket) = socket else {
        return Vec::new();
    };
    let asking = timeout(QUESTION_TIMEOUT, ask::ask(&socket.path, "GET", "/status"));
    let answer = asking.await.ok().and_then(Result::ok);
    let report = answer.and_then(|answer| serde_json::from_str::<ReportedAgent>(&answer.body).ok());
    report.map_or_else(Vec::new, |report| report.certificates)
}

/// What the running agent knows beyond the disk.
#[derive(Clone, Debug, Serialize)]
struct RunningAgent {
    failures_in_a_row: u32,
    last_failure: Option<String>,
    next_action: Option<Moment>,
}

impl RunningAgent {
    /// When it is the agent of this certificate.
    fn of(seen: &ReportedCert, one: &Explanation) -> Option<Self> {
        (seen.name == one.name).then(|| Self {
            failures_in_a_row: seen.failure.as_ref().map_or(0, |failure| failure.in_a_row),
            last_failure: seen.failure.as_ref().map(|failure| failure.message.clone()),
            next_action: seen.next.clone(),
        })
    }
}

/// A length of time, for people and for machines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Span {
    text: String,
    millis: u64,
}

impl From<Duration> for Span {
    fn from(span: Duration) -> Self {
        Self {
            text: duration::print(span),
            millis: u64::try_from(span.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// What is next for one certificate, and why.
#[derive(Clone, Debug, Serialize)]
struct Explanation {
    name: String,
    dir: String,
    now: Moment,
    /// Whether the published certificate is what the configuration requests; unknown without one.
    request_matches: Option<bool>,
    serial: Option<String>,
    renewal: Option<Renewal>,
    /// When certificate files that wait to be published become valid.
    staged_from: Option<Moment>,
    issuance_limit: IssuanceLimitUse,
    /// Where the mode begins to have the private key made.
    key_origin: String,
    /// Where it is made when that is not permitted, in mode auto.
    key_origin_else: Option<String>,
    next: NextStep,
    /// Of the running agent, where one answers.
    agent: Option<RunningAgent>,
}

/// How the renewal time of the published certificate comes about.
#[derive(Clone, Debug, Serialize)]
struct Renewal {
    due: Moment,
    not_before: Moment,
    not_after: Moment,
    validity: Span,
    obtained_at: Option<Moment>,
    lifetime_start: Moment,
    /// `obtained_at` or `not_before`.
    lifetime_start_is: &'static str,
    lifetime: Span,
    configured_renew_at: String,
    renew_at: String,
    due_before_splay: Moment,
    configured_splay: Span,
    splay_seed: String,
    splay_window: Span,
    splay: Span,
    /// What moved the due time away from what is configured.
    limits: Vec<&'static str>,
    /// The most requests that an outage from the due time until expiry can cause.
    most_requests: u32,
    /// Attempts planned in that time.
    planned_attempts: u32,
    /// The longest time from Vault's recovery to the next attempt.
    longest_recovery_delay: Span,
}

#[derive(Clone, Debug, Serialize)]
struct IssuanceLimitUse {
    per_hour: u32,
    used: u32,
    free_at: Option<Moment>,
}

/// The next step of an agent that has no failures behind it.
#[derive(Clone, Debug, Serialize)]
struct NextStep {
    /// `issue`, `publish` or `wait`.
    action: &'static str,
    /// The reason's stable name.
    why: &'static str,
    reason: String,
    /// Until when it waits; absent when it acts now.
    until: Option<Moment>,
}

fn explain(config: &CertConfig, facts: &Facts, now: Timestamp) -> Explanation {
    let policy = &config.renew;
    let renewal = facts.live.as_ref().map(|live| {
        let due = schedule::due(live.validity, live.obtained_at, policy);
        renewal(&due, config)
    });
    let free = decide::free_at(facts, policy, now).err();
    Explanation {
        name: config.name.clone(),
        dir: config.files.dir.display().to_string(),
        now: now.into(),
        request_matches: facts
            .live
            .as_ref()
            .map(|live| live.fingerprint == facts.fingerprint),
        serial: facts.live.as_ref().map(|live| live.serial.clone()),
        renewal,
        staged_from: facts
            .staged
            .as_ref()
            .map(|staged| staged.validity.not_before.into()),
        issuance_limit: IssuanceLimitUse {
            per_hour: decide::limit(facts, policy),
            used: facts.requests.used(now),
            free_at: free.map(Moment::from),
        },
        key_origin: ChosenOrigin::first(&config.request).origin.to_string(),
        key_origin_else: origin::second(&config.request).map(|origin| origin.to_string()),
        next: step(decide::decide(facts, policy, now)),
        agent: None,
    }
}

fn renewal(due: &Due, config: &CertConfig) -> Renewal {
    let policy = &config.renew;
    let class = FailureClass::Transport;
    Renewal {
        due: due.at.into(),
        not_before: due.validity.not_before.into(),
        not_after: due.validity.not_after.into(),
        validity: due.life.into(),
        obtained_at: due.obtained_at.map(Moment::from),
        lifetime_start: due.counted_from.into(),
        lifetime_start_is: due.basis.name(),
        lifetime: due.counted_life.into(),
        configured_renew_at: rule(policy.at),
        renew_at: rule(due.rule),
        due_before_splay: due.point.into(),
        configured_splay: policy.splay.into(),
        splay_seed: policy.splay_seed.clone(),
        splay_window: due.window.into(),
        splay: due.splay.into(),
        limits: due.clamps.iter().map(|clamp| clamp.name()).collect(),
        most_requests: retry::most_requests(class, due.validity, due.at, due.validity.not_after)
            .saturating_add(health::most_attempts(due.at.until(due.validity.not_after))),
        planned_attempts: retry::runway(class, due.validity, due.at),
        longest_recovery_delay: health::longest_recovery().into(),
    }
}

fn rule(at: RenewAt) -> String {
    match at {
        RenewAt::Share(share) => format!("{:.1} % of the lifetime", share * 100.0),
        RenewAt::Before(before) => format!("{} before expiry", duration::print(before)),
    }
}

fn step(next: Next) -> NextStep {
    let of = |action, why: ActionReason, until: Option<Timestamp>| NextStep {
        action,
        why: why.name(),
        reason: why.to_string(),
        until: until.map(Moment::from),
    };
    match next {
        Next::Issue(why) => of("issue", why, None),
        Next::Publish(why) => of("publish", why, None),
        Next::WaitUntil(until, why) => of("wait", why, Some(until)),
    }
}

#[cfg(test)]
mod tests;
