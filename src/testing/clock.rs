//! A wall clock that follows tokio's pausable time and can be stepped.
//!
//! Never reads the system's wall clock. What stays true: while no test steps it, it moves exactly
//! as tokio's clock does, so a paused test can wait for days.

use std::{
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::Instant;

use crate::{clock::Clock, model::time::Timestamp};

/// Epoch plus elapsed tokio time plus all steps.
#[derive(Debug)]
pub(crate) struct TestClock {
    epoch: Timestamp,
    started: Instant,
    stepped_millis: AtomicI64,
    shown: AtomicI64,
    moments: AtomicU64,
}

impl TestClock {
    /// A clock that shows `epoch` now. Needs a tokio runtime with a paused clock to be useful.
    pub(crate) fn new(epoch: Timestamp) -> Self {
        Self {
            epoch,
            started: Instant::now(),
            stepped_millis: AtomicI64::new(0),
            shown: AtomicI64::new(0),
            moments: AtomicU64::new(0),
        }
    }

    /// At how many different moments it was looked at: the wake-ups of whoever uses it.
    pub(crate) fn moments(&self) -> u64 {
        self.moments.load(Ordering::SeqCst)
    }

    /// The wall clock is set: by `millis`, forward or back. Timers do not notice.
    pub(crate) fn step(&self, millis: i64) {
        self.stepped_millis.fetch_add(millis, Ordering::SeqCst);
    }

    /// The machine sleeps: wall time continues, timers (monotonic time) do not.
    pub(crate) fn suspend(&self, asleep: Duration) {
        self.step(i64::try_from(asleep.as_millis()).expect("a span that fits"));
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        let stepped = self.stepped_millis.load(Ordering::SeqCst);
        let elapsed = i64::try_from(self.started.elapsed().as_millis()).expect("a span that fits");
        let now = self.epoch.unix_millis() + elapsed + stepped;
        if self.shown.swap(now, Ordering::SeqCst) != now {
            self.moments.fetch_add(1, Ordering::SeqCst);
        }
        Timestamp::from_unix_millis(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn thirty_paused_days_move_it_by_thirty_days_and_steps_add_up() {
        let epoch = Timestamp::from_unix_secs(1_800_000_000);
        let clock = TestClock::new(epoch);
        let days = Duration::from_secs(30 * 86_400);
        tokio::time::sleep(days).await;
        assert_eq!(clock.now(), epoch.plus(days));
        clock.step(-7_200_000);
        clock.suspend(Duration::from_secs(7_200));
        assert_eq!(clock.now(), epoch.plus(days));
    }
}
