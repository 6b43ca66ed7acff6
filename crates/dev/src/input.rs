//! Request bodies as Vault reads them: numbers, durations, flags and lists may be texts.
//!
//! Never knows what a field means.

use certagent_model::duration;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _},
};

use crate::answer::ApiError;

/// Reads a JSON body, whatever its content type; an empty one is an empty object.
pub(crate) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let body = match body.trim_ascii() {
        b"" | b"null" => b"{}",
        body => body,
    };
    serde_json::from_slice(body)
        .map_err(|error| ApiError::bad(format!("failed to decode JSON input: {error}")))
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Loose {
    Flag(bool),
    Number(u64),
    Text(String),
    List(Vec<String>),
}

/// A whole number: `256` or `"256"`.
pub(crate) fn number<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    match Loose::deserialize(from)? {
        Loose::Number(number) => Ok(number),
        Loose::Text(text) if text.is_empty() => Ok(0),
        Loose::Text(text) => text.parse().map_err(D::Error::custom),
        _ => Err(D::Error::custom("a whole number is wanted")),
    }
}

/// Whole seconds: `90`, `"90"`, `"10d"` or a Go duration; empty is zero.
pub(crate) fn seconds<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    match Loose::deserialize(from)? {
        Loose::Number(number) => Ok(number),
        Loose::Text(text) if text.is_empty() => Ok(0),
        Loose::Text(text) => match duration::parse(&text) {
            Ok(length) => Ok(length.as_secs()),
            Err(error) => Err(D::Error::custom(error)),
        },
        _ => Err(D::Error::custom("a duration is wanted")),
    }
}

/// `true` or `"true"`.
pub(crate) fn flag<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    match Loose::deserialize(from)? {
        Loose::Flag(flag) => Ok(flag),
        Loose::Text(text) => match text.as_str() {
            "true" | "1" => Ok(true),
            "false" | "0" | "" => Ok(false),
            _ => Err(D::Error::custom("true or false is wanted")),
        },
        _ => Err(D::Error::custom("true or false is wanted")),
    }
}

/// An array, or one text with commas.
pub(crate) fn list<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let items = match Loose::deserialize(from)? {
        Loose::List(items) => items,
        Loose::Text(text) => text.split(',').map(str::to_owned).collect(),
        _ => return Err(D::Error::custom("a list is wanted")),
    };
    let trimmed = items.iter().map(|item| item.trim().to_owned());
    Ok(trimmed.filter(|item| !item.is_empty()).collect())
}
