//! Many agents from outside: where they are (Consul, Nomad, a list), what they say, and a page of it.
//!
//! Never changes anything anywhere, and believes no answer: each is bounded in time and size. What
//! stays true: a place that gives no usable answer is one row with the reason.

pub mod catalogue;
pub mod fetch;
pub mod page;
pub mod report;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::model::{
    fleet::{Row, Who, all_well, ca::Change, summary},
    time::Timestamp,
};

/// Something that a catalogue or the command line names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Who it is, as far as is known before it was asked.
    pub who: Who,
    /// It is an agent; else an application that should have one.
    pub is_agent: bool,
}

/// Everything that was seen in one sweep.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// When.
    pub at: Timestamp,
    /// The most urgent first.
    pub rows: Vec<Row>,
    /// How far a change of the CA is.
    pub change: Change,
}

/// [`Sweep`] as JSON: `certagent fleet -o json` and `/fleet.json`.
#[derive(Serialize)]
pub struct FleetReport<'a> {
    at: Timestamp,
    ready: bool,
    summary: BTreeMap<&'static str, usize>,
    phase: &'static str,
    change: &'a Change,
    rows: &'a [Row],
}

impl<'a> From<&'a Sweep> for FleetReport<'a> {
    fn from(sweep: &'a Sweep) -> Self {
        let counts = summary(&sweep.rows).into_iter();
        Self {
            at: sweep.at,
            ready: all_well(&sweep.rows),
            summary: counts.map(|(state, count)| (state.name(), count)).collect(),
            phase: sweep.change.phase(&sweep.rows).words(),
            change: &sweep.change,
            rows: &sweep.rows,
        }
    }
}
