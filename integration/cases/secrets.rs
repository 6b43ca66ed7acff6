//! No key and no token in any output, at the most verbose level.
//!
//! What stays true: the searched secrets are those of the very run, and a planted one is found.

use std::{
    io::{Read, Write},
    net::TcpListener,
    path::Path,
    process::Command,
    time::Duration,
};

use certagent::config::table::{SETTINGS, Setting, ValueKind};

use crate::rig::{self, Claims, Embedded, OpenBao, PATIENCE, Process, jwt};

/// Text that must not occur, with a name for the message.
struct Hidden(Vec<(String, String)>);

impl Hidden {
    fn new() -> Self {
        Self(Vec::new())
    }

    fn add(&mut self, what: &str, text: &str) {
        assert!(text.len() >= 8, "{what} is too short to look for");
        self.0.push((what.to_owned(), text.to_owned()));
    }

    /// Every line of the key's base64, alone: a log could break or escape the PEM.
    fn add_key(&mut self, file: &Path) {
        let text = std::fs::read_to_string(file).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with("-----"));
        // The first line is mostly algorithm identifiers that every key of that kind has.
        for line in lines.skip(1).filter(|line| line.len() >= 16) {
            self.add("a line of key.pem", line);
        }
    }

    fn found_in(&self, output: &str) -> Option<String> {
        if output.contains("PRIVATE KEY") {
            return Some("a PEM header of a private key".to_owned());
        }
        if let Some(token) = output.split_ascii_whitespace().find_map(looks_like_token) {
            return Some(format!("a token: {}...", &token[..6]));
        }
        let hit = self.0.iter().find(|(_, text)| output.contains(text));
        hit.map(|(what, _)| what.clone())
    }

    fn assert_absent(&self, place: &str, output: &str) {
        if let Some(what) = self.found_in(output) {
            panic!("{what} is in {place}");
        }
    }
}

/// OpenBao's `s.` and Vault's `hvs.` tokens (and batch ones), wherever a word holds them.
fn looks_like_token(word: &str) -> Option<&str> {
    ["s.", "b.", "hvs.", "hvb."].iter().find_map(|head| {
        word.match_indices(head).find_map(|(at, _)| {
            let before = word[..at].chars().next_back();
            let body = &word[at + head.len()..];
            let is_other = |letter: char| !letter.is_ascii_alphanumeric() && !"_-".contains(letter);
            let length = body.find(is_other).unwrap_or(body.len());
            let starts_here = before.is_none_or(|letter| !letter.is_ascii_alphanumeric());
            (starts_here && length >= 20).then(|| &word[at..at + head.len() + length])
        })
    })
}

fn loud(arguments: &[&str], dir: &Path, address: &str) -> Command {
    let mut command = rig::certagent(arguments);
    command
        .env("VAULT_ADDR", address)
        .env("CERTAGENT_LOG_LEVEL", "trace")
        .env("CERTAGENT_COMPONENT", "read")
        .env("CERTAGENT_NODE_IP", "10.0.0.1")
        .env("CERTAGENT_DIR", dir.join("certs"))
        .env("CERTAGENT_READY_FILE", dir.join("ready.json"));
    command
}

/// What a running agent says to those who ask it.
fn search_the_servers(process: &mut Process, dir: &Path, hidden: &Hidden) {
    let line = process.wait_for_line("health and metrics at ", PATIENCE);
    let line: String = line
        .split(['"', ' '])
        .filter(|word| word.starts_with("http://127"))
        .collect();
    for path in ["/live", "/ready", "/metrics", "/status", "/"] {
        let answer = rig::http::request(&line, None, "GET", path, &[], None).unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        assert!(answer.text.len() > 10);
        hidden.assert_absent(path, &(answer.head + &answer.text));
    }
    for arguments in [&["renew"][..], &["status"], &["status", "-o", "json"]] {
        let mut command = rig::certagent(arguments);
        command.env("CERTAGENT_STATUS_SOCKET", dir.join("run/status.sock"));
        let output = command.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{arguments:?}: {text}");
        hidden.assert_absent(&arguments.join(" "), &text);
        hidden.assert_absent("stderr", &String::from_utf8(output.stderr).unwrap());
    }
}

