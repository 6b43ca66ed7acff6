//! The explanation for people.

use std::time::Duration;

use super::{Explanation, Renewal, RunningAgent};
use crate::{
    model::{duration, time::Timestamp},
    terminal::{Screen, Style, harmless},
};

pub(super) fn render(one: &Explanation, screen: Screen) -> String {
    let name = screen.paint(Style::Strong, &harmless(&one.name));
    let mut rows: Vec<(&str, String)> = vec![("now", one.now.time.clone())];
    match &one.renewal {
        Some(renewal) => rows.extend(renewal_rows(renewal)),
        None => {
            let why = one.unusable.as_deref().map(harmless);
            let why = why.map_or_else(String::new, |why| format!(": {why}"));
            rows.push(("published", format!("no usable certificate files{why}")));
        }
    }
    rows.extend(agent_rows(&one.agent));
    if let Some(matches) = one.request_matches {
        let answer = if matches {
            "same as for the published certificate"
        } else {
            "differs from that of the published certificate"
        };
        rows.push(("request", answer.to_owned()));
    }
    if let Some(staged) = &one.staged_from {
        rows.push((
            "pending",
            format!("certificate files that become valid at {}", staged.time),
        ));
    }
    let limit = &one.issuance_limit;
    let free = limit.free_at.as_ref().map_or_else(String::new, |at| {
        format!(", next one allowed at {}", at.time)
    });
    rows.push((
        "issuances",
        format!("{} of {} an hour used{free}", limit.used, limit.per_hour),
    ));
    let otherwise = one
        .key_origin_else
        .as_ref()
        .map_or_else(String::new, |origin| {
            format!(
                "; {origin} where the token may not sign: `certagent status` shows what was learned"
            )
        });
    rows.push(("private key", format!("{}{otherwise}", one.key_origin)));
    rows.push(("next", next(one, screen)));
    format!("{name}  {}\n{}", harmless(&one.dir), screen.table(&rows))
}

/// What the agent said, or why it is not known.
fn agent_rows(agent: &RunningAgent) -> Vec<(&'static str, String)> {
    match agent {
        RunningAgent::NotSeen { reason } => {
            vec![("agent", format!("not seen: {}", harmless(reason)))]
        }
        RunningAgent::Running { failure: None, .. } => {
            vec![("agent", "running; its last attempt did not fail".to_owned())]
        }
        RunningAgent::Running {
            failure: Some(failure),
            ..
        } => vec![
            (
                "agent",
                format!(
                    "running; attempts failed in a row: {}, the last at {}",
                    failure.in_a_row, failure.at.time
                ),
            ),
            ("last failure", harmless(&failure.message)),
        ],
    }
}

fn renewal_rows(renewal: &Renewal) -> Vec<(&'static str, String)> {
    let mut renew_at = renewal.renew_at.clone();
    if renewal.configured_renew_at != renewal.renew_at {
        renew_at.push_str(&format!(" (configured: {})", renewal.configured_renew_at));
    }
    let obtained = renewal
        .obtained_at
        .as_ref()
        .map_or_else(|| "unknown".to_owned(), |at| at.time.clone());
    let limits = if renewal.limits.is_empty() {
        "none".to_owned()
    } else {
        renewal.limits.join(", ")
    };
    vec![
        (
            "valid",
            format!(
                "{} until {}, {} in all",
                renewal.not_before.time, renewal.not_after.time, renewal.validity.text
            ),
        ),
        ("obtained", obtained),
        (
            "lifetime",
            format!(
                "{} from {} ({})",
                renewal.lifetime.text, renewal.lifetime_start.time, renewal.lifetime_start_is
            ),
        ),
        ("renew at", renew_at),
        ("before splay", renewal.due_before_splay.time.clone()),
        (
            "splay",
            format!(
                "{} of {} (configured {}), by a hash of {}",
                renewal.splay.text,
                renewal.splay_window.text,
                renewal.configured_splay.text,
                harmless(&renewal.splay_seed)
            ),
        ),
        ("limits", limits),
        ("due", renewal.due.time.clone()),
        (
            "in an outage",
            format!(
                "{} attempts planned between the due time and expiry, at most {} requests; one within \
                 {} after Vault is available again",
                renewal.planned_attempts,
                renewal.most_requests,
                renewal.longest_recovery_delay.text
            ),
        ),
    ]
}

fn next(one: &Explanation, screen: Screen) -> String {
    let step = &one.next;
    let text = match &step.until {
        None => format!("{} now: {}", step.action, step.reason),
        Some(until) => {
            let now = Timestamp::from_unix_millis(one.now.unix_millis);
            let left: Duration = now.until(Timestamp::from_unix_millis(until.unix_millis));
            let left = duration::brief(left);
            format!("wait until {} ({left}): {}", until.time, step.reason)
        }
    };
    let style = if step.until.is_some() {
        Style::Good
    } else {
        Style::Warning
    };
    screen.paint(style, &text)
}
