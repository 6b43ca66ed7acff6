//! The signals that `certagent exec` gets, and which of them the child gets from us.
//!
//! Never handles what the kernel reserves (KILL, STOP) or what tells of our own faults. What stays
//! true: a key on the terminal reaches the child once, because the kernel sends it to the whole
//! process group already.

use std::{
    future::poll_fn,
    io::{self, IsTerminal as _},
    task::Poll,
};

use rustix::{
    process::{Signal, getpgrp},
    termios::tcgetpgrp,
};
use tokio::signal::unix::{self, SignalKind};

/// The signals that are taken, and where each can come from.
const TAKEN: [(Signal, Origin, &str); 11] = [
    (Signal::TERM, Origin::Process, "SIGTERM"),
    (Signal::INT, Origin::Terminal, "SIGINT"),
    (Signal::QUIT, Origin::Terminal, "SIGQUIT"),
    (Signal::HUP, Origin::Process, "SIGHUP"),
    (Signal::USR1, Origin::Process, "SIGUSR1"),
    (Signal::USR2, Origin::Process, "SIGUSR2"),
    (Signal::WINCH, Origin::Terminal, "SIGWINCH"),
    (Signal::CONT, Origin::Terminal, "SIGCONT"),
    (Signal::ALARM, Origin::Process, "SIGALRM"),
    (Signal::TTIN, Origin::Daemon, "SIGTTIN"),
    (Signal::TTOU, Origin::Daemon, "SIGTTOU"),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// Another process's kill.
    Process,
    /// A key or the terminal itself, sent to the whole group; else a kill of another process.
    Terminal,
    /// Another process's kill; never taken on a terminal, where it stops a background process.
    Daemon,
}

/// Everything that is taken from now on.
#[derive(Debug)]
pub struct Signals(Vec<(Signal, Origin, &'static str, unix::Signal)>);

/// One signal that has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// Which one.
    pub signal: Signal,
    /// Its name, as `SIGTERM`.
    pub name: &'static str,
    /// The child has it already: the terminal sent it to the whole foreground group.
    pub shared: bool,
}

impl Incoming {
    /// Whether it means that everything shall end, while there is no child that could decide.
    #[must_use]
    pub fn ends(&self) -> bool {
        let ending = [Signal::TERM, Signal::INT, Signal::QUIT, Signal::HUP];
        ending.contains(&self.signal)
    }
}

impl Signals {
    /// From now on none of them has its usual effect on us.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn listen() -> io::Result<Self> {
        let terminal = io::stdin().is_terminal();
        let taken = TAKEN
            .iter()
            .filter(|(_, origin, _)| !(terminal && *origin == Origin::Daemon));
        let taken = taken.map(|&(signal, origin, name)| {
            let kind = SignalKind::from_raw(signal.as_raw());
            Ok((signal, origin, name, unix::signal(kind)?))
        });
        taken.collect::<io::Result<_>>().map(Self)
    }

    /// The next one. No signal is lost when this is dropped, but equal ones may become one.
    pub async fn next(&mut self) -> Incoming {
        let (signal, origin, name) = poll_fn(|context| {
            for (signal, origin, name, stream) in &mut self.0 {
                if stream.poll_recv(context) == Poll::Ready(Some(())) {
                    return Poll::Ready((*signal, *origin, *name));
                }
            }
            Poll::Pending
        })
        .await;
        Incoming {
            signal,
            name,
            shared: origin == Origin::Terminal && in_foreground(),
        }
    }
}

/// Whether keys on the terminal send signals to our process group, and so to the child.
fn in_foreground() -> bool {
    let stdin = io::stdin();
    stdin.is_terminal() && tcgetpgrp(&stdin).is_ok_and(|group| group == getpgrp())
}