/// Runs the agent until it has renewed twice, stops it, and searches all it said and wrote.
fn search_a_run(mut command: Command, dir: &Path, mut hidden: Hidden) {
    command
        .env("CERTAGENT_HTTP_LISTEN", "127.0.0.1:0")
        .env("CERTAGENT_STATUS_SOCKET", dir.join("run/status.sock"))
        .env("CERTAGENT_TTL", "5s")
        .env("CERTAGENT_STARTUP_TIMEOUT", "20s");
    let mut process = Process::start(&mut command);
    let key = dir.join("certs/key.pem");
    let mut last = Vec::new();
    for _ in 0..3 {
        last = rig::wait_for("a new key", PATIENCE, || {
            let ended = process.ended();
            assert!(ended.is_none(), "{}", process.output());
            let now = std::fs::read(&key).ok()?;
            (!now.is_empty() && now != last).then_some(now)
        });
        hidden.add_key(&key);
    }
    search_the_servers(&mut process, dir, &hidden);
    hidden.add_key(&key);
    process.signal(rustix::process::Signal::TERM);
    let status = process.wait(PATIENCE);
    assert!(status.success(), "{}", process.output());
    let output = process.output();
    assert!(output.contains("DEBUG"), "trace is not verbose:\n{output}");
    hidden.assert_absent("the output of run", &output);
    for file in ["ready.json", "certs/..state.json"] {
        if let Ok(text) = std::fs::read_to_string(dir.join(file)) {
            hidden.assert_absent(file, &text);
        }
    }
}

#[test]
#[ignore = "needs openbao"]
fn a_run_with_jwt_login_shows_no_secret() {
    let server = OpenBao::ready();
    let dir = rig::memory_dir();
    let identity = jwt(&Claims::default());
    let file = dir.path().join("identity.jwt");
    std::fs::write(&file, &identity).unwrap();
    let mut hidden = Hidden::new();
    let signature = identity.rsplit('.').next().unwrap();
    hidden.add("the JWT's signature", signature);
    for mode in ["issue", "sign"] {
        let dir = rig::memory_dir();
        let mut command = loud(&["run"], dir.path(), &server.address);
        command
            .env("CERTAGENT_AUTH", "jwt")
            .env("CERTAGENT_AUTH_PATH", &file)
            .env("CERTAGENT_AUTH_ROLE", "certagent")
            .env("CERTAGENT_MODE", mode);
        let mut hidden_here = Hidden::new();
        hidden_here.0.clone_from(&hidden.0);
        search_a_run(command, dir.path(), hidden_here);
    }
}

#[test]
#[ignore = "needs openbao"]
fn a_run_with_approle_login_shows_no_secret() {
    let server = OpenBao::ready();
    let dir = rig::memory_dir();
    let (role_id, secret_id) = server.approle();
    let file = dir.path().join("secret-id");
    std::fs::write(&file, &secret_id).unwrap();
    let mut hidden = Hidden::new();
    hidden.add("the secret id", &secret_id);
    let mut command = loud(&["run"], dir.path(), &server.address);
    command
        .env("CERTAGENT_AUTH", "approle")
        .env("CERTAGENT_AUTH_ROLE_ID", role_id)
        .env("CERTAGENT_AUTH_SECRET_ID_PATH", file)
        .env("CERTAGENT_LOG_FORMAT", "json");
    search_a_run(command, dir.path(), hidden);
}

#[test]
#[ignore = "needs openbao"]
fn the_other_commands_show_no_secret() {
    let server = OpenBao::ready();
    let dir = rig::memory_dir();
    let token = server.new_token("1h");
    let out = dir.path().join("certs").display().to_string();
    let mut hidden = Hidden::new();
    hidden.add("the token", &token);
    let lines: [&[&str]; 9] = [
        &["issue", "--output-dir", &out],
        &["issue", "--dry-run"],
        &["issue", "--output", "json"],
        &["issue", "--output", "pem"],
        &["inspect", &out],
        &["inspect", "-o", "json", &out],
        &["explain"],
        &["check-config"],
        &["check-config", "-o", "json"],
    ];
    for arguments in lines {
        let mut command = loud(arguments, dir.path(), &server.address);
        command.env("VAULT_TOKEN", &token);
        let mut process = Process::start(&mut command);
        let status = process.wait(PATIENCE);
        if arguments.contains(&"--output-dir") {
            assert!(status.success(), "{}", process.output());
            hidden.add_key(&dir.path().join("certs/key.pem"));
        }
        // Only `--output pem` is asked to print the key, on stdout.
        let searched = if arguments.contains(&"pem") {
            process.stderr()
        } else {
            process.output()
        };
        hidden.assert_absent(&arguments.join(" "), &searched);
    }
}

