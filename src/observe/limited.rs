//! A listener that neither many nor slow nor silent peers can fill.
//!
//! Never reads by itself. What stays true: a peer that says nothing loses its place to one that
//! comes later, and keeps it for some seconds at most.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum::serve::Listener;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Sleep, sleep},
};
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};

/// Connections of one server at once; one more waits for a place.
const MAX_CONNECTIONS: usize = 32;

/// How long a peer may say nothing after it connected.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(2);

/// A listener with a limited number of connections, each perhaps with a limited life.
pub(crate) struct Limited<L> {
    inner: L,
    permits: Arc<Semaphore>,
    life: Option<Duration>,
    silent: Silent,
}

/// Ends the connections that have said nothing yet, the oldest first.
#[derive(Clone, Default)]
struct Silent(Arc<Mutex<VecDeque<CancellationToken>>>);

impl Silent {
    fn add(&self) -> CancellationToken {
        let token = CancellationToken::new();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|one| !one.is_cancelled());
        all.push_back(token.clone());
        token
    }

    fn end_oldest(&self) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|one| !one.is_cancelled());
        all.pop_front().iter().for_each(CancellationToken::cancel);
    }
}

impl<L> Limited<L> {
    pub(crate) fn new(inner: L, life: Option<Duration>) -> Self {
        Self {
            inner,
            permits: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            life,
            silent: Silent::default(),
        }
    }
}

impl<L: Listener> Listener for Limited<L> {
    type Io = Connection<L::Io>;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, address) = self.inner.accept().await;
        if self.permits.available_permits() == 0 {
            self.silent.end_oldest();
        }
        // Never closed, so there always is one in the end.
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok();
        let token = self.silent.add();
        let connection = Connection {
            stream,
            _permit: permit,
            ends: self.life.map(|life| Box::pin(sleep(life))),
            silent: Some(FirstByte::of(token)),
        };
        (connection, address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.inner.local_addr()
    }
}

/// One connection; reading fails once its time is over.
pub(crate) struct Connection<S> {
    stream: S,
    _permit: Option<OwnedSemaphorePermit>,
    ends: Option<Pin<Box<Sleep>>>,
    /// Until it has said something.
    silent: Option<FirstByte>,
}

/// What ends a peer that says nothing.
struct FirstByte {
    pushed_out: Pin<Box<WaitForCancellationFutureOwned>>,
    ends: Pin<Box<Sleep>>,
    /// Takes it out of the list of the silent ones.
    _spoken: DropGuard,
}

impl FirstByte {
    fn of(token: CancellationToken) -> Self {
        Self {
            pushed_out: Box::pin(token.clone().cancelled_owned()),
            ends: Box::pin(sleep(FIRST_BYTE_TIMEOUT)),
            _spoken: token.drop_guard(),
        }
    }

    fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        self.pushed_out.as_mut().poll(context).is_ready()
            || self.ends.as_mut().poll(context).is_ready()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(ends) = &mut self.ends
            && ends.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Err(ErrorKind::TimedOut.into()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.silent = None;
        }
        if read.is_pending()
            && let Some(silent) = &mut self.silent
            && silent.is_over(context)
        {
            return Poll::Ready(Err(ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        time::Instant,
    };

    use super::*;

    fn connection<S>(stream: S, silent: &Silent, life: u64) -> Connection<S> {
        Connection {
            stream,
            _permit: None,
            ends: Some(Box::pin(sleep(Duration::from_secs(life)))),
            silent: Some(FirstByte::of(silent.add())),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_ends_after_two_silent_seconds_or_at_the_end_of_its_life() {
        let (here, _there) = tokio::io::duplex(8);
        let mut one = connection(here, &Silent::default(), 10);
        let began = Instant::now();
        let error = one.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert_eq!(began.elapsed().as_secs(), 2);

        let (here, mut there) = tokio::io::duplex(8);
        let mut one = connection(here, &Silent::default(), 10);
        there.write_u8(7).await.unwrap();
        let began = Instant::now();
        assert_eq!(one.read_u8().await.unwrap(), 7);
        let error = one.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert_eq!(began.elapsed().as_secs(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_silent_one_is_pushed_out_and_none_that_spoke() {
        let silent = Silent::default();
        let pairs: Vec<_> = (0..3).map(|_| tokio::io::duplex(8)).collect();
        let (here, mut there): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        let mut all: Vec<_> = here
            .into_iter()
            .map(|one| connection(one, &silent, 10))
            .collect();
        there[0].write_u8(7).await.unwrap();
        assert_eq!(all[0].read_u8().await.unwrap(), 7);
        silent.end_oldest();
        let began = Instant::now();
        assert!(all[1].read_u8().await.is_err());
        assert!(began.elapsed().is_zero(), "pushed out at once");
        assert!(all[2].read_u8().await.is_err());
        assert_eq!(began.elapsed().as_secs(), 2, "in its own time");
    }
}
