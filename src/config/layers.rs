//! Finds the strongest place where a setting was written, and remembers it for `check-config`.
//!
//! Never knows what a setting means. What stays true: flag beats variable beats file beats default,
//! for every setting alike; a value that still holds `${` is refused wherever it was written.

use std::{borrow::Cow, collections::BTreeMap};

use super::{
    Environment, Flags,
    file::{Value, WrittenBlock},
    problem::{Problems, Source},
    shown::{self, SettingText},
    table::{Fallback, Section, Setting, ValueKind, find},
};

/// One effective setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// The certificate it belongs to, for settings of a certificate.
    pub certificate: Option<String>,
    /// Full key, as `certificate.ttl`.
    pub key: String,
    /// The values as they may be shown; empty when there is none.
    pub values: Vec<SettingText>,
    /// Where it was written.
    pub source: Source,
}

/// What all blocks share while they are resolved.
pub(super) struct Gathered<'a> {
    pub(super) environment: &'a Environment,
    pub(super) flags: &'a Flags,
    pub(super) problems: Problems,
    /// The rows for `check-config`, when they are wanted.
    pub(super) table: Option<Vec<Effective>>,
    pub(super) notes: Vec<String>,
}

/// Reads the settings of one block from all places.
pub(super) struct Layers<'a, 'g> {
    pub(super) all: &'a mut Gathered<'g>,
    pub(super) section: Section,
    pub(super) block: Option<&'a WrittenBlock>,
    /// Name of the certificate whose block this is.
    pub(super) certificate: Option<String>,
    /// Do flags and variables count? Not for the certificates of a file with several.
    pub(super) outer: bool,
}

/// A default that was worked out: its texts, and from what.
pub(super) struct Derived {
    pub(super) texts: Vec<String>,
    pub(super) from: String,
}

impl Derived {
    pub(super) fn new(text: impl Into<String>, from: impl Into<String>) -> Self {
        Self {
            texts: vec![text.into()],
            from: from.into(),
        }
    }
}

impl<'g> Layers<'_, 'g> {
    /// The same places for a block that stands in this one.
    pub(super) fn inner(&mut self, section: Section) -> Layers<'_, 'g> {
        Layers {
            block: self.block.and_then(|block| block.inner(section)),
            certificate: self.certificate.clone(),
            all: &mut *self.all,
            section,
            outer: self.outer,
        }
    }

    /// Is the block there, or any setting of it written anywhere?
    pub(super) fn mentioned(&self) -> bool {
        let mut settings = self.section.settings();
        self.block.is_some() || settings.any(|one| self.strongest(one).is_some())
    }

    /// The value of `key`, or its default; a problem when it can't be read.
    pub(super) fn read<T>(
        &mut self,
        key: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.read_or(key, None, parse)
    }

    /// As [`Layers::read`], with a default that was worked out.
    pub(super) fn read_or<T>(
        &mut self,
        key: &str,
        derived: Option<Derived>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let setting = find(self.section, key)?;
        let value = self.settle(setting, derived)?;
        self.parsed(setting, &value, parse).into_iter().next()?
    }

    /// All values of a list that can be read; a problem for each that can't.
    pub(super) fn read_list<T>(
        &mut self,
        key: &str,
        derived: Option<Derived>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let Some(setting) = find(self.section, key) else {
            return Vec::new();
        };
        let Some(value) = self.settle(setting, derived) else {
            return Vec::new();
        };
        let all = self.parsed(setting, &value, parse);
        all.into_iter().flatten().collect()
    }

    /// Where `key` was written, if anywhere.
    pub(super) fn written(&self, key: &str) -> Option<Source> {
        let setting = find(self.section, key)?;
        self.strongest(setting).map(|value| value.source)
    }

    /// Adds a problem about `key`, at the place where it was written or else at its block.
    pub(super) fn problem(&mut self, key: &str, message: impl Into<String>) {
        let source = self
            .written(key)
            .or_else(|| self.block.map(|block| block.source.clone()));
        let path = self.path(key);
        self.all.problems.add(source, &path, message);
    }

    fn path(&self, key: &str) -> String {
        format!("{}.{key}", self.section.path())
    }

    /// Takes the strongest value and writes the row for `check-config`.
    fn settle(&mut self, setting: &Setting, derived: Option<Derived>) -> Option<Value> {
        let value = self.strongest(setting).or_else(|| match derived {
            Some(derived) => Some(Value {
                texts: derived.texts,
                source: Source::Derived(derived.from),
            }),
            None => match setting.fallback {
                Fallback::Value(text) => Some(Value {
                    texts: vec![text.to_owned()],
                    source: Source::Default,
                }),
                Fallback::Derived(_) | Fallback::Nothing => None,
            },
        });
        self.remember(setting, value.as_ref());
        let value = value?;
        if value.texts.iter().any(|text| text.contains("${")) {
            let message = "contains an unresolved `${`; Nomad does not know that name";
            let path = setting.path();
            self.all.problems.add(Some(value.source), &path, message);
            return None;
        }
        Some(value)
    }

    fn remember(&mut self, setting: &Setting, value: Option<&Value>) {
        let Some(table) = &mut self.all.table else {
            return;
        };
        let texts = value.map(|value| &*value.texts).unwrap_or_default();
        let values = SettingText::all(setting, texts);
        table.push(Effective {
            certificate: self.certificate.clone(),
            key: setting.path(),
            values,
            source: value.map_or(Source::Default, |value| value.source.clone()),
        });
    }

    /// Each text that can be read; a problem for each that can't.
    fn parsed<T>(
        &mut self,
        setting: &Setting,
        value: &Value,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<Option<T>> {
        let shown = SettingText::all(setting, &value.texts);
        let read = |(text, shown): (&String, SettingText)| {
            let found = shown::refuse_secret(setting, text).and_then(|()| parse(text));
            let why = match found {
                Ok(value) => return Some(value),
                Err(why) => why,
            };
            let message = match setting.is_secret() {
                true => why,
                false => format!("{shown:?}: {why}"),
            };
            let source = Some(value.source.clone());
            self.all.problems.add(source, &setting.path(), message);
            None
        };
        value.texts.iter().zip(shown).map(read).collect()
    }

    fn strongest(&self, setting: &Setting) -> Option<Value> {
        if self.outer {
            let written = outer(setting, self.all.environment, self.all.flags);
            if written.is_some() {
                return written;
            }
        }
        let block = self.block?;
        if self.section.label() == Some(setting.key) {
            return block.label.clone().map(|label| Value {
                texts: vec![label],
                source: block.source.clone(),
            });
        }
        block.values.get(setting.key).cloned()
    }
}