#[test]
fn a_broken_answer_is_not_quoted_with_its_key() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let planted = "MHcCAQEEIplantedplantedplantedplantedplantedplanted";
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.set_read_timeout(Some(Duration::from_millis(200)));
            let _ = stream.read(&mut [0; 8192]);
            // Wrong types beside a key: a parser's error could quote what it met.
            let body = format!(
                r#"{{"data":{{"certificate":7,"private_key":"-----BEGIN EC PRIVATE KEY-----\n{planted}\n","ca_chain":"{planted}"}},"lease_id":["{planted}"]}}"#
            );
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(format!("{head}{body}").as_bytes());
        }
    });
    let dir = rig::memory_dir();
    let mut hidden = Hidden::new();
    hidden.add("the planted key", planted);
    let token = "s.thetokenthetokenthetoken";
    hidden.add("the token", token);
    let mut command = loud(&["run"], dir.path(), &address);
    command
        .env("VAULT_TOKEN", token)
        .env("CERTAGENT_STARTUP_TIMEOUT", "2s");
    let mut process = Process::start(&mut command);
    let status = process.wait(PATIENCE);
    assert!(!status.success(), "{}", process.output());
    hidden.assert_absent("the output of run", &process.output());
}

#[test]
fn a_planted_secret_is_found() {
    let dir = rig::memory_dir();
    let file = dir.path().join("key.pem");
    let line = "QmFzZTY0LWxpbmUtdHdvLW9mLXRoZS1rZXk=";
    std::fs::write(
        &file,
        format!("-----BEGIN PRIVATE KEY-----\nAAAA\n{line}\n"),
    )
    .unwrap();
    let mut hidden = Hidden::new();
    hidden.add_key(&file);
    assert!(hidden.found_in(&format!("key {line}")).is_some());
    assert!(hidden.found_in("-----BEGIN EC PRIVATE KEY-----").is_some());
    assert!(
        hidden
            .found_in("token=\"s.0123456789abcdefghijklmn\"")
            .is_some()
    );
    assert!(hidden.found_in("hvs.CAESIJ0123456789abcdefghijk").is_some());
    assert_eq!(
        hidden.found_in("loki-read.service.consul has names.of.many.parts"),
        None
    );
}

/// What is planted; a half of it is a leak too.
const PLANTED: &str = "hunter2hunter2hunter2hunter2";

/// A command that ends by itself, with one more variable; its output.
fn planted(arguments: &[&str], dir: &Path, variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = loud(arguments, dir, "http://127.0.0.1:1");
    command
        .env("VAULT_TOKEN", "s.thetokenthetokenthetoken")
        .env("VAULT_CLIENT_TIMEOUT", "1s")
        .env("VAULT_MAX_RETRIES", "0")
        .env("CERTAGENT_STARTUP_TIMEOUT", "1s")
        .envs(variables.iter().copied());
    let mut process = Process::start(&mut command);
    let status = process.wait(PATIENCE);
    (status.code(), process.output())
}

fn assert_not_planted(what: &str, output: &str) {
    assert!(!output.contains("hunter2"), "{what}: {output}");
}

/// Well formed where the setting takes such a thing, malformed everywhere else.
fn notations(setting: &Setting) -> Vec<String> {
    let mut all = vec![
        format!("hvs.{PLANTED}"),
        format!("http://me:{PLANTED}@127.0.0.1:1"),
        format!("http://127.0.0.1:1/?token={PLANTED}"),
        format!("-----BEGIN PRIVATE KEY-----\n{PLANTED}\n"),
    ];
    match setting.key {
        "headers" => all.push(format!("{{\"X-A\": \"{PLANTED}\"}}")),
        "token" | "secret_id" => all.push(PLANTED.to_owned()),
        "env" => all.extend([format!("A={PLANTED}"), PLANTED.to_owned()]),
        "command" => all.push(format!("true,{PLANTED}")),
        _ if setting.kind == ValueKind::Text => all.push(format!("me:{PLANTED}@127.0.0.1:1")),
        _ => {}
    }
    all
}

