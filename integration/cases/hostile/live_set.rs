//! The certificate files of one publication, to be compared with what is there later.
//!
//! What stays true: a later generation counts as the agent's own renewal only while all bytes of the
//! earlier one are what they were.

use std::{collections::BTreeMap, fs, path::Path};

/// The names by which readers know the files.
const OUTER: [&str; 3] = ["CA.pem", "cert.pem", "key.pem"];

/// Where the links lead, and the bytes of the generation.
#[derive(Debug)]
pub(super) struct LiveSet {
    generation: String,
    bytes: BTreeMap<String, Vec<u8>>,
}

impl LiveSet {
    /// As root sees them.
    pub(super) fn of(directory: &Path) -> Self {
        for name in OUTER {
            let link = fs::read_link(directory.join(name)).unwrap();
            assert_eq!(link, Path::new("..data").join(name));
        }
        let generation = fs::read_link(directory.join("..data")).unwrap();
        let generation = generation.to_str().unwrap().to_owned();
        assert!(generation.starts_with("..gen-"), "{generation}");
        let bytes = files(&directory.join(&generation));
        assert!(bytes.keys().eq(&OUTER), "{:?}", bytes.keys());
        Self { generation, bytes }
    }

    /// After a refusal: not a byte, not a name is another, unless it was renewed: then the
    /// generation is a later one. Shows names only.
    pub(super) fn is_unchanged_in(&self, directory: &Path) {
        let now = Self::of(directory);
        assert!(
            self.generation <= now.generation,
            "{} {}",
            self.generation,
            now.generation
        );
        let foreign = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        let foreign: Vec<_> = foreign
            .filter_map(|name| name.into_string().ok())
            .filter(|name| !name.starts_with("..") && !OUTER.contains(&name.as_str()))
            .collect();
        assert!(foreign.is_empty(), "{foreign:?}");
        // an old generation is removed after a while
        let then = directory.join(&self.generation);
        let same = !then.exists() || files(&then) == self.bytes;
        assert!(same, "{} changed", self.generation);
    }

    /// As [`Self::is_unchanged_in`], and nothing was published meanwhile.
    pub(super) fn is_the_same_in(&self, directory: &Path) {
        assert_eq!(self.generation, Self::of(directory).generation);
        self.is_unchanged_in(directory);
    }
}

fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let read = |path: std::path::PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (name, fs::read(path).unwrap())
    };
    entries.map(read).collect()
}
