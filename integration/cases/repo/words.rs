//! Texts that people read, and comments, hold no word that docs/glossary.md lists as not used.

use std::{
    fs,
    path::{Path, PathBuf},
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The left column of the glossary's last table.
fn not_used() -> Vec<String> {
    let text = fs::read_to_string(root().join("docs/glossary.md")).unwrap();
    let (_, table) = text.split_once("## Not used").unwrap();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| "));
    let words = rows.filter_map(|row| row.split(" |").next());
    words
        .filter(|word| *word != "word")
        .map(str::to_owned)
        .collect()
}

fn files(dir: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(root().join(dir)).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && !["tests", "testing"].contains(&name) {
            files(path.to_str().unwrap(), found);
        } else if path.is_file()
            && !["tests.rs", "testing.rs", "glossary.md", "upgrade.md"].contains(&name)
        {
            found.push(path);
        }
    }
}

/// What is between double quotes in the code before its tests, and the lines that are comments.
fn texts(code: &str) -> String {
    let code = code.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let mut found = String::new();
    let (mut inside, mut escaped) = (false, false);
    for line in code.lines() {
        let trimmed = line.trim_start();
        if !inside && trimmed.starts_with("//") {
            found.push_str(trimmed);
            found.push('\n');
            continue;
        }
        for (at, byte) in line.char_indices() {
            let quote = byte == '"' && !escaped && !line[..at].ends_with('\'');
            if quote {
                inside = !inside;
                found.push('\n');
            } else if inside {
                found.push(byte);
            }
            escaped = byte == '\\' && !escaped;
        }
        escaped = false;
        found.push(' ');
    }
    found
}

fn has(text: &str, word: &str) -> bool {
    let text = text.to_lowercase();
    text.match_indices(word).any(|(at, _)| {
        let letter = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphabetic());
        let before = at.checked_sub(1).and_then(|at| text.as_bytes().get(at));
        !letter(before) && !letter(text.as_bytes().get(at + word.len()))
    })
}

#[test]
fn a_word_is_found_in_texts_and_not_in_code_or_longer_words() {
    assert!(has(&texts("print(\"it was told\");"), "told"));
    assert!(has(&texts("    /// What it was told.\n"), "told"));
    assert!(!has(&texts("fn told() {}\n"), "told"));
    assert!(!has("extended", "ended") && has("It Ended.", "ended"));
}

#[test]
fn no_text_has_a_word_that_the_glossary_does_not_use() {
    let words = not_used();
    assert!(words.len() > 10, "{words:?}");
    let mut all = vec![root().join("README.md"), root().join("CHANGELOG.md")];
    for dir in ["docs", "configs", "nomad", "src", "crates/model/src"] {
        files(dir, &mut all);
    }
    all.retain(|path| path.extension().is_none_or(|end| end != "png"));
    assert!(all.len() > 200, "only {} files", all.len());
    let mut wrong = Vec::new();
    for path in all {
        let mut text = fs::read_to_string(&path).unwrap();
        if path.extension().is_some_and(|end| end == "rs") {
            text = texts(&text);
        }
        // the system's user of that name
        let text = text.replace("`nobody`", "");
        let found = words.iter().filter(|word| has(&text, word));
        wrong.extend(found.map(|word| format!("{}: {word}", path.display())));
    }
    assert_eq!(wrong, [] as [&str; 0]);
}
