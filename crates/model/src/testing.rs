//! What tests share: an in-memory CA with wrong answers of every kind, and a failure.
//!
//! Compiled for tests only (feature `test-util`).
#![allow(
    clippy::unwrap_used,
    reason = "a test's tool ends the test that it cannot serve"
)]

pub mod ca;

use crate::failure::{Failure, FailureClass};

/// A failure with a code and nothing else of interest.
#[must_use]
pub fn failure(class: FailureClass, code: &str) -> Failure {
    Failure {
        class,
        code: code.to_owned(),
        message: format!("the fake issuer fails with {code}"),
        hint: None,
        retry_after: None,
    }
}
