//! Faults on demand, for tests and demonstrations: late, busy, sealed, gone.
//!
//! Never reachable over the network: only whoever started the server holds the handle.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};

/// What goes wrong at the moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fault {
    /// Every answer waits this long first.
    pub latency: Duration,
    /// 429 for everything, with this many seconds in `Retry-After`.
    pub throttled: Option<u64>,
    /// 503 `Vault is sealed` for everything but the seal's own paths.
    pub sealed: bool,
    /// This status and body for everything: a proxy's error page, for example.
    pub instead: Option<(u16, String)>,
    /// Connections break before a request is read.
    pub refuse: bool,
    /// Requests are carried out, the connection breaks before the answer is written.
    pub lose_answers: bool,
}

#[derive(Debug, Default)]
struct Inner {
    fault: Mutex<Fault>,
    requests: AtomicU64,
    log: Mutex<Vec<String>>,
    more: tokio::sync::Notify,
}

/// A handle on the faults of one server; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Inner>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Faults {
    /// Replaces the current faults, from the next request on.
    pub fn set(&self, fault: Fault) {
        *lock(&self.0.fault) = fault;
    }

    /// Ends all faults.
    pub fn clear(&self) {
        self.set(Fault::default());
    }

    /// The current faults.
    #[must_use]
    pub fn current(&self) -> Fault {
        lock(&self.0.fault).clone()
    }

    /// How many requests have been read so far.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.0.requests.load(Ordering::Relaxed)
    }

    /// Method, path and status of every request answered so far, oldest first: `PUT pki/issue/x 200`.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        lock(&self.0.log).clone()
    }

    /// How many requests so far have a log line that contains `part`.
    #[must_use]
    pub fn count(&self, part: &str) -> usize {
        let log = lock(&self.0.log);
        log.iter().filter(|line| line.contains(part)).count()
    }

    /// The log lines after the first `told` requests; moves `told` to the end.
    #[must_use]
    pub fn log_since(&self, told: &mut u64) -> Vec<String> {
        let log = lock(&self.0.log);
        let all = self.requests();
        let new = usize::try_from(all.saturating_sub(*told)).unwrap_or(usize::MAX);
        *told = all;
        log[log.len().saturating_sub(new)..].to_vec()
    }

    /// Waits until there are more than `told` requests.
    pub async fn more_than(&self, told: u64) {
        loop {
            let noted = self.0.more.notified();
            if self.requests() > told {
                return;
            }
            noted.await;
        }
    }

    pub(super) fn note(&self, line: String) {
        let mut log = lock(&self.0.log);
        // A long-running `certagent dev --pki-only` must not grow without end.
        if log.len() >= 10_000 {
            log.drain(..5_000);
        }
        log.push(line);
        self.0.requests.fetch_add(1, Ordering::Relaxed);
        self.0.more.notify_waiters();
    }
}

/// A listener whose connections break when the faults say so.
pub(super) struct Listener {
    pub(super) inner: TcpListener,
    pub(super) faults: Faults,
}

impl axum::serve::Listener for Listener {
    type Io = Stream;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (inner, addr) = axum::serve::Listener::accept(&mut self.inner).await;
        let faults = self.faults.clone();
        (Stream { inner, faults }, addr)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.inner.local_addr()
    }
}

/// One connection.
pub(super) struct Stream {
    inner: TcpStream,
    faults: Faults,
}

fn broken<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_read(context, buffer);
        match polled.is_ready() && lock(&self.faults.0.fault).refuse {
            true => broken(),
            false => polled,
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if lock(&self.faults.0.fault).lose_answers {
            return broken();
        }
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
