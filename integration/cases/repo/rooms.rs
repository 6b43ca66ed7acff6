//! What holds for the repository as a whole: who uses whom, sizes, headers, the picture of the pipeline.
//!
//! Reads the source and never runs it. What stays true: each rule has a test that it catches its
//! own breach.

mod modules;
mod picture;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use modules::{Arrow, Workspace, circles, rust_files};

/// Every room, lowest first: a top-level module of `src`, or a crate below it. A room uses only
/// rooms that stand before it, so there is no circle among rooms.
const ROOMS: [&str; 27] = [
    "model",
    "exit",
    "clock",
    "terminal",
    "disk",
    "watch",
    "status",
    "control",
    "config",
    "hardening",
    "http_client",
    "issuer",
    "csr",
    "issuance",
    "child",
    "probe",
    "publish",
    "vault",
    "reload",
    "observe",
    "agent",
    "fleet",
    "doctor",
    "dev",
    "cli",
    "commands",
    "main",
];

/// Name in paths, room, and where the source lies.
const CRATES: [(&str, &str, &str); 3] = [
    ("certagent", "", "src"),
    ("certagent_model", "model", "crates/model/src"),
    ("certagent_dev", "dev", "crates/dev/src"),
];

/// Crates from outside that are used in these rooms only.
const FENCES: [(&str, &[&str]); 3] = [
    ("vaultrs", &["vault"]),
    ("rustify", &["vault"]),
    ("anyhow", &["commands", "main"]),
];

/// All that the model may depend on: parsing, computing, wiping.
const MODEL_NEEDS: [&str; 11] = [
    "aws-lc-rs",
    "base64",
    "rcgen", // for the test CA
    "rustls-pki-types",
    "serde",
    "serde_json",
    "thiserror",
    "time",
    "webpki",
    "x509-parser",
    "zeroize",
];

/// Lines of a file, tests included.
const FILE_LIMIT: usize = 600;

pub(super) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn workspace() -> Workspace {
    let crates = CRATES.map(|(name, _, directory)| (name, directory));
    let workspace = Workspace::read(root(), &crates);
    assert!(
        workspace.modules.len() > 150,
        "{} modules",
        workspace.modules.len()
    );
    workspace
}

/// The room of a module; `lib.rs` of `src`, which only lists the others, has none.
fn room(module: &[String]) -> Option<&str> {
    let (_, room, _) = CRATES.iter().find(|(name, _, _)| *name == module[0])?;
    if room.is_empty() {
        module.get(1).map(String::as_str)
    } else {
        Some(room)
    }
}

/// Arrows that do not lead downward.
fn upward(workspace: &Workspace) -> BTreeSet<String> {
    let height = |room: &str| ROOMS.iter().position(|one| *one == room);
    let (arrows, _) = workspace.arrows();
    let wrong = arrows.iter().filter_map(|arrow| {
        let (from, to) = (room(&arrow.from)?, room(&arrow.to)?);
        if from == to {
            return None;
        }
        match (height(from), height(to)) {
            (Some(from), Some(to)) if to < from => None,
            (Some(_), Some(_)) => Some(shown(arrow)),
            _ => Some(format!("{}: not in ROOMS", shown(arrow))),
        }
    });
    wrong.collect()
}

/// Circles among the modules of one room. A module and one inside of it may know each other.
fn circles_inside(workspace: &Workspace) -> Vec<Vec<String>> {
    let (arrows, _) = workspace.arrows();
    let inside: BTreeSet<Arrow> = arrows
        .into_iter()
        .filter(|arrow| room(&arrow.from) == room(&arrow.to))
        .filter(|arrow| !arrow.from.starts_with(&arrow.to) && !arrow.to.starts_with(&arrow.from))
        .collect();
    let tied = |circle: &BTreeSet<Vec<String>>| {
        let both = inside
            .iter()
            .filter(|arrow| circle.contains(&arrow.from) && circle.contains(&arrow.to));
        both.map(shown).collect()
    };
    circles(&inside).iter().map(tied).collect()
}

