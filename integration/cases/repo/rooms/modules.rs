//! Which module uses which, read from the tokens of the source: no path is missed for where it stands.
//!
//! Not the compiler: what a macro of another crate would generate is not seen, and a method is not a
//! path. Code for tests (`#[cfg(test)]`, `test-util`) is left out.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// Names of a path, from the name of the crate on once it is resolved.
type Names = Vec<String>;

/// After so many re-exports of re-exports something is wrong.
const MOST_REEXPORTS: usize = 8;

/// Words after which an attribute's item ends with `{}` or `;`; any other ends with a comma.
const ITEM_WORDS: [&str; 17] = [
    "async",
    "const",
    "enum",
    "extern",
    "fn",
    "impl",
    "let",
    "macro_rules",
    "mod",
    "pub",
    "static",
    "struct",
    "trait",
    "type",
    "union",
    "unsafe",
    "use",
];

/// One module: a file, or a `mod name { }` in it.
#[derive(Debug, Default)]
pub(crate) struct Module {
    /// The file that it stands in, from the root of the repository.
    pub(crate) file: String,
    /// Types that it defines.
    pub(crate) types: BTreeSet<String>,
    children: BTreeSet<String>,
    /// Of tests: they are declared behind a `cfg`.
    test_children: BTreeSet<String>,
    /// What `use` brings in, by the name it has here; as written.
    imports: BTreeMap<String, Names>,
    /// Paths of two names or more, as written, those of `use` among them.
    paths: BTreeSet<Names>,
}

/// All modules of all crates of the workspace.
#[derive(Debug, Default)]
pub(crate) struct Workspace {
    pub(crate) modules: BTreeMap<Names, Module>,
}

/// One module uses something of another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Arrow {
    pub(crate) from: Names,
    pub(crate) to: Names,
}

impl Workspace {
    /// Reads each crate: its name in paths, and the directory of its source.
    pub(crate) fn read(root: &Path, crates: &[(&str, &str)]) -> Self {
        let mut workspace = Self::default();
        for (name, directory) in crates {
            for path in rust_files(&root.join(directory)) {
                let text = std::fs::read_to_string(&path).unwrap();
                let inside = path.strip_prefix(root.join(directory)).unwrap();
                let file = path.strip_prefix(root).unwrap().display().to_string();
                workspace.add(&module_of(name, inside), &file, &text);
            }
        }
        workspace.without_tests()
    }

    /// Adds the source of one file.
    pub(crate) fn add(&mut self, module: &[String], file: &str, text: &str) {
        let text = text.strip_prefix("#!").map_or(text, |rest| {
            if rest.starts_with('[') {
                text
            } else {
                rest.split_once('\n').map_or("", |it| it.1)
            }
        });
        let tokens: TokenStream = text
            .parse()
            .unwrap_or_else(|error| panic!("{file}: {error}"));
        self.entry(module, file);
        self.scan(tokens, module, file, false);
    }

    /// Drops the modules that are declared for tests only, with all below them.
    pub(crate) fn without_tests(mut self) -> Self {
        let tests: Vec<Names> = self
            .modules
            .iter()
            .flat_map(|(name, module)| module.test_children.iter().map(|child| joined(name, child)))
            .collect();
        self.modules
            .retain(|name, _| !tests.iter().any(|test| name.starts_with(test)));
        self
    }

    /// All arrows between different modules, and the crates from outside that each names first.
    pub(crate) fn arrows(&self) -> (BTreeSet<Arrow>, BTreeSet<(Names, String)>) {
        let (mut arrows, mut outside) = (BTreeSet::new(), BTreeSet::new());
        for (name, module) in &self.modules {
            for path in &module.paths {
                match self.absolute(name, path, 0) {
                    Ok(path) => {
                        arrows.extend(self.targets(&path).into_iter().filter(|to| to != name).map(
                            |to| Arrow {
                                from: name.clone(),
                                to,
                            },
                        ))
                    }
                    Err(first) => _ = outside.insert((name.clone(), first)),
                }
            }
        }
        (arrows, outside)
    }

