//! The explanation for people.

use std::time::Duration;

use super::{Explanation, Renewal};
use crate::{
    model::{duration, time::Timestamp},
    terminal::{Screen, Style, harmless},
};

pub(super) fn render(one: &Explanation, screen: Screen) -> String {
    let name = screen.paint(Style::Strong, &harmless(&one.name));
    let mut rows: Vec<(&str, String)> = vec![("now", one.now.time.clone())];
    match &one.renewal {
        Some(renewal) => rows.extend(renewal_rows(renewal)),
        None => rows.push(("live set", "none that can be used".to_owned())),
    }
    if let Some(matches) = one.request_matches {
        let answer = if matches {
            "the live set answers it"
        } else {
            "differs from the one the live set answers"
        };
        rows.push(("request", answer.to_owned()));
    }
    if let Some(staged) = &one.staged_from {
        rows.push(("staged", format!("a set that starts at {}", staged.time)));
    }
    let budget = &one.budget;
    let free = budget
        .free_at
        .as_ref()
        .map_or_else(String::new, |at| format!(", free again at {}", at.time));
    rows.push((
        "budget",
        format!("{} of {} an hour used{free}", budget.used, budget.per_hour),
    ));
    rows.push(("next", next(one, screen)));
    format!("{name}  {}\n{}", harmless(&one.dir), screen.table(&rows))
}

fn renewal_rows(renewal: &Renewal) -> Vec<(&'static str, String)> {
    let mut rule = renewal.rule.clone();
    if renewal.configured != renewal.rule {
        rule.push_str(&format!(" (configured: {})", renewal.configured));
    }
    let obtained = renewal
        .obtained_at
        .as_ref()
        .map_or_else(|| "unknown".to_owned(), |at| at.time.clone());
    let clamps = if renewal.clamps.is_empty() {
        "none".to_owned()
    } else {
        renewal.clamps.join(", ")
    };
    vec![
        (
            "valid",
            format!(
                "{} until {}, life {}",
                renewal.not_before.time, renewal.not_after.time, renewal.life.text
            ),
        ),
        ("obtained", obtained),
        (
            "counted",
            format!(
                "{} from {} ({})",
                renewal.counted_life.text, renewal.counted_from.time, renewal.basis
            ),
        ),
        ("rule", rule),
        ("point", renewal.point.time.clone()),
        (
            "splay",
            format!(
                "{} of {} (configured {}), by a hash of {}",
                renewal.splay.text,
                renewal.window.text,
                renewal.configured_splay.text,
                harmless(&renewal.splay_seed)
            ),
        ),
        ("clamps", clamps),
        ("due", renewal.due.time.clone()),
        (
            "in an outage",
            format!(
                "{} attempts planned from due to the end, never more than {} requests; one within {} of \
                 its return",
                renewal.planned_attempts, renewal.most_requests, renewal.longest_return.text
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