/// Every command, for each setting and notation: what is refused, and what is taken.
#[test]
fn a_secret_planted_into_any_setting_is_in_no_output() {
    let mut taken = Vec::new();
    std::thread::scope(|scope| {
        let some = SETTINGS.chunks(SETTINGS.len().div_ceil(4));
        let threads: Vec<_> = some.map(|some| scope.spawn(|| plant_into(some))).collect();
        for thread in threads {
            taken.extend(thread.join().unwrap());
        }
    });
    for needed in [
        "vault.proxy",
        "vault.headers",
        "certificate.reload.env",
        "auth.token",
    ] {
        assert!(taken.iter().any(|one| one == needed), "{needed}: {taken:?}");
    }
}

/// Returns the settings that took one of them.
fn plant_into(settings: &[Setting]) -> Vec<String> {
    let dir = rig::memory_dir();
    let mut taken = Vec::new();
    for setting in settings {
        for value in notations(setting) {
            let name = setting.variable();
            let variables = [(&*name, &*value)];
            let what = |command: &str| format!("{command}: {name}={value}");
            let (code, output) = planted(&["check-config"], dir.path(), &variables);
            assert_not_planted(&what("check-config"), &output);
            let (_, json) = planted(&["check-config", "--output=json"], dir.path(), &variables);
            assert_not_planted(&what("check-config, as JSON"), &json);
            let (_, output) = planted(&["run"], dir.path(), &variables);
            assert_not_planted(&what("run"), &output);
            if code != Some(0) {
                continue;
            }
            taken.push(setting.path());
            for command in ["doctor", "explain", "issue", "status"] {
                let (_, output) = planted(&[command], dir.path(), &variables);
                assert_not_planted(&what(command), &output);
            }
        }
    }
    taken
}

/// A hook that is given a secret and prints it, the live key in three forms, and a request whose
/// query fails: the log, the status and the record show none of it.
#[test]
fn what_a_hook_is_given_and_prints_is_in_no_output() {
    let server = Embedded::start();
    let dir = rig::memory_dir();
    let script = "echo $HOOK_PASSWORD; cat $CERTAGENT_KEY_FILE; base64 $CERTAGENT_KEY_FILE; \
                  sed -n 2p $CERTAGENT_KEY_FILE; env; echo the hook ran; exit 1";
    let url = format!("http://127.0.0.1:1/reload?key={PLANTED}");
    let mut command = loud(&["run", "--mount", "pki_int"], dir.path(), &server.address);
    command
        .env("PATH", "/usr/bin:/bin")
        .env("VAULT_TOKEN", &server.token)
        .env("VAULT_HEADERS", format!("{{\"X-A\": \"{PLANTED}\"}}"))
        .env(
            "CERTAGENT_STATUS_SOCKET",
            dir.path().join("run/status.sock"),
        )
        .env("CERTAGENT_RELOAD_ENV", format!("HOOK_PASSWORD={PLANTED}"))
        .env("CERTAGENT_RELOAD_URL", url)
        .env("CERTAGENT_ON_CERT_CHANGE", "exec,http")
        .env("CERTAGENT_VERIFY_TIMEOUT", "1s");
    let mut command_line = command;
    command_line.args(["--reload-command", "sh", "--reload-command", "-c"]);
    command_line.args(["--reload-command", script]);
    let mut process = Process::start(&mut command_line);
    process.wait_for_line("the hook ran", PATIENCE);
    process.wait_for_line("127.0.0.1:1/reload", PATIENCE);
    let mut hidden = Hidden::new();
    hidden.add_key(&dir.path().join("certs/key.pem"));
    hidden.add("the token", &server.token);
    let mut status = rig::certagent(["status", "--output=json"]);
    status.env(
        "CERTAGENT_STATUS_SOCKET",
        dir.path().join("run/status.sock"),
    );
    let status = String::from_utf8(status.output().unwrap().stdout).unwrap();
    assert!(status.contains("certificates"), "{status}");
    let record = std::fs::read_to_string(dir.path().join("certs/..state.json")).unwrap();
    let outputs = [
        ("log", process.output()),
        ("status", status),
        ("record", record),
    ];
    for (place, output) in outputs {
        assert_not_planted(place, &output);
        hidden.assert_absent(place, &output);
    }
}
