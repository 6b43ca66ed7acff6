//! A deterministic simulator: the agent's loop without a runtime, an issuer with outages and
//! faults, and a wall clock that can be stepped. Nothing sleeps.

use super::*;

/// How often the real loop looks at the wall clock at the latest.
pub(super) const LOOK: Duration = Duration::from_secs(30);

/// What the issuer does while it is up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Answer {
    /// A good certificate, `notBefore` 30 s back as Vault does it.
    Good,
    /// A leaf that had ended.
    Expired,
    /// One second instead of the ttl.
    OneSecond,
    /// `notBefore` this far ahead.
    Ahead(Duration),
    /// Refused by verification: the same serial again, or a key that doesn't fit.
    Refused,
}

/// One span in which the issuer fails, with the classes it fails with in turn.
#[derive(Clone, Debug)]
pub(super) struct Outage {
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
    pub(super) classes: Vec<FailureClass>,
    pub(super) retry_after: Option<Duration>,
}

#[derive(Debug)]
pub(super) struct World {
    /// Wall time.
    pub(super) now: Timestamp,
    pub(super) policy: RenewPolicy,
    pub(super) ttl: Duration,
    pub(super) latency: Duration,
    pub(super) facts: Facts,
    pub(super) answer: Answer,
    pub(super) outages: Vec<Outage>,
    /// When requests were sent, and whether a certificate came back.
    pub(super) sent: Vec<(Timestamp, bool)>,
    /// When sets went live.
    pub(super) published: Vec<Timestamp>,
}

impl World {
    pub(super) fn new(ttl: Duration, now: Timestamp) -> Self {
        Self {
            now,
            policy: policy(ttl.as_secs()),
            ttl,
            latency: Duration::from_millis(50),
            facts: Facts {
                fingerprint: "f".to_owned(),
                ..Facts::default()
            },
            answer: Answer::Good,
            outages: Vec::new(),
            sent: Vec::new(),
            published: Vec::new(),
        }
    }

    /// With a good set that came just now.
    pub(super) fn with_live(ttl: Duration, now: Timestamp) -> Self {
        let mut world = Self::new(ttl, now);
        world.answer_with(world.good(), now);
        world.publish();
        world.sent.clear();
        world.published.clear();
        world
    }

    pub(super) fn due(&self) -> Timestamp {
        let live = self.facts.live.as_ref().unwrap();
        schedule::due(live.validity, live.obtained_at, &self.policy).at
    }

    /// Does what `decide` says until `end` or until `steps` decisions have been taken.
    pub(super) fn run(&mut self, end: Timestamp, steps: usize) {
        for _ in 0..steps {
            match self.act() {
                Some(wake) if wake > end => {
                    self.now = end;
                    return;
                }
                Some(wake) => self.now = wake,
                None => {}
            }
        }
    }

    /// One decision; returns the time it wants to wait until, always after now.
    pub(super) fn act(&mut self) -> Option<Timestamp> {
        match decide(&self.facts, &self.policy, self.now) {
            Next::Issue(_) => self.issue(),
            Next::Publish(_) => self.publish(),
            Next::WaitUntil(wake, why) => {
                assert!(wake > self.now, "waits for the past: {why}");
                return Some(wake);
            }
        }
        None
    }

    fn issue(&mut self) {
        let sent = self.now;
        self.facts.issuances.push(sent);
        budget::prune(&mut self.facts.issuances, sent);
        self.now = self.now.plus(self.latency);
        let outage = self
            .outages
            .iter()
            .find(|outage| (outage.from..outage.until).contains(&self.now));
        if let Some(outage) = outage {
            let class = outage.classes[self.sent.len() % outage.classes.len()];
            let failure = failed(class, outage.retry_after);
            self.sent.push((sent, budget::keeps(class)));
            if !budget::keeps(class) {
                self.facts.issuances.pop();
            }
            self.fail(failure);
            return;
        }
        self.sent.push((sent, true));
        let good = self.good();
        match self.answer {
            Answer::Good => self.answer_with(good, self.now),
            Answer::Ahead(ahead) => self.answer_with(
                Validity {
                    not_before: self.now.plus(ahead),
                    not_after: self.now.plus(ahead).plus(self.ttl),
                },
                self.now,
            ),
            Answer::OneSecond if self.policy.min_remaining.is_zero() => self.answer_with(
                Validity {
                    not_after: self.now.plus(Duration::from_secs(1)),
                    ..good
                },
                self.now,
            ),
            Answer::Expired | Answer::OneSecond | Answer::Refused => {
                self.fail(failed(FailureClass::BadAnswer, None));
            }
        }
    }

    fn good(&self) -> Validity {
        Validity {
            not_before: self.now.minus(Duration::from_secs(30)),
            not_after: self.now.plus(self.ttl),
        }
    }

    fn answer_with(&mut self, validity: Validity, came: Timestamp) {
        self.facts.failure = None;
        self.facts.staged = Some(Staged {
            validity,
            obtained_at: came,
            fingerprint: "f".to_owned(),
            serial: format!("{:x}", self.sent.len() + self.published.len() + 1),
        });
    }

    fn publish(&mut self) {
        let staged = self.facts.staged.take().unwrap();
        self.published.push(self.now);
        self.facts.failure = None;
        self.facts.forced = false;
        self.facts.live = Some(LiveLeaf {
            validity: staged.validity,
            obtained_at: Some(staged.obtained_at),
            fingerprint: staged.fingerprint,
            serial: staged.serial,
        });
    }

    fn fail(&mut self, failure: Failure) {
        self.facts.failure = Some(FailureRun::after(
            self.facts.failure.as_ref(),
            failure,
            self.now,
        ));
    }

    /// The largest number of requests that may have made a certificate in any one hour.
    pub(super) fn most_in_an_hour(&self) -> usize {
        let made: Vec<_> = self.sent.iter().filter(|sent| sent.1).collect();
        let mut first = 0;
        let mut most = 0;
        for (index, (time, _)) in made.iter().enumerate() {
            while time.since(made[first].0) >= budget::WINDOW {
                first += 1;
            }
            most = most.max(index + 1 - first);
        }
        most
    }
}