fn outside_its_fence(workspace: &Workspace) -> BTreeSet<String> {
    let (_, outside) = workspace.arrows();
    let wrong = outside.iter().filter_map(|(module, name)| {
        let (_, rooms) = FENCES.iter().find(|(fenced, _)| fenced == name)?;
        let here = room(module)?;
        (!rooms.contains(&here)).then(|| format!("{} uses {name}", module.join("::")))
    });
    wrong.collect()
}

fn shown(arrow: &Arrow) -> String {
    format!("{} -> {}", arrow.from.join("::"), arrow.to.join("::"))
}

/// Names below `[dependencies]` of a manifest.
fn dependencies(manifest: &str) -> Vec<&str> {
    let (_, rest) = manifest.split_once("\n[dependencies]\n").unwrap();
    let end = rest.find("\n[").unwrap_or(rest.len());
    let lines = rest[..end]
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| line.split(['.', ' ', '=']).next().unwrap_or_default())
        .collect()
}

/// What is wrong with one file's text.
fn wrong_text(path: &str, text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    // A `tests.rs` belongs to the module above it, whose header says what it does.
    if !text.starts_with("//! ") && !path.ends_with("/tests.rs") {
        wrong.push(format!("{path}: does not begin with `//! `"));
    }
    let lines = text.lines().count();
    if lines > FILE_LIMIT {
        wrong.push(format!("{path}: {lines} lines"));
    }
    let unfinished = [concat!("to", "do!("), concat!("unimpl", "emented!(")];
    let left = unfinished.iter().filter(|word| text.contains(*word));
    wrong.extend(left.map(|word| format!("{path}: {word}")));
    wrong
}

/// Files that no `mod` names, so that nothing compiles them: `files` are the paths below the directory of one crate.
fn orphans(files: &BTreeMap<PathBuf, String>) -> Vec<&Path> {
    let names = |parent: &Path, child: &str| {
        files.get(parent).is_some_and(|text| {
            let mut lines = text
                .lines()
                .map(|line| line.trim().trim_start_matches("pub "));
            lines.any(|line| {
                let line = line.strip_prefix("pub(crate) ").unwrap_or(line);
                let line = line.strip_prefix("pub(super) ").unwrap_or(line);
                line == format!("mod {child};")
            })
        })
    };
    let roots = ["lib.rs", "main.rs"].map(Path::new);
    let is_named = |file: &Path| {
        let (mut folder, mut child) = (file.parent().unwrap(), file.file_stem().unwrap());
        if child == "mod" {
            child = folder.file_name().unwrap();
            folder = folder.parent().unwrap();
        }
        let child = child.to_str().unwrap();
        let parents = [folder.with_extension("rs"), folder.join("mod.rs")];
        let parents = parents.iter().map(PathBuf::as_path);
        let above = if folder == Path::new("") {
            &roots[..]
        } else {
            &[]
        };
        parents
            .chain(above.iter().copied())
            .any(|parent| names(parent, child))
    };
    let files = files.keys().map(PathBuf::as_path);
    files
        .filter(|file| !roots.contains(file) && !is_named(file))
        .collect()
}

#[test]
fn a_file_that_no_module_names_is_seen() {
    for directory in ["src", "crates/model/src", "crates/dev/src", "integration"] {
        let directory = root().join(directory);
        let read = |path: PathBuf| {
            let text = std::fs::read_to_string(&path).unwrap();
            (path.strip_prefix(&directory).unwrap().to_owned(), text)
        };
        let files = rust_files(&directory).into_iter().map(read).collect();
        assert_eq!(
            orphans(&files),
            Vec::<&Path>::new(),
            "{}",
            directory.display()
        );
    }
    let files = [
        ("lib.rs", "pub mod a;\nmod b;"),
        ("a.rs", "mod x;\n#[cfg(test)]\nmod tests;"),
        ("a/x.rs", "// mod y;"),
        ("a/tests.rs", ""),
        ("a/y.rs", ""),
        ("b/mod.rs", "pub(crate) mod z;"),
        ("b/z.rs", ""),
        ("c.rs", ""),
    ];
    let files = files.map(|(path, text)| (PathBuf::from(path), text.to_owned()));
    let files = files.into_iter().collect();
    assert_eq!(orphans(&files), ["a/y.rs", "c.rs"].map(Path::new));
}

#[test]
fn every_arrow_between_rooms_leads_downward() {
    assert_eq!(upward(&workspace()), BTreeSet::new());
}

