//! Nobody looks along the pipeline; module headers and file sizes hold.
//!
//! Reads the source text and never runs it. What stays true: each rule has a test that it catches
//! its own breach.

use std::path::{Path, PathBuf};

/// Lines of a file, tests included.
const FILE_LIMIT: usize = 600;
/// Lines of a function from `fn` to its closing brace; clippy counts code lines, this one all.
const FUNCTION_LIMIT: usize = 90;

/// Who may not know whom: nothing looks along the pipeline, only `agent` and the commands join stages.
const LAYERS: [(&str, &[&str]); 12] = [
    (
        "child",
        &[
            "agent", "auth", "cli", "commands", "dev", "issue", "issuer", "publish", "vault",
            "watch",
        ],
    ),
    (
        "publish",
        &[
            "agent", "auth", "cli", "commands", "dev", "issue", "issuer", "vault",
        ],
    ),
    (
        "watch",
        &[
            "agent", "auth", "cli", "commands", "dev", "issue", "issuer", "publish", "vault",
        ],
    ),
    ("vault", &["agent", "cli", "commands", "dev", "publish"]),
    ("auth", &["agent", "cli", "commands", "dev", "publish"]),
    (
        "probe",
        &[
            "agent", "auth", "cli", "commands", "dev", "issue", "publish", "vault",
        ],
    ),
    (
        "issue",
        &[
            "agent", "auth", "cli", "commands", "dev", "publish", "vault",
        ],
    ),
    (
        "config",
        &[
            "agent", "auth", "commands", "dev", "issue", "publish", "vault", "watch",
        ],
    ),
    (
        "observe",
        &["auth", "cli", "commands", "dev", "issue", "vault", "watch"],
    ),
    (
        "cli",
        &["agent", "auth", "commands", "dev", "publish", "vault"],
    ),
    (
        "doctor",
        &["auth", "cli", "commands", "dev", "observe", "watch"],
    ),
    ("agent", &["auth", "cli", "commands", "dev", "vault"]),
];

/// Crates that live behind one wall each.
const FENCES: [(&str, &[&str]); 3] = [
    ("vaultrs", &["vault", "auth"]),
    ("rustify", &["vault", "auth"]),
    ("anyhow", &["commands", "main"]),
];

struct Source {
    /// Path from the package root.
    path: String,
    /// First part below `src/`, without `.rs`; empty outside `src`.
    module: String,
    text: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pending: Vec<PathBuf> = ["src", "crates", "integration", "benches"]
        .iter()
        .map(|name| root.join(name))
        .collect();
    let mut found = Vec::new();
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(
                std::fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let path = path.strip_prefix(root).unwrap().display().to_string();
            found.push(Source {
                module: module(&path),
                path,
                text,
            });
        }
    }
    assert!(found.len() > 30, "the walk found {} files", found.len());
    found
}

fn module(path: &str) -> String {
    let below = path.strip_prefix("src/").unwrap_or_default();
    let first = below.split('/').next().unwrap_or_default();
    first.trim_end_matches(".rs").to_owned()
}

fn is_test(path: &str) -> bool {
    !(path.starts_with("src/") || path.starts_with("crates/"))
        || path.contains("src/testing")
        || path.ends_with("tests.rs")
        || path.contains("/tests/")
}

/// Code lines with their numbers, without comments and without the tests at the end of the file.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.split(" // ").next().unwrap_or(line)))
        .take_while(|(_, line)| line.trim() != "#[cfg(test)]")
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// True when `word` stands in `line` as a whole word at its beginning.
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        !line[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_')
    })
}

/// Top-level modules that the code names after `crate::`, with the line; `crate::{a::b, c}` names two.
fn named_modules(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut group = None;
    for (number, line) in code(text) {
        let mut rest = line;
        if group.is_none() {
            let Some((_, after)) = rest.split_once("crate::") else {
                continue;
            };
            rest = after;
            let Some(inside) = rest.strip_prefix('{') else {
                found.push((number, first_name(rest)));
                continue;
            };
            (group, rest) = (Some(1), inside);
        }
        group = group.and_then(|depth| read_group(rest, depth, number, &mut found));
    }
    found
}

/// Reads names at depth 1 of a `{...}`; returns the depth at the end of the line, or `None` when it closed.
fn read_group(
    line: &str,
    mut depth: u32,
    number: usize,
    found: &mut Vec<(usize, String)>,
) -> Option<u32> {
    let mut at_name = true;
    for (index, letter) in line.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => at_name = true,
            _ if depth == 1 && at_name && !letter.is_whitespace() => {
                found.push((number, first_name(&line[index..])));
                at_name = false;
            }
            _ => {}
        }
        if depth == 0 {
            return None;
        }
    }
    Some(depth)
}

fn first_name(text: &str) -> String {
    let end = text.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
    text[..end.unwrap_or(text.len())].to_owned()
}

