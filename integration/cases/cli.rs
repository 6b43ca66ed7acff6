//! Help, exit codes, errors, streams and colours of the built binary.

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

use certagent::exit::Exit;

use crate::rig;

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

fn finish(mut command: Command) -> Ran {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    Ran {
        code: status.code(),
        out: String::from_utf8(stdout).unwrap(),
        err: String::from_utf8(stderr).unwrap(),
    }
}

fn run<const N: usize>(arguments: [&str; N], environment: &[(&str, &str)]) -> Ran {
    let mut command = rig::certagent(arguments);
    command.envs(environment.iter().copied());
    finish(command)
}

fn code(exit: Exit) -> Option<i32> {
    Some(i32::from(exit.code()))
}

/// The subcommands that `--help` lists.
fn subcommands() -> Vec<String> {
    let help = run(["--help"], &[]).out;
    let lines = help.lines().skip_while(|line| *line != "Run:");
    lines
        .take_while(|line| *line != "Options:")
        .filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

/// Two screens of 40 lines.
const LONGEST_HELP: usize = 80;

#[test]
fn no_help_is_longer_than_two_screens_and_help_settings_has_the_rest() {
    for command in subcommands() {
        let long = run([command.as_str(), "--help"], &[]).out;
        let lines = long.lines().count();
        assert!(lines <= LONGEST_HELP, "{command}: {lines} lines\n{long}");
        assert_eq!(long, run([command.as_str(), "-h"], &[]).out, "{command}");
        assert_eq!(long, run(["help", command.as_str()], &[]).out, "{command}");
        if long.contains("--config <FILE>") {
            assert!(
                long.contains("All settings: certagent help settings"),
                "{command}"
            );
        }
    }
    let top = run(["--help"], &[]).out;
    assert!(top.lines().count() <= LONGEST_HELP, "{top}");
    assert_eq!(top, run(["help"], &[]).out);
    let unknown = run(["help", "renwe"], &[]);
    assert_eq!(unknown.code, code(Exit::Usage));
    assert!(unknown.err.contains("certagent help"), "{}", unknown.err);
}

#[test]
fn no_line_of_a_help_text_is_so_long_that_clap_breaks_it_in_two() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/help.rs");
    let text = fs::read_to_string(path).unwrap();
    let wide = text.lines().find(|line| line.chars().count() > 100);
    assert_eq!(wide, None);
}

#[test]
fn version_says_the_commit_or_that_it_is_unknown() {
    let text = run(["version"], &[]).out;
    let version = env!("CARGO_PKG_VERSION");
    assert!(
        text.starts_with(&format!("certagent {version}\ncommit: ")),
        "{text}"
    );
    let json: serde_json::Value =
        serde_json::from_str(&run(["version", "-o", "json"], &[]).out).unwrap();
    assert_eq!(json["version"], version);
    let wanted = option_env!("CERTAGENT_COMMIT").filter(|commit| !commit.is_empty());
    assert_eq!(json["commit"], wanted.unwrap_or("unknown"));
}

#[test]
fn shells_complete_the_words_of_a_setting_and_no_file_for_a_text() {
    let script = run(["completions", "bash"], &[]).out;
    assert!(script.contains("compgen -W \"auto issue sign\""), "--mode");
    assert!(script.contains("compgen -W \"text json\""), "--log-format");
    let fish = run(["completion", "fish"], &[]).out;
    assert!(
        fish.contains("-l key-type") && fish.contains("ed25519"),
        "{fish}"
    );
}

