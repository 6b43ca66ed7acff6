//! A lock in memory as Nomad's variables have it: one holder, lapses when it is not renewed.
//!
//! Never waits. What stays true: whoever took it, renewed it or gave it back is in its log.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::{
    clock::Clock,
    model::time::Timestamp,
    reload::nomad::{Lock, Taken},
    testing::clock::TestClock,
};

/// One holder's time with it; without an end while it holds it.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) holder: String,
    pub(crate) from: Timestamp,
    pub(crate) until: Option<Timestamp>,
    pub(crate) renewals: u32,
    lapses: Timestamp,
    ttl: Duration,
}

/// The lock of several allocations.
pub(crate) struct FakeLock {
    clock: Arc<TestClock>,
    spans: Mutex<Vec<Span>>,
}

impl FakeLock {
    pub(crate) fn new(clock: Arc<TestClock>) -> Self {
        Self {
            clock,
            spans: Mutex::default(),
        }
    }

    /// Who had it, in turn.
    pub(crate) fn spans(&self) -> Vec<Span> {
        self.spans.lock().unwrap().clone()
    }

    pub(crate) fn take(&self, holder: &str, path: &str, ttl: Duration) -> Taken {
        let (mut spans, now) = (self.spans.lock().unwrap(), self.clock.now());
        if let Some(last) = spans.last_mut().filter(|last| last.until.is_none()) {
            if now < last.lapses {
                return Taken::Held;
            }
            last.until = Some(last.lapses);
        }
        let id = spans.len().to_string();
        spans.push(Span {
            holder: holder.to_owned(),
            from: now,
            until: None,
            renewals: 0,
            lapses: now.plus(ttl),
            ttl,
        });
        Taken::Mine(Lock::held(path, &id, ttl))
    }

    /// False when it has lapsed.
    pub(crate) fn renew(&self, lock: &Lock) -> bool {
        let now = self.clock.now();
        self.mine(lock, |span| {
            span.renewals += 1;
            span.lapses = now.plus(span.ttl);
        })
    }

    pub(crate) fn release(&self, lock: &Lock) {
        let now = self.clock.now();
        self.mine(lock, |span| span.until = Some(now));
    }

    /// As if it had not been renewed in time.
    pub(crate) fn lapse(&self) {
        let now = self.clock.now();
        self.spans.lock().unwrap().last_mut().unwrap().lapses = now;
    }

    fn mine(&self, lock: &Lock, change: impl FnOnce(&mut Span)) -> bool {
        let (mut spans, now) = (self.spans.lock().unwrap(), self.clock.now());
        let index: usize = lock.id().parse().unwrap();
        let newest = index + 1 == spans.len();
        let span = &mut spans[index];
        let held = newest && span.until.is_none() && now < span.lapses;
        if held {
            change(span);
        }
        held
    }
}
