//! Why an answer is refused: all problems at once, the most useful first.
//!
//! Never holds a key or a token.

use std::fmt;

use super::codes;
use crate::failure::{Failure, FailureClass};

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusalReason {
    /// One of [`codes::CODES`].
    pub code: &'static str,
    /// What was found, with both sides of a comparison: lower case, no full stop.
    pub message: String,
}

impl RefusalReason {
    /// A problem with its code and text.
    #[must_use]
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        debug_assert!(codes::find(code).is_some(), "{code} is not in the table");
        Self {
            code,
            message: message.into(),
        }
    }
}

/// Everything that is wrong with an answer; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Most useful first.
    pub problems: Vec<RefusalReason>,
}

impl Refusal {
    /// A refusal for one reason.
    #[must_use]
    pub fn one(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            problems: vec![RefusalReason::new(code, message)],
        }
    }

    /// `Ok` when nothing is wrong, else all of it in order of usefulness.
    ///
    /// # Errors
    /// When there is a problem.
    pub fn unless_none(mut problems: Vec<RefusalReason>) -> Result<(), Self> {
        if problems.is_empty() {
            return Ok(());
        }
        problems.sort_by_key(|problem| codes::rank(problem.code));
        Err(Self { problems })
    }

    /// The code of the first problem.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.problems
            .first()
            .map_or("chain-invalid", |first| first.code)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.problems.iter().enumerate() {
            let separator = if at == 0 { "" } else { "; " };
            write!(f, "{separator}{} [{}]", problem.message, problem.code)?;
        }
        Ok(())
    }
}

impl std::error::Error for Refusal {}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let code = refusal.code();
        Self {
            class: FailureClass::BadAnswer,
            code: code.to_owned(),
            message: format!("refused Vault's answer: {refusal}"),
            hint: codes::find(code).map(|code| code.hint.to_owned()),
            retry_after: None,
        }
    }
}
