//! One health check of a Vault that is unavailable, shared by all certificates of the process.
//!
//! Never decides when to check (`model/health.rs` does) and never orders. What stays true: two checks
//! are never under way at once, and one that is hardly older answers every loop that asks.

use std::time::Duration;

use tokio::{sync::Mutex, time::timeout};

use crate::{clock::Clock, issuer::Issuer, model::time::Timestamp, status::HealthCheck};

/// An issuer that takes longer to say how it is could not serve an order in time either.
const CHECK_TIMEOUT: Duration = Duration::from_secs(3);

/// A check for another certificate answers for ours up to this age.
const MAX_ANSWER_AGE: Duration = Duration::from_secs(2);

/// The newest check of the process.
#[derive(Default)]
pub(super) struct HealthChecker(Mutex<Option<HealthCheck>>);

impl HealthChecker {
    /// Checks, unless a check after `since` was made just now. Dropping it breaks the check off.
    pub(super) async fn check(
        &self,
        issuer: &impl Issuer,
        clock: &impl Clock,
        since: Option<Timestamp>,
    ) -> HealthCheck {
        let mut newest = self.0.lock().await;
        let at = clock.now();
        let fresh = |look: &&HealthCheck| {
            since <= Some(look.at) && look.at <= at && at.since(look.at) < MAX_ANSWER_AGE
        };
        if let Some(look) = newest.as_ref().filter(fresh) {
            return look.clone();
        }
        let found = match timeout(CHECK_TIMEOUT, issuer.serves()).await {
            Ok(said) => said.map_err(|failure| failure.to_string()),
            Err(_) => Err(format!("no answer within {} s", CHECK_TIMEOUT.as_secs())),
        };
        newest.insert(HealthCheck { at, found }).clone()
    }
}
