//! `certagent explain`: every input of the next renewal time, from the configuration, the disk and the running agent.
//!
//! Never changes anything, and connects to the agent's status socket only. What stays true: the time
//! comes from the same functions on the same facts as the agent's own, so it is the agent's to the
//! second. Failures are in the agent's memory only, so it is asked for them.

mod text;

use serde::Serialize;

use super::ask;
use crate::{
    agent,
    cli::{ExplainArgs, OutputFormat},
    clock::{Clock, SystemClock},
    config::{self, CertConfig, Environment, StatusSocket},
    exit::Exit,
    fleet::report::ReportedAgent,
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
    status::{FailureReport, Moment},
    terminal::Screen,
};

pub(super) async fn run(args: &ExplainArgs, environment: &Environment) -> anyhow::Result<Exit> {
    let loaded = config::load_all(args.flags.0.file(environment), environment, &args.flags.0)?;
    let asked = asked(loaded.config.status.as_ref()).await;
    let now = SystemClock.now();
    let all: Vec<Explanation> = loaded
        .config
        .certificates
        .iter()
        .map(|certificate| {
            let agent = RunningAgent::of(&asked, &certificate.name);
            let facts = agent::on_disk(certificate, now);
            explain(certificate, &facts, agent, now)
        })
        .collect();
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

/// The running agent's answer, or why there is none.
async fn asked(socket: Option<&StatusSocket>) -> Result<ReportedAgent, String> {
    let path = &socket.ok_or("no status socket is configured")?.path;
    let answer = ask::status(path).await;
    answer
        .map(|(report, _)| report)
        .map_err(|error| error.to_string())
}

/// What the running agent knows beside the files.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
enum RunningAgent {
    /// No agent with this certificate gave an answer; the next step is that of an agent that starts now.
    NotSeen { reason: String },
    /// An agent has it.
    Running {
        /// The failures since the last success.
        failure: Option<FailureReport>,
        /// When it acts next.
        next: Option<Moment>,
    },
}

impl RunningAgent {
    fn of(asked: &Result<ReportedAgent, String>, name: &str) -> Self {
        let found = asked.as_ref().map_err(Clone::clone).and_then(|agent| {
            let mut all = agent.certificates.iter();
            all.find(|one| one.name == name)
                .ok_or_else(|| "it has no certificate of this name".to_owned())
        });
        match found {
            Err(reason) => Self::NotSeen { reason },
            Ok(one) => Self::Running {
                failure: one.failure.clone(),
                next: one.next.clone(),
            },
        }
    }
}

/// A length of time, for people and for machines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Span {
    text: String,
    millis: u64,
}

impl From<std::time::Duration> for Span {
    fn from(span: std::time::Duration) -> Self {
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
    /// Why the files in the directory can't be used.
    unusable: Option<String>,
    agent: RunningAgent,
    /// When certificate files that wait to be published become valid.
    staged_from: Option<Moment>,
    issuance_limit: IssuanceLimitUse,
    /// Where the mode begins to have the private key made.
    key_origin: String,
    /// Where it is made when that is not permitted, in mode auto.
    key_origin_else: Option<String>,
    next: NextStep,
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

/// The next step: of the running agent, else of one that starts now.
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

fn explain(config: &CertConfig, facts: &Facts, agent: RunningAgent, now: Timestamp) -> Explanation {
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
        unusable: match facts.live {
            Some(_) => None,
            None => agent::unusable(config, now),
        },
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
        next: next_step(&agent, decide::decide(facts, policy, now), now),
        agent,
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

/// The running agent has failures behind it, which change its plan.
fn next_step(agent: &RunningAgent, next: Next, now: Timestamp) -> NextStep {
    let RunningAgent::Running {
        failure: Some(failure),
        next: Some(until),
        ..
    } = agent
    else {
        return step(next);
    };
    let wait = now < until.at();
    NextStep {
        action: if wait { "wait" } else { "issue" },
        why: "retry",
        reason: format!("the retry plan for {}", failure.class),
        until: wait.then(|| until.clone()),
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
