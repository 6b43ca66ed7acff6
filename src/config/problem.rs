//! What is wrong with the configuration: where, which key, why; all of it at once.
//!
//! Never holds the value of a secret.

use std::fmt;

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Nowhere: the table's default.
    Default,
    /// Nowhere: worked out from this.
    Derived(String),
    /// In the file.
    File {
        /// The file's name, as it was given.
        name: String,
        /// Counted from 1.
        line: usize,
    },
    /// In a variable of this name.
    Variable(String),
    /// In a flag, with its dashes.
    Flag(String),
}

impl Source {
    /// Rank of the place: a higher one beats a lower one.
    pub(super) fn strength(&self) -> u8 {
        match self {
            Self::Default => 0,
            Self::Derived(_) => 1,
            Self::File { .. } => 2,
            Self::Variable(_) => 3,
            Self::Flag(_) => 4,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Default => "default".to_owned(),
            Self::Derived(from) => format!("from {from}"),
            Self::File { name, line } => format!("{name}:{line}"),
            Self::Variable(name) | Self::Flag(name) => name.clone(),
        };
        f.pad(&text)
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it was written, when it was.
    pub source: Option<Source>,
    /// Full key, as `certificate.ttl`.
    pub key: String,
    /// Why it can't be used: lower case, no full stop, no secret.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(source) = &self.source {
            write!(f, "{source}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// Everything that is wrong, one line each; never empty when it is an error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// The problems, in the order they were found.
    #[must_use]
    pub fn list(&self) -> &[Problem] {
        &self.0
    }

    /// Is there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those of the file first, by line; the others in the order they were found.
    pub(super) fn in_order(mut self) -> Self {
        self.0.sort_by_key(|problem| match problem.source {
            Some(Source::File { line, .. }) => line,
            _ => usize::MAX,
        });
        self
    }

    pub(super) fn add(&mut self, source: Option<Source>, key: &str, message: impl Into<String>) {
        self.0.push(Problem {
            source,
            key: key.to_owned(),
            message: message.into(),
        });
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