#[test]
fn the_list_of_rooms_is_the_list_of_modules() {
    let workspace = workspace();
    let found: BTreeSet<&str> = workspace
        .modules
        .keys()
        .filter_map(|name| room(name))
        .collect();
    assert_eq!(found, ROOMS.into_iter().collect());
}

#[test]
fn no_room_has_a_circle_inside() {
    assert_eq!(circles_inside(&workspace()), Vec::<Vec<String>>::new());
}

#[test]
fn fenced_crates_stay_behind_their_wall() {
    assert_eq!(outside_its_fence(&workspace()), BTreeSet::new());
}

#[test]
fn the_model_needs_nothing_that_acts() {
    let manifest = std::fs::read_to_string(root().join("crates/model/Cargo.toml")).unwrap();
    assert_eq!(dependencies(&manifest), MODEL_NEEDS);
}

#[test]
fn files_have_a_header_and_keep_their_size() {
    let mut wrong = Vec::new();
    for directory in ["src", "crates", "integration", "benches"] {
        for path in rust_files(&root().join(directory)) {
            let text = std::fs::read_to_string(&path).unwrap();
            wrong.extend(wrong_text(&path.display().to_string(), &text));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

/// A workspace of these files: path from the root, text.
fn of(files: &[(&str, &str)]) -> Workspace {
    let mut workspace = Workspace::default();
    let rooms = [
        "src/lib.rs",
        "src/publish.rs",
        "src/config.rs",
        "src/agent.rs",
        "src/vault.rs",
    ];
    let empty = rooms.iter().map(|path| (*path, ""));
    for (path, text) in files.iter().copied().chain(empty) {
        let (name, _, directory) = CRATES
            .iter()
            .rev()
            .find(|(_, _, directory)| path.starts_with(directory))
            .unwrap();
        let inside = Path::new(path).strip_prefix(directory).unwrap();
        workspace.add(&modules::module_of(name, inside), path, text);
    }
    workspace.without_tests()
}

#[test]
fn an_arrow_upward_is_seen_however_it_is_written() {
    let ways = [
        "use crate::agent;",
        "use crate::agent::World;",
        "use ::certagent::agent::World;",
        "use crate::{config::Config, agent::World};",
        "use crate::{\n    config::{self, Config},\n    model::{\n        x::{A, B},\n    },\n    agent::{World, y::{Z}},\n};",
        "use crate::config::Config; use crate::agent::World;",
        "fn f() { use crate::agent::World as W; }",
        "use crate::agent as other; fn f() { other::go(); }",
        "use crate as root; fn f() { root::agent::go(); }",
        "use super::agent::World;",
        "fn f() { crate::agent::go() }",
        "fn f(x: &crate::agent::World) {}",
        "fn f() -> Vec<crate::agent::World> { Vec::<crate::agent::World>::new() }",
        "fn f() { let x = format!(\"{}\", crate::agent::NAME); }",
        "fn f() { assert!(matches!(x, crate::agent::Next::Issue { .. })); }",
        "macro_rules! m { () => { $crate::agent::go() } }",
        "macro_rules! m { () => { use crate::{config::A, agent::go}; } }",
        "impl crate::agent::Trait for X {}",
        "#[derive(Clone)] struct S { #[serde(with = \"crate::agent::text\")] a: u8 }",
        "mod inner { use super::super::agent::World; }",
        "mod inner { fn f() { super::super::agent::go() } }",
        "pub(crate) use crate::agent::*;",
        "#[cfg(not(test))] use crate::agent::World;",
        "#[cfg(test)] use crate::config::X; use crate::agent::World;",
    ];
    for way in ways {
        let found = upward(&of(&[("src/publish.rs", way)]));
        let found: Vec<String> = found.into_iter().collect();
        let [one] = found.as_slice() else {
            panic!("{way}: {found:?}");
        };
        assert!(one.starts_with("certagent::publish"), "{way}: {one}");
        assert!(one.ends_with("-> certagent::agent"), "{way}: {one}");
    }
    let deep = [("src/publish/file.rs", "use super::super::agent::World;")];
    assert_eq!(upward(&of(&deep)).len(), 1);
    let deep = [(
        "src/publish/file.rs",
        "fn f() { super::super::agent::go() }",
    )];
    assert_eq!(upward(&of(&deep)).len(), 1);
    let from_model = [(
        "crates/model/src/retry.rs",
        "fn f() { certagent::config::go() }",
    )];
    assert_eq!(upward(&of(&from_model)).len(), 1);
    // The module of a re-export is used too, by whoever takes the re-export.
    let through = [
        ("src/config.rs", "pub use crate::publish::Dir;"),
        ("src/publish.rs", "pub struct Dir;"),
        ("src/vault.rs", "use crate::config::Dir;"),
    ];
    assert_eq!(
        upward(&of(&through)),
        ["certagent::config -> certagent::publish".to_owned()].into()
    );
    let unknown = [
        ("src/lobby.rs", ""),
        ("src/agent.rs", "use crate::lobby::X;"),
    ];
    assert_eq!(upward(&of(&unknown)).len(), 1);
}

#[test]
fn what_is_allowed_raises_no_alarm() {
    let innocent = [
        "// use crate::agent::World;",
        "/// [`crate::agent::World`]\nfn f() {}",
        "const TEXT: &str = \"crate::agent::World\";",
        "use crate::config::Config; fn f() { crate::config::load() }",
        "pub(in crate::agent) fn f() {}",
        "#[cfg(test)]\nmod tests { use crate::agent::World; }",
        "#[cfg(test)]\nuse crate::agent::World;",
        "#[cfg(any(test, feature = \"test-util\"))]\nfn f() { crate::agent::go() }",
        "struct S { #[cfg(test)] a: crate::agent::World, b: u8 }",
        "fn agent() {} fn f() { self::agent() }",
    ];
    for text in innocent {
        assert_eq!(
            upward(&of(&[("src/publish.rs", text)])),
            BTreeSet::new(),
            "{text}"
        );
    }
    let tests = [
        ("src/publish.rs", "#[cfg(test)]\nmod tests;"),
        ("src/publish/tests.rs", "use crate::agent::World;"),
        ("src/publish/tests/crash.rs", "use crate::agent::World;"),
    ];
    assert_eq!(upward(&of(&tests)), BTreeSet::new());
}

#[test]
fn a_circle_inside_a_room_is_seen() {
    let circle = [
        ("src/publish.rs", "mod a; mod b; mod c; pub use c::C;"),
        ("src/publish/a.rs", "use super::b::B;"),
        ("src/publish/b.rs", "fn f() { super::C::new() }"),
        (
            "src/publish/c.rs",
            "use crate::publish::{a::A}; pub struct C;",
        ),
    ];
    let found = circles_inside(&of(&circle));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].len(), 3, "{found:?}");
    assert_eq!(circles_inside(&of(&circle[..3])), Vec::<Vec<String>>::new());
    let parent = [
        ("src/publish.rs", "mod a; use a::A; pub struct P;"),
        ("src/publish/a.rs", "use super::P; pub struct A;"),
    ];
    assert_eq!(circles_inside(&of(&parent)), Vec::<Vec<String>>::new());
}

#[test]
fn a_breach_of_each_other_rule_is_seen() {
    for text in [
        "use vaultrs::client::VaultClient;",
        "fn f() { ::vaultrs::go() }",
    ] {
        assert_eq!(
            outside_its_fence(&of(&[("src/agent.rs", text)])).len(),
            1,
            "{text}"
        );
        assert_eq!(
            outside_its_fence(&of(&[("src/vault.rs", text)])).len(),
            0,
            "{text}"
        );
    }
    let manifest = "[package]\n\n[dependencies]\n# why\nserde.workspace = true\ntokio = { version = \"1\" }\n\n[lints]\nx = 1\n";
    assert_eq!(dependencies(manifest), ["serde", "tokio"]);
    assert_eq!(wrong_text("src/a.rs", "use std::fs;").len(), 1);
    assert_eq!(
        wrong_text("src/a.rs", concat!("//! A.\nfn f() { to", "do!() }")).len(),
        1
    );
    let long = format!("//! A.\n{}", "// x\n".repeat(FILE_LIMIT));
    assert_eq!(wrong_text("src/a.rs", &long).len(), 1);
    assert_eq!(wrong_text("src/a.rs", "//! A.\n"), Vec::<String>::new());
}
