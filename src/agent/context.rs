//! What all loops of a process share; built once, when they start.
//!
//! Never decides. What stays true: nothing in it changes its identity while the loops run.

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{application::Application, health_checker::HealthChecker, wall};
use crate::watch::{Watch, WatchError};

/// What all certificates of a process share.
pub(super) struct Context<I, C> {
    pub(super) issuer: Arc<I>,
    pub(super) clock: Arc<C>,
    /// The application that uses the certificates.
    pub(super) application: Arc<dyn Application>,
    /// The longest time between two checks of clock and files.
    pub(super) tick: Duration,
    /// One wake-up at those checks for all loops; absent under a test's clock.
    pub(super) ticks: wall::Ticks,
    /// How many orders may be under way at once.
    pub(super) gate: Semaphore,
    /// Checks whether a Vault that was unavailable is back.
    pub(super) health_checker: HealthChecker,
    /// Watches the directories; absent under a test's clock, an error where the system has no
    /// watcher for us.
    pub(super) watch: Result<Option<Watch>, WatchError>,
    /// Answers are refused for a reason that a change at the mount may end.
    pub(super) repair_awaited: AtomicBool,
    /// Cancelled once a certificate's loop has nothing to do at once.
    pub(super) rested: CancellationToken,
    pub(super) cancel: CancellationToken,
}