    /// The module that a path leads to, and each one on the way whose re-export it takes.
    fn targets(&self, path: &[String]) -> Vec<Names> {
        let mut found = Vec::new();
        let mut path = path.to_vec();
        for _ in 0..MOST_REEXPORTS {
            let Some(length) = (1..=path.len())
                .rev()
                .find(|length| self.modules.contains_key(&path[..*length]))
            else {
                break;
            };
            let module = path[..length].to_vec();
            found.push(module.clone());
            let Some(next) = path.get(length) else { break };
            let Some(import) = self.modules[&module].imports.get(next) else {
                break;
            };
            let Ok(mut onward) = self.absolute(&module, import, 0) else {
                break;
            };
            onward.extend_from_slice(&path[length + 1..]);
            path = onward;
        }
        found
    }

    /// A path as written in `module`, from the crate's name on; or the crate outside that it begins with.
    fn absolute(&self, module: &[String], path: &[String], depth: usize) -> Result<Names, String> {
        let (first, rest) = path.split_first().expect("a path has a name");
        let mut whole = match first.as_str() {
            "crate" => module[..1].to_vec(),
            "self" => module.to_vec(),
            "super" => module[..module.len().saturating_sub(1).max(1)].to_vec(),
            name => {
                let here = self.modules.get(module);
                let import = here.and_then(|here| here.imports.get(name));
                let import =
                    import.filter(|import| import.first() != Some(first) && depth < MOST_REEXPORTS);
                if let Some(import) = import {
                    self.absolute(module, import, depth + 1)?
                } else if self.modules.contains_key(&joined(module, name)) {
                    joined(module, name)
                } else if self.modules.contains_key(std::slice::from_ref(first)) {
                    vec![name.to_owned()]
                } else if name.starts_with(char::is_uppercase) {
                    // A type of this module, or of the prelude.
                    joined(module, name)
                } else {
                    return Err(name.to_owned());
                }
            }
        };
        for name in rest {
            match name.as_str() {
                "super" => _ = whole.pop(),
                "self" => {}
                name => whole.push(name.to_owned()),
            }
        }
        Ok(whole)
    }

    fn entry(&mut self, module: &[String], file: &str) -> &mut Module {
        let entry = self.modules.entry(module.to_vec()).or_default();
        if entry.file.is_empty() {
            file.clone_into(&mut entry.file);
        }
        entry
    }

