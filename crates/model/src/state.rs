//! What survives a restart and holds no secret: a record beside the certificates.
//!
//! Never reads or writes itself (`publish/state.rs` does). What stays true: losing it costs at most
//! one early renewal; unknown fields of a newer version are dropped, never an error.

use serde::{Deserialize, Serialize};

use super::{
    reload::{Quarantined, ReloadRecord},
    trust::Memory,
};

/// The durable record of one certificate directory, written as `..state.json` inside it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// Fingerprint of the request that the live set answers.
    pub fingerprint: String,
    /// Id of the generation that `..data` was last pointed at.
    pub generation: Option<String>,
    /// When the live set came back from the issuer, milliseconds since the epoch.
    pub obtained_at: Option<i64>,
    /// When it is due, milliseconds since the epoch; recomputed at start, kept for readers.
    pub due_at: Option<i64>,
    /// When requests for a certificate were sent, oldest first, milliseconds since the epoch;
    /// written before the request leaves, so that a crash loop can't exceed the budget.
    pub issuances: Vec<i64>,
    /// Fingerprint of the request that the newest of them was for: what a set answers that a crash
    /// left on disk before it was recorded.
    pub ordered: String,
    /// A complete set that was issued but is not live yet.
    pub staged: Option<StagedRecord>,
    /// Trust anchors and when they were last vouched for.
    pub trust: Memory,
    /// What the application was told about the live generation; written together with it.
    pub outbox: Option<ReloadRecord>,
    /// Which order the generation before the live one answers, for going back to it.
    pub previous: Option<StagedRecord>,
    /// Sets that broke the application and were taken back, oldest first.
    pub quarantined: Vec<Quarantined>,
}

/// A complete generation on disk that is not live yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StagedRecord {
    /// Its generation id.
    pub generation: String,
    /// Fingerprint of the request it answers.
    pub fingerprint: String,
    /// When it came back from the issuer, milliseconds since the epoch.
    pub obtained_at: i64,
}
