//! What the process gives up itself, seen from outside: in /proc, in `status`, by what still works.

use serde_json::Value;

use super::*;

/// A field of /proc/PID/status.
fn field(pid: u32, name: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap().trim_start_matches(':').trim().to_owned()
}

/// CAP_CHOWN, CAP_DAC_OVERRIDE and CAP_FOWNER (capability.h).
const FILES: u64 = 1 << 0 | 1 << 1 | 1 << 3;

fn capabilities(pid: u32) -> u64 {
    u64::from_str_radix(&field(pid, "CapEff"), 16).unwrap()
}

/// Name and state of each part, as `status` shows them.
fn parts(place: &Allocation) -> Vec<(String, bool)> {
    let output = place.ask(&["status", "--output=json"]);
    let report: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let each = report["hardening"].as_array().unwrap().iter();
    each.map(|part| {
        assert!(!part["detail"].as_str().unwrap().is_empty());
        let name = part["name"].as_str().unwrap().to_owned();
        (name, part["active"].as_bool().unwrap())
    })
    .collect()
}

fn reloaded(parts: &[(String, bool)], name: &str) -> bool {
    parts.iter().any(|(part, active)| part == name && *active)
}

/// L16: every thread has it, and renewals, repairs and a directory that is made again go on.
#[test]
#[ignore = "needs root"]
fn run_gives_up_what_it_does_not_need_and_goes_on_working() {
    let place = Allocation::shared();
    let mut process = place.running(&["--ttl", "20s"]);
    let parts = parts(&place);
    for name in ["memory", "no_new_privs", "capabilities", "landlock"] {
        assert!(reloaded(&parts, name), "{name}: {parts:?}");
    }
    let threads = fs::read_dir(format!("/proc/{}/task", process.pid())).unwrap();
    for thread in threads {
        let thread = thread.unwrap().file_name().into_string().unwrap();
        let thread = thread.parse().unwrap();
        assert_eq!(field(thread, "NoNewPrivs"), "1");
        assert_eq!(capabilities(thread), FILES);
    }
    place.renews(&mut process);
    let key = place.certs().join("key.pem");
    mode(&fs::canonicalize(&key).unwrap(), 0o644);
    wait_for("a repair", PATIENCE, || {
        let now = fs::metadata(&key).ok()?.permissions().mode() & 0o777;
        (now == 0o600).then_some(())
    });
    fs::rename(place.certs(), place.path("secrets/gone")).unwrap();
    fs::rename(place.path("alloc/certagent"), place.path("alloc/gone")).unwrap();
    place.publishes();
    place.renews(&mut process);
    ends(process);
}

/// A file of somebody else stays unread although root could read it: what the process is made to
/// name after its start is not reached.
#[test]
#[ignore = "needs root"]
fn landlock_closes_what_the_configuration_does_not_name() {
    for (hardening, refused) in [("on", true), ("off", false)] {
        let place = Allocation::shared();
        let other = tempfile::tempdir().unwrap();
        let (token, real) = (place.path("login/token"), other.path().join("token"));
        fs::create_dir(place.path("login")).unwrap();
        for file in [&token, &real] {
            fs::write(file, &place.token).unwrap();
            mode(file, 0o600);
        }
        let login = token.display().to_string();
        let settings = ["--auth", "token_file", "--auth-path", &login];
        let mut command = place.command("run", &[&["--ttl", "20s"], &settings[..]].concat());
        command
            .env_remove("VAULT_TOKEN")
            .env("CERTAGENT_HARDENING", hardening);
        let mut process = Process::start(&mut command);
        place.publishes();
        fs::remove_file(&token).unwrap();
        std::os::unix::fs::symlink(&real, &token).unwrap();
        if refused {
            process.wait_for_line("Permission denied", PATIENCE);
        } else {
            place.renews(&mut process);
            assert!(!process.output().contains("Permission denied"));
        }
        ends(process);
    }
}

/// With a program to start nothing is on that it would inherit, and it has what it would have
/// without certagent; certagent itself still drops its capabilities.
#[test]
#[ignore = "needs root"]
fn hooks_and_the_command_of_exec_are_as_without_certagent() {
    let look = "grep -E '^(CapEff|CapPrm|NoNewPrivs):' /proc/self/status | tr '\\n' ' '; \
                head -c 1 \"$1\" >/dev/null && echo read";
    let other = tempfile::tempdir().unwrap();
    let file = other.path().join("file");
    fs::write(&file, "x").unwrap();
    let file = file.display().to_string();
    let plain = Command::new("sh")
        .args(["-c", look, "sh", &file])
        .output()
        .unwrap();
    let plain = String::from_utf8(plain.stdout).unwrap();
    assert!(plain.ends_with("read\n"), "{plain}");

    let place = Allocation::shared();
    let hook = ["--on-cert-change", "exec"];
    let mut command = place.command("run", &[&["--ttl", "1h"], &hook[..]].concat());
    for word in ["sh", "-c", look, "sh", &file] {
        command.args(["--reload-command", word]);
    }
    let mut process = Process::start(&mut command);
    place.publishes();
    let line = process
        .wait_for_line("CapEff", PATIENCE)
        .replace("\\t", "\t");
    assert!(line.contains(plain.trim_end()), "{line}: {plain}");
    let parts = parts(&place);
    assert!(
        reloaded(&parts, "capabilities") && reloaded(&parts, "memory"),
        "{parts:?}"
    );
    assert!(
        !reloaded(&parts, "landlock") && !reloaded(&parts, "no_new_privs"),
        "{parts:?}"
    );
    assert_eq!(capabilities(process.pid()), FILES | 1 << 5, "and CAP_KILL");
    ends(process);

    let place = Allocation::shared();
    let mut command = place.command(
        "exec",
        &["--ttl", "1h", "--", "sh", "-c", look, "sh", &file],
    );
    let mut process = Process::start(&mut command);
    assert_eq!(
        process.wait(PATIENCE).code(),
        Some(0),
        "{}",
        process.output()
    );
    assert_eq!(process.stdout(), plain);
    place.keep();
}

/// For support: everything as before, and said so.
#[test]
#[ignore = "needs root"]
fn hardening_can_be_turned_off_and_that_is_shown() {
    let place = Allocation::shared();
    let process = place.running(&["--ttl", "1h", "--hardening", "off"]);
    let parts = parts(&place);
    assert_eq!(parts.len(), 4);
    assert!(
        !parts
            .iter()
            .any(|(name, active)| *active && name != "memory")
    );
    assert_eq!(field(process.pid(), "NoNewPrivs"), "0");
    assert_eq!(
        capabilities(process.pid()),
        capabilities(std::process::id())
    );
    ends(process);
}

/// Not root: nothing to drop, and Landlock all the same.
#[test]
fn without_privileges_it_is_hardened_too() {
    let place = Allocation::new();
    let run = place.command("run", &["--ttl", "20s", "--log-level", "debug"]);
    let mut process = Process::start(&mut unprivileged(&place, &run, "exec \"$@\""));
    for part in [
        "no_new_privs on",
        "capabilities on: none left",
        "landlock on",
    ] {
        process.wait_for_line(part, PATIENCE);
    }
    place.publishes();
    let first = place.live("cert.pem");
    wait_for("a renewal", PATIENCE, || {
        (place.live("cert.pem") != first).then_some(())
    });
    ends(process);
}
