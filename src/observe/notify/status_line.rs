//! The one line that `systemctl status` shows.
//!
//! Never holds a line break or a message from outside. What stays true: it names the first end of a
//! published certificate and everything that fails.

use crate::status::Status;

/// All certificates in one line.
pub(super) fn status(all: &[Status]) -> String {
    let lives = all.iter().filter(|one| one.live.is_some()).count();
    let mut parts = vec![match all {
        [_] if lives == 1 => "published".to_owned(),
        [_] => "nothing published yet".to_owned(),
        _ => format!("{lives} of {} published", all.len()),
    }];
    let ends = all
        .iter()
        .filter_map(|one| Some((one.live.as_ref()?.not_after, one)));
    if let Some((end, first)) = ends.min_by_key(|(end, _)| *end) {
        parts.push(match all {
            [_] => format!("notAfter {end}"),
            _ => format!("first notAfter {end} ({})", first.name),
        });
        if let Some(due) = all.iter().filter_map(|one| one.due).min() {
            parts.push(format!("next renewal {due}"));
        }
    }
    let failing = all.iter().filter_map(|one| {
        let run = one.failure.as_ref()?;
        Some(format!("{} failing ({})", one.name, run.last.class))
    });
    let mut failing: Vec<String> = failing.collect();
    let more = failing.len().saturating_sub(MAX_NAMED);
    failing.truncate(MAX_NAMED);
    if more > 0 {
        failing.push(format!("{more} more failing"));
    }
    parts.extend(failing);
    parts.join("; ")
}

/// As many as a line holds.
const MAX_NAMED: usize = 3;
