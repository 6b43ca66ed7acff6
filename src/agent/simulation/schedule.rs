//! A schedule of faults: drawn from a seed, written down for people, read back.
//!
//! Never runs it. What stays true: what is printed reads back as the same schedule.

use std::{fmt, str::FromStr, time::Duration};

use super::faults::{Fault, KINDS, Kind};
use crate::model::duration;

/// Lives of the certificates that are asked for, in seconds.
const LIVES: [u64; 3] = [1_200, 3_600, 21_600];
/// A schedule lasts so many lives; then everything is healed.
pub(super) const LIVES_LONG: u64 = 3;
const MOST_EVENTS: u32 = 9;
const SWITCHES: [&str; 5] = ["sign", "probe", "extra anchors", "one-time login", "lock"];

/// One fault with its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// From the start.
    pub(super) at: Duration,
    /// Zero for a moment.
    pub(super) lasts: Duration,
    pub(super) fault: Fault,
    pub(super) number: u32,
}

/// What is set up, and what happens then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Schedule {
    /// The life that is asked for.
    pub(super) life: Duration,
    /// In the order of [`SWITCHES`].
    pub(super) switches: [bool; SWITCHES.len()],
    pub(super) events: Vec<Event>,
}

impl Schedule {
    /// The schedule of a seed.
    pub(super) fn of(seed: u64) -> Self {
        let mut chance = fastrand::Rng::with_seed(seed);
        let life = LIVES[chance.usize(..LIVES.len())];
        let switches = [(); SWITCHES.len()].map(|()| chance.bool());
        let count = chance.u32(1..=MOST_EVENTS);
        let mut events: Vec<Event> = (0..count).map(|_| draw(&mut chance, life)).collect();
        events.sort_by_key(|event| event.at);
        Self {
            life: Duration::from_secs(life),
            switches,
            events,
        }
    }

    /// Nothing happens.
    pub(super) fn quiet(life: Duration) -> Self {
        Self {
            life,
            switches: [true, true, true, false, false],
            events: Vec::new(),
        }
    }

    pub(super) fn signs(&self) -> bool {
        self.switches[0]
    }

    pub(super) fn probes(&self) -> bool {
        self.switches[1]
    }

    pub(super) fn has_extra_anchors(&self) -> bool {
        self.switches[2]
    }

    pub(super) fn logs_in_once(&self) -> bool {
        self.switches[3]
    }

    pub(super) fn takes_lock(&self) -> bool {
        self.switches[4]
    }
}

fn draw(chance: &mut fastrand::Rng, life: u64) -> Event {
    let kind = &KINDS[chance.usize(..KINDS.len())];
    let lasts = match kind.lasts {
        (0, 0) => 0,
        // half of them short: most of what matters happens near an edge
        (least, most) => {
            let most = if chance.bool() {
                most
            } else {
                (least + most) / 4
            };
            life * u64::from(chance.u32(least..=most.max(least))) / 100
        }
    };
    Event {
        at: Duration::from_secs(chance.u64(..life * LIVES_LONG)),
        lasts: Duration::from_secs(lasts),
        fault: kind.fault,
        number: chance.u32(kind.number.0..=kind.number.1),
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {}", duration::print(self.at))?;
        if !self.lasts.is_zero() {
            write!(f, " for {}", duration::print(self.lasts))?;
        }
        let text = self.fault.kind().text;
        write!(f, ": {}", text.replace("{}", &self.number.to_string()))
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "certificates of {}", duration::print(self.life))?;
        let on = SWITCHES.iter().zip(self.switches);
        for (name, _) in on.filter(|(_, on)| *on) {
            write!(f, ", {name}")?;
        }
        writeln!(f)?;
        self.events
            .iter()
            .try_for_each(|event| writeln!(f, "{event}"))
    }
}

impl FromStr for Event {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let wrong = || format!("no event: {line}");
        let (times, words) = line.split_once(": ").ok_or_else(wrong)?;
        let times = times.strip_prefix("at ").ok_or_else(wrong)?;
        let (at, lasts) = times.split_once(" for ").unwrap_or((times, "0"));
        let span = |text: &str| duration::parse(text).map_err(|_| wrong());
        let (fault, number) = KINDS
            .iter()
            .find_map(|kind| read(kind, words))
            .ok_or_else(wrong)?;
        Ok(Self {
            at: span(at)?,
            lasts: span(lasts)?,
            fault,
            number,
        })
    }
}

/// The number in `words`, when they are the text of this kind.
fn read(kind: &Kind, words: &str) -> Option<(Fault, u32)> {
    let Some((before, after)) = kind.text.split_once("{}") else {
        return (kind.text == words).then_some((kind.fault, 0));
    };
    let number = words.strip_prefix(before)?.strip_suffix(after)?;
    Some((kind.fault, number.parse().ok()?))
}

impl FromStr for Schedule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut lines = text.lines();
        let first = lines.next().unwrap_or_default();
        let mut words = first.split(", ");
        let life = words
            .next()
            .and_then(|word| word.strip_prefix("certificates of "));
        let life = life.and_then(|life| duration::parse(life).ok());
        let on: Vec<&str> = words.collect();
        Ok(Self {
            life: life.ok_or_else(|| format!("no first line of a schedule: {first}"))?,
            switches: SWITCHES.map(|name| on.contains(&name)),
            events: lines.map(str::parse).collect::<Result<_, _>>()?,
        })
    }
}
