//! Every command of certagent in the documents is one that it takes.
//!
//! Never runs one: docs/README.md lists which are run by which test. What stays true: a flag or a command
//! that was renamed is found in each page that still has the old name.

use std::fs;

use certagent::cli;
use clap::error::ErrorKind;

use super::rooms::root;

/// The commands of certagent in the code blocks of a page, one line each.
fn commands(page: &str) -> Vec<String> {
    let mut found = Vec::new();
    for block in page.split("```").skip(1).step_by(2) {
        let (language, text) = block.split_once('\n').unwrap_or_default();
        if !["sh", "shell", ""].contains(&language.trim()) {
            continue;
        }
        let text = text.replace("\\\n", " ");
        for line in text.lines() {
            let line = line.split(" #").next().unwrap_or_default();
            let line = line.split([';', '|', '>']).next().unwrap_or_default();
            // behind variables, or behind another program that starts it
            if let Some(at) = line.find("certagent ")
                && line[..at].split_whitespace().all(is_before)
            {
                found.push(line[at..].trim().to_owned());
            }
        }
    }
    found
}

/// `A=b`, or the words of `nomad alloc exec -task certagent ALLOCATION`.
fn is_before(word: &str) -> bool {
    word.contains('=') || ["$", "sudo"].contains(&word)
}

fn pages() -> Vec<String> {
    let docs = fs::read_dir(root().join("docs")).unwrap();
    let docs = docs.map(|entry| entry.unwrap().path());
    let more = ["README.md", "nomad/setup.md"].map(|name| root().join(name));
    let pages = docs.filter(|path| path.extension().is_some_and(|it| it == "md"));
    let pages = pages.chain(more);
    pages
        .map(|path| fs::read_to_string(path).unwrap())
        .collect()
}

fn refused(command: &str) -> Option<String> {
    let words = command.split_whitespace();
    let words = words.filter(|word| !word.starts_with("...") && !word.starts_with('['));
    let error = cli::parse(words).err()?;
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => None,
        _ => Some(format!("{command}: {error}")),
    }
}

#[test]
fn every_command_in_the_documents_is_understood() {
    let all: Vec<_> = pages().iter().flat_map(|page| commands(page)).collect();
    assert!(all.len() >= 12, "{all:?}");
    let wrong: Vec<_> = all.iter().filter_map(|command| refused(command)).collect();
    assert_eq!(wrong, Vec::<String>::new());
    assert!(refused("certagent run --json").is_some());
    let page = "```sh\nA=b certagent run \\\n  --ttl 1h # c\nnomad exec certagent x\n```\n```hcl\ncertagent y\n```\n";
    assert_eq!(commands(page), ["certagent run    --ttl 1h"]);
}

#[test]
fn each_page_with_commands_says_what_runs_them() {
    let list = fs::read_to_string(root().join("docs/README.md")).unwrap();
    let (_, list) = list.split_once("## Which commands of these pages").unwrap();
    let docs = fs::read_dir(root().join("docs")).unwrap();
    let docs = docs.map(|entry| entry.unwrap().path());
    let missing: Vec<_> = docs
        .chain([root().join("nomad/setup.md")])
        .filter(|path| path.extension().is_some_and(|end| end == "md"))
        .filter(|path| fs::read_to_string(path).unwrap().contains("```sh\n"))
        .filter(|path| !list.contains(path.file_name().unwrap().to_str().unwrap()))
        .collect();
    assert_eq!(missing, [] as [std::path::PathBuf; 0]);
}
