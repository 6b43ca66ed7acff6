//! `certagent exec`: certificates first, then a command as its child, as PID 1 too.

use std::{
    fs,
    io::Write as _,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::rig::{PATIENCE, Place, Process, free_ports, tool, wait_for};

/// The embedded PKI and a directory, for commands that find a shell.
fn place() -> Place {
    let mut place = Place::new();
    place.set("PATH", "/usr/bin:/bin");
    place
}

/// `certagent exec` with these settings, in the directory, ready for `-- CMD`.
fn exec(place: &Place, settings: &[&str]) -> Command {
    let mut command = place.one("exec");
    command
        .args(["--dir", "certs"])
        .args(settings)
        .current_dir(place.home());
    command
}

/// The same with a script as the command.
fn run_script(place: &Place, settings: &[&str], script: &str) -> Process {
    Process::start(exec(place, settings).args(["--", "/bin/sh", "-c", script]))
}

/// `certagent exec` with a file of these certificates and roles.
fn exec_file(place: &Place, blocks: &[(&str, &str)]) -> Command {
    let text: String = blocks
        .iter()
        .map(|(name, role)| place.block(name, role, "  startup_timeout = \"1s\"\n"))
        .collect();
    let mut command = place.certagent(&["exec", "-c"]);
    command.arg(place.config(&text)).current_dir(place.home());
    command
}

fn code(process: &mut Process) -> Option<i32> {
    process.wait(PATIENCE).code()
}

#[test]
fn the_command_finds_the_set_and_its_code_is_ours() {
    let place = place();
    let mut command = exec(&place, &[]);
    let script = "test -s $CERTAGENT_CA_FILE -a -s $CERTAGENT_CERT_FILE -a -s $CERTAGENT_KEY_FILE \
                  && test $CERTAGENT_CERT_FILE = $CERTAGENT_DIR/cert.pem || exit 9\n\
                  env; echo files: $(ls /proc/$$/fd); cat; exit 7";
    let mut plain = Command::new("/bin/sh");
    let mut plain = Process::start(plain.args(["-c", &script.replace(" || exit 9", "")]));
    let files = plain.wait_for_line("files: ", PATIENCE);
    command
        .env("BAO_TOKEN", &place.token)
        .env("CERTAGENT_AUTH_TOKEN", &place.token)
        .env("APP_SETTING", "kept")
        .args(["--", "/bin/sh", "-c", script]);
    let mut process = Process::start(&mut command);
    assert_eq!(code(&mut process), Some(7), "{}", process.output());
    let (stdout, stderr) = (process.stdout(), process.stderr());
    let dir = format!("CERTAGENT_DIR={}", place.path("certs").display());
    for line in [dir.as_str(), "APP_SETTING=kept", files.as_str()] {
        assert!(stdout.lines().any(|one| one == line), "{line}\n{stdout}");
    }
    assert!(!stdout.contains(&place.token), "{stdout}");
    assert!(!stdout.contains("TOKEN"), "{stdout}");
    assert!(stderr.contains("published a certificate"), "{stderr}");
    assert!(!stdout.contains("published"), "our log is on stderr only");
}

#[test]
fn several_certificates_are_all_there_and_told_apart_by_name() {
    let place = place();
    let mut command = exec_file(&place, &[("grpc-a", "internal"), ("http", "internal")]);
    let script = "test -s $CERTAGENT_KEY_FILE_GRPC_A -a -s $CERTAGENT_CERT_FILE_HTTP || exit 9\n\
                  VAULT_TOKEN=x $0 check-config -c certagent.hcl >&2 || exit 8\n\
                  echo plain: ${CERTAGENT_DIR-none}; exit 0";
    command
        .env("CERTAGENT_LOG_LEVEL", "debug")
        .args(["--", "/bin/sh", "-c", script])
        // a certagent that the command calls does not stumble over the variables
        .arg(env!("CARGO_BIN_EXE_certagent"));
    let mut process = Process::start(&mut command);
    assert_eq!(code(&mut process), Some(0), "{}", process.output());
    assert_eq!(process.stdout(), "plain: none\n");
}

#[test]
fn a_first_start_that_fails_starts_nothing_and_has_the_code_of_run() {
    let place = place();
    let mut process = run_script(
        &place,
        &["--startup-timeout", "1s", "--role", "nobody"],
        "echo started",
    );
    assert_eq!(code(&mut process), Some(4), "{}", process.output());
    assert_eq!(process.stdout(), "");

    // one of two is not enough for a command that may need both
    let mut command = exec_file(&place, &[("a", "internal"), ("b", "nobody")]);
    let mut process = Process::start(command.args(["--", "/bin/echo", "started"]));
    assert_eq!(code(&mut process), Some(4), "{}", process.output());
    assert_eq!(process.stdout(), "");
    assert!(
        process.stderr().contains("no certificate b"),
        "{}",
        process.output()
    );
}

#[test]
fn a_signal_before_the_command_ends_it_with_the_signals_code() {
    let place = place();
    let mut command = exec(&place, &["--log-level", "debug"]);
    command.env("VAULT_ADDR", format!("http://127.0.0.1:{}", free_ports().0));
    let mut process = Process::start(command.args(["--", "/bin/echo", "started"]));
    process.wait_for_line("no certificate yet", PATIENCE);
    process.signal(Signal::USR1);
    process.wait_for_line("SIGUSR1 before the command was started: ignored", PATIENCE);
    process.signal(Signal::TERM);
    assert_eq!(code(&mut process), Some(143), "{}", process.output());
    assert_eq!(process.stdout(), "");
}

/// Says each signal it gets; ends with 6 at the second TERM.
const LISTENER: &str = "\
for s in INT QUIT HUP USR1 USR2 ALRM WINCH CONT TTIN TTOU; do trap \"echo got $s\" $s; done
trap 'n=$((n + 1)); echo got TERM $n; test $n = 2 && exit 6' TERM
echo listening; while :; do sleep 0.02; done";

#[test]
fn every_signal_is_passed_on_and_term_again_and_again() {
    let place = place();
    let mut process = run_script(&place, &["--kill-after", "0"], LISTENER);
    process.wait_for_line("listening", PATIENCE);
    for (signal, name) in [
        (Signal::INT, "INT"),
        (Signal::QUIT, "QUIT"),
        (Signal::HUP, "HUP"),
        (Signal::USR1, "USR1"),
        (Signal::USR2, "USR2"),
        (Signal::ALARM, "ALRM"),
        (Signal::WINCH, "WINCH"),
        (Signal::CONT, "CONT"),
        (Signal::TTIN, "TTIN"),
        (Signal::TTOU, "TTOU"),
        (Signal::TERM, "TERM 1"),
    ] {
        process.signal(signal);
        process.wait_for_line(&format!("got {name}"), PATIENCE);
    }
    assert!(process.ended().is_none());
    process.signal(Signal::TERM);
    assert_eq!(code(&mut process), Some(6), "{}", process.output());
}

#[test]
fn a_killed_command_gives_128_and_the_signal() {
    let place = place();
    let mut process = run_script(&place, &[], "kill -KILL $$");
    assert_eq!(code(&mut process), Some(137), "{}", process.output());
}

#[test]
fn a_command_that_does_not_follow_term_is_killed_after_the_limit() {
    let place = place();
    let script = "trap '' TERM; echo listening; while :; do sleep 0.02; done";
    let mut process = run_script(&place, &["--kill-after", "300ms"], script);
    process.wait_for_line("listening", PATIENCE);
    let asked = Instant::now();
    process.signal(Signal::TERM);
    assert_eq!(code(&mut process), Some(137), "{}", process.output());
    assert!(asked.elapsed() >= Duration::from_millis(300));
    assert!(process.stderr().contains("SIGKILL"), "{}", process.output());
}

#[test]
fn a_command_that_cannot_be_run_has_the_shells_codes() {
    let place = place();
    fs::write(place.path("plain"), "text").unwrap();
    for (program, expected) in [("no-such-program", 127), ("./plain", 126)] {
        let mut process = Process::start(exec(&place, &[]).args(["--", program]));
        assert_eq!(code(&mut process), Some(expected), "{}", process.output());
        assert!(process.stderr().contains(program), "{}", process.output());
    }
    let without = exec(&place, &[]).output().unwrap();
    assert_eq!(without.status.code(), Some(2), "no command at all");
}

#[test]
fn certificates_are_renewed_while_the_command_runs() {
    let place = place();
    let script = "cp $CERTAGENT_CERT_FILE first\n\
                  while cmp -s first $CERTAGENT_CERT_FILE; do sleep 0.05; done; exit 3";
    let mut process = run_script(&place, &["--ttl", "4s"], script);
    assert_eq!(code(&mut process), Some(3), "{}", process.output());
}

#[test]
fn a_key_on_the_terminal_reaches_the_command_once() {
    let place = place();
    let keys = place.path("keys");
    assert!(
        Command::new("mkfifo")
            .arg(&keys)
            .status()
            .unwrap()
            .success()
    );
    let script = "n=0; trap 'n=$((n + 1)); echo got INT $n; test $n = 2 && exit 5' INT\n\
                  echo listening; while :; do sleep 0.02; done";
    fs::write(place.path("listener"), script).unwrap();
    let exec = exec(&place, &["--log-level", "debug"]);
    let words = exec.get_args().map(|word| word.to_str().unwrap());
    let words: Vec<&str> = words.chain(["--", "/bin/sh", "listener"]).collect();
    let program = exec.get_program().to_str().unwrap();
    let line = format!("exec {program} {}", words.join(" "));
    let mut command = Command::new("/bin/sh");
    let terminal = "exec script -qec \"$0\" /dev/null < keys";
    command.args(["-c", terminal, &line]).env_clear();
    place.fit_out(&mut command);
    command.current_dir(place.home());
    let mut process = Process::start(&mut command);
    let mut keys = fs::OpenOptions::new().write(true).open(keys).unwrap();
    process.wait_for_line("listening", PATIENCE);
    keys.write_all(b"\x03").unwrap();
    process.wait_for_line("SIGINT came from the terminal", PATIENCE);
    process.wait_for_line("got INT 1", PATIENCE);
    assert!(process.ended().is_none(), "{}", process.output());
    keys.write_all(b"\x03").unwrap();
    assert_eq!(code(&mut process), Some(5), "{}", process.output());
    assert!(
        !process.output().contains("passed on"),
        "{}",
        process.output()
    );
}

/// Starts certagent as PID 1 of a namespace of its own, and returns its number out here.
fn as_pid_1(place: &Place, script: &str) -> (Process, Pid) {
    let exec = exec(place, &["--log-level", "debug"]);
    let mut command = Command::new(tool("userns"));
    command
        .args(["-Urpf", "--mount-proc", "--kill-child"])
        .arg(exec.get_program())
        .args(exec.get_args())
        .args(["--", "/bin/sh", "-c", script])
        .env_clear();
    place.fit_out(&mut command);
    command.current_dir(place.home());
    let mut process = Process::start(&mut command);
    let outer = process.pid();
    let list = format!("/proc/{outer}/task/{outer}/children");
    let inner = wait_for("PID 1", PATIENCE, || {
        assert!(process.ended().is_none(), "{}", process.output());
        let children = fs::read_to_string(&list).ok()?;
        let pid = children.split_whitespace().next()?.parse().ok()?;
        Pid::from_raw(pid)
    });
    (process, inner)
}

#[test]
#[ignore = "needs userns"]
fn as_pid_1_it_reaps_orphans_and_hands_the_code_on() {
    let place = place();
    let script = "\
test $PPID = 1 && test $(cat /proc/1/comm) = certagent || exit 8
for n in 1 2 3 4 5; do (sleep 0.3 & echo $! >> orphans); done
for p in $(cat orphans); do grep -q 'PPid:.1$' /proc/$p/status || exit 9; done
n=0
for p in $(cat orphans); do
  while test -e /proc/$p; do n=$((n + 1)); test $n -gt 400 && exit 10; sleep 0.02; done
done
exit 42";
    let (mut process, _) = as_pid_1(&place, script);
    assert_eq!(code(&mut process), Some(42), "{}", process.output());
    assert!(process.stderr().contains("reaped"), "{}", process.output());
}

#[test]
#[ignore = "needs userns"]
fn as_pid_1_it_passes_signals_on_and_ends_with_the_command() {
    let place = place();
    let (mut process, inner) = as_pid_1(&place, LISTENER);
    process.wait_for_line("listening", PATIENCE);
    for (signal, line) in [(Signal::HUP, "got HUP"), (Signal::TERM, "got TERM 1")] {
        kill_process(inner, signal).unwrap();
        process.wait_for_line(line, PATIENCE);
    }
    kill_process(inner, Signal::TERM).unwrap();
    assert_eq!(code(&mut process), Some(6), "{}", process.output());
    assert!(
        Path::new(&place.path("certs/cert.pem")).exists(),
        "files stay"
    );
}
