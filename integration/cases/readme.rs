//! The commands of README, "First certificate", as they stand there, on a real OpenBao.

use std::{fs, path::Path};

use rustix::process::Signal;

use crate::rig::{OpenBao, PATIENCE, Place, Process, wait_for_file};

/// The lines of a section that begin with `program`, without comments, as words.
fn commands(section: &str, program: &str) -> Vec<Vec<String>> {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = fs::read_to_string(readme).unwrap();
    let (_, rest) = text.split_once(&format!("\n## {section}\n")).unwrap();
    let lines = rest.split("\n## ").next().unwrap().lines();
    let lines = lines.map(|line| line.split(" #").next().unwrap_or_default());
    let words = lines.map(|line| line.split_whitespace().map(str::to_owned).collect());
    words
        .filter(|words: &Vec<String>| words.first().is_some_and(|first| first == program))
        .collect()
}

#[test]
#[ignore = "needs openbao"]
fn the_first_certificate_comes_as_readme_says() {
    let server = OpenBao::ready();
    let [role] = commands("First certificate", "vault").try_into().unwrap();
    let fields = role[3..].iter().map(|field| field.split_once('=').unwrap());
    let fields: serde_json::Map<_, _> = fields
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    assert_eq!(role[1], "write");
    server.write(&role[2], &fields.into());
    let place = Place::at(&server);
    let [dry_run, run, inspect] = commands("First certificate", "certagent")
        .try_into()
        .unwrap();
    let command = |words: &[String]| {
        let words: Vec<&str> = words[1..].iter().map(String::as_str).collect();
        let mut command = place.certagent(&words);
        command.current_dir(place.home());
        command
    };
    let checked = command(&dry_run).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
    let mut agent = Process::start(&mut command(&run));
    wait_for_file(&place.path("certs/cert.pem"), PATIENCE);
    let inspected = command(&inspect).output().unwrap();
    assert!(inspected.status.success(), "{inspected:?}");
    agent.signal(Signal::INT);
    assert!(agent.wait(PATIENCE).success(), "{}", agent.output());
}
