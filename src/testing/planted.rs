//! Faults that the agent once had, to be planted again: a simulation that does not find them is worth nothing.
//!
//! Never on without a test that asks for it, and for its own thread alone.

use std::cell::Cell;

use crate::model::{
    issuance_limit::Share,
    reload::{Delivery, ReloadFailure},
};

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Planted {
    /// The limit of requests comes from the life that was asked for, and due ones count.
    LimitOfAsked,
    /// Refused answers count as any request does.
    RefusedUnpaced,
    /// Extra anchors that can't be read stop the renewal.
    ExtraStopsLeaf,
    /// A manual renewal counts as any request does.
    ManualCounts,
    /// No agent has to hold the directory.
    NoHolder,
    /// What was used up before a restart is not remembered.
    SpentForgotten,
    /// A file is renamed into place before it is synced.
    Unsynced,
    /// A reload whose success is not noted is repeated.
    ReloadForgotten,
}

impl Planted {
    pub(crate) const ALL: [Self; 8] = [
        Self::LimitOfAsked,
        Self::RefusedUnpaced,
        Self::ExtraStopsLeaf,
        Self::ManualCounts,
        Self::NoHolder,
        Self::SpentForgotten,
        Self::Unsynced,
        Self::ReloadForgotten,
    ];
}

thread_local! {
    static PLANTED: Cell<Option<Planted>> = const { Cell::new(None) };
}

/// Ends the planting when dropped.
pub(crate) struct Guard;

/// Plants it for this thread.
#[must_use]
pub(crate) fn plant(planted: Option<Planted>) -> Guard {
    PLANTED.set(planted);
    Guard
}

impl Drop for Guard {
    fn drop(&mut self) {
        PLANTED.set(None);
    }
}

/// Whether this one is planted now.
pub(crate) fn is(planted: Planted) -> bool {
    PLANTED.get() == Some(planted)
}

/// What a request counts as.
pub(crate) fn counted(share: Share) -> Share {
    match share {
        Share::Due if is(Planted::LimitOfAsked) => Share::Other,
        Share::Manual if is(Planted::ManualCounts) => Share::Other,
        share => share,
    }
}

/// How a reload ended.
pub(crate) fn forgotten(
    result: Result<Delivery, ReloadFailure>,
) -> Result<Delivery, ReloadFailure> {
    match result {
        Ok(_) if is(Planted::ReloadForgotten) => {
            let message = "its success was not noted".to_owned();
            Err(ReloadFailure::passing("forgotten", message, ""))
        }
        result => result,
    }
}