fn breaches(rule: impl Fn(&Source) -> Vec<String>) -> Vec<String> {
    sources().iter().flat_map(rule).collect()
}

fn looks_along(source: &Source) -> Vec<String> {
    if is_test(&source.path) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (_, others) in LAYERS.iter().filter(|(module, _)| *module == source.module) {
        for (number, other) in named_modules(&source.text) {
            if others.contains(&other.as_str()) {
                found.push(format!("{}:{number}: knows crate::{other}", source.path));
            }
        }
    }
    found
}

fn outside_its_fence(source: &Source) -> Vec<String> {
    if is_test(&source.path) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (name, modules) in FENCES {
        if modules.contains(&source.module.as_str()) {
            continue;
        }
        let call = format!("{name}::");
        let hits = code(&source.text).filter(|(_, line)| has_word(line, &call));
        found.extend(hits.map(|(number, _)| format!("{}:{number}: {name}", source.path)));
    }
    found
}

fn headless(source: &Source) -> Vec<String> {
    let first = source.text.lines().next().unwrap_or_default();
    // A `tests.rs` belongs to the module above it, whose header says what it does.
    if first.starts_with("//! ") || source.path.ends_with("/tests.rs") {
        return Vec::new();
    }
    vec![format!("{}: does not begin with `//! `", source.path)]
}

fn too_long(source: &Source) -> Vec<String> {
    let lines: Vec<&str> = source.text.lines().collect();
    let mut found = Vec::new();
    if lines.len() > FILE_LIMIT {
        found.push(format!("{}: {} lines", source.path, lines.len()));
    }
    let mut start = None;
    for (number, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let is_head = [
            "fn ",
            "pub fn ",
            "pub(crate) fn ",
            "pub(super) fn ",
            "async fn ",
            "pub async fn ",
            "pub(crate) async fn ",
            "pub(super) async fn ",
        ]
        .iter()
        .any(|head| line[indent..].starts_with(head));
        if is_head {
            start = Some((number, indent));
        }
        // rustfmt puts the closing brace below the `fn`.
        let Some((begin, depth)) = start else {
            continue;
        };
        if indent == depth && line[indent..] == *"}" {
            let length = number - begin + 1;
            if length > FUNCTION_LIMIT {
                found.push(format!(
                    "{}:{}: function of {length} lines",
                    source.path,
                    begin + 1
                ));
            }
            start = None;
        }
    }
    found
}

fn unfinished(source: &Source) -> Vec<String> {
    let words = [
        concat!("to", "do!("),
        concat!("unimpl", "emented!("),
        concat!("un", "safe {"),
    ];
    let mut found = Vec::new();
    for (index, line) in source.text.lines().enumerate() {
        for word in words.iter().filter(|word| has_word(line, word)) {
            found.push(format!("{}:{}: {word}", source.path, index + 1));
        }
    }
    found
}

#[test]
fn no_stage_looks_along_the_pipeline() {
    assert_eq!(breaches(looks_along), Vec::<String>::new());
}

#[test]
fn fenced_crates_stay_behind_their_wall() {
    assert_eq!(breaches(outside_its_fence), Vec::<String>::new());
}

#[test]
fn every_module_begins_with_its_header() {
    assert_eq!(breaches(headless), Vec::<String>::new());
}

#[test]
fn files_and_functions_keep_their_size() {
    assert_eq!(breaches(too_long), Vec::<String>::new());
}

#[test]
fn nothing_is_left_unfinished() {
    assert_eq!(breaches(unfinished), Vec::<String>::new());
}

#[test]
fn each_rule_catches_a_breach() {
    let source = |path: &str, text: &str| Source {
        path: path.to_owned(),
        module: module(path),
        text: text.to_owned(),
    };
    let caught = |rule: fn(&Source) -> Vec<String>, path: &str, text: &str| {
        assert_eq!(rule(&source(path, text)).len(), 1, "{path}: {text}");
    };
    caught(
        looks_along,
        "src/publish/generation.rs",
        "use crate::auth::Token;",
    );
    caught(
        outside_its_fence,
        "src/agent.rs",
        "vaultrs::client::VaultClient",
    );
    caught(headless, "src/agent.rs", "use std::fs;");
    caught(unfinished, "src/agent.rs", concat!("to", "do!()"));
    let long = format!("fn f() {{\n{}}}\n", "    g();\n".repeat(FUNCTION_LIMIT));
    caught(too_long, "src/agent.rs", &long);
    caught(too_long, "src/agent.rs", &"// x\n".repeat(FILE_LIMIT + 1));
    let innocent = [
        "// crate::vault in a comment",
        "#[cfg(test)]\nuse crate::vault::Vault;",
        "use crate::model::time::Timestamp;",
    ];
    for text in innocent {
        assert_eq!(
            looks_along(&source("src/publish/x.rs", text)),
            Vec::<String>::new()
        );
    }
}