    fn scan(&mut self, tokens: TokenStream, module: &[String], file: &str, in_attribute: bool) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            at = self.scan_one(&tokens, at, module, file, in_attribute);
        }
    }

    /// Reads what begins at `at`; returns where the next thing begins.
    fn scan_one(
        &mut self,
        tokens: &[TokenTree],
        at: usize,
        module: &[String],
        file: &str,
        in_attribute: bool,
    ) -> usize {
        match &tokens[at] {
            TokenTree::Punct(punct) if punct.as_char() == '#' => {
                self.scan_attribute(tokens, at, module, file)
            }
            TokenTree::Group(group) => {
                self.scan(group.stream(), module, file, in_attribute);
                at + 1
            }
            TokenTree::Literal(literal) if in_attribute => {
                // `#[serde(with = "crate::x")]`
                let text = literal.to_string();
                let path: Names = text
                    .trim_matches('"')
                    .split("::")
                    .map(str::to_owned)
                    .collect();
                let is_path = path
                    .iter()
                    .all(|name| !name.is_empty() && name.chars().all(is_name));
                if path.len() > 1 && is_path {
                    self.entry(module, file).paths.insert(path);
                }
                at + 1
            }
            TokenTree::Ident(word) => match (word.to_string().as_str(), tokens.get(at + 1)) {
                // `pub(super)` uses nothing.
                ("pub", Some(TokenTree::Group(_))) => at + 2,
                ("mod", Some(TokenTree::Ident(name))) => {
                    let name = name.to_string();
                    self.entry(module, file).children.insert(name.clone());
                    let Some(body) = group(tokens.get(at + 2), Delimiter::Brace) else {
                        return at + 2;
                    };
                    let inside = joined(module, &name);
                    self.entry(&inside, file);
                    self.scan(body.stream(), &inside, file, false);
                    at + 3
                }
                ("use", _) => {
                    let (end, trees) = path_trees(tokens, at + 1, &[]);
                    for (path, name) in trees {
                        let entry = self.entry(module, file);
                        if let Some(name) = name {
                            entry.imports.insert(name, path.clone());
                        }
                        entry.paths.insert(path);
                    }
                    end
                }
                ("struct" | "enum" | "trait" | "type" | "union", Some(TokenTree::Ident(name))) => {
                    self.entry(module, file).types.insert(name.to_string());
                    at + 2
                }
                _ => {
                    let (end, trees) = path_trees(tokens, at, &[]);
                    let long = trees
                        .into_iter()
                        .map(|tree| tree.0)
                        .filter(|path| path.len() > 1);
                    self.entry(module, file).paths.extend(long);
                    end.max(at + 1)
                }
            },
            _ => at + 1,
        }
    }

    fn scan_attribute(
        &mut self,
        tokens: &[TokenTree],
        at: usize,
        module: &[String],
        file: &str,
    ) -> usize {
        let at = at + 1 + usize::from(is_punct(tokens.get(at + 1), '!'));
        let Some(attribute) = group(tokens.get(at), Delimiter::Bracket) else {
            return at;
        };
        if is_for_tests(attribute) {
            return self.skip_item(tokens, at + 1, module);
        }
        if first_word(attribute) != "doc" {
            self.scan(attribute.stream(), module, file, true);
        }
        at + 1
    }

    /// Leaves out what an attribute for tests stands before; remembers the modules among it.
    fn skip_item(&mut self, tokens: &[TokenTree], mut at: usize, module: &[String]) -> usize {
        while is_punct(tokens.get(at), '#') {
            at += 2;
        }
        let is_item = matches!(tokens.get(at), Some(TokenTree::Ident(word))
            if ITEM_WORDS.contains(&word.to_string().as_str()));
        while let Some(token) = tokens.get(at) {
            at += 1;
            match token {
                TokenTree::Ident(word) if word == "mod" => {
                    if let Some(TokenTree::Ident(name)) = tokens.get(at)
                        && let Some(entry) = self.modules.get_mut(module)
                    {
                        entry.test_children.insert(name.to_string());
                    }
                }
                TokenTree::Punct(punct) if punct.as_char() == ';' => break,
                TokenTree::Punct(punct) if punct.as_char() == ',' && !is_item => break,
                TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => break,
                _ => {}
            }
        }
        at
    }
}

/// Reads a path or a tree of them; gives the end, and each path with the name that `use` gives it.
fn path_trees(
    tokens: &[TokenTree],
    mut at: usize,
    before: &[String],
) -> (usize, Vec<(Names, Option<String>)>) {
    let mut path = before.to_vec();
    if is_path_separator(tokens, at) {
        at += 2; // `::std`
    }
    loop {
        match tokens.get(at) {
            Some(TokenTree::Ident(name)) => {
                path.push(name.to_string().trim_start_matches("r#").to_owned());
                at += 1;
            }
            Some(TokenTree::Group(tree))
                if tree.delimiter() == Delimiter::Brace && !path.is_empty() =>
            {
                return (at + 1, branches(tree, &path));
            }
            Some(TokenTree::Punct(star)) if star.as_char() == '*' && !path.is_empty() => {
                return (at + 1, vec![(path, None)]);
            }
            _ => break,
        }
        // `Vec::<crate::x::Y>::new`: what stands in the brackets is read on its own.
        let goes_on = is_path_separator(tokens, at) && !is_punct(tokens.get(at + 2), '<');
        if !goes_on {
            break;
        }
        at += 2;
    }
    let mut name = path.last().cloned();
    if name.as_deref() == Some("self") && path.len() > 1 {
        path.pop();
        name = path.last().cloned();
    }
    if let (Some(TokenTree::Ident(word)), Some(TokenTree::Ident(new))) =
        (tokens.get(at), tokens.get(at + 1))
        && word == "as"
    {
        return (at + 2, vec![(path, Some(new.to_string()))]);
    }
    if path.is_empty() {
        (at + 1, Vec::new())
    } else {
        (at, vec![(path, name)])
    }
}

