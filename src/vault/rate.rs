//! `VAULT_RATE_LIMIT`: a token bucket over all requests of the process.
//!
//! Never refuses: it only makes a request wait its turn.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Requests per second, with a burst.
pub(super) struct Limiter {
    gap: Duration,
    burst: u32,
    /// When the bucket is full again.
    full_at: Mutex<Option<Instant>>,
}

impl Limiter {
    /// `rate` requests per second, `burst` of them at once (at least one).
    pub(super) fn new(rate: f64, burst: u32) -> Self {
        let gap = Duration::try_from_secs_f64(1.0 / rate.max(1e-6)).unwrap_or_default();
        Self {
            gap,
            burst: burst.max(1),
            full_at: Mutex::new(None),
        }
    }

    /// Returns when it is this request's turn.
    pub(super) async fn turn(&self) {
        let at = self.reserve(Instant::now());
        tokio::time::sleep_until(at).await;
    }

    fn reserve(&self, now: Instant) -> Instant {
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let full = full_at.map_or(now, |at| at.max(now)) + self.gap;
        *full_at = Some(full);
        let saved = self.gap.saturating_mul(self.burst);
        full.checked_sub(saved).map_or(now, |at| at.max(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_at_once_and_the_rest_at_the_rate() {
        let limiter = Limiter::new(10.0, 3);
        let start = Instant::now();
        let mut waited = Vec::new();
        for _ in 0..6 {
            limiter.turn().await;
            waited.push(start.elapsed().as_millis() / 100);
        }
        assert_eq!(waited, [0, 0, 0, 1, 2, 3]);
    }
}
