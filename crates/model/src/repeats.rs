//! What is said about something that happens again and again: its cause once, then a count.
//!
//! Never logs. What stays true: a cause that is new in a series is said at once; of those that are
//! known a summary is said at growing intervals, so that the number of lines depends on how long it
//! lasts, not on how often it happens.

use std::time::Duration;

use crate::time::Timestamp;

/// From the first line of a series to its first summary; each further one takes twice as long.
const FIRST_INTERVAL: Duration = Duration::from_secs(60);

/// No two summaries are further apart.
const MAX_INTERVAL: Duration = Duration::from_secs(3_600);

/// Causes of one series that are remembered; more count as known.
const MAX_CAUSES: usize = 16;

/// What to say about one occurrence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Telling {
    /// All of it: this cause is new in the series.
    Whole,
    /// That it has happened so many times in this series.
    Summary(Series),
    /// Nothing that people have to read.
    Again(Series),
}

/// A series, up to now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Series {
    /// Occurrences.
    pub times: u32,
    /// When the first one was.
    pub since: Timestamp,
}

/// The series that is under way, if any.
#[derive(Clone, Debug, Default)]
pub struct Repeats {
    series: Option<Known>,
}

#[derive(Clone, Debug)]
struct Known {
    causes: Vec<String>,
    series: Series,
    interval: Duration,
    summary_at: Timestamp,
}

impl Repeats {
    /// One more occurrence, with this cause.
    pub fn tell(&mut self, cause: &str, now: Timestamp) -> Telling {
        let known = self.series.get_or_insert_with(|| Known {
            causes: Vec::new(),
            series: Series {
                times: 0,
                since: now,
            },
            interval: FIRST_INTERVAL,
            summary_at: now.plus(FIRST_INTERVAL),
        });
        known.series.times = known.series.times.saturating_add(1);
        if known.learn(cause) {
            return Telling::Whole;
        }
        if now < known.summary_at && now >= known.series.since {
            return Telling::Again(known.series);
        }
        // after a step back of the clock the intervals begin at the new time
        known.series.since = known.series.since.min(now);
        known.interval = (known.interval * 2).min(MAX_INTERVAL);
        known.summary_at = now.plus(known.interval);
        Telling::Summary(known.series)
    }

    /// Whether this news is the first of its kind in the series. It is no occurrence.
    pub fn first(&mut self, news: &str) -> bool {
        self.series.as_mut().is_none_or(|known| known.learn(news))
    }

    /// It is over; what it was.
    pub fn end(&mut self) -> Option<Series> {
        self.series.take().map(|known| known.series)
    }
}

impl Known {
    fn learn(&mut self, cause: &str) -> bool {
        let new = self.causes.len() < MAX_CAUSES && !self.causes.iter().any(|one| one == cause);
        if new {
            self.causes.push(cause.to_owned());
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_unix_secs(1_900_000_000);

    fn at(secs: u64) -> Timestamp {
        START.plus(Duration::from_secs(secs))
    }

    /// Seconds at which something is said while it happens each second.
    fn said(causes: impl Fn(u64) -> &'static str, until: u64) -> Vec<u64> {
        let mut repeats = Repeats::default();
        (0..until)
            .filter(|second| {
                let told = repeats.tell(causes(*second), at(*second));
                !matches!(told, Telling::Again(_))
            })
            .collect()
    }

    #[test]
    fn the_cause_is_said_once_and_then_a_count_at_growing_intervals() {
        assert_eq!(said(|_| "a", 600), [0, 60, 180, 420]);
        let day = said(|_| "a", 86_400);
        assert!(day.len() < 30, "{day:?}");
        assert!(day.windows(2).all(|pair| pair[1] - pair[0] <= 3_600));
    }

    #[test]
    fn causes_that_take_turns_are_each_said_once() {
        let turns = |second| if second % 2 == 0 { "a" } else { "b" };
        assert_eq!(said(turns, 600), [0, 1, 60, 180, 420]);
    }

    #[test]
    fn a_summary_counts_the_whole_series_and_the_next_series_begins_anew() {
        let mut repeats = Repeats::default();
        assert_eq!(repeats.tell("a", at(0)), Telling::Whole);
        let series = |times| Series {
            times,
            since: at(0),
        };
        assert_eq!(repeats.tell("a", at(1)), Telling::Again(series(2)));
        assert_eq!(repeats.tell("a", at(61)), Telling::Summary(series(3)));
        assert!(repeats.first("news") && !repeats.first("news"));
        assert_eq!(repeats.end(), Some(series(3)));
        assert_eq!(repeats.end(), None);
        assert_eq!(repeats.tell("a", at(62)), Telling::Whole);
    }

    #[test]
    fn a_clock_that_steps_back_does_not_make_it_silent() {
        let mut repeats = Repeats::default();
        repeats.tell("a", at(86_400));
        assert!(matches!(repeats.tell("a", at(0)), Telling::Summary(_)));
        assert!(matches!(repeats.tell("a", at(121)), Telling::Summary(_)));
    }

    #[test]
    fn without_end_of_new_causes_the_lines_have_an_end() {
        let mut repeats = Repeats::default();
        let whole = (0..1_000)
            .filter(|number| repeats.tell(&number.to_string(), at(1)) == Telling::Whole)
            .count();
        assert_eq!(whole, MAX_CAUSES);
    }
}
