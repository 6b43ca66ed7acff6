//! What is around the process: who reads its log, who signals it, who looks into it.

use std::{
    fs::File,
    io::{self, BufRead as _, Read as _, Write as _},
    net::TcpStream,
    os::unix::net::UnixStream,
    process::{ExitStatus, Stdio},
    time::Instant,
};

use rustix::process::Signal;

use super::*;
use crate::rig::{Liar, free_ports, http::request};

/// `/live` answers within this, whatever happens.
const AT_ONCE: Duration = Duration::from_secs(1);

/// An agent whose stderr the test holds; no root needed.
struct Agent {
    process: Process,
    place: Allocation,
    address: String,
}

impl Agent {
    fn start(settings: &[&str], stderr: impl Into<Stdio>) -> Self {
        let place = Allocation::new();
        let address = format!("127.0.0.1:{}", free_ports().0);
        let mut command = place.command("run", &[&["--http-listen", &address], settings].concat());
        Self {
            process: Process::start_logging_to(stderr, &mut command),
            place,
            address: format!("http://{address}"),
        }
    }

    /// The certificate that is published, which the case then knows of.
    fn published(&self) -> Option<Vec<u8>> {
        let found = self.place.live("cert.pem")?;
        self.place.publishes();
        Some(found)
    }

    fn get(&self, path: &str) -> io::Result<String> {
        request(&self.address, None, "GET", path, &[], None).map(|answer| answer.text)
    }

    /// `/live` says yes, in time.
    fn lives(&self) {
        let began = Instant::now();
        TcpStream::connect(self.address.trim_start_matches("http://")).unwrap();
        self.get("/live").unwrap();
        assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    }

    fn dropped(&self) -> u64 {
        self.counter("certagent_log_lines_dropped_total")
    }

    /// The one value of that metric.
    fn counter(&self, name: &str) -> u64 {
        let text = self.get("/metrics").unwrap();
        let mut values = text.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            rest.starts_with([' ', '{'])
                .then(|| rest.rsplit(' ').next())?
        });
        values.next().expect(name).parse().unwrap()
    }

    /// Ended by SIGTERM, in time.
    fn finish(&mut self) -> ExitStatus {
        self.process.signal(Signal::TERM);
        self.process.wait(Duration::from_secs(3))
    }
}

/// A pipe, and that which makes it full.
fn pipe() -> (File, File) {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    (read.into(), write.into())
}

fn fill(pipe: &File) {
    let flags = rustix::fs::fcntl_getfl(pipe).unwrap();
    rustix::fs::fcntl_setfl(pipe, flags | rustix::fs::OFlags::NONBLOCK).unwrap();
    let mut into = pipe;
    while into.write(&[b'x'; 4096]).is_ok() {}
    rustix::fs::fcntl_setfl(pipe, flags).unwrap();
}

/// Another process changes the files again and again: each time they are restored, and from the
/// fifth time on `/ready` says `files-changed`.
#[test]
fn many_repairs_in_a_row_are_counted_and_shown() {
    let agent = Agent::start(&["--ttl", "1h"], Stdio::null());
    let first = wait_for("the certificate files", PATIENCE, || agent.published());
    let certs = agent.place.certs();
    wait_for("ready", PATIENCE, || agent.get("/ready").ok());
    assert!(!agent.get("/ready").unwrap().contains("files-changed"));
    for turn in 1..=6 {
        match turn % 2 {
            0 => fs::remove_file(certs.join("..data/cert.pem")).unwrap(),
            _ => {
                fs::remove_file(certs.join("..data")).unwrap();
                std::os::unix::fs::symlink("/tmp", certs.join("..data")).unwrap();
            }
        }
        wait_for("a repair", PATIENCE, || {
            (agent.counter("certagent_repairs_total") >= turn).then_some(())
        });
        assert_eq!(agent.published().as_ref(), Some(&first), "turn {turn}");
    }
    assert!(agent.counter("certagent_degraded") > 0);
    assert!(agent.get("/ready").unwrap().contains("files-changed"));
}

/// H2: nobody reads stderr from the first line on.
#[test]
fn a_full_pipe_stops_neither_publication_nor_live_nor_the_end() {
    let (_reader, writer) = pipe();
    fill(&writer);
    let mut agent = Agent::start(&["--ttl", "1h"], writer);
    wait_for("the certificate files", PATIENCE, || agent.published());
    agent.lives();
    assert_eq!(agent.finish().code(), Some(0));
}

