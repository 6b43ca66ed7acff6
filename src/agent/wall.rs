//! Sleeping until a wall time, in slices that end at common moments.
//!
//! Never sleeps longer than one slice: whoever waits looks at the wall clock again, so that a clock
//! step or a suspended machine costs at most one slice. What stays true: all slices of all
//! certificates end at the same moments, so that one wake-up serves them all.

use std::time::Duration;

use tokio::{sync::watch, time::sleep};

use super::wall_timer::WallTimer;
use crate::{clock::Clock, model::time::Timestamp};

/// The longest time between two readings of the wall clock.
pub(crate) const TICK: Duration = Duration::from_secs(30);

/// The shortest slice: what keeps a decision that is already due from spinning.
const MIN_SLEEP: Duration = Duration::from_millis(20);

/// Sleeps until the wall clock shows `at`, if given, or the next multiple of `look`, whichever is
/// sooner.
/// Dropping it has no effect.
pub(crate) async fn slice(
    clock: &impl Clock,
    at: Option<Timestamp>,
    look: Duration,
    ticks: &Ticks,
) {
    let now = clock.now();
    let boundary = boundary_after(now, look);
    if let Some(ticks) = ticks
        && at.is_none_or(|at| boundary <= at)
    {
        let mut ticks = ticks.clone();
        ticks.mark_unchanged();
        if ticks.changed().await.is_ok() {
            return;
        }
    }
    let end = at.map_or(boundary, |at| at.min(boundary));
    sleep(now.until(end).max(MIN_SLEEP)).await;
}

/// Says when a common moment has come, or the clock was set; absent where each slice is slept.
pub(crate) type Ticks = Option<watch::Receiver<()>>;

/// Wakes all loops at each multiple of `look`, by one alarm of the kernel. Runs for ever.
pub(crate) async fn tick(clock: &impl Clock, look: Duration, ticks: watch::Sender<()>) {
    let mut alarm = WallTimer::new();
    loop {
        let now = clock.now();
        let at = boundary_after(now, look);
        let rang = match &alarm {
            Some(alarm) => alarm.wait(at).await,
            None => false,
        };
        if !rang {
            alarm = None;
            sleep(now.until(at).max(MIN_SLEEP)).await;
        }
        ticks.send_replace(());
    }
}

fn boundary_after(now: Timestamp, look: Duration) -> Timestamp {
    let look = i64::try_from(look.as_millis()).unwrap_or(i64::MAX).max(1);
    let into = now.unix_millis().rem_euclid(look);
    Timestamp::from_unix_millis(now.unix_millis().saturating_add(look - into))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::SystemClock, testing::clock::TestClock};

    #[test]
    fn boundaries_are_multiples_of_the_look_interval_and_always_ahead() {
        for (now, next) in [(0, 30_000), (1, 30_000), (29_999, 30_000), (30_000, 60_000)] {
            let now = Timestamp::from_unix_millis(now);
            assert_eq!(boundary_after(now, TICK).unix_millis(), next);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_slice_ends_at_the_moment_asked_for_or_at_the_boundary() {
        let epoch = Timestamp::from_unix_secs(1_800_000_007);
        let clock = TestClock::new(epoch);
        slice(
            &clock,
            Some(epoch.plus(Duration::from_secs(5))),
            TICK,
            &None,
        )
        .await;
        assert_eq!(clock.now(), epoch.plus(Duration::from_secs(5)));
        slice(&clock, None, TICK, &None).await;
        assert_eq!(clock.now().unix_secs() % 30, 0);
        slice(&clock, Some(epoch), TICK, &None).await;
        assert_eq!(clock.now().unix_millis() % 30_000, 20);
    }

    #[tokio::test]
    async fn one_alarm_wakes_every_slice_and_a_near_moment_is_slept() {
        let look = Duration::from_millis(100);
        let (sender, ticks) = watch::channel(());
        let clock = SystemClock;
        let slices = async {
            let ticks = Some(ticks);
            for _ in 0..2 {
                let before = clock.now();
                tokio::join!(
                    slice(&clock, None, look, &ticks),
                    slice(&clock, None, look, &ticks)
                );
                assert!(clock.now() >= boundary_after(before, look));
            }
            slice(&clock, Some(clock.now()), look, &ticks).await;
        };
        tokio::select! {
            () = tick(&clock, look, sender) => panic!("it runs for ever"),
            () = slices => {}
        }
    }
}
