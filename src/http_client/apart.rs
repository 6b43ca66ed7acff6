//! A thread for exchanges with one server: whatever it sends, the loops continue.
//!
//! hyper reads interim responses (RFC 9110 section 15.2) without a bound, and a task that can always
//! read leaves little time to others on its thread. What stays true: the thread exists while its
//! server is talked to, and an exchange that reads without end and gets no answer is cancelled.

use std::{
    future::pending,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI32, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use reqwest::{Client, Request, Response};
use rustix::thread::gettid;
use tokio::{
    runtime::{Builder, Handle},
    task::JoinSet,
    time::sleep,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::disk;

/// Processor time without a single answer: thousands of times what one takes.
const MAX_READING: Duration = Duration::from_secs(1);
/// How often that is checked while an answer is waited for.
const READING_INTERVAL: Duration = Duration::from_millis(100);
/// Bytes; three numbers.
const MAX_SCHEDSTAT_BYTES: u64 = 256;

/// The thread; it ends with this.
pub(crate) struct Apart {
    handle: Handle,
    id: Arc<AtomicI32>,
    /// Answers that have begun.
    answers: Arc<AtomicU64>,
    _end: DropGuard,
}

impl Apart {
    /// None where there is no thread to be had.
    pub(crate) fn start() -> Option<Self> {
        let runtime = Builder::new_current_thread().enable_all().build().ok()?;
        let (end, id) = (CancellationToken::new(), Arc::new(AtomicI32::new(0)));
        let apart = Self {
            handle: runtime.handle().clone(),
            id: Arc::clone(&id),
            answers: Arc::default(),
            _end: end.clone().drop_guard(),
        };
        let serve = move || {
            id.store(gettid().as_raw_pid(), Ordering::Relaxed);
            runtime.block_on(end.cancelled());
            runtime.shutdown_background();
        };
        let thread = thread::Builder::new().name("http".to_owned());
        thread.spawn(serve).ok()?;
        Some(apart)
    }

    /// Sends the request there and does the rest there too, such as reading the body. None when the
    /// server sent and sent, and none of it was an answer.
    pub(crate) async fn run<T, F>(
        &self,
        client: Client,
        request: Request,
        rest: impl FnOnce(reqwest::Result<Response>) -> F + Send + 'static,
    ) -> Option<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send,
    {
        let answers = Arc::clone(&self.answers);
        let mut one = JoinSet::new();
        let exchange = async move {
            let answer = client.execute(request).await;
            answers.fetch_add(1, Ordering::Relaxed);
            rest(answer).await
        };
        one.spawn_on(exchange, &self.handle);
        tokio::select! {
            done = one.join_next() => match done {
                Some(Ok(done)) => Some(done),
                // it is neither aborted nor does a panic leave the process alive
                _ => pending().await,
            },
            () = self.reading_without_end() => None,
        }
    }

    /// Returns when the thread has worked for long and no exchange has had an answer.
    async fn reading_without_end(&self) {
        let mut last: Option<(Duration, u64)> = None;
        loop {
            sleep(READING_INTERVAL).await;
            let answers = self.answers.load(Ordering::Relaxed);
            let same = last.filter(|last| last.1 == answers);
            match (same, self.worked()) {
                (Some((before, _)), Some(now)) if now.saturating_sub(before) >= MAX_READING => {
                    return;
                }
                (Some(_), Some(_)) => {}
                (_, worked) => last = worked.map(|worked| (worked, answers)),
            }
        }
    }

    /// Processor time of the thread; none where the kernel does not count it (proc(5), schedstat).
    fn worked(&self) -> Option<Duration> {
        let id = self.id.load(Ordering::Relaxed);
        let path = format!("/proc/self/task/{id}/schedstat");
        let found = disk::read(Path::new(&path), MAX_SCHEDSTAT_BYTES).ok()?;
        let nanos = found.text()?.split(' ').next()?.parse().ok()?;
        Some(Duration::from_nanos(nanos))
    }
}

/// As [`Apart::run`], on `apart` or, where there is none, here.
pub(crate) async fn run<T, F>(
    apart: Option<&Apart>,
    client: Client,
    request: Request,
    rest: impl FnOnce(reqwest::Result<Response>) -> F + Send + 'static,
) -> Option<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send,
{
    match apart {
        Some(apart) => apart.run(client, request, rest).await,
        None => Some(rest(client.execute(request).await).await),
    }
}
