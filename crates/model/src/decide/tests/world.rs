//! A deterministic simulator: the agent's loop without a runtime, an issuer with outages and
//! faults, and a wall clock that can be stepped. Nothing sleeps.

use super::*;
use crate::issuance_limit::{Aftermath, MOST_REFUSED, WINDOW};

/// How often the real loop looks at the wall clock at the latest.
pub(super) const LOOK: Duration = Duration::from_secs(30);

/// What Vault does while it is up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Answer {
    /// A good certificate, `notBefore` 30 s back as Vault does it.
    Good,
    /// A leaf that had expired.
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
    /// What the newest request counts as.
    share: Share,
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
            share: Share::Other,
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
            Next::Issue(why) => self.issue(why.share()),
            Next::Publish(_) => self.publish(),
            Next::WaitUntil(wake, why) => {
                assert!(wake > self.now, "waits for the past: {why}");
                return Some(wake);
            }
        }
        None
    }

    fn issue(&mut self, share: Share) {
        let sent = self.now;
        self.facts.requests.sent(share, sent);
        self.facts.freed = false;
        self.share = share;
        self.assert_limits();
        self.now = self.now.plus(self.latency);
        let outage = self
            .outages
            .iter()
            .find(|outage| (outage.from..outage.until).contains(&self.now));
        if let Some(outage) = outage {
            let class = outage.classes[self.sent.len() % outage.classes.len()];
            let failure = failed(class, outage.retry_after);
            let after = Aftermath::from(class);
            self.sent.push((sent, after != Aftermath::Withdrawn));
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
            Answer::OneSecond
                if self.policy.min_remaining == MinRemaining::Configured(Duration::ZERO) =>
            {
                self.answer_with(
                    Validity {
                        not_after: self.now.plus(Duration::from_secs(1)),
                        ..good
                    },
                    self.now,
                )
            }
            Answer::Expired | Answer::OneSecond | Answer::Refused => {
                self.fail(failed(FailureClass::BadAnswer, None));
            }
        }
    }

    /// What the limit promises, whatever Vault answers.
    fn assert_limits(&self) {
        let life = self.facts.live.as_ref().map(LiveLeaf::counted_life);
        let (requests, now) = (&self.facts.requests, self.now);
        let per_hour = self.policy.max_issuances_per_hour.per_hour(life);
        assert!(requests.used(now) <= per_hour, "{requests:?}");
        assert!(requests.refused(now) <= MOST_REFUSED, "{requests:?}");
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
        let life = staged.validity.remaining(staged.obtained_at);
        let sent = staged.obtained_at.minus(self.latency);
        self.facts.requests.was_published(self.share, sent, life);
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
        match Aftermath::from(failure.class) {
            Aftermath::Withdrawn => self.facts.requests.withdraw(self.share),
            Aftermath::Refused => self.facts.requests.was_refused(self.share),
            Aftermath::Counted => {}
        }
        self.facts.forced = false;
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
            while time.since(made[first].0) >= WINDOW {
                first += 1;
            }
            most = most.max(index + 1 - first);
        }
        most
    }
}
