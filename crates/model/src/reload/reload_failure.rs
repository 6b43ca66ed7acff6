//! Why an application could not be reloaded.
//!
//! Never a secret in it. What stays true: it says whether the application may have been reached all
//! the same, and whether trying again can help.

use std::{error::Error, fmt};

/// Why the application could not be reloaded; never a secret in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReloadFailure {
    /// Short stable code: the metric and JSON name.
    pub code: &'static str,
    /// What was tried, where, why: lower case, no full stop.
    pub message: String,
    /// What the reader can do about it; empty when unknown.
    pub hint: &'static str,
    /// Only a change of the configuration can make it work: no use in trying the same again soon.
    pub lasting: bool,
    /// It may have reached the application all the same.
    pub reached: bool,
}

impl ReloadFailure {
    /// One that reached no process and may pass.
    pub fn passing(code: &'static str, message: String, hint: &'static str) -> Self {
        Self {
            code,
            message,
            hint,
            lasting: false,
            reached: false,
        }
    }

    /// One that reached no process and stays until something is changed.
    pub fn lasting(code: &'static str, message: String, hint: &'static str) -> Self {
        Self {
            lasting: true,
            ..Self::passing(code, message, hint)
        }
    }

    /// One of which it is not known whether it reached the application.
    pub fn unclear(code: &'static str, message: String, hint: &'static str) -> Self {
        Self {
            reached: true,
            ..Self::passing(code, message, hint)
        }
    }
}

impl fmt::Display for ReloadFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if !self.hint.is_empty() {
            write!(f, "; {}", self.hint)?;
        }
        Ok(())
    }
}

impl Error for ReloadFailure {}
