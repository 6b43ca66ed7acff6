//! Real processes, real signals, and a process id that is used twice.
#![expect(
    clippy::disallowed_methods,
    reason = "a test plays the application and its pid file"
)]

use std::{
    io::Write as _,
    process::{Child as Process, Command, Stdio},
    thread::sleep,
    time::Instant,
};

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

/// A shell that writes down each SIGUSR1.
struct Listener {
    process: Process,
    dir: tempfile::TempDir,
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        sleep(Duration::from_millis(10));
    }
}

impl Listener {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let script = "trap 'echo got >> got' USR1; : > ready; \
                      while [ ! -e turn ]; do read x < fifo; done; exec sleep 60";
        let made = Command::new("mkfifo").arg(dir.path().join("fifo")).status();
        assert!(made.unwrap().success());
        let process = Command::new("sh")
            .args(["-c", script])
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let listener = Self { process, dir };
        until("ready", || listener.dir.path().join("ready").exists());
        listener
    }

    fn pid(&self) -> u32 {
        self.process.id()
    }

    fn got(&self) -> usize {
        let text = fs::read_to_string(self.dir.path().join("got")).unwrap_or_default();
        text.lines().count()
    }

    /// Becomes `sleep` under the same id.
    fn turn(&self) {
        fs::write(self.dir.path().join("turn"), "").unwrap();
        let mut fifo = fs::OpenOptions::new();
        let fifo = fifo.write(true).open(self.dir.path().join("fifo"));
        fifo.unwrap().write_all(b"x\n").unwrap();
        let exe = format!("/proc/{}/exe", self.pid());
        until("sleep", || {
            fs::read_link(&exe).is_ok_and(|path| path.ends_with("sleep"))
        });
    }
}

fn usr1() -> SignalName {
    "SIGUSR1".parse().unwrap()
}

fn sleeper() -> Process {
    Command::new("sleep").arg("60").spawn().unwrap()
}

fn write_pid(path: &Path, pid: u32) {
    fs::write(path, format!("{pid}\nmore lines\n")).unwrap();
}

#[test]
fn a_process_that_catches_the_signal_gets_it() {
    let listener = Listener::start();
    let signals = SignalSender::default();
    let target = SignalTarget::Pid(listener.pid());
    assert_eq!(signals.send(&target, usr1()), Ok(Delivery::Delivered));
    until("the signal", || listener.got() == 1);
    signals.child().started(listener.pid());
    assert_eq!(
        signals.send(&SignalTarget::Child, usr1()),
        Ok(Delivery::Delivered)
    );
    until("the signal", || listener.got() == 2);
    signals.child().ended();
    assert_eq!(
        signals.send(&SignalTarget::Child, usr1()),
        Ok(Delivery::NotRunning)
    );
}

#[test]
fn a_process_that_does_not_catch_the_signal_lives_on() {
    let mut process = sleeper();
    let signals = SignalSender::default();
    for signal in ["SIGUSR1", "SIGHUP", "SIGTERM", "SIGKILL"] {
        let target = SignalTarget::Pid(process.id());
        let failure = signals.send(&target, signal.parse().unwrap()).unwrap_err();
        assert_eq!(
            (failure.code, failure.reached),
            ("signal-not-caught", false)
        );
    }
    assert_eq!(process.try_wait().unwrap(), None);
    process.kill().unwrap();
    process.wait().unwrap();
}

#[test]
fn a_process_that_is_gone_or_a_zombie_does_not_run() {
    let signals = SignalSender::default();
    let mut process = Command::new("true").spawn().unwrap();
    let target = SignalTarget::Pid(process.id());
    let stat = format!("/proc/{}/stat", process.id());
    until("zombie", || {
        fs::read_to_string(&stat).unwrap().contains(") Z")
    });
    assert_eq!(signals.send(&target, usr1()), Ok(Delivery::NotRunning));
    process.wait().unwrap();
    assert_eq!(signals.send(&target, usr1()), Ok(Delivery::NotRunning));
    let nowhere = SignalTarget::PidFile("/no/such/pid".into());
    assert_eq!(signals.send(&nowhere, usr1()), Ok(Delivery::NotRunning));
}

#[test]
fn what_is_no_process_of_an_application_is_refused() {
    let signals = SignalSender::default();
    for pid in [0, u32::MAX, std::process::id()] {
        let failure = signals.send(&SignalTarget::Pid(pid), usr1()).unwrap_err();
        assert_eq!(failure.code, "pid-invalid");
    }
    let failure = signals.send(&SignalTarget::Pid(1), "SIGNULL".parse().unwrap());
    assert_eq!(failure.unwrap_err().code, "signal-name");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pid");
    for text in ["", "x", "-1", "12 13", "99999999999999999999"] {
        fs::write(&path, text).unwrap();
        let target = SignalTarget::PidFile(path.clone());
        let failure = signals.send(&target, usr1()).unwrap_err();
        assert_eq!(failure.code, "pid-file-invalid", "{text:?}");
    }
}

#[test]
fn the_pid_file_is_read_each_time() {
    let (first, second) = (Listener::start(), Listener::start());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pid");
    let signals = SignalSender::default();
    for listener in [&first, &second] {
        write_pid(&path, listener.pid());
        let target = SignalTarget::PidFile(path.clone());
        assert_eq!(signals.send(&target, usr1()), Ok(Delivery::Delivered));
        until("the signal", || listener.got() == 1);
    }
    assert_eq!((first.got(), second.got()), (1, 1));
}

