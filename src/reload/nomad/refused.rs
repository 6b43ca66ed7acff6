//! Nomad's refusals, each by its name.
//!
//! Never sends anything. What stays true: what only a change of the configuration can fix is lasting, all else
//! is tried again.

use crate::model::reload::{Delivery, ReloadFailure};

/// The answer to a signal or restart that is not 2xx.
pub(super) fn task(what: &str, status: u16, text: &str) -> Result<Delivery, ReloadFailure> {
    let lower = text.to_ascii_lowercase();
    let has = |part: &str| lower.contains(part);
    let said = format!("{what}: Nomad answered {status}: {}", first_line(text));
    Err(match status {
        401 | 403 => return Err(token(what, status, text)),
        404 => {
            let hint = "the allocation is gone, or the agent behind NOMAD_ADDR does not know it";
            ReloadFailure::lasting("nomad-alloc-unknown", said, hint)
        }
        500 if has("not running") => return Ok(Delivery::NotRunning),
        500 if has("task not found") || has("could not find task runner") => {
            let hint = "task has to be the name of a task in the same group";
            ReloadFailure::lasting("nomad-task-unknown", said, hint)
        }
        500 if has("unknown allocation") || has("alloc not found") => {
            let hint = "the allocation is complete";
            ReloadFailure::lasting("nomad-alloc-unknown", said, hint)
        }
        _ => return Err(other(what, status, text)),
    })
}

/// The token is missing, unknown or not allowed to.
pub(super) fn token(what: &str, status: u16, text: &str) -> ReloadFailure {
    let lower = text.to_ascii_lowercase();
    let said = format!("{what}: Nomad answered {status}: {}", first_line(text));
    if status == 401 {
        let hint = "Nomad got no token; give the task an identity { file = true } block";
        return ReloadFailure::lasting("nomad-token-missing", said, hint);
    }
    // The Task API's own door says no more than this (command/agent/http.go authMiddleware).
    let door = lower.trim() == "forbidden";
    if door || lower.contains("token not found") || lower.contains("token expired") {
        let hint = "Nomad does not know this token";
        return ReloadFailure::lasting("nomad-token-unknown", said, hint);
    }
    let hint = "attach a policy with alloc-lifecycle to the certagent task: nomad acl policy apply \
                -job JOB -group GROUP -task TASK NAME FILE (through NOMAD_ADDR the token of a \
                completed allocation gets the same answer)";
    ReloadFailure::lasting("nomad-denied", said, hint)
}

/// What any call can meet.
pub(super) fn other(what: &str, status: u16, text: &str) -> ReloadFailure {
    let lower = text.to_ascii_lowercase();
    let said = format!("{what}: Nomad answered {status}: {}", first_line(text));
    if lower.contains("authenticating request") {
        // Also said while there is no leader to ask.
        let hint = "the token is no longer valid (it expires with its allocation), or Nomad has no \
                    leader at this moment";
        return ReloadFailure::passing("nomad-token-unverified", said, hint);
    }
    if lower.contains("no cluster leader") {
        return ReloadFailure::passing("nomad-no-leader", said, "");
    }
    match status {
        429 | 503 => ReloadFailure::passing("nomad-busy", said, ""),
        400..500 => ReloadFailure::lasting("nomad-refused", said, ""),
        _ => ReloadFailure::passing("nomad-failed", said, ""),
    }
}

/// One line, not too long: it goes into a message.
fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default().trim();
    line.chars().take(200).collect()
}
