//! No key and no token in any output, at the most verbose level.
//!
//! What stays true: the searched secrets are those of the very run, and a planted one is found.

use std::path::Path;

use certagent::config::table::{SETTINGS, Setting, ValueKind};

use crate::rig::{self, Claims, Liar, OpenBao, PATIENCE, Place, Process, jwt, liar};

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

/// A place whose commands say all that they can.
fn loud(mut place: Place) -> Place {
    place.set("CERTAGENT_LOG_LEVEL", "trace");
    place.set("CERTAGENT_COMPONENT", "read");
    place.set("CERTAGENT_NODE_IP", "10.0.0.1");
    place.set("CERTAGENT_DIR", place.certs());
    place.set("CERTAGENT_READY_FILE", place.path("ready.json"));
    place.set("CERTAGENT_STATUS_SOCKET", place.path("run/status.sock"));
    place
}

/// What a running agent says to those who ask it.
fn search_the_servers(process: &mut Process, place: &Place, hidden: &Hidden) {
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
        let output = place.ask(arguments);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{arguments:?}: {text}");
        hidden.assert_absent(&arguments.join(" "), &text);
        hidden.assert_absent("stderr", &String::from_utf8(output.stderr).unwrap());
    }
}

/// Runs the agent until it has renewed twice, stops it, and searches all it said and wrote.
fn search_a_run(place: &Place, settings: &[&str], mut hidden: Hidden) {
    let more = ["--http-listen", "127.0.0.1:0", "--ttl", "5s"];
    let mut command =
        place.certagent(&[&["run", "--startup-timeout", "20s"], &more[..], settings].concat());
    command.env_remove("VAULT_TOKEN");
    let mut process = Process::start(&mut command);
    let key = place.certs().join("key.pem");
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
    search_the_servers(&mut process, place, &hidden);
    hidden.add_key(&key);
    process.signal(rustix::process::Signal::TERM);
    let status = process.wait(PATIENCE);
    assert!(status.success(), "{}", process.output());
    let output = process.output();
    assert!(output.contains("DEBUG"), "trace is not verbose:\n{output}");
    hidden.assert_absent("the output of run", &output);
    for file in ["ready.json", "secrets/certs/..state.json"] {
        if let Ok(text) = std::fs::read_to_string(place.path(file)) {
            hidden.assert_absent(file, &text);
        }
    }
}

#[test]
#[ignore = "needs openbao"]
fn a_run_with_jwt_login_shows_no_secret() {
    let server = OpenBao::ready();
    let identity = jwt(&Claims::default());
    for mode in ["issue", "sign"] {
        let place = loud(Place::at(&server));
        let file = place.path("identity.jwt");
        std::fs::write(&file, &identity).unwrap();
        let mut hidden = Hidden::new();
        hidden.add("the JWT's signature", identity.rsplit('.').next().unwrap());
        let login = ["--auth", "jwt", "--auth-role", "certagent", "--auth-path"];
        let settings = [
            &["--mode", mode, "--role", "ec"],
            &login[..],
            &[file.to_str().unwrap()],
        ]
        .concat();
        search_a_run(&place, &settings, hidden);
    }
}

#[test]
#[ignore = "needs openbao"]
fn a_run_with_approle_login_shows_no_secret() {
    let server = OpenBao::ready();
    let place = loud(Place::at(&server));
    let (role_id, secret_id) = server.approle();
    let file = place.path("secret-id");
    std::fs::write(&file, &secret_id).unwrap();
    let mut hidden = Hidden::new();
    hidden.add("the secret id", &secret_id);
    let login = [
        "--auth",
        "approle",
        "--auth-role-id",
        &role_id,
        "--auth-secret-id-path",
    ];
    let settings = [
        &["--log-format", "json"],
        &login[..],
        &[file.to_str().unwrap()],
    ]
    .concat();
    search_a_run(&place, &settings, hidden);
}