#[test]
fn a_pid_file_that_was_left_behind_means_nobody() {
    let listener = Listener::start();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pid");
    write_pid(&path, listener.pid());
    let old = fs::metadata(&path).unwrap().modified().unwrap() - 2 * PID_FILE_SLACK;
    if boot_time().unwrap() > old {
        // The machine has just been started: there was nothing before.
        return;
    }
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_modified(old).unwrap();
    let failure = SignalSender::default()
        .send(&SignalTarget::PidFile(path), usr1())
        .unwrap_err();
    assert_eq!(failure.code, "pid-reused");
    assert_eq!(listener.got(), 0);
}

#[test]
fn another_program_than_the_one_remembered_gets_nothing() {
    let mut known = sleeper();
    let listener = Listener::start();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pid");
    write_pid(&path, known.id());
    let target = SignalTarget::PidFile(path.clone());
    let signals = SignalSender::default();
    // Wait for the exec, else it is still this test program.
    let exe = format!("/proc/{}/exe", known.id());
    until("sleep", || {
        fs::read_link(&exe).is_ok_and(|path| path.ends_with("sleep"))
    });
    signals.remember(&target);
    known.kill().unwrap();
    known.wait().unwrap();
    write_pid(&path, listener.pid());
    assert_eq!(
        signals.send(&target, usr1()).unwrap_err().code,
        "pid-reused"
    );
    assert_eq!(listener.got(), 0);
}

#[test]
fn what_became_another_program_between_look_and_send_gets_nothing() {
    let mut listener = Listener::start();
    let target = SignalTarget::Pid(listener.pid());
    let failure = SignalSender::default()
        .send_after(&target, usr1(), || listener.turn())
        .unwrap_err();
    assert_eq!(failure.code, "pid-reused");
    assert_eq!(listener.process.try_wait().unwrap(), None);
}

#[test]
fn loki_gets_no_hangup_though_its_runtime_catches_it() {
    let dir = tempfile::tempdir().unwrap();
    let loki = dir.path().join("loki");
    fs::copy("/bin/sh", &loki).unwrap();
    let script = "trap : HUP; : > ready; while :; do sleep 0.1; done";
    let mut process = Command::new(&loki)
        .args(["-c", script])
        .current_dir(dir.path())
        .spawn()
        .unwrap();
    until("ready", || dir.path().join("ready").exists());
    let target = SignalTarget::Pid(process.id());
    let failure = SignalSender::default().send(&target, "SIGHUP".parse().unwrap());
    process.kill().unwrap();
    process.wait().unwrap();
    assert_eq!(failure.unwrap_err().code, "signal-kills");
}

/// Set inside of the namespace.
const INSIDE: &str = "CERTAGENT_TEST_INSIDE";

#[test]
fn a_foreign_process_that_got_the_id_receives_nothing() {
    if std::env::vars_os().any(|(name, _)| name == INSIDE) {
        return inside();
    }
    // Ids can be chosen only in a namespace of our own.
    let output = Command::new("unshare")
        .args(["-U", "-r", "-p", "-f", "--mount-proc", "--kill-child"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "--test-threads=1"])
        .arg("reload::signal::tests::a_foreign_process_that_got_the_id_receives_nothing")
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("the id was used twice"), "{text}");
}

/// Both moments at which the id can change hands: before the look, with a remembered process (also
/// one that was born in the same tick), and between the look and the send.
fn inside() {
    for (remembered, one_tick) in [(true, false), (true, true), (false, false)] {
        let victim = Listener::start();
        let pid = victim.pid();
        let target = SignalTarget::Pid(pid);
        let signals = SignalSender::default();
        let mut foreign = None;
        let reuse = |victim: Listener| {
            drop(victim);
            with_id(pid)
        };
        let reloaded = if remembered {
            signals.remember(&target);
            assert!(lock(&signals.seen).contains_key(&key(&target)));
            foreign = Some(reuse(victim));
            if one_tick {
                // Born within one tick of the kernel's start times: nothing that can be read differs.
                let (identity, ..) = read(i32::try_from(pid).unwrap()).unwrap();
                lock(&signals.seen).get_mut(&key(&target)).unwrap().identity = identity;
            }
            signals.send(&target, usr1())
        } else {
            signals.send_after(&target, usr1(), || foreign = Some(reuse(victim)))
        };
        let foreign = foreign.unwrap();
        assert_eq!(foreign.pid(), pid);
        assert_eq!(reloaded.unwrap_err().code, "pid-reused");
        // It catches the signal and would have written it down: this one it does.
        let rest = SignalSender::default();
        assert_eq!(rest.send(&target, usr1()), Ok(Delivery::Delivered));
        until("our own signal", || foreign.got() >= 1);
        assert_eq!(foreign.got(), 1);
    }
    #[expect(clippy::print_stdout, reason = "the outer test reads it")]
    {
        println!("the id was used twice");
    }
}

/// Whoever may write the file may give it any time.
#[test]
fn no_time_of_a_pid_file_ends_the_process() {
    let held = hold(i32::try_from(std::process::id()).unwrap()).unwrap();
    let held = held.unwrap();
    let file = tempfile::tempfile().unwrap();
    let mut stat = rustix::fs::fstat(&file).unwrap();
    for time in [i64::MAX, i64::MAX - 1, i64::MIN, -1, 0] {
        stat.st_mtime = time;
        assert!(!is_younger(&held, &stat), "{time}");
    }
}

/// A listener with exactly this id.
fn with_id(pid: u32) -> Listener {
    let began = Instant::now();
    loop {
        // mkfifo takes an id before it.
        fs::write(
            "/proc/sys/kernel/ns_last_pid",
            pid.saturating_sub(2).to_string(),
        )
        .unwrap();
        let listener = Listener::start();
        if listener.pid() == pid {
            return listener;
        }
        assert!(
            began.elapsed() < PATIENCE,
            "got {} not {pid}",
            listener.pid()
        );
    }
}
