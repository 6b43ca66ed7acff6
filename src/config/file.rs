//! From the text of a configuration file (HCL) to the settings written in it, with their lines.
//!
//! Never reads a file and never evaluates: no variables, no functions, no `${}`. What stays true:
//! only keys of the table come out, and everything else is a problem with its line.

use std::{collections::BTreeMap, fmt};

use hcl_edit::{
    Span,
    expr::{Expression, ObjectKey},
    parser::parse_body,
    structure::{Attribute, Block, Body, Structure},
    template::{Element, HeredocTemplate},
};

use super::{
    problem::{Problems, Source},
    table::{Section, Setting, ValueKind, find},
    values::similar,
};

/// What a file says: its blocks in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    pub(super) blocks: Vec<WrittenBlock>,
}

/// One block of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WrittenBlock {
    pub(super) section: Section,
    pub(super) label: Option<String>,
    pub(super) source: Source,
    pub(super) values: BTreeMap<&'static str, Value>,
    /// Blocks that stand in it, at most one of a kind.
    pub(super) inner: Vec<Self>,
}

impl WrittenBlock {
    /// The block of that kind in this one.
    pub(super) fn inner(&self, section: Section) -> Option<&Self> {
        self.inner.iter().find(|one| one.section == section)
    }
}

/// One value as written anywhere: texts, and the place.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) texts: Vec<String>,
    pub(super) source: Source,
}

/// What it is is not known here, so its text may be a secret.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value({}, {} texts)", self.source, self.texts.len())
    }
}

/// Reads a configuration's text; `origin` is its name in messages. Pure: this is what is fuzzed.
///
/// # Errors
/// Every unknown block or key and every value of the wrong type, each with its line; or the first
/// error of syntax.
pub fn parse(text: &str, origin: &str) -> Result<Written, Problems> {
    let mut problems = Problems::default();
    match read(text, origin, &mut problems) {
        Some(written) if problems.is_empty() => Ok(written),
        _ => Err(problems),
    }
}

/// As [`parse`], but continues after problems so that all of them are found; `None` when there is
/// no making sense of the text.
pub(super) fn read(text: &str, origin: &str, problems: &mut Problems) -> Option<Written> {
    // Some editors write a byte order mark, which means nothing in UTF-8.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let ends = text.match_indices('\n').map(|(at, _)| at);
    let mut reader = FileReader {
        line_ends: ends.collect(),
        origin,
        problems,
        written: Written::default(),
    };
    match parse_body(text) {
        Ok(body) => {
            reader.body(&body);
            Some(reader.written)
        }
        Err(error) => {
            let source = reader.line(error.location().line());
            let column = error.location().column();
            let message = format!("not valid HCL at column {column}: {}", error.message());
            reader.problems.add(Some(source), "", message);
            None
        }
    }
}

struct FileReader<'a> {
    /// Offsets of the line feeds, so that a line number is a search and not a count.
    line_ends: Vec<usize>,
    origin: &'a str,
    problems: &'a mut Problems,
    written: Written,
}

