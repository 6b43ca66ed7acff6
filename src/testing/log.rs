//! Log lines of one test, among tests that run beside it.

use tracing::{Subscriber, subscriber::DefaultGuard};
use tracing_subscriber::registry;

/// Sends what this thread logs to `subscriber` until the guard is dropped.
///
/// While a process has one subscriber only, and that for one thread, tracing asks the *current* thread
/// whether a line is wanted and keeps the answer for all: a test on another thread, which wants none,
/// would silence the line here. So each thread has one that takes every line and does nothing.
#[must_use]
pub(crate) fn record(subscriber: impl Subscriber + Send + Sync + 'static) -> DefaultGuard {
    // Fails when another test was first, which serves as well.
    let _ = tracing::subscriber::set_global_default(registry());
    tracing::subscriber::set_default(subscriber)
}
