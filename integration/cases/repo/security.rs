//! docs/security.md promises nothing without a test.

use std::{collections::BTreeSet, fs, path::Path};

use super::rooms::root;

/// Names of functions behind `fn` in all tests.
fn tests() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for folder in ["src", "integration", "crates"] {
        collect(&root().join(folder), &mut found);
    }
    found
}

fn collect(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let mut is_test = false;
            for line in text.lines().map(str::trim) {
                is_test |= line == "#[test]" || line.starts_with("#[tokio::test");
                if let Some((_, name)) = line.split_once("fn ")
                    && std::mem::take(&mut is_test)
                {
                    found.extend(name.split('(').next().map(str::to_owned));
                }
            }
        }
    }
}

/// Rows of the first table: what is in their last column.
fn promised(text: &str) -> Vec<Vec<&str>> {
    let rows = text.lines().skip_while(|line| !line.starts_with("| who"));
    let rows = rows.skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let last = row.trim_end_matches(['|', ' ']).rsplit('|').next();
        last.unwrap_or_default()
            .split('`')
            .skip(1)
            .step_by(2)
            .collect()
    })
    .collect()
}

#[test]
fn every_promise_of_the_threat_model_names_tests_that_exist() {
    let text = fs::read_to_string(root().join("docs/security.md")).unwrap();
    let (rows, tests) = (promised(&text), tests());
    assert!(rows.len() > 10, "{rows:?}");
    for row in rows {
        assert!(!row.is_empty(), "a promise without a test");
        for name in row {
            assert!(tests.contains(name), "there is no test {name}");
        }
    }
}

#[test]
fn a_promise_without_a_test_and_an_unknown_test_are_seen() {
    let text = "| who | a |\n|---|---|\n| x | `one`, `two` |\n| y | none |\n\nend `three`";
    assert_eq!(promised(text), [vec!["one", "two"], vec![]]);
    assert!(
        !tests().contains("promised")
            && tests().contains("a_promise_without_a_test_and_an_unknown_test_are_seen")
    );
}
