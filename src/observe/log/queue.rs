//! The way of log lines to stderr: they wait in memory, and a thread of its own writes them.
//!
//! Never makes who logs wait, whatever reads stderr, and never holds more than [`MAX_QUEUE_BYTES`] bytes twice.
//! What stays true: a line goes out whole or is counted as dropped. (`tracing-appender` counts lines
//! and not bytes, panics when there is no thread, and prints to stdout when it is full at the end.)

use std::{
    io, mem,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

/// Bytes of lines that wait: over a thousand lines, and what a pipe holds four times.
const MAX_QUEUE_BYTES: usize = 256 * 1024;

/// The thread copies, and formats one short line.
const THREAD_STACK_BYTES: usize = 256 * 1024;

/// Lines on their way to one place.
pub(super) struct Queue {
    state: Mutex<QueueState>,
    changed: Condvar,
    dropped: AtomicU64,
    write: fn(&[u8]) -> Result<(), Unwritten>,
    tell: fn(u64),
}

struct QueueState {
    waiting: Vec<u8>,
    /// Lines are out of `waiting` and not all written yet.
    writing: bool,
    /// There is a thread.
    running: bool,
}

/// How many of the bytes were written before it failed.
#[derive(Debug)]
pub(super) struct Unwritten(pub(super) usize);

impl Queue {
    /// `write` may take as long as it likes. `tell` gets the number of lines that were dropped since
    /// it was last called, as soon as lines are written again; it may push.
    pub(super) const fn new(write: fn(&[u8]) -> Result<(), Unwritten>, tell: fn(u64)) -> Self {
        Self {
            state: Mutex::new(QueueState {
                waiting: Vec::new(),
                writing: false,
                running: false,
            }),
            changed: Condvar::new(),
            dropped: AtomicU64::new(0),
            write,
            tell,
        }
    }

    /// Lines, each with its end. They are dropped when there is no room; returns at once.
    pub(super) fn push(&'static self, lines: &[u8]) {
        let mut state = self.lock();
        if state.waiting.len().saturating_add(lines.len()) > MAX_QUEUE_BYTES {
            self.drop_lines(lines);
        } else {
            state.waiting.extend_from_slice(lines);
        }
        if !state.running {
            // none to be had now: the next line tries again
            let thread = thread::Builder::new().name("log".to_owned());
            let started = thread.stack_size(THREAD_STACK_BYTES).spawn(|| self.work());
            state.running = started.is_ok();
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Waits until everything is written, or that long.
    pub(super) fn flush(&self, limit: Duration) {
        let busy =
            |state: &mut QueueState| state.running && (state.writing || !state.waiting.is_empty());
        let waited = self.changed.wait_timeout_while(self.lock(), limit, busy);
        drop(waited);
    }

    /// Lines that were dropped, since the start.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn work(&self) {
        let mut told = 0;
        loop {
            let idle = |state: &mut QueueState| state.waiting.is_empty();
            let state = self.changed.wait_while(self.lock(), idle);
            let mut state = state.unwrap_or_else(PoisonError::into_inner);
            let lines = mem::take(&mut state.waiting);
            state.writing = true;
            drop(state);
            match (self.write)(&lines) {
                Ok(()) => {
                    let new = self.dropped().saturating_sub(told);
                    told = told.saturating_add(new);
                    if new > 0 {
                        (self.tell)(new);
                    }
                }
                Err(Unwritten(written)) => {
                    self.drop_lines(lines.get(written..).unwrap_or_default());
                }
            }
            self.lock().writing = false;
            self.changed.notify_all();
        }
    }

    fn drop_lines(&self, lines: &[u8]) {
        let ends = lines.iter().filter(|byte| **byte == b'\n').count();
        let ends = u64::try_from(ends).unwrap_or(u64::MAX);
        self.dropped.fetch_add(ends, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes to stderr past the standard library's lock, which a stuck writer would keep from others.
pub(super) fn stderr(bytes: &[u8]) -> Result<(), Unwritten> {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match rustix::io::write(rustix::stdio::stderr(), rest) {
            Ok(0) => return Err(Unwritten(written)),
            Ok(some) => written = written.saturating_add(some),
            Err(error) if error == rustix::io::Errno::INTR => {}
            // whoever started us made it non-blocking
            Err(error) if io::Error::from(error).kind() == io::ErrorKind::WouldBlock => {
                wait_for_room().map_err(|_| Unwritten(written))?;
            }
            Err(_) => return Err(Unwritten(written)),
        }
    }
    Ok(())
}

fn wait_for_room() -> rustix::io::Result<()> {
    use rustix::event::{PollFd, PollFlags, poll};
    let stderr = rustix::stdio::stderr();
    poll(&mut [PollFd::new(&stderr, PollFlags::OUT)], None).map(drop)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(10);

    fn queue(write: fn(&[u8]) -> Result<(), Unwritten>) -> &'static Queue {
        Box::leak(Box::new(Queue::new(write, |_| {})))
    }

    /// The text that the writer got, and a gate that it waits at.
    struct Gate {
        open: Sender<()>,
        got: Receiver<Vec<u8>>,
    }

    type Ends = (Receiver<()>, Sender<Vec<u8>>);

    static GATE: Mutex<Option<Ends>> = Mutex::new(None);

    fn gate() -> Gate {
        let (open, opened) = channel();
        let (to, got) = channel();
        *GATE.lock().unwrap() = Some((opened, to));
        Gate { open, got }
    }

    fn gated(bytes: &[u8]) -> Result<(), Unwritten> {
        let gate = GATE.lock().unwrap();
        let (opened, to) = gate.as_ref().unwrap();
        opened.recv().unwrap();
        to.send(bytes.to_vec()).unwrap();
        Ok(())
    }

    #[test]
    fn a_writer_that_hangs_blocks_nobody_and_what_does_not_fit_is_counted() {
        let gate = gate();
        let queue = queue(gated);
        queue.push(b"first\n");
        // the thread has it and hangs
        let began = tokio::time::Instant::now();
        while !queue.lock().writing {
            assert!(began.elapsed() < TIMEOUT);
            thread::yield_now();
        }
        let line = [[b'x'; 1023].as_slice(), b"\n"].concat();
        for _ in 0..300 {
            queue.push(&line);
        }
        assert_eq!(queue.dropped(), 300 - 256);
        queue.push(&vec![b'y'; MAX_QUEUE_BYTES + 1]);
        assert_eq!(queue.lock().waiting.len(), MAX_QUEUE_BYTES);
        queue.flush(Duration::from_millis(50));
        gate.open.send(()).unwrap();
        gate.open.send(()).unwrap();
        assert_eq!(gate.got.recv_timeout(TIMEOUT).unwrap(), b"first\n");
        assert_eq!(gate.got.recv_timeout(TIMEOUT).unwrap(), line.repeat(256));
        queue.push(b"last\n");
        gate.open.send(()).unwrap();
        queue.flush(TIMEOUT);
        assert_eq!(gate.got.try_recv().unwrap(), b"last\n");
        assert_eq!(queue.dropped(), 44);
    }

    #[test]
    fn lines_that_could_not_be_written_are_counted_and_the_next_are_tried() {
        static TOLD: AtomicU64 = AtomicU64::new(0);
        let tell = |lines| {
            TOLD.fetch_add(lines, Ordering::Relaxed);
        };
        let write = |bytes: &[u8]| match bytes {
            b"one\n" => Ok(()),
            _ => Err(Unwritten(2)),
        };
        let queue: &'static Queue = Box::leak(Box::new(Queue::new(write, tell)));
        queue.push(b"a\nb\nc\n");
        queue.flush(TIMEOUT);
        assert_eq!(TOLD.load(Ordering::Relaxed), 0, "nobody reads it yet");
        for _ in 0..2 {
            queue.push(b"one\n");
            queue.flush(TIMEOUT);
        }
        assert_eq!(queue.dropped(), 2);
        assert_eq!(TOLD.load(Ordering::Relaxed), 2, "told once");
    }
}
