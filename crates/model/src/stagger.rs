//! When the allocations of one job may act, so that no two do at once: a slot each, no coordination.
//!
//! Never waits. What stays true: between the starts of two different indexes lies at least half a
//! slot, at every count; so actions that take no longer than that never overlap inside the window.

use std::time::Duration;

use crate::time::Timestamp;

/// A slot is never narrower than this, whatever window was asked for.
const MIN_SLOT: Duration = Duration::from_secs(1);

/// Stagger of one job. Windows follow each other without a gap, counted from the epoch, so that all
/// allocations agree on them; their clocks may differ by half a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stagger {
    /// In this time every allocation has its turn once.
    pub window: Duration,
    /// How many allocations the group has (`count`).
    pub count: u32,
    /// Which of them this is (`NOMAD_ALLOC_INDEX`, from 0); counted modulo `count`.
    pub index: u32,
}

impl Stagger {
    /// The width of one slot: the window shared by all, at least one second.
    #[must_use]
    pub fn width(&self) -> Duration {
        (self.window / self.count.max(1)).max(MIN_SLOT)
    }

    /// The earliest moment from `now` on at which this allocation may begin: in the first half of
    /// its slot, so that the second half keeps the next one away. With one allocation it is `now`.
    #[must_use]
    pub fn free_at(&self, now: Timestamp) -> Timestamp {
        let count = i64::from(self.count.max(1));
        if count == 1 {
            return now;
        }
        let width = i64::try_from(self.width().as_millis()).unwrap_or(i64::MAX / count);
        let window = width.saturating_mul(count);
        let begins = i64::from(self.index)
            .rem_euclid(count)
            .saturating_mul(width);
        let position = now.unix_millis().rem_euclid(window);
        let ahead = begins.saturating_sub(position);
        if (-(width / 2)..=0).contains(&ahead) {
            return now;
        }
        let ahead = ahead.rem_euclid(window);
        Timestamp::from_unix_millis(now.unix_millis().saturating_add(ahead))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEN_MINUTES: Duration = Duration::from_secs(600);

    #[test]
    fn three_allocations_take_turns() {
        let starts = |index| {
            let stagger = Stagger {
                window: TEN_MINUTES,
                count: 3,
                index,
            };
            stagger
                .free_at(Timestamp::from_unix_secs(6_000))
                .unix_secs()
        };
        assert_eq!([starts(0), starts(1), starts(2)], [6_000, 6_200, 6_400]);
    }

    #[test]
    fn who_comes_late_in_his_slot_waits_for_the_next() {
        let stagger = Stagger {
            window: TEN_MINUTES,
            count: 2,
            index: 0,
        };
        let at = |secs| stagger.free_at(Timestamp::from_unix_secs(secs)).unix_secs();
        assert_eq!(at(6_150), 6_150, "half of 300 s is still his");
        assert_eq!(at(6_151), 6_600, "the next window");
    }

    #[test]
    fn odd_input_gives_a_moment() {
        for (count, index) in [(0, 0), (1, 7), (2, u32::MAX), (u32::MAX, u32::MAX)] {
            for window in [Duration::ZERO, Duration::MAX] {
                let stagger = Stagger {
                    window,
                    count,
                    index,
                };
                for now in [Timestamp::MIN, Timestamp::MAX] {
                    assert!(stagger.free_at(now) >= now);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn actions_of_one_job_never_overlap_inside_the_window(
            count in 1_u32..=50,
            window in 1_u64..3_600,
            epoch in 0_i64..10_000_000_000,
            offsets in proptest::collection::vec(0_u64..7_200_000, 50),
        ) {
            let window = Duration::from_secs(window);
            let mut spans = Vec::new();
            for index in 0..count {
                let stagger = Stagger { window, count, index };
                let offset = Duration::from_millis(offsets[index as usize]);
                let now = Timestamp::from_unix_millis(epoch).plus(offset);
                let start = stagger.free_at(now);
                prop_assert!(start >= now);
                // Every allocation has a turn within one window.
                prop_assert!(start <= now.plus(stagger.width() * count));
                spans.push((start, start.plus(stagger.width() / 2)));
            }
            spans.sort();
            for pair in spans.windows(2) {
                prop_assert!(pair[0].1 <= pair[1].0.plus(Duration::from_millis(1)), "{pair:?}");
            }
        }
    }
}
