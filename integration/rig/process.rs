//! A child process with its output caught, killed and reaped on drop.
//!
//! Never leaves a process behind. What stays true: output is read as it comes, so a talkative child
//! does not block on a full pipe.

use std::{
    io::Read,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use super::wait_for;

/// A running child.
pub(crate) struct Process {
    name: String,
    child: Child,
    stdout: Arc<Mutex<Vec<u8>>>,
    stderr: Arc<Mutex<Vec<u8>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    /// Starts it with nothing on stdin and both outputs caught.
    pub(crate) fn start(command: &mut Command) -> Self {
        Self::start_logging_to(Stdio::piped(), command)
    }

    /// As [`Self::start`], with another stderr, which the test reads or does not read.
    pub(crate) fn start_logging_to(log: impl Into<Stdio>, command: &mut Command) -> Self {
        let name = format!("{:?}", command.get_program());
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        let (stdout, stderr) = (Arc::default(), Arc::default());
        let mut readers = vec![drain(child.stdout.take().unwrap(), Arc::clone(&stdout))];
        readers.extend(
            child
                .stderr
                .take()
                .map(|log| drain(log, Arc::clone(&stderr))),
        );
        Self {
            name,
            child,
            stdout,
            stderr,
            readers,
        }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to stdout so far.
    pub(crate) fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.stdout.lock().unwrap()).into_owned()
    }

    /// What it has written to stderr so far.
    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr.lock().unwrap()).into_owned()
    }

    /// Both outputs, for messages.
    pub(crate) fn output(&self) -> String {
        format!(
            "--- stdout of {}\n{}\n--- stderr\n{}",
            self.name,
            self.stdout(),
            self.stderr()
        )
    }

    /// Waits until a line on stdout or stderr contains `text`, and returns that line.
    pub(crate) fn wait_for_line(&mut self, text: &str, limit: Duration) -> String {
        let began = std::time::Instant::now();
        loop {
            // Asked before reading: what an ended child wrote is then complete.
            let ended = self.ended().is_some();
            let (stdout, stderr) = (self.stdout(), self.stderr());
            let mut lines = stdout.lines().chain(stderr.lines());
            if let Some(line) = lines.find(|line| line.contains(text)) {
                return line.to_owned();
            }
            let over = began.elapsed() >= limit;
            assert!(
                !over && !ended,
                "no line with {text:?} (ended: {ended})\n{}",
                self.output()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The status, if it has ended.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().unwrap()?;
        for reader in self.readers.drain(..) {
            drop(reader.join());
        }
        Some(status)
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self, limit: Duration) -> ExitStatus {
        wait_for(&format!("end of {}", self.name), limit, || self.ended())
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap_or_else(|error| panic!("kill {}: {error}", self.name));
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn drain(mut from: impl Read + Send + 'static, to: Arc<Mutex<Vec<u8>>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut buffer = [0; 8192];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            to.lock().unwrap().extend_from_slice(&buffer[..count]);
        }
    })
}