#[test]
#[ignore = "needs openbao"]
fn the_other_commands_show_no_secret() {
    let server = OpenBao::ready();
    let mut place = loud(Place::at(&server));
    let token = server.new_token("1h");
    place.set("VAULT_TOKEN", &token);
    let out = place.certs().display().to_string();
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
        let mut process = Process::start(&mut place.certagent(arguments));
        let status = process.wait(PATIENCE);
        if arguments.contains(&"--output-dir") {
            assert!(status.success(), "{}", process.output());
            hidden.add_key(&place.certs().join("key.pem"));
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
    let planted = "MHcCAQEEIplantedplantedplantedplantedplantedplanted";
    // Wrong types beside a key: a parser's error could quote what it met.
    let body = format!(
        r#"{{"data":{{"certificate":7,"private_key":"-----BEGIN EC PRIVATE KEY-----\n{planted}\n","ca_chain":"{planted}"}},"lease_id":["{planted}"]}}"#
    );
    let issuer = Liar::issuer(move |_| liar::answer("200 OK", &body));
    let place = loud(Place::of(&issuer.address, TOKEN));
    let mut hidden = Hidden::new();
    hidden.add("the planted key", planted);
    hidden.add("the token", TOKEN);
    let mut command = place.certagent(&["run", "--startup-timeout", "2s"]);
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

const TOKEN: &str = "s.thetokenthetokenthetoken";

/// A command that ends by itself, with one more variable; its output.
fn planted(arguments: &[&str], place: &Place, variable: (&str, &str)) -> (Option<i32>, String) {
    let mut command = place.certagent(arguments);
    command.env(variable.0, variable.1);
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
    let mut place = loud(Place::of("http://127.0.0.1:1", TOKEN));
    place.set("VAULT_CLIENT_TIMEOUT", "1s");
    place.set("VAULT_MAX_RETRIES", "0");
    place.set("CERTAGENT_STARTUP_TIMEOUT", "1s");
    place.unset(&["CERTAGENT_STATUS_SOCKET"]);
    let mut taken = Vec::new();
    for setting in settings {
        for value in notations(setting) {
            let name = setting.variable();
            let variable = (&*name, &*value);
            let what = |command: &str| format!("{command}: {name}={value}");
            let (code, output) = planted(&["check-config"], &place, variable);
            assert_not_planted(&what("check-config"), &output);
            let (_, json) = planted(&["check-config", "--output=json"], &place, variable);
            assert_not_planted(&what("check-config, as JSON"), &json);
            let (_, output) = planted(&["run"], &place, variable);
            assert_not_planted(&what("run"), &output);
            if code != Some(0) {
                continue;
            }
            taken.push(setting.path());
            for command in ["doctor", "explain", "issue", "status"] {
                let (_, output) = planted(&[command], &place, variable);
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
    let mut place = loud(Place::new());
    let script = "echo $HOOK_PASSWORD; cat $CERTAGENT_KEY_FILE; base64 $CERTAGENT_KEY_FILE; \
                  sed -n 2p $CERTAGENT_KEY_FILE; env; echo the hook ran; exit 1";
    let url = format!("http://127.0.0.1:1/reload?key={PLANTED}");
    place.set("PATH", "/usr/bin:/bin");
    place.set("VAULT_HEADERS", format!("{{\"X-A\": \"{PLANTED}\"}}"));
    place.set("CERTAGENT_RELOAD_ENV", format!("HOOK_PASSWORD={PLANTED}"));
    place.set("CERTAGENT_RELOAD_URL", url);
    place.set("CERTAGENT_ON_CERT_CHANGE", "exec,http");
    place.set("CERTAGENT_VERIFY_TIMEOUT", "1s");
    let mut command = place.certagent(&["run", "--mount", "pki_int"]);
    command.args(["--reload-command", "sh", "--reload-command", "-c"]);
    command.args(["--reload-command", script]);
    let mut process = Process::start(&mut command);
    process.wait_for_line("the hook ran", PATIENCE);
    process.wait_for_line("127.0.0.1:1/reload", PATIENCE);
    let mut hidden = Hidden::new();
    hidden.add_key(&place.certs().join("key.pem"));
    hidden.add("the token", &place.token);
    let status = place.ask(&["status", "--output=json"]);
    let status = String::from_utf8(status.stdout).unwrap();
    assert!(status.contains("certificates"), "{status}");
    let record = std::fs::read_to_string(place.certs().join("..state.json")).unwrap();
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
