//! Which of clap's guesses at a mistyped flag are shown.
//!
//! Never guesses itself.

use clap::error::{ContextKind, ContextValue};

use crate::config;

/// clap finds `--role` similar to `--on-leaf`: a word that is not nearly the same is no help.
pub(super) fn without_far(mut error: clap::Error) -> clap::Error {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let pair = text(ContextKind::InvalidArg).zip(text(ContextKind::SuggestedArg));
    if pair.is_some_and(|(given, known)| !config::is_near(given, known)) {
        error.remove(ContextKind::SuggestedArg);
        error.remove(ContextKind::Usage);
    }
    error
}
