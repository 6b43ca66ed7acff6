//! Sleeping until a wall time, in slices that end at common moments.
//!
//! Never sleeps longer than one slice: whoever waits looks at the wall clock again, so that a clock
//! step or a suspended machine costs at most one slice. What stays true: all slices of all
//! certificates end at the same moments, so that one wake-up serves them all.

use std::time::Duration;

use tokio::time::sleep;

use crate::{clock::Clock, model::time::Timestamp};

/// The look interval: the longest time between two looks at the wall clock.
pub(crate) const LOOK: Duration = Duration::from_secs(30);

/// The shortest slice: what keeps a decision that is already due from spinning.
const SHORTEST: Duration = Duration::from_millis(20);

/// Sleeps until the wall clock shows `at` or the next multiple of `look`, whichever is sooner.
/// Dropping it has no effect.
pub(crate) async fn slice(clock: &impl Clock, at: Timestamp, look: Duration) {
    let now = clock.now();
    sleep(now.until(at.min(boundary_after(now, look))).max(SHORTEST)).await;
}

fn boundary_after(now: Timestamp, look: Duration) -> Timestamp {
    let look = i64::try_from(look.as_millis()).unwrap_or(i64::MAX).max(1);
    let into = now.unix_millis().rem_euclid(look);
    Timestamp::from_unix_millis(now.unix_millis().saturating_add(look - into))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::clock::TestClock;

    #[test]
    fn boundaries_are_multiples_of_the_look_interval_and_always_ahead() {
        for (now, next) in [(0, 30_000), (1, 30_000), (29_999, 30_000), (30_000, 60_000)] {
            let now = Timestamp::from_unix_millis(now);
            assert_eq!(boundary_after(now, LOOK).unix_millis(), next);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_slice_ends_at_the_moment_asked_for_or_at_the_boundary() {
        let epoch = Timestamp::from_unix_secs(1_800_000_007);
        let clock = TestClock::new(epoch);
        slice(&clock, epoch.plus(Duration::from_secs(5)), LOOK).await;
        assert_eq!(clock.now(), epoch.plus(Duration::from_secs(5)));
        slice(&clock, epoch.plus(Duration::from_secs(3_600)), LOOK).await;
        assert_eq!(clock.now().unix_secs() % 30, 0);
        slice(&clock, epoch, LOOK).await;
        assert_eq!(clock.now().unix_millis() % 30_000, 20);
    }
}