/// H2: the reader stops while a lot is logged; what it misses is counted, and renewals go on.
#[test]
fn a_reader_that_stops_later_costs_lines_and_nothing_else() {
    let (reader, writer) = pipe();
    let mut agent = Agent::start(&["--ttl", "20s", "--log-level", "debug"], writer);
    let first = wait_for("the certificate files", PATIENCE, || agent.published());
    assert_eq!(agent.dropped(), 0);
    let began = Instant::now();
    while agent.dropped() == 0 {
        assert!(began.elapsed() < Duration::from_secs(90), "nothing dropped");
        agent.process.signal(Signal::USR1);
        std::thread::sleep(Duration::from_millis(1));
    }
    agent.lives();
    wait_for("a renewal", PATIENCE, || {
        agent.published().filter(|now| *now != first)
    });
    // it reads again: one line says what it missed
    let (found, was_found) = std::sync::mpsc::channel();
    let reading = std::thread::spawn(move || {
        let lines = io::BufReader::new(reader).lines().map_while(Result::ok);
        for line in lines.filter(|line| line.contains("log lines were dropped")) {
            let _heard = found.send(line);
        }
    });
    let line = was_found.recv_timeout(PATIENCE).unwrap();
    assert!(line.contains("lines="), "{line}");
    assert_eq!(agent.finish().code(), Some(0));
    reading.join().unwrap();
}

/// The last line is there although a thread writes it; an error that ends the process is too.
#[test]
fn the_last_lines_are_written_at_the_end() {
    let (reader, writer) = pipe();
    let mut agent = Agent::start(&["--ttl", "1h"], writer);
    wait_for("the certificate files", PATIENCE, || agent.published());
    assert_eq!(agent.finish().code(), Some(0));
    let text = io::read_to_string(reader).unwrap();
    assert!(text.contains("SIGTERM: finishing"), "{text}");

    let (reader, writer) = pipe();
    let mut agent = Agent::start(&["--status-socket", "/proc/none/a.sock"], writer);
    let status = agent.process.wait(PATIENCE);
    let text = io::read_to_string(reader).unwrap();
    assert!(!status.success() && text.contains("/proc/none"), "{text}");
}

/// L12: whoever answers at Vault's address sends nothing but interim responses.
#[test]
fn interim_responses_without_end_are_refused_and_live_answers_meanwhile() {
    let liar = Liar::endless();
    let settings = ["--ttl", "1h", "--vault-addr", &liar.address];
    let mut agent = Agent::start(&settings, Stdio::piped());
    wait_for("the server", PATIENCE, || agent.get("/live").ok());
    let began = Instant::now();
    let mut took = Vec::new();
    while !agent.process.stderr().contains("answer-endless") || took.len() < 20 {
        assert!(began.elapsed() < PATIENCE * 2, "{}", agent.process.output());
        let asked = Instant::now();
        agent.get("/live").unwrap();
        took.push(asked.elapsed());
    }
    // one may be late where the machine is busy with other things too
    took.sort_unstable();
    assert!(took[took.len() / 2] < AT_ONCE, "{took:?}");
    assert_eq!(agent.finish().code(), Some(0));
}

/// L6: an ignored signal is logged; TERM and QUIT stop it properly.
#[test]
fn no_signal_ends_it_without_farewell() {
    for (end, name) in [(Signal::TERM, "SIGTERM"), (Signal::QUIT, "SIGQUIT")] {
        let (reader, writer) = pipe();
        let mut agent = Agent::start(&["--ttl", "1h"], writer);
        wait_for("the certificate files", PATIENCE, || agent.published());
        for signal in [Signal::HUP, Signal::USR2, Signal::ALARM] {
            agent.process.signal(signal);
            std::thread::sleep(Duration::from_millis(100));
            agent.lives();
        }
        agent.process.signal(end);
        let status = agent.process.wait(PATIENCE);
        assert_eq!(status.code(), Some(0));
        let text = io::read_to_string(reader).unwrap();
        for ignored in ["SIGHUP", "SIGUSR2", "SIGALRM"] {
            let line = format!("{ignored} is ignored");
            assert_eq!(text.matches(&line).count(), 1, "{text}");
        }
        assert!(text.contains(&format!("{name}: finishing")), "{text}");
    }
}

