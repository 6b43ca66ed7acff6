//! Reads and writes the durable record `..state.json`, atomically.
//!
//! Never fails the agent: an unreadable record is reported and replaced.

use super::{
    PublishError,
    place::{Place, Rules},
};
use crate::model::record::Record;

/// The record's file in a certificate directory.
pub(super) struct RecordFile;

impl RecordFile {
    pub(super) const NAME: &str = "..state.json";
    pub(super) const TMP: &str = "..state.json.tmp";

    /// The record, or an empty one when there is none that can be read.
    pub(super) fn read(place: &Place<'_>) -> Record {
        let Some(found) = place.read(Self::NAME) else {
            if place.kind(Self::NAME).is_some() {
                tracing::warn!(path = %place.path().join(Self::NAME).display(),
                    "the record of earlier work is not a readable file; starting without it");
            }
            return Record::default();
        };
        Record::parse(&found.bytes).unwrap_or_else(|error| {
            tracing::warn!(path = %place.path().join(Self::NAME).display(), %error,
                "the record of earlier work is damaged; starting without it");
            Record::default()
        })
    }

    /// Replaces the record: complete beside it, synced, renamed over it, directory synced.
    pub(super) fn write(
        place: &Place<'_>,
        state: &Record,
        rules: &Rules,
    ) -> Result<(), PublishError> {
        let failed = |source: serde_json::Error| PublishError::Step {
            action: "write down",
            path: place.path().join(Self::NAME),
            source: source.into(),
        };
        let mut text = serde_json::to_vec_pretty(state).map_err(failed)?;
        text.push(b'\n');
        place.remove(Self::TMP)?;
        let result = place
            .create(Self::TMP, &text, rules.record())
            .and_then(|()| place.rename_over(Self::TMP, Self::NAME))
            .and_then(|()| place.sync());
        if result.is_err() {
            let _cleaned = place.remove(Self::TMP);
        }
        result
    }
}