fn branches(tree: &Group, path: &[String]) -> Vec<(Names, Option<String>)> {
    let tokens: Vec<TokenTree> = tree.stream().into_iter().collect();
    let (mut at, mut found) = (0, Vec::new());
    while at < tokens.len() {
        let (end, trees) = path_trees(&tokens, at, path);
        found.extend(trees);
        at = end.max(at + 1);
        if is_punct(tokens.get(at), ',') {
            at += 1;
        }
    }
    found
}

fn is_path_separator(tokens: &[TokenTree], at: usize) -> bool {
    is_punct(tokens.get(at), ':') && is_punct(tokens.get(at + 1), ':')
}

fn is_punct(token: Option<&TokenTree>, wanted: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == wanted)
}

fn group(token: Option<&TokenTree>, delimiter: Delimiter) -> Option<&Group> {
    match token {
        Some(TokenTree::Group(group)) if group.delimiter() == delimiter => Some(group),
        _ => None,
    }
}

fn first_word(attribute: &Group) -> String {
    let first = attribute.stream().into_iter().next();
    first.map(|token| token.to_string()).unwrap_or_default()
}

/// `cfg(test)`, or a condition that names tests and negates nothing.
fn is_for_tests(attribute: &Group) -> bool {
    let text = attribute.stream().to_string();
    let words: Vec<&str> = text
        .split(|letter: char| !is_name(letter) && letter != '-')
        .collect();
    words.first() == Some(&"cfg")
        && !words.contains(&"not")
        && (words.contains(&"test") || words.contains(&"test-util"))
}

fn is_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

fn joined(module: &[String], name: &str) -> Names {
    let mut names = module.to_vec();
    names.push(name.to_owned());
    names
}

/// `a/b.rs` of crate `c` is `c::a::b`; `lib.rs` and a `mod.rs` are what they stand in.
pub(crate) fn module_of(crate_name: &str, inside: &Path) -> Names {
    let mut names = vec![crate_name.to_owned()];
    let stem = inside.with_extension("");
    names.extend(stem.iter().map(|name| name.to_string_lossy().into_owned()));
    if names
        .last()
        .is_some_and(|name| name == "mod" || name == "lib")
    {
        names.pop();
    }
    names
}

/// All `.rs` files below a directory.
pub(crate) fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut pending = vec![directory.to_owned()];
    let mut found = Vec::new();
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).unwrap();
            pending.extend(entries.map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Circles: groups of nodes of which each reaches each other one.
pub(crate) fn circles(arrows: &BTreeSet<Arrow>) -> Vec<BTreeSet<Names>> {
    let mut next: BTreeMap<&Names, Vec<&Names>> = BTreeMap::new();
    for arrow in arrows {
        next.entry(&arrow.from).or_default().push(&arrow.to);
    }
    let reached = |start: &Names| {
        let mut found = BTreeSet::new();
        let mut pending: Vec<&Names> = next.get(start).cloned().unwrap_or_default();
        while let Some(node) = pending.pop() {
            if found.insert(node.clone()) {
                pending.extend(next.get(node).into_iter().flatten());
            }
        }
        found
    };
    let all: BTreeMap<&Names, BTreeSet<Names>> =
        next.keys().map(|node| (*node, reached(node))).collect();
    let mut found: BTreeSet<BTreeSet<Names>> = BTreeSet::new();
    for (node, reaches) in &all {
        let circle: BTreeSet<Names> = reaches
            .iter()
            .filter(|other| all.get(other).is_some_and(|back| back.contains(*node)))
            .cloned()
            .collect();
        if circle.len() > 1 {
            found.insert(circle);
        }
    }
    found.into_iter().collect()
}
