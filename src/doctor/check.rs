//! What a check is made of.
//!
//! Decides nothing: the checks are in `table`. What stays true: a warning has no exit code of its own.

use super::{CheckOutcome, DoctorFacts};
use crate::exit::Exit;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Works now, and bites later.
    Warn,
    /// Keeps the agent or the application from working.
    Fail,
}

impl Severity {
    /// The word in the documentation.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One check.
pub struct Check {
    /// Its stable name.
    pub code: &'static str,
    /// How bad a finding is.
    pub severity: Severity,
    /// The exit code when it fails; a warning never decides the exit code.
    pub exit: Exit,
    /// What a finding means.
    pub means: &'static str,
    /// What to do about it.
    pub todo: &'static str,
    pub(super) run: fn(&DoctorFacts) -> CheckOutcome,
}

impl std::fmt::Debug for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.code)
    }
}

type Run = fn(&DoctorFacts) -> CheckOutcome;

pub(super) const fn fail(
    code: &'static str,
    exit: Exit,
    means: &'static str,
    todo: &'static str,
    run: Run,
) -> Check {
    Check {
        code,
        severity: Severity::Fail,
        exit,
        means,
        todo,
        run,
    }
}

pub(super) const fn warn(
    code: &'static str,
    means: &'static str,
    todo: &'static str,
    run: Run,
) -> Check {
    Check {
        code,
        severity: Severity::Warn,
        exit: Exit::Done,
        means,
        todo,
        run,
    }
}
