//! What survives a restart and holds no secret: a record beside the certificates.
//!
//! Never reads or writes itself (`publish/record_file.rs` does). What stays true: losing it costs at most
//! one early renewal; unknown fields of a newer version are dropped, never an error.

use serde::{Deserialize, Serialize};

use super::{
    issuance_limit::Requests,
    reload::{Quarantined, ReloadRecord},
    time::Timestamp,
    trust::Memory,
};

/// The form of the record. It changes when a reader of one form would misread another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Form(u32);

impl Form {
    /// A record that names no form: written before forms had numbers.
    const fn none() -> Self {
        Self(0)
    }
}

/// Today's form.
impl Default for Form {
    fn default() -> Self {
        Self(1)
    }
}

/// The durable record of one certificate directory, written as `..state.json` inside it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// The form of this record.
    #[serde(default = "Form::none")]
    pub form: Form,
    /// Fingerprint of the request that the published certificate answers.
    pub fingerprint: String,
    /// Id of the generation that `..data` was last pointed at.
    pub generation: Option<String>,
    /// When the published certificate came back from Vault.
    pub obtained_at: Option<Timestamp>,
    /// When it is due; recomputed at start, kept for readers.
    pub due_at: Option<Timestamp>,
    /// When requests for a certificate were sent; written before the request leaves, so that a
    /// crash loop can't exceed the limit.
    #[serde(flatten)]
    pub requests: Requests,
    /// Fingerprint of the CAs that the mount had when it was last looked at.
    pub mount_cas: String,
    /// Fingerprint of the request that the newest of them was for: what a set answers that a crash
    /// left on disk before it was recorded.
    pub requested: String,
    /// A complete set that was issued but is not live yet.
    pub staged: Option<StagedRecord>,
    /// SHA-256 of the wrapping token that was unwrapped by ourselves; it is used up.
    pub spent_credential: String,
    /// What was last read from the file of extra anchors, as PEM.
    pub extra_anchors: Vec<String>,
    /// Trust anchors and when they were last listed.
    pub trust: Memory,
    /// How far the application has come with the live generation; written together with it.
    pub reload: Option<ReloadRecord>,
    /// Which order the generation before the live one answers, for going back to it.
    pub previous: Option<StagedRecord>,
    /// Sets that broke the application and were taken back, oldest first.
    pub quarantined: Vec<Quarantined>,
}

impl Record {
    /// Reads a record as it was written.
    ///
    /// # Errors
    /// Why it can't be used: no JSON, a field of another type, or another form of the record.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let state: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let (form, todays) = (state.form, Form::default());
        if form == todays {
            Ok(state)
        } else {
            Err(format!("it has form {}, not {}", form.0, todays.0))
        }
    }
}

/// A complete generation on disk that is not live.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedRecord {
    /// Its generation id.
    pub generation: String,
    /// Fingerprint of the request it answers.
    pub fingerprint: String,
    /// When it came back from Vault.
    pub obtained_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_as_it_went_and_drops_what_it_does_not_know() {
        let state = Record {
            generation: Some("g".to_owned()),
            requests: Requests {
                counted: vec![Timestamp::from_unix_millis(1_900_000_000_123)],
                ..Requests::default()
            },
            ..Record::default()
        };
        let text = serde_json::to_string(&state).unwrap();
        assert!(text.contains("[1900000000123]"), "{text}");
        let newer = text.replacen('{', r#"{"new":1,"#, 1);
        assert_eq!(Record::parse(newer.as_bytes()), Ok(state));
    }

    #[test]
    fn a_record_that_is_damaged_or_of_the_old_form_is_refused() {
        for text in [
            "",
            "{}",
            "[]",
            r#"{"form":2}"#,
            r#"{"form":1,"issuances":"x"}"#,
        ] {
            assert!(Record::parse(text.as_bytes()).is_err(), "{text:?}");
        }
        let old =
            br#"{"generation":"g","outbox":{"generation":"g","reloaded":1,"delivered":true}}"#;
        assert!(Record::parse(old).unwrap_err().contains("form 0"));
    }
}
