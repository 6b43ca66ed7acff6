//! `certagent doctor`: misconfigurations found and named, each with what to do about it.
//!
//! `gather` looks (reads files, asks Vault and Nomad, connects to the application), the checks
//! judge, `table` says what each one means. Never writes, repairs, signals or publishes; asks for a
//! certificate only with `--test-issue`. What stays true: after a run the disk is what it was, and the
//! issuer has issued nothing that was not asked for in so many words.
//!
//! One token is had and given back, as every command does that talks to Vault.

mod check;
mod configuration;
mod consul;
mod credential;
mod disk;
mod facts;
mod files;
mod gather;
mod issuer;
mod login;
mod mount;
mod nomad;
mod process;
mod served;
pub mod table;
#[cfg(test)]
mod tests;

use serde::Serialize;

pub use check::{Check, Severity};
pub use facts::{DoctorFacts, Options};
pub use gather::gather;
pub use table::CHECKS;

use crate::exit::Exit;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DoctorFinding {
    /// A more exact code than the check's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// What it is about: a certificate's name, an address, a path; empty when that is clear.
    pub subject: String,
    /// What was seen: lower case, no full stop, no secret.
    pub reason: String,
    /// What to do, where it is more exact than the table's text.
    pub todo: Option<String>,
}

impl DoctorFinding {
    fn new(subject: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            code: None,
            subject: subject.into(),
            reason: reason.into(),
            todo: None,
        }
    }

    fn code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    fn todo(mut self, todo: impl Into<String>) -> Self {
        self.todo = Some(todo.into());
        self
    }
}

/// What one check came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CheckOutcome {
    /// As it should be.
    Fine,
    /// It is not known; why.
    Skipped(String),
    /// Wrong.
    Wrong(Vec<DoctorFinding>),
}

impl CheckOutcome {
    fn skipped(why: impl Into<String>) -> Self {
        Self::Skipped(why.into())
    }

    fn wrong(subject: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Wrong(vec![DoctorFinding::new(subject, reason)])
    }

    /// Wrong when there is something in the list.
    fn of(found: Vec<DoctorFinding>) -> Self {
        if found.is_empty() {
            Self::Fine
        } else {
            Self::Wrong(found)
        }
    }

    /// One outcome for several things: what is wrong wins over what is not known.
    fn all(outcomes: impl IntoIterator<Item = Self>) -> Self {
        let (mut found, mut skipped, mut fine) = (Vec::new(), None, false);
        for outcome in outcomes {
            match outcome {
                Self::Fine => fine = true,
                Self::Skipped(why) => skipped = skipped.or(Some(why)),
                Self::Wrong(more) => found.extend(more),
            }
        }
        match skipped {
            _ if !found.is_empty() => Self::Wrong(found),
            Some(why) => Self::Skipped(why),
            None if fine => Self::Fine,
            None => Self::skipped("there is nothing to check"),
        }
    }
}

/// What one check came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckStatus {
    /// As it should be.
    Ok,
    /// It is not known.
    Skipped,
    /// Wrong, and the agent still works.
    Warn,
    /// Wrong, and it keeps the agent or the application from working.
    Fail,
}

impl CheckStatus {
    /// The word in the table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Skipped => "skip",
            Self::Warn => "warn",
            Self::Fail => "FAIL",
        }
    }
}

/// One check with its result.
#[derive(Clone, Debug)]
pub struct Row {
    /// Which one.
    pub check: &'static Check,
    /// What it came to.
    pub status: CheckStatus,
    /// What is wrong.
    pub found: Vec<DoctorFinding>,
    /// Why it is not known.
    pub skipped: Option<String>,
}

/// All checks with their results, in the order of the table.
#[derive(Clone, Debug)]
pub struct DoctorReport {
    /// One for each check.
    pub rows: Vec<Row>,
}

/// Judges the facts.
#[must_use]
pub fn examine(facts: &DoctorFacts) -> DoctorReport {
    let row = |check: &'static Check| {
        let (status, found, skipped) = match (check.run)(facts) {
            CheckOutcome::Fine => (CheckStatus::Ok, Vec::new(), None),
            CheckOutcome::Skipped(why) => (CheckStatus::Skipped, Vec::new(), Some(why)),
            CheckOutcome::Wrong(found) => match check.severity {
                Severity::Warn => (CheckStatus::Warn, found, None),
                Severity::Fail => (CheckStatus::Fail, found, None),
            },
        };
        Row {
            check,
            status,
            found,
            skipped,
        }
    };
    DoctorReport {
        rows: CHECKS.iter().map(row).collect(),
    }
}

impl DoctorReport {
    /// The exit code: that of the first stage at which something fails, in the order configuration,
    /// issuer, permission, certificate, disk, everything else. Warnings alone are no failure.
    #[must_use]
    pub fn exit(&self) -> Exit {
        let failed = self
            .rows
            .iter()
            .filter(|row| row.status == CheckStatus::Fail);
        let rank = |exit: &Exit| match exit {
            Exit::Failure => u8::MAX,
            other => other.code(),
        };
        failed
            .map(|row| row.check.exit)
            .min_by_key(rank)
            .unwrap_or(Exit::Done)
    }

    /// How many checks came to this.
    #[must_use]
    pub fn count(&self, status: CheckStatus) -> usize {
        self.rows.iter().filter(|row| row.status == status).count()
    }
}
