//! A thread of its own for exchanges with other servers: whatever they send, the loops continue.
//!
//! hyper reads interim responses (RFC 9110 section 15.2) without a bound, and a task that can always
//! read leaves little time to others on its thread. What stays true: an exchange that is dropped
//! ends, and one that reads without end and gets no answer is cancelled.

use std::{
    future::pending,
    io,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use reqwest::{Client, Request, Response};
use rustix::time::{ClockId, clock_gettime};
use tokio::{
    runtime::{Builder, Handle},
    task::JoinSet,
    time::sleep,
};

/// Processor time without a single answer: thousands of times what one takes.
const MAX_READING: Duration = Duration::from_secs(1);
/// How often that is looked at while an answer is waited for.
const READING_INTERVAL: Duration = Duration::from_millis(100);

/// The thread's runtime, once it was needed.
static THREAD: Mutex<Option<Handle>> = Mutex::new(None);
/// Answers that have begun.
static ANSWERS: AtomicU64 = AtomicU64::new(0);

/// No answer.
#[derive(Debug)]
pub(crate) enum Unanswered {
    /// The client's own word.
    Failed(reqwest::Error),
    /// The server sends and sends, and none of it is an answer.
    Endless,
}

/// Does this on the other thread; here, where there is no thread to be had.
pub(crate) async fn apart<T: Send + 'static>(
    exchange: impl Future<Output = T> + Send + 'static,
) -> T {
    let Ok(handle) = running() else {
        return exchange.await;
    };
    let mut one = JoinSet::new();
    one.spawn_on(exchange, &handle);
    match one.join_next().await {
        Some(Ok(done)) => done,
        // it is neither aborted nor does a panic leave the process alive
        _ => pending().await,
    }
}

fn running() -> io::Result<Handle> {
    let mut thread = THREAD.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = &*thread {
        return Ok(handle.clone());
    }
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    let serve = move || runtime.block_on(pending::<()>());
    thread::Builder::new()
        .name("http".to_owned())
        .spawn(serve)?;
    Ok(thread.insert(handle).clone())
}

/// The head of the answer. To be called [`apart`].
pub(crate) async fn answer(client: Client, request: Request) -> Result<Response, Unanswered> {
    tokio::select! {
        answer = client.execute(request) => {
            ANSWERS.fetch_add(1, Ordering::Relaxed);
            answer.map_err(Unanswered::Failed)
        }
        () = reading_without_end() => Err(Unanswered::Endless),
    }
}

/// Returns when this thread has worked for long and no exchange has had an answer.
async fn reading_without_end() {
    let mut seen = (worked(), ANSWERS.load(Ordering::Relaxed));
    loop {
        sleep(READING_INTERVAL).await;
        let (worked, answers) = (worked(), ANSWERS.load(Ordering::Relaxed));
        if answers != seen.1 {
            seen = (worked, answers);
        } else if worked.saturating_sub(seen.0) >= MAX_READING {
            return;
        }
    }
}

/// Processor time of this thread.
fn worked() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}
