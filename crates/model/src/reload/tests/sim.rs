//! An agent and an application in simulated time: the agent loses its memory wherever the test wants.

use std::collections::BTreeMap;

use super::*;

/// An application that serves "01" until it takes up "02".
pub(super) struct App {
    pub(super) serves: String,
    pub(super) reloaded: usize,
    pub(super) by_step: BTreeMap<(u32, usize), u32>,
    ignores: usize,
    /// Behaves as it likes; an xorshift state.
    wild: Option<u64>,
    down: bool,
}

impl App {
    pub(super) fn ignoring(ignores: usize) -> Self {
        Self {
            serves: "01".to_owned(),
            reloaded: 0,
            by_step: BTreeMap::new(),
            ignores,
            wild: None,
            down: false,
        }
    }

    pub(super) fn wild(seed: u64) -> Self {
        Self {
            wild: Some(seed | 1),
            ..Self::ignoring(0)
        }
    }

    fn roll(&mut self, sides: u64) -> Option<u64> {
        let state = self.wild.as_mut()?;
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        Some(*state % sides)
    }

    fn reload(
        &mut self,
        round: u32,
        step: usize,
        generation: &str,
    ) -> Result<Delivery, ReloadFailure> {
        match self.roll(5) {
            Some(0) => return Err(failure(false, false)),
            Some(1) => return Err(failure(false, true)),
            Some(2) => return Ok(Delivery::NotRunning),
            _ => {}
        }
        self.reloaded += 1;
        *self.by_step.entry((round, step)).or_default() += 1;
        if self.reloaded > self.ignores {
            generation.clone_into(&mut self.serves);
        }
        Ok(Delivery::Delivered)
    }

    /// Between two acts anything may happen to a wild one.
    fn live(&mut self) {
        match self.roll(12) {
            Some(0) => self.down = !self.down,
            Some(1) => self.serves = "01".to_owned(),
            Some(2) => self.serves = "07".to_owned(),
            _ => {}
        }
    }

    fn probe(&self, at: Timestamp) -> Probed {
        if self.down {
            return finding(Finding::Down, at);
        }
        serves(&self.serves, at)
    }
}

pub(super) struct Sim {
    pub(super) policy: ReloadPolicy,
    pub(super) app: App,
    pub(super) record: ReloadRecord,
    /// The acts at which the agent is killed, counted over the whole run.
    pub(super) crashes: Vec<usize>,
    /// How often it said "verified" while the application served something else.
    pub(super) lies: usize,
    saved: ReloadRecord,
    probed: Option<Probed>,
    now: Timestamp,
    act: usize,
}

impl Sim {
    pub(super) fn new(policy: ReloadPolicy, app: App) -> Self {
        let record = published(EventKind::Leaf);
        Self {
            policy,
            app,
            saved: record.clone(),
            record,
            crashes: Vec::new(),
            lies: 0,
            probed: None,
            now: START,
            act: 0,
        }
    }

    pub(super) fn verified(&self) -> bool {
        self.record.is_verified()
    }

    pub(super) fn alarmed(&self) -> bool {
        matches!(self.record.phase, Phase::Exhausted { .. })
    }

    pub(super) fn elapsed(&self) -> Duration {
        START.until(self.now)
    }

    /// True when the agent is killed here: it continues from what it has saved.
    fn killed(&mut self) -> bool {
        self.act += 1;
        if !self.crashes.contains(&self.act) {
            return false;
        }
        self.record = self.saved.clone();
        self.probed = None;
        self.now = self.now.plus(Duration::from_secs(1));
        true
    }

    fn save(&mut self) {
        self.saved = self.record.clone();
    }

    /// Until it is verified or in alarm; or so many acts whatever comes.
    pub(super) fn run(&mut self, acts: Option<usize>) {
        for _ in 0..acts.unwrap_or(10_000) {
            if acts.is_none() && (self.verified() || self.alarmed()) {
                return;
            }
            self.app.live();
            self.once();
            if self.killed() {
                continue;
            }
        }
        assert!(acts.is_some(), "it never ends");
    }

    fn once(&mut self) {
        match next(&self.record, &self.policy, self.probed.as_ref(), self.now) {
            ReloadNext::Act(step) => self.perform(step),
            ReloadNext::Probe => {
                let probed = self.app.probe(self.now);
                let verdict = self.record.saw(&probed, &self.policy, self.now);
                if verdict == ProbeVerdict::Verified && self.app.serves != self.record.about.serial
                {
                    self.lies += 1;
                }
                if verdict != ProbeVerdict::Unchanged {
                    self.save();
                }
                self.probed = Some(probed);
            }
            ReloadNext::WaitUntil(at, _) => {
                assert!(at.is_none_or(|at| at > self.now), "it waits for the past");
                // No loop sleeps longer than half an hour.
                let longest = self.now.plus(30 * MINUTE);
                self.now = at.map_or(longest, |at| at.min(longest));
            }
            ReloadNext::Done => panic!("a probe is configured"),
            ReloadNext::Alert(_) => {
                self.record.alerted(self.now);
                self.save();
            }
            ReloadNext::Rollback => {
                let back = self.record.roll_back("", "", MINUTE, self.now);
                self.record = back.unwrap().0;
                self.save();
            }
        }
    }

    fn perform(&mut self, step: usize) {
        self.record.begin(step, self.now);
        if self.killed() {
            return;
        }
        self.save();
        if self.killed() {
            return;
        }
        let action = &self.policy.actions(self.record.about.event)[step];
        let result = if action.touches() {
            let (round, serial) = (self.record.round, self.record.about.serial.clone());
            self.app.reload(round, step, &serial)
        } else {
            Ok(Delivery::Delivered)
        };
        if self.killed() {
            return;
        }
        self.record.answered(result, &self.policy, self.now);
        if self.killed() {
            return;
        }
        self.save();
    }
}
