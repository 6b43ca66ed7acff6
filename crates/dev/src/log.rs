//! The requests that were answered: what a demonstration shows.
//!
//! Never holds a secret: method, path and status are all.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::Notify;

/// Lines that are kept: `certagent dev --pki-only` may run for days.
const MAX_LINES: usize = 10_000;

#[derive(Debug, Default)]
struct LogInner {
    requests: AtomicU64,
    lines: Mutex<Vec<String>>,
    more: Notify,
}

/// Method, path and status of every request, oldest first: `POST pki/issue/internal 200`. Clones
/// share one log.
#[derive(Clone, Debug, Default)]
pub struct RequestLog(Arc<LogInner>);

impl RequestLog {
    fn lines(&self) -> MutexGuard<'_, Vec<String>> {
        let lines = self.0.lines.lock();
        lines.unwrap_or_else(PoisonError::into_inner)
    }

    /// The lines after the first `seen` requests; moves `seen` to the end.
    #[must_use]
    pub fn since(&self, seen: &mut u64) -> Vec<String> {
        let lines = self.lines();
        let all = self.0.requests.load(Ordering::Relaxed);
        let new = usize::try_from(all.saturating_sub(*seen)).unwrap_or(usize::MAX);
        *seen = all;
        lines[lines.len().saturating_sub(new)..].to_vec()
    }

    /// Waits until there are more than `seen` requests.
    pub async fn more_than(&self, seen: u64) {
        loop {
            let noted = self.0.more.notified();
            if self.0.requests.load(Ordering::Relaxed) > seen {
                return;
            }
            noted.await;
        }
    }

    pub(crate) fn note(&self, line: String) {
        let mut lines = self.lines();
        if lines.len() >= MAX_LINES {
            lines.drain(..MAX_LINES / 2);
        }
        lines.push(line);
        self.0.requests.fetch_add(1, Ordering::Relaxed);
        self.0.more.notify_waiters();
    }
}
