//! The kernel's timer on the wall clock: wakes at an exact moment, and at once when the clock is set.
//!
//! tokio's timer wheel wakes up to three times on the way to one far moment, and does not see clock
//! steps. Never decides what to do then. What stays true: without a working timer the caller still
//! gets its wake-up, from tokio's timer.

use rustix::{
    fd::OwnedFd,
    io::{Errno, read},
    time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    },
};
use tokio::io::unix::AsyncFd;

use crate::model::time::Timestamp;

/// The timer of the process.
pub(super) struct WallTimer(AsyncFd<OwnedFd>);

impl WallTimer {
    /// None where the system has no such timer for us.
    #[expect(
        deprecated,
        reason = "its successor is unsafe code, which we forbid; the descriptor is owned here and stays open"
    )]
    pub(super) fn new() -> Option<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Realtime, flags).ok()?;
        AsyncFd::new(timer).ok().map(Self)
    }

    /// Waits until the wall clock shows `at`, or until it is set; false when that did not
    /// work and nothing was waited for. Dropping it has no effect.
    pub(super) async fn wait(&self, at: Timestamp) -> bool {
        self.set(at).is_ok() && self.expires().await.is_ok()
    }

    fn set(&self, at: Timestamp) -> Result<(), Errno> {
        let millis = at.unix_millis().max(1);
        let spec = Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec {
                tv_sec: millis / 1000,
                tv_nsec: (millis % 1000) * 1_000_000,
            },
        };
        let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
        match timerfd_settime(self.0.get_ref(), flags, &spec) {
            // The clock was set since the last time: that is the news, and the timer is armed.
            Err(Errno::CANCELED) | Ok(_) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn expires(&self) -> std::io::Result<()> {
        loop {
            let mut ready = self.0.readable().await?;
            match read(self.0.get_ref(), &mut [0_u8; 8]) {
                Err(Errno::AGAIN) => ready.clear_ready(),
                // CANCELED: the clock was set.
                Ok(_) | Err(Errno::CANCELED) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::{Clock as _, SystemClock};

    #[tokio::test]
    async fn it_expires_at_the_moment_and_can_be_set_again() {
        let timer = WallTimer::new().unwrap();
        for _ in 0..3 {
            let at = SystemClock.now().plus(Duration::from_millis(30));
            assert!(timer.wait(at).await);
            let late = SystemClock.now().since(at);
            assert!(
                SystemClock.now() >= at && late < Duration::from_secs(5),
                "{late:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_moment_that_has_passed_expires_at_once() {
        let timer = WallTimer::new().unwrap();
        assert!(timer.wait(Timestamp::from_unix_millis(-5)).await);
        assert!(timer.wait(SystemClock.now()).await);
    }
}
