//! How the parts of a status are written as JSON, and read again by whoever shows it.
//!
//! What stays true: a moment and a failure look the same wherever they stand.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize, Serializer};

use super::Forced;
use crate::model::{
    failure::{Failure, FailureClass, FailureRun},
    health::IssuerHealth,
    origin::ChosenOrigin,
    time::Timestamp,
    trust::TrustNote,
};

/// A moment, for people and for machines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// RFC 3339.
    pub time: String,
    /// Milliseconds since 1970.
    pub unix_millis: i64,
}

impl From<Timestamp> for Moment {
    fn from(at: Timestamp) -> Self {
        Self {
            time: at.to_string(),
            unix_millis: at.unix_millis(),
        }
    }
}

impl Moment {
    /// The moment for calculations.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        Timestamp::from_unix_millis(self.unix_millis)
    }

    /// How long it is from this moment until `later`; zero when that has passed.
    #[must_use]
    pub fn until(&self, later: &Self) -> Duration {
        self.at().until(later.at())
    }
}

/// A failure as JSON shows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "documented in model::failure")]
pub struct FailureReport {
    pub class: String,
    pub code: String,
    pub message: String,
    pub hint: Option<String>,
    pub in_a_row: u32,
    pub at: Moment,
}

impl FailureReport {
    fn new(failure: &Failure, in_a_row: u32, at: Timestamp) -> Self {
        Self {
            class: failure.class.name().to_owned(),
            code: failure.code.clone(),
            message: failure.message.clone(),
            hint: failure.hint.clone(),
            in_a_row,
            at: at.into(),
        }
    }
}

/// [`Revocation`](super::Revocation) as JSON shows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names say it")]
pub struct RevocationReport {
    pub serial: String,
    pub certificate: String,
    pub failure: Option<FailureReport>,
}

/// [`ChosenOrigin`] as JSON shows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct KeyOriginReport {
    /// `sign` or `issue`.
    pub order: String,
    /// For people: `made here (ec-p256)`.
    pub key: String,
    /// The code of the refusal that led there; absent for what the mode begins with.
    pub because: Option<String>,
}

/// [`Forced`] as JSON shows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "documented in Forced")]
pub struct ForcedReport {
    pub number: u64,
    pub at: Moment,
    pub serial: Option<String>,
    pub failure: Option<FailureReport>,
    pub revoked: Vec<RevocationReport>,
}

impl From<Forced> for ForcedReport {
    fn from(forced: Forced) -> Self {
        let failure = forced.outcome.as_ref().err();
        Self {
            number: forced.number,
            at: forced.at.into(),
            failure: failure.map(|failure| FailureReport::new(failure, 1, forced.at)),
            revoked: forced
                .revoked
                .into_iter()
                .map(|one| RevocationReport {
                    serial: one.serial,
                    certificate: one.certificate,
                    failure: one
                        .outcome
                        .err()
                        .map(|failure| FailureReport::new(&failure, 1, forced.at)),
                })
                .collect(),
            serial: forced.outcome.ok(),
        }
    }
}

pub(super) fn moment<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    Moment::from(*at).serialize(serializer)
}

pub(super) fn notes<S: Serializer>(notes: &[TrustNote], to: S) -> Result<S::Ok, S::Error> {
    let texts = notes.iter().map(|note| {
        [
            ("code", note.code().to_owned()),
            ("message", note.to_string()),
        ]
    });
    to.collect_seq(texts.map(BTreeMap::from))
}

pub(super) fn moment_or_none<S: Serializer>(
    at: &Option<Timestamp>,
    to: S,
) -> Result<S::Ok, S::Error> {
    at.map(Moment::from).serialize(to)
}

pub(super) fn failure_run<S: Serializer>(
    run: &Option<FailureRun>,
    to: S,
) -> Result<S::Ok, S::Error> {
    run.as_ref()
        .map(|run| FailureReport::new(&run.last, run.total, run.at))
        .serialize(to)
}

pub(super) fn key_origin<S: Serializer>(
    chosen: &Option<ChosenOrigin>,
    to: S,
) -> Result<S::Ok, S::Error> {
    let report = chosen.as_ref().map(|chosen| KeyOriginReport {
        order: chosen.origin.order().to_owned(),
        key: chosen.origin.to_string(),
        because: chosen.because.clone(),
    });
    report.serialize(to)
}

pub(super) fn found<S: Serializer>(
    found: &Result<IssuerHealth, String>,
    to: S,
) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct HealthCheckOutcome<'a> {
        able: bool,
        trouble: Option<&'a String>,
    }
    let (able, trouble) = (found.is_ok(), found.as_ref().err());
    HealthCheckOutcome { able, trouble }.serialize(to)
}

pub(super) type Reloads = BTreeMap<(&'static str, &'static str), u64>;

/// By `<action>/<outcome>`.
pub(super) fn reloads<S: Serializer>(reloads: &Reloads, to: S) -> Result<S::Ok, S::Error> {
    let each = reloads.iter();
    to.collect_map(each.map(|((action, outcome), times)| (format!("{action}/{outcome}"), times)))
}

pub(super) fn by_class<S: Serializer>(
    counts: &[u64; FailureClass::ALL.len()],
    to: S,
) -> Result<S::Ok, S::Error> {
    let names = FailureClass::ALL.iter().map(|class| class.name());
    to.collect_map(names.zip(counts))
}