/// Reads `file` of the process as another process of the same user, who is not root.
fn looked_into(pid: &str, file: &str) -> Output {
    let script = "exec head -c 1 \"/proc/$1/$2\"";
    let mut command = if rustix::process::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args([
            "--reuid",
            "65534",
            "--regid",
            "65534",
            "--clear-groups",
            "sh",
        ]);
        command
    } else {
        Command::new("sh")
    };
    let command = command.args(["-c", script, "sh", pid, file]);
    command.output().unwrap()
}

/// M6: a token of the environment and a key in memory are closed to the same user, and the core
/// file is not written; a hook and the command of `exec` are as they would be without certagent.
#[test]
fn memory_and_environment_are_closed_to_the_same_user() {
    let place = Allocation::new();
    let script = "echo $PPID $$ $(ulimit -c); exec sleep 60";
    let settings = ["--ttl", "1h", "--", "sh", "-c", script];
    let exec = place.command("exec", &settings);
    // as whoever is not root
    let script = "ulimit -c 1000; exec \"$@\"";
    let mut agent = Process::start(&mut unprivileged(&place, &exec, script));
    let line = wait_for("the command", PATIENCE, || {
        assert!(agent.ended().is_none(), "{}", agent.output());
        let text = agent.stdout();
        text.ends_with('\n').then_some(text)
    });
    place.publishes();
    let words: Vec<&str> = line.split_whitespace().collect();
    let [parent, child, core] = words[..] else {
        panic!("{line}")
    };
    assert_eq!(core, "1000", "the command's own limit");
    for file in ["environ", "mem", "auxv"] {
        let output = looked_into(parent, file);
        assert!(!output.status.success(), "{file}: {output:?}");
        let refused = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(refused.contains("Permission denied"), "{refused}");
    }
    let limits = fs::read_to_string(format!("/proc/{parent}/limits")).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max core"));
    let soft = line.and_then(|line| line.split_whitespace().nth(4));
    assert_eq!(soft, Some("0"), "{limits}");
    // the same look succeeds where nothing is closed: the test can see
    assert!(looked_into(child, "environ").status.success());
    ends_with(agent, 143);
}

/// `exec` hands on how its command ended.
fn ends_with(mut process: Process, code: i32) {
    process.signal(Signal::TERM);
    let status = process.wait(Duration::from_secs(10));
    assert_eq!(status.code(), Some(code), "{}", process.output());
}

/// L11: the socket of a stopped agent takes connections, and nobody answers.
#[test]
fn status_of_a_stopped_agent_ends_and_says_so() {
    let agent = Agent::start(&["--ttl", "1h"], Stdio::null());
    wait_for("the certificate files", PATIENCE, || agent.published());
    let ask = || Process::start(&mut agent.place.certagent(&["status"]));
    wait_for("an answer", PATIENCE, || {
        (ask().wait(PATIENCE).code() == Some(0)).then_some(())
    });
    agent.process.signal(Signal::STOP);
    let mut stopped = ask();
    assert_eq!(stopped.wait(PATIENCE).code(), Some(7));
    assert!(stopped.stderr().contains("is the agent stopped"));
    agent.process.signal(Signal::CONT);
}

/// L11: silent connections lose their places to those that say something, at both servers.
#[test]
fn two_hundred_silent_connections_block_neither_live_nor_status() {
    let mut agent = Agent::start(&["--ttl", "1h"], Stdio::null());
    wait_for("the certificate files", PATIENCE, || agent.published());
    let address = agent.address.trim_start_matches("http://");
    let socket = agent.place.path("alloc/certagent/run/status.sock");
    wait_for("the socket", PATIENCE, || socket.exists().then_some(()));
    let tcp: Vec<_> = (0..200)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    agent.lives();
    let unix: Vec<_> = (0..100)
        .map(|_| UnixStream::connect(&socket).unwrap())
        .collect();
    let began = Instant::now();
    let mut status = Process::start(&mut agent.place.certagent(&["status"]));
    assert_eq!(status.wait(PATIENCE).code(), Some(0));
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    agent.lives();
    // and none of them keeps its place
    let mut last = tcp.last().unwrap();
    last.set_read_timeout(Some(PATIENCE)).unwrap();
    let ended = last.read(&mut [0]);
    assert!(
        matches!(ended, Ok(0))
            || ended.is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock)
    );
    drop(unix);
    assert_eq!(agent.finish().code(), Some(0));
}
