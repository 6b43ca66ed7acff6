//! The last things that happened to one certificate, for `certagent status`.
//!
//! Never read by the loops. What stays true: the newest is last, and the same thing again is
//! counted, so an outage does not push out what came before it.

use std::collections::VecDeque;

use serde::Serialize;

use super::moment;
use crate::model::time::Timestamp;

/// Events that are kept.
const MAX_EVENTS: usize = 10;

/// One thing that happened, once or several times in a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StatusEvent {
    /// When it happened, for the last time.
    #[serde(serialize_with = "moment")]
    pub at: Timestamp,
    /// What.
    pub event: EventKind,
    /// The serial number, the reload action, or the code of the failure.
    pub detail: String,
    /// How often in a row.
    pub times: u32,
}

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// Certificate files on disk were taken over at the start.
    Reused,
    /// A new certificate was issued and published.
    Issued,
    /// The application was reloaded.
    Reloaded,
    /// A probe saw the application serve the published certificate.
    Verified,
    /// An issuance request or a reload failed.
    Failed,
    /// Published files were changed by another process, and restored.
    Restored,
    /// The previous certificate files were published again.
    RolledBack,
}

/// The last events, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Events(VecDeque<StatusEvent>);

impl Events {
    /// Adds what happened.
    pub fn push(&mut self, at: Timestamp, event: EventKind, detail: impl Into<String>) {
        let detail = detail.into();
        if let Some(last) = self.0.back_mut()
            && last.event == event
            && last.detail == detail
        {
            last.at = at;
            last.times = last.times.saturating_add(1);
            return;
        }
        if self.0.len() == MAX_EVENTS {
            self.0.pop_front();
        }
        self.0.push_back(StatusEvent {
            at,
            event,
            detail,
            times: 1,
        });
    }

    /// Oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &StatusEvent> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_secs(1_900_000_000);

    #[test]
    fn the_newest_are_kept_and_repeats_are_counted() {
        let mut events = Events::default();
        events.push(NOW, EventKind::Issued, "0a:0b");
        for _ in 0..1_000 {
            events.push(NOW, EventKind::Failed, "connect-refused");
        }
        let seen: Vec<_> = events.iter().map(|one| (one.event, one.times)).collect();
        assert_eq!(seen, [(EventKind::Issued, 1), (EventKind::Failed, 1_000)]);
        for number in 0..30 {
            events.push(NOW, EventKind::Issued, number.to_string());
        }
        let details: Vec<_> = events.iter().map(|one| one.detail.as_str()).collect();
        assert_eq!(details.len(), MAX_EVENTS);
        assert_eq!((details[0], details[MAX_EVENTS - 1]), ("20", "29"));
    }
}
