//! Every path and every link that the documents name leads somewhere.
//!
//! Never follows a link to the network.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Folders whose paths the documents write from the root of the repository.
const FOLDERS: [&str; 9] = [
    ".ci/",
    "benches/",
    "configs/",
    "crates/",
    "docs/",
    "fuzz/",
    "integration/",
    "nomad/",
    "src/",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What stands between `open` and `close`, each time.
fn between<'a>(text: &'a str, open: &str, close: char) -> Vec<&'a str> {
    let parts = text.split(open).skip(1);
    parts
        .filter_map(|part| part.split_once(close).map(|it| it.0))
        .collect()
}

/// What a document names and `exists` does not know.
fn dangling(file: &Path, text: &str, exists: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    let named = text.split('`').skip(1).step_by(2).filter(|word| {
        FOLDERS.iter().any(|folder| word.starts_with(folder))
            && !word.contains(['*', '{', '<', ' ', '\n'])
    });
    let paths = named.map(|word| root().join(word));
    let links = between(text, "](", ')').into_iter().filter_map(|link| {
        let path = link.split('#').next().unwrap_or_default();
        let is_ours = !path.is_empty() && !path.starts_with("http");
        is_ours.then(|| file.parent().unwrap().join(path))
    });
    paths.chain(links).filter(|path| !exists(path)).collect()
}

#[test]
fn every_path_and_link_of_a_document_leads_somewhere() {
    let mut files: Vec<PathBuf> = fs::read_dir(root().join("docs"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    let others = [
        "README.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "integration/README.md",
        "nomad/setup.md",
    ];
    files.extend(others.map(|name| root().join(name)));
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let found = dangling(&file, &text, Path::exists);
        assert_eq!(found, Vec::<PathBuf>::new(), "{}", file.display());
    }
    let text = "`src/a.rs` `src/*.rs` [b](c.md#d) [e](https://f.example) `docs/g.md` `other`";
    let found = dangling(&root().join("docs/x.md"), text, |_| false);
    let wanted = ["src/a.rs", "docs/g.md", "docs/c.md"].map(|path| root().join(path));
    assert_eq!(found, wanted);
}