#[test]
fn help_is_a_result_and_lists_the_exit_codes() {
    let ran = run(["--help"], &[]);
    assert_eq!((ran.code, ran.err.as_str()), (code(Exit::Done), ""));
    for exit in Exit::ALL {
        let line = format!("  {}  {}\n", exit.code(), exit.meaning());
        assert!(ran.out.contains(&line), "{line}");
    }
    let version = run(["--version"], &[]);
    assert_eq!(
        version.out,
        format!("certagent {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn every_command_has_help_with_an_example() {
    let commands = subcommands();
    assert!(commands.len() >= 4, "{commands:?}");
    let list = run(["--help"], &[]).out;
    for command in commands {
        let ran = run([command.as_str(), "--help"], &[]);
        let purpose = ran.out.lines().next().unwrap();
        let listed = list.lines().any(|line| {
            let words = line.trim().strip_prefix(&command).map(str::trim_start);
            words.is_some_and(|words| words == purpose)
        });
        assert!(listed, "{command}: {purpose}");
        assert_eq!(ran.code, code(Exit::Done), "{command}");
        assert!(ran.out.contains("Example"), "{command}");
        assert!(
            ran.out.contains(&format!("  certagent {command}"))
                || ran.out.contains(&format!("    certagent {command}")),
            "{command}"
        );
    }
}

#[test]
fn every_command_that_reports_has_one_flag_for_its_form() {
    let reports = [
        "check-config",
        "doctor",
        "explain",
        "inspect",
        "issue",
        "probe",
        "renew",
        "status",
        "wait",
    ];
    for command in reports {
        let help = run([command, "-h"], &[]).out;
        assert!(help.contains("-o, --output <FORMAT>"), "{command}: {help}");
        let unknown = run([command, "-o", "yaml"], &[]);
        assert_eq!(unknown.code, code(Exit::Usage), "{command}");
        let pem = unknown.err.contains("pem");
        assert_eq!(pem, command == "issue", "{command}: {}", unknown.err);
    }
}

#[test]
fn a_wrong_command_line_ends_with_2_and_says_so_on_stderr() {
    let wrong: [&[&str]; 6] = [
        &[],
        &["renwe"],
        &["check-config", "--tll", "1h"],
        &["check-config", "--ttl"],
        &["completions", "cobol"],
        &["wait", "--timeout", "soon", "--ready-file", "x"],
    ];
    for arguments in wrong {
        let ran = finish(rig::certagent(arguments));
        assert_eq!(ran.code, code(Exit::Usage), "{arguments:?}");
        assert_eq!(ran.out, "", "{arguments:?}");
        assert!(!ran.err.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_flag_is_compared_with_those_that_are_nearly_the_same_only() {
    let near = run(["run", "--comon-name", "x"], &[]).err;
    assert!(near.contains("'--common-name'"), "{near}");
    for flag in ["--on-leaf", "--verbose"] {
        let far = run(["run", flag, "x"], &[]).err;
        assert!(far.contains(flag) && !far.contains("similar"), "{far}");
    }
}

#[test]
fn no_flag_takes_a_token_or_a_secret_id() {
    for flag in [
        "--token",
        "--auth-token",
        "--secret-id",
        "--auth-secret-id",
        "--vault-headers",
    ] {
        let ran = run(["check-config", flag, "hunter2"], &[]);
        assert_eq!(ran.code, code(Exit::Usage), "{flag}");
        assert!(!ran.err.contains("hunter2"), "{flag}: {}", ran.err);
    }
}

const GOOD: &[(&str, &str)] = &[
    ("VAULT_TOKEN", "hunter2"),
    ("VAULT_ADDR", "https://vault.example:8200"),
    ("CERTAGENT_COMPONENT", "ingester"),
    ("CERTAGENT_NODE_IP", "192.0.2.7"),
];

#[test]
fn check_config_prints_every_value_with_its_source_and_no_secret() {
    let ran = run(["check-config", "--ttl", "1h"], GOOD);
    assert_eq!((ran.code, ran.err.as_str()), (code(Exit::Done), ""));
    assert!(!ran.out.contains("hunter2"));
    let row = |key: &str| {
        let line = ran.out.lines().find(|line| line.starts_with(key)).unwrap();
        line.split_whitespace()
            .skip(1)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(row("certificate.ingester.ttl "), ["1h", "--ttl"]);
    assert_eq!(row("certificate.ingester.mount "), ["pki", "default"]);
    assert_eq!(
        row("vault.address "),
        ["https://vault.example:8200", "VAULT_ADDR"]
    );
    assert_eq!(row("auth.token "), ["[secret]", "VAULT_TOKEN"]);
    assert_eq!(row("auth.method "), ["token", "from", "VAULT_TOKEN"]);

    let json = run(["check-config", "--output=json"], GOOD);
    let value: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(value["ok"], true);
    assert!(!json.out.contains("hunter2"));
}

#[test]
fn check_config_tells_all_problems_with_file_line_and_key() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("certagent.hcl");
    let text = "certificate \"a\" {\n  tll = \"1h\"\n  ip_sans = [\"nowhere\"]\n}\n";
    fs::write(&path, text).unwrap();
    let name = path.to_str().unwrap();
    let environment = [
        ("VAULT_TOKEN", "hunter2"),
        ("VAULT_SKIP_VERIFY", "1"),
        ("CERTAGENT_COMPONENT", "a"),
    ];
    let ran = run(["check-config", "-c", name, "--mount", "a b"], &environment);
    assert_eq!((ran.code, ran.out.as_str()), (code(Exit::Usage), ""));
    let wanted = [
        format!("error: {name}:2: certificate.tll: unknown key; did you mean ttl?"),
        format!("error: {name}:3: certificate.ip_sans: \"nowhere\": not an IP address"),
        "error: VAULT_SKIP_VERIFY: refused: ".to_owned(),
        "error: --mount: certificate.mount: \"a b\": ".to_owned(),
    ];
    for start in &wanted {
        assert!(
            ran.err.lines().any(|line| line.starts_with(start)),
            "{start}\n{}",
            ran.err
        );
    }
    let errors = ran.err.lines().filter(|line| line.starts_with("error: "));
    assert_eq!(errors.count(), wanted.len());

    let json = run(["check-config", "--output=json", "-c", name], &environment);
    assert_eq!((json.code, json.err.as_str()), (code(Exit::Usage), ""));
    let value: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(value["ok"], false);
    assert_eq!(value["problems"][0]["source"], format!("{name}:2"));
    assert_eq!(value["problems"][0]["key"], "certificate.tll");
}

#[test]
fn the_words_of_a_command_may_begin_with_a_hyphen() {
    let words = ["/bin/sh", "-c", "kill -HUP 1", "--", "--now", "-9"];
    let apart = words.map(|word| ["--reload-command".to_owned(), word.to_owned()]);
    let joined = words.map(|word| format!("--reload-command={word}"));
    for flags in [apart.concat(), joined.to_vec()] {
        let mut arguments = vec!["check-config", "--output=json", "--on-cert-change", "exec"];
        arguments.extend(flags.iter().map(String::as_str));
        let mut command = rig::certagent(arguments);
        command.envs(GOOD.iter().copied());
        let ran = finish(command);
        assert_eq!(ran.code, code(Exit::Done), "{}", ran.err);
        let report: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
        let settings = report["settings"].as_array().unwrap();
        let argv = settings
            .iter()
            .find(|row| row["key"] == "certificate.reload.command");
        // Arguments may hold a secret: only the program is shown.
        let mut shown = ["[argument]"; 6];
        shown[0] = words[0];
        assert_eq!(argv.unwrap()["value"], serde_json::json!(shown));
    }
    // of other flags a value that looks like a flag is a slip
    let ran = run(["check-config", "--dns-sans", "--role"], GOOD);
    assert_eq!(ran.code, code(Exit::Usage), "{}", ran.out);
}

#[test]
fn the_file_can_come_from_a_variable() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/loki.hcl");
    let ran = run(
        ["check-config"],
        &[("CERTAGENT_CONFIG", path.to_str().unwrap())],
    );
    assert_eq!(ran.code, code(Exit::Done), "{}", ran.err);
    assert!(ran.out.contains("configs/loki.hcl:"));
}

#[test]
fn wait_without_a_ready_file_is_a_usage_error_and_a_late_one_is_7() {
    assert_eq!(run(["wait"], &[]).code, code(Exit::Usage));
    let dir = tempfile::tempdir().unwrap();
    let environment = [("NOMAD_ALLOC_DIR", dir.path().to_str().unwrap())];
    let ran = run(["wait", "--timeout", "50ms"], &environment);
    assert_eq!((ran.code, ran.out.as_str()), (code(Exit::TimedOut), ""));
    assert!(
        ran.err.starts_with("waiting for the ready file ")
            && ran.err.contains("\nerror: ")
            && ran.err.contains("\nhint: "),
        "{}",
        ran.err
    );
    assert!(ran.err.contains("certagent/ready.json"), "{}", ran.err);
}

#[test]
fn completions_exist_for_every_shell_and_bash_can_read_them() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let ran = run(["completions", shell], &[]);
        assert_eq!((ran.code, ran.err.as_str()), (code(Exit::Done), ""));
        for command in subcommands() {
            assert!(ran.out.contains(&command), "{shell}: {command}");
        }
        if shell == "bash" {
            let dir = tempfile::tempdir().unwrap();
            let script = dir.path().join("certagent");
            fs::write(&script, &ran.out).unwrap();
            let checked = Command::new("bash")
                .arg("-n")
                .arg(&script)
                .status()
                .unwrap();
            assert!(checked.success());
        }
    }
}

#[test]
fn manual_pages_are_made_for_every_command() {
    let ran = run(["man"], &[]);
    assert_eq!(ran.code, code(Exit::Done));
    assert!(ran.out.contains(".TH certagent 1"));
    let dir = tempfile::tempdir().unwrap();
    let ran = run(["man", "--output-dir", dir.path().to_str().unwrap()], &[]);
    assert_eq!((ran.code, ran.out.as_str()), (code(Exit::Done), ""));
    for command in subcommands() {
        let page = dir.path().join(format!("certagent-{command}.1"));
        assert!(
            fs::read_to_string(&page).unwrap().contains(".TH"),
            "{command}"
        );
    }
    let nowhere = run(["man", "--output-dir", "/nowhere"], &[]);
    assert_eq!(nowhere.code, code(Exit::Failure));
    assert!(nowhere.err.contains("/nowhere"), "{}", nowhere.err);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let mut child = rig::certagent(["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), code(Exit::Done));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

/// Runs a command on a terminal of its own (util-linux `script`).
fn on_a_terminal(arguments: &str, no_colour: Option<&str>) -> String {
    let mut command = Command::new("script");
    let line = format!("{} {arguments}", env!("CARGO_BIN_EXE_certagent"));
    command.args(["-qec", &line, "/dev/null"]);
    command
        .env_clear()
        .env("TERM", "xterm")
        .env("PATH", "/usr/bin:/bin");
    if let Some(value) = no_colour {
        command.env("NO_COLOR", value);
    }
    finish(command).out
}

#[test]
fn colour_is_for_terminals_without_no_color() {
    let escape = '\u{1b}';
    assert!(!run(["--help"], &[]).out.contains(escape));
    assert!(on_a_terminal("--help", None).contains(escape));
    assert!(!on_a_terminal("--help", Some("1")).contains(escape));
}