/// What flags and variables say about a setting; the flag first.
pub(super) fn outer(setting: &Setting, environment: &Environment, flags: &Flags) -> Option<Value> {
    if let Some(values) = flags.of(setting) {
        return Some(Value {
            texts: values
                .iter()
                .flat_map(|text| split(setting, text))
                .collect(),
            source: Source::Flag(format!("--{}", setting.flag)),
        });
    }
    let (name, text) = variable(setting, environment)?;
    Some(Value {
        texts: split(setting, text),
        source: Source::Variable(name.into_owned()),
    })
}

/// The strongest variable that sets it: ours, then the clients' own. An empty one is not set.
fn variable<'a>(
    setting: &Setting,
    environment: &'a Environment,
) -> Option<(Cow<'static, str>, &'a str)> {
    let own = setting.variable();
    if let Some(text) = environment.get(&own).filter(|text| !text.is_empty()) {
        return Some((Cow::Owned(own), text));
    }
    setting
        .issuer
        .iter()
        .find_map(|name| issuer_variable(name, environment))
        .map(|(name, text)| (Cow::Owned(name), text))
}

/// `BAO_<name>` or `VAULT_<name>`; the former hides the latter even when it is empty, as in
/// OpenBao's client (api/env.go).
pub(super) fn issuer_variable<'a>(
    name: &str,
    environment: &'a Environment,
) -> Option<(String, &'a str)> {
    let bao = format!("BAO_{name}");
    let vault = format!("VAULT_{name}");
    let (name, text) = match environment.get(&bao) {
        Some(text) => (bao, text),
        None => {
            let text = environment.get(&vault)?;
            (vault, text)
        }
    };
    (!text.is_empty()).then_some((name, text.as_str()))
}

fn split(setting: &Setting, text: &str) -> Vec<String> {
    match setting.kind {
        ValueKind::List => text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect(),
        ValueKind::Headers => match serde_json::from_str::<BTreeMap<String, String>>(text) {
            Ok(pairs) => pairs
                .iter()
                .map(|(name, value)| format!("{name}: {value}"))
                .collect(),
            // Whatever it is, it is not a header either, and is refused as one.
            Err(_) => vec![text.to_owned()],
        },
        _ => vec![text.to_owned()],
    }
}
