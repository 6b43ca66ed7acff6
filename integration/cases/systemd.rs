//! The service under systemd: what it tells the supervisor, and the shipped units.

use std::{
    fs, io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixDatagram},
    },
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::rig::{Embedded, PATIENCE, Place, Process, certagent, tool};

/// A supervisor of ours: what it was told.
struct Fake {
    socket: UnixDatagram,
    name: String,
}

impl Fake {
    fn at_path(dir: &Path) -> Self {
        let path = dir.join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        Self::new(socket, path.to_str().unwrap().to_owned())
    }

    fn abstract_name(dir: &Path) -> Self {
        let name = dir.to_str().unwrap();
        let address = SocketAddr::from_abstract_name(name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        Self::new(socket, format!("@{name}"))
    }

    fn new(socket: UnixDatagram, name: String) -> Self {
        socket
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        Self { socket, name }
    }

    /// The next message, if one comes soon.
    fn next(&self) -> Option<String> {
        let mut buffer = [0; 4096];
        match self.socket.recv(&mut buffer) {
            Ok(count) => Some(String::from_utf8(buffer[..count].to_vec()).unwrap()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// All messages up to the first one with this line.
    fn until(&self, line: &str, process: &Process) -> Vec<String> {
        let began = Instant::now();
        let mut all = Vec::new();
        loop {
            if let Some(message) = self.next() {
                let found = message.lines().any(|one| one == line);
                all.push(message);
                if found {
                    return all;
                }
            }
            let over = began.elapsed() > PATIENCE;
            assert!(!over, "no {line}: {all:?}\n{}", process.output());
        }
    }
}

/// A command whose supervisor is the fake.
fn service(place: &Place, fake: &Fake, command: &[&str]) -> Command {
    let mut service = place.certagent(command);
    service
        .env("CERTAGENT_COMPONENT", "ingester")
        .env("CERTAGENT_MOUNT", "pki_int")
        .env("CERTAGENT_IP_SANS", "127.0.0.1")
        .env("CERTAGENT_DIR", place.certs())
        .env("PATH", "/usr/bin:/bin")
        .env("NOTIFY_SOCKET", &fake.name);
    service
}

fn stop(mut process: Process, fake: &Fake) {
    process.signal(Signal::TERM);
    fake.until("STOPPING=1", &process);
    assert_eq!(
        process.wait(PATIENCE).code(),
        Some(0),
        "{}",
        process.output()
    );
}

#[test]
fn ready_comes_with_the_first_set_and_every_renewal_is_a_reload() {
    let place = Place::new();
    let fake = Fake::at_path(place.home());
    let process = Process::start(&mut service(&place, &fake, &["run", "--ttl", "4s"]));
    let first = fake.until("READY=1", &process);
    assert!(place.certs().join("cert.pem").exists());
    let ready = first.last().unwrap();
    assert!(ready.contains("\nSTATUS=published; notAfter 20"), "{ready}");
    assert!(
        first.iter().all(|one| !one.contains("WATCHDOG")),
        "nobody asked"
    );

    let reloading = fake.until("RELOADING=1", &process).pop().unwrap();
    let micros = reloading
        .lines()
        .find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
    let micros: u64 = micros.unwrap().parse().unwrap();
    let uptime = fs::read_to_string("/proc/uptime").unwrap();
    let uptime: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
    let micros = Duration::from_micros(micros).as_secs_f64();
    assert!((uptime - micros).abs() < 60.0, "{micros} of {uptime}");
    let again = fake.next().unwrap_or_default();
    assert!(again.starts_with("READY=1\n"), "{again}");
    stop(process, &fake);
}

#[test]
fn an_abstract_socket_is_told_and_the_watchdog_is_fed_twice_as_often_as_asked() {
    let place = Place::new();
    let fake = Fake::abstract_name(place.home());
    let mut command = service(&place, &fake, &["run"]);
    command.env("WATCHDOG_USEC", "400000");
    let process = Process::start(&mut command);
    fake.until("READY=1", &process);
    fake.until("WATCHDOG=1", &process);
    let began = Instant::now();
    for _ in 0..5 {
        fake.until("WATCHDOG=1", &process);
    }
    let took = began.elapsed();
    assert!(took > Duration::from_millis(600), "five in {took:?}");
    stop(process, &fake);
}

#[test]
fn a_certificate_that_cannot_be_had_is_never_ready() {
    let place = Place::new();
    let fake = Fake::at_path(place.home());
    let arguments = ["run", "--role", "nobody", "--startup-timeout", "1s"];
    let mut process = Process::start(&mut service(&place, &fake, &arguments));
    assert_eq!(
        process.wait(PATIENCE).code(),
        Some(4),
        "{}",
        process.output()
    );
    let told: Vec<String> = std::iter::from_fn(|| fake.next()).collect();
    assert!(told.iter().any(|one| one.contains("failing (")), "{told:?}");
    assert!(told.iter().all(|one| !one.contains("READY")), "{told:?}");
    assert!(told.last().unwrap().starts_with("STOPPING=1"), "{told:?}");
}

#[test]
fn exec_is_ready_once_its_command_was_started_and_keeps_the_socket_to_itself() {
    let place = Place::new();
    let fake = Fake::at_path(place.home());
    let script = "echo socket: ${NOTIFY_SOCKET-none}; exec sleep 60";
    let arguments = ["exec", "--", "/bin/sh", "-c", script];
    let mut process = Process::start(&mut service(&place, &fake, &arguments));
    fake.until("READY=1", &process);
    process.wait_for_line("socket: none", PATIENCE);
    process.signal(Signal::TERM);
    fake.until("STOPPING=1", &process);
    assert_eq!(
        process.wait(PATIENCE).code(),
        Some(143),
        "{}",
        process.output()
    );

    let arguments = ["exec", "--", "no-such-program"];
    let mut process = Process::start(&mut service(&place, &fake, &arguments));
    assert_eq!(
        process.wait(PATIENCE).code(),
        Some(127),
        "{}",
        process.output()
    );
    let told: Vec<String> = std::iter::from_fn(|| fake.next()).collect();
    assert!(told.iter().all(|one| !one.contains("READY")), "{told:?}");
}

#[test]
fn a_supervisor_that_is_gone_is_a_warning_only() {
    let place = Place::new();
    let fake = Fake::at_path(place.home());
    let mut command = service(&place, &fake, &["run"]);
    command.env("NOTIFY_SOCKET", place.path("nobody"));
    let mut process = Process::start(&mut command);
    process.wait_for_line("cannot notify the supervisor", PATIENCE);
    process.wait_for_line("published a certificate", PATIENCE);
    process.signal(Signal::TERM);
    assert_eq!(
        process.wait(PATIENCE).code(),
        Some(0),
        "{}",
        process.output()
    );
}

/// The words of `ExecStart=` of a shipped unit, as systemd would hand them on.
fn command_line(unit: &str, of: &[(&str, &str)]) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/systemd");
    let text = fs::read_to_string(path.join(unit)).unwrap();
    let mut lines = text
        .lines()
        .filter_map(|line| line.strip_prefix("ExecStart=/usr/bin/certagent "));
    let mut line = lines.next_back().unwrap().to_owned();
    for (name, value) in of {
        assert!(line.contains(name), "{unit}: {name}");
        line = line.replace(name, value);
    }
    line.split(' ').map(str::to_owned).collect()
}

#[test]
fn the_shipped_units_log_in_with_their_credential() {
    let server = Embedded::start();
    for (unit, file) in [
        ("certagent@.service", "/etc/certagent/%i.hcl"),
        ("certagent.service", "/etc/certagent/certagent.hcl"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let fake = Fake::at_path(dir.path());
        let (config, credentials) = (dir.path().join("x.hcl"), dir.path().join("credentials"));
        fs::create_dir(&credentials).unwrap();
        fs::write(credentials.join("login"), format!("{}\n", server.token)).unwrap();
        let text = format!(
            "vault {{\n  address = [\"{}\"]\n}}\nauth \"token_file\" {{}}\ncertificate \"x\" {{\n  \
             component = \"ingester\"\n  mount = \"pki_int\"\n  ip_sans = [\"127.0.0.1\"]\n  \
             dir = \"{}\"\n}}\n",
            server.address,
            dir.path().join("certs").display()
        );
        fs::write(&config, text).unwrap();
        let words = command_line(
            unit,
            &[
                (file, config.to_str().unwrap()),
                ("${CREDENTIALS_DIRECTORY}", credentials.to_str().unwrap()),
            ],
        );
        let mut command = certagent(words);
        command.env("NOTIFY_SOCKET", &fake.name);
        let process = Process::start(&mut command);
        fake.until("READY=1", &process);
        stop(process, &fake);
    }
}

/// The shipped units, with the built binary in place of the installed one.
fn units(into: &Path) -> Vec<String> {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/systemd");
    let mut names = Vec::new();
    for entry in fs::read_dir(shipped).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_none_or(|extension| extension != "service")
        {
            continue;
        }
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("ExecStart=/usr/bin/certagent "), "{name}");
        let text = text.replace("/usr/bin/certagent", env!("CARGO_BIN_EXE_certagent"));
        // a template is checked by one of its instances
        let name = name.replace("@.", "@ingester.");
        fs::write(into.join(&name), text).unwrap();
        names.push(name);
    }
    names.sort();
    names
}

#[test]
#[ignore = "needs systemd"]
fn systemd_accepts_the_shipped_units_and_finds_them_well_confined() {
    let analyze = tool("systemd");
    let dir = tempfile::tempdir().unwrap();
    let names = units(dir.path());
    assert_eq!(names, ["certagent.service", "certagent@ingester.service"]);
    for name in names {
        let unit = dir.path().join(&name);
        let run = |arguments: &[&str]| {
            let mut command = Command::new(&analyze);
            let output = command.args(arguments).arg(&unit).output().unwrap();
            let text = [output.stdout, output.stderr].concat();
            let text = String::from_utf8_lossy(&text).into_owned();
            (output.status.success(), text)
        };
        let (good, text) = run(&["verify", "--man=no"]);
        assert!(good && text.trim().is_empty(), "{name}: {text}");
        let (good, text) = run(&["security", "--offline=true", "--threshold=20"]);
        assert!(good, "exposure of 2.0 or more: {text}");
    }
}
