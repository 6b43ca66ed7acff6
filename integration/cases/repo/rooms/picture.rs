//! The picture of the pipeline: the same one wherever it stands, and made of types that exist.

use std::collections::BTreeSet;

const PLACES: [&str; 2] = ["src/lib.rs", "docs/architecture.md"];

/// The stages of the first block that begins with `Config -> `, as words; `(…)` is a step without a type.
fn stages(text: &str) -> Option<Vec<&str>> {
    let lines = text
        .lines()
        .map(|line| line.trim_start_matches("//!").trim());
    let found = lines.skip_while(|line| !line.starts_with("Config -> "));
    let block = found.take_while(|line| line.contains("->"));
    let stages: Vec<&str> = block
        .flat_map(|line| line.split("->").map(str::trim))
        .filter(|word| !word.is_empty())
        .collect();
    (!stages.is_empty()).then_some(stages)
}

/// Stages that no type has the name of.
fn unknown<'a>(stages: &[&'a str], types: &BTreeSet<String>) -> Vec<&'a str> {
    let named = stages.iter().filter(|stage| !stage.starts_with('('));
    named
        .filter(|stage| !types.contains(**stage))
        .copied()
        .collect()
}

#[test]
fn the_picture_is_one_and_its_stages_are_types() {
    let texts = PLACES.map(|path| std::fs::read_to_string(super::root().join(path)).unwrap());
    let pictures = texts.each_ref().map(|text| stages(text));
    for (place, picture) in PLACES.iter().zip(&pictures) {
        assert!(picture.is_some(), "{place} has no picture");
        assert_eq!(picture, &pictures[0], "{place} and {}", PLACES[0]);
    }
    let workspace = super::workspace();
    let types = workspace
        .modules
        .values()
        .flat_map(|module| module.types.clone())
        .collect();
    let stages = pictures[0].as_deref().unwrap();
    assert!(stages.len() > 5, "{stages:?}");
    assert_eq!(unknown(stages, &types), Vec::<&str>::new());
}

#[test]
fn a_wrong_picture_is_seen() {
    let types: BTreeSet<String> = ["Config", "Reply"].map(str::to_owned).into();
    let text =
        "//! A.\n//! ```text\n//! Config -> Reply -> (staged)\n//!   -> Told\n//! ```\n//! x -> y";
    let found = stages(text).unwrap();
    assert_eq!(found, ["Config", "Reply", "(staged)", "Told"]);
    assert_eq!(unknown(&found, &types), ["Told"]);
    assert_eq!(stages("a -> b"), None);
}
