//! A program that will not do is refused in one line that says what to do, before anything is started.
//!
//! Asks `integration/tools/programs.py` by the three commands that people use. Starts no server.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use tempfile::TempDir;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A PATH with nothing but Python, and the place of planted programs.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        // What is on PATH may be a script that starts another.
        let itself = ["-c", "import sys; print(sys.executable)"];
        let output = Command::new("python3").args(itself).output().unwrap();
        let python = String::from_utf8(output.stdout).unwrap();
        symlink(python.trim(), place.path("python3")).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file with this mode and returns its path.
    fn plant(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    /// What the command says with these variables, and nothing else but PATH.
    fn ask(&self, command: &[&str], variables: &[(&str, &str)]) -> Output {
        Command::new(self.path("python3"))
            .arg(Path::new(ROOT).join(command[0]))
            .args(&command[1..])
            .current_dir(ROOT)
            .env_clear()
            .env("PATH", self.0.path())
            .envs(variables.iter().copied())
            .output()
            .unwrap()
    }
}

/// The lines on stderr; the exit code must be 2 and stdout empty.
fn refused(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(output.stdout.is_empty(), "{output:?}");
    text.lines().map(str::to_owned).collect()
}

const FINDER: &str = "integration/tools/programs.py";

#[test]
fn what_is_no_program_or_too_old_is_refused_in_one_line() {
    let place = Place::new();
    let script = |name: &str, body: &str| place.plant(name, &format!("#!/bin/sh\n{body}\n"), 0o755);
    let cases = [
        (place.path("none"), "which does not exist"),
        (place.0.path().to_owned(), "which is no file"),
        (
            place.plant("text", "hello", 0o644),
            "which is not executable",
        ),
        (
            place.plant("odd", "hello", 0o755),
            "which does not start: Exec format error",
        ),
        (script("old", "echo Nomad v1.9.7"), "which is 1.9, too old"),
        (script("mute", "true"), "which prints no version"),
        (
            script("other", "echo something 3.4"),
            "which prints no version",
        ),
        (
            script("fails", "echo no licence >&2; exit 3"),
            "which ends with 3 as `nomad version`: no licence",
        ),
    ];
    for (path, what) in cases {
        let path = path.to_str().unwrap();
        for command in [
            &[FINDER, "nomad"][..],
            &["integration/test"],
            &["integration/stack/run", "rotation"],
        ] {
            let lines = refused(&place.ask(
                command,
                &[("CERTAGENT_NOMAD", path), ("CERTAGENT_SKIP", "loki")],
            ));
            let line = lines.iter().find(|line| line.contains("nomad: ")).unwrap();
            assert!(
                line.contains(&format!("CERTAGENT_NOMAD names {path}, {what}")),
                "{line}"
            );
            assert!(
                line.contains("nomad 1.10 or later is needed by ")
                    && line.contains("install its maker's release"),
                "{line}"
            );
        }
    }
}

#[test]
fn an_absent_program_is_named_with_what_needs_it() {
    let place = Place::new();
    let lines = refused(&place.ask(&["integration/stack/run", "rotation"], &[]));
    assert_eq!(lines.len(), 2, "{lines:?}");
    for (line, name) in lines.iter().zip(["nomad", "loki"]) {
        assert!(
            line.starts_with(&format!("stack: {name}: not found")),
            "{line}"
        );
        assert!(
            line.contains("every scenario of integration/stack/run"),
            "{line}"
        );
    }
    let lines = refused(&place.ask(&["integration/test"], &[("CERTAGENT_REQUIRE", "loki")]));
    assert!(
        lines.len() == 1 && lines[0].starts_with("loki: not found"),
        "{lines:?}"
    );
    let lines = refused(&place.ask(&["integration/test"], &[("CERTAGENT_SKIP", "lokki")]));
    assert!(
        lines.len() == 1 && lines[0].starts_with("CERTAGENT_SKIP names lokki"),
        "{lines:?}"
    );
}

/// A stage of `.ci/run` that runs nothing may not end as one that passed.
#[test]
fn a_scenario_that_is_left_out_does_not_pass() {
    let place = Place::new();
    for (scenario, name, left_out) in [
        ("rotation", "stack", true),
        ("mesh", "mesh", true),
        ("alerts", "prometheus", true),
        ("image", "image", true),
        ("rotation", "mesh", false),
    ] {
        let command = ["integration/stack/run", scenario];
        let done = place.ask(&command, &[("CERTAGENT_SKIP", name)]);
        let said = String::from_utf8_lossy(&done.stderr);
        let wanted = if left_out { 80 } else { 2 };
        assert_eq!(done.status.code(), Some(wanted), "{scenario}: {said}");
        assert_eq!(said.contains("nothing was run"), left_out, "{said}");
    }
}

#[test]
fn a_program_that_hangs_is_ended_with_its_children() {
    let place = Place::new();
    let child = place.path("child");
    let body = format!(
        "#!/bin/sh\n/bin/sleep 600 & echo $! >{}\nwait\n",
        child.display()
    );
    let path = place.plant("hangs", &body, 0o755);
    let lines = refused(&place.ask(
        &[FINDER, "loki"],
        &[("CERTAGENT_LOKI", path.to_str().unwrap())],
    ));
    assert!(
        lines.len() == 1 && lines[0].contains("does not end within 10 s"),
        "{lines:?}"
    );
    let child: i32 = fs::read_to_string(child).unwrap().trim().parse().unwrap();
    let state = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z "), "{state}");
}

#[test]
fn a_good_one_is_found_by_its_variable_and_by_path() {
    let place = Place::new();
    let found = |output: &Output| String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let path = place.plant(
        "mine",
        "#!/bin/sh\necho 'loki, version 3.2.0 (branch: x)'\n",
        0o755,
    );
    let path = path.to_str().unwrap();
    assert_eq!(
        found(&place.ask(&[FINDER, "loki"], &[("CERTAGENT_LOKI", path)])),
        path
    );
    let path = place.plant("nomad", "#!/bin/sh\necho Nomad v1.10.0\n", 0o755);
    assert_eq!(
        found(&place.ask(&[FINDER, "nomad"], &[])),
        path.to_str().unwrap()
    );
}

/// Each reason is one that `integration/test` understands.
#[test]
fn every_ignored_test_says_which_program_it_needs() {
    let place = Place::new();
    let usage = place.ask(&[FINDER], &[]);
    let usage = String::from_utf8_lossy(&usage.stderr).into_owned();
    let known: Vec<&str> = usage
        .rsplit("names: ")
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    assert!(known.contains(&"nomad"), "{usage}");
    let attribute = concat!("#[ig", "nore");
    let mut pending = vec![
        Path::new(ROOT).join("integration"),
        Path::new(ROOT).join("src"),
        Path::new(ROOT).join("crates"),
    ];
    let mut count = 0;
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            for line in fs::read_to_string(&path)
                .unwrap()
                .lines()
                .map(str::trim)
                .filter(|line| line.starts_with(attribute))
            {
                let reason = line
                    .split('"')
                    .nth(1)
                    .and_then(|reason| reason.strip_prefix("needs "));
                let names: Vec<&str> = reason.unwrap_or_default().split(", ").collect();
                assert!(
                    names.iter().all(|name| known.contains(name)),
                    "{}: {line}",
                    path.display()
                );
                count += 1;
            }
        }
    }
    assert!(count > 30, "{count}");
}