impl FileReader<'_> {
    fn body(&mut self, body: &Body) {
        for structure in body {
            match structure {
                Structure::Block(block) => {
                    let earlier = std::mem::take(&mut self.written.blocks);
                    self.written.blocks = self.block(block, None, earlier);
                }
                Structure::Attribute(attribute) => {
                    let key = attribute.key.as_str();
                    let blocks = known(None).join(", ");
                    let message = format!("a key outside of a block; the blocks are {blocks}");
                    self.problem(attribute.span(), key, message);
                }
            }
        }
    }

    /// Reads one block into those of its surroundings, of which it knows the `earlier` ones.
    fn block(
        &mut self,
        block: &Block,
        parent: Option<Section>,
        mut earlier: Vec<WrittenBlock>,
    ) -> Vec<WrittenBlock> {
        let word = block.ident.as_str();
        let known = known(parent);
        let Some(section) = find_section(word, parent) else {
            let (path, message) = match parent {
                Some(parent) if known.is_empty() => (
                    format!("{}.{word}", parent.path()),
                    "no block is known inside this one".to_owned(),
                ),
                Some(parent) => (
                    format!("{}.{word}", parent.path()),
                    format!("unknown block{}", similar(word, known)),
                ),
                None => (
                    word.to_owned(),
                    format!("unknown block{}", similar(word, known)),
                ),
            };
            self.problem(block.span(), &path, message);
            return earlier;
        };
        let source = self.source(block.span());
        let label = self.label(block, section);
        let one_of_a_kind = self.first(section, label.as_deref(), &source, &earlier);
        let mut written = WrittenBlock {
            section,
            label,
            source,
            values: BTreeMap::new(),
            inner: Vec::new(),
        };
        for structure in &block.body {
            match structure {
                Structure::Attribute(attribute) => self.attribute(attribute, &mut written),
                Structure::Block(inner) => {
                    let beside = std::mem::take(&mut written.inner);
                    written.inner = self.block(inner, Some(section), beside);
                }
            }
        }
        if one_of_a_kind && written.label.is_some() == section.label().is_some() {
            earlier.push(written);
        }
        earlier
    }

    fn label(&mut self, block: &Block, section: Section) -> Option<String> {
        let labels: Vec<_> = block.labels.iter().map(|label| label.as_str()).collect();
        match (section.label(), labels.as_slice()) {
            (Some(_), [label]) => Some((*label).to_owned()),
            (None, []) => None,
            (Some(what), _) => {
                let word = section.name();
                let message = format!("needs one label: {word} \"<{what}>\" {{ ... }}");
                self.problem(block.span(), word, message);
                None
            }
            (None, _) => {
                self.problem(block.span(), section.name(), "takes no label".into());
                None
            }
        }
    }

    /// Is it the first of its kind and name?
    fn first(
        &mut self,
        section: Section,
        label: Option<&str>,
        source: &Source,
        earlier: &[WrittenBlock],
    ) -> bool {
        let first = earlier.iter().find(|earlier| {
            earlier.section == section
                && (!section.repeats() || (label.is_some() && earlier.label.as_deref() == label))
        });
        let Some(first) = first else { return true };
        let message = match label.filter(|_| section.repeats()) {
            Some(label) => format!("\"{label}\" is already at {}", first.source),
            None => format!(
                "only one such block is possible; the first is at {}",
                first.source
            ),
        };
        self.problems
            .add(Some(source.clone()), &section.path(), message);
        false
    }

    fn attribute(&mut self, attribute: &Attribute, block: &mut WrittenBlock) {
        let section = block.section;
        let key = attribute.key.as_str();
        let path = format!("{}.{key}", section.path());
        let setting = find(section, key).filter(|one| section.label() != Some(one.key));
        let Some(setting) = setting else {
            let known = section
                .settings()
                .filter(|one| !one.is_secret())
                .map(|one| one.key);
            let message = format!("unknown key{}", similar(key, known));
            return self.problem(attribute.span(), &path, message);
        };
        if setting.is_secret() && setting.kind != ValueKind::Headers {
            let message = format!(
                "a secret does not belong into this file; use a file of its own or {}",
                setting.variable()
            );
            return self.problem(attribute.span(), &path, message);
        }
        match texts(&attribute.value, setting) {
            Ok(texts) => {
                let source = self.source(attribute.span());
                block.values.insert(setting.key, Value { texts, source });
            }
            Err(message) => {
                self.problem(attribute.span(), &path, message);
                // It was written, so no message may say that it is missing.
                let (texts, source) = (Vec::new(), self.source(attribute.span()));
                block.values.insert(setting.key, Value { texts, source });
            }
        }
    }

    fn problem(&mut self, span: Option<std::ops::Range<usize>>, key: &str, message: String) {
        let source = self.source(span);
        self.problems.add(Some(source), key, message);
    }

    fn source(&self, span: Option<std::ops::Range<usize>>) -> Source {
        let start = span.map_or(0, |span| span.start);
        self.line(1 + self.line_ends.partition_point(|&end| end < start))
    }

    fn line(&self, line: usize) -> Source {
        Source::File {
            name: self.origin.to_owned(),
            line,
        }
    }
}

/// The words of the blocks that may stand there.
fn known(parent: Option<Section>) -> Vec<&'static str> {
    let here = Section::ALL
        .into_iter()
        .filter(|one| one.parent() == parent);
    here.map(Section::name).collect()
}

fn find_section(word: &str, parent: Option<Section>) -> Option<Section> {
    Section::ALL
        .into_iter()
        .find(|one| one.parent() == parent && one.name() == word)
}

fn texts(value: &Expression, setting: &Setting) -> Result<Vec<String>, String> {
    match (value, setting.kind) {
        (Expression::Array(items), ValueKind::List) => items.iter().map(scalar).collect(),
        (Expression::Array(_), _) => Err("needs one value, not an array".to_owned()),
        (Expression::Object(object), ValueKind::Headers) => object
            .iter()
            .map(|(name, value)| {
                let name = match name {
                    ObjectKey::Ident(ident) => ident.as_str().to_owned(),
                    ObjectKey::Expression(text) => scalar(text)?,
                };
                Ok(format!("{name}: {}", scalar(value.expr())?))
            })
            .collect(),
        (_, ValueKind::Headers) => Err("needs an object: { \"X-Name\" = \"value\" }".to_owned()),
        (Expression::Object(_), _) => Err("needs one value, not an object".to_owned()),
        (other, _) => scalar(other).map(|text| vec![text]),
    }
}

fn scalar(value: &Expression) -> Result<String, String> {
    match value {
        Expression::String(text) => Ok(text.as_str().to_owned()),
        Expression::Number(number) => Ok(number.value().to_string()),
        Expression::Bool(truth) => Ok(truth.value().to_string()),
        Expression::HeredocTemplate(heredoc) => literal(heredoc),
        Expression::StringTemplate(_) => Err(NOT_EVALUATED.to_owned()),
        Expression::Null(_) => Err("null is no value; leave the key out".to_owned()),
        _ => Err("needs a plain value: text, a number, true or false".to_owned()),
    }
}

fn literal(heredoc: &HeredocTemplate) -> Result<String, String> {
    let mut heredoc = heredoc.clone();
    heredoc.dedent();
    heredoc
        .template
        .iter()
        .map(|element| match element {
            Element::Literal(text) => Ok(text.as_str()),
            _ => Err(NOT_EVALUATED.to_owned()),
        })
        .collect()
}

const NOT_EVALUATED: &str = "contains an unresolved `${` or `%{`; certagent does not resolve \
                             these: use a template block or a variable";
