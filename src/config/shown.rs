//! What a setting's text looks like in errors, in `check-config`, in a log.
//!
//! Never decides what a setting means. What stays true: the text of a setting reaches an output as
//! [`SettingText`] only, which has no secret in it.

use std::fmt;

use serde::Serialize;

use super::table::{Setting, Shown};
use crate::model::cover;

/// The text of a setting as it may be shown.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct SettingText(String);

impl SettingText {
    /// The texts of one setting, each covered as the table says.
    pub(super) fn all(setting: &Setting, texts: &[String]) -> Vec<Self> {
        // A password with a comma in it was taken apart, and which parts are its own is not known.
        let parts = setting.shown == Shown::Url
            && texts.len() > 1
            && texts.iter().any(|text| text.contains('@'));
        let shown = |(index, text): (usize, &String)| match setting.shown {
            Shown::Nothing => "[secret]".to_owned(),
            Shown::Url if parts => "[address with @]".to_owned(),
            Shown::Url => cover::url(text),
            Shown::Names => name_of(text),
            Shown::Program if index > 0 => "[argument]".to_owned(),
            Shown::Program | Shown::Text => cover::setting(text),
        };
        let texts = texts.iter().enumerate();
        texts.map(|text| Self(shown(text))).collect()
    }

    /// It itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SettingText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// In quotes, for messages.
impl fmt::Debug for SettingText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// `NAME=[secret]`.
fn name_of(text: &str) -> String {
    let name = text.split_once('=').map_or("", |(name, _)| name);
    let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    match !name.is_empty() && name.bytes().all(good) && !cover::holds_secret(name) {
        true => format!("{name}=[secret]"),
        false => "[secret]".to_owned(),
    }
}

/// What is not meant to be a secret is shown wherever it helps, so it must not hold one.
pub(super) fn refuse_secret(setting: &Setting, text: &str) -> Result<(), String> {
    let holds = match setting.shown {
        Shown::Nothing | Shown::Names | Shown::Program => false,
        Shown::Url => cover::holds_secret(text),
        // certificates in PEM are meant
        Shown::Text if setting.key == "ca_cert_bytes" => text.contains("PRIVATE KEY"),
        // public in any case, and a query belongs there
        Shown::Text if setting.key == "uri_sans" => {
            cover::holds_secret(text) || cover::holds_password(text)
        }
        Shown::Text => cover::holds_secret(text) || cover::may_hold_secret(text),
    };
    match holds {
        false => Ok(()),
        true => Err(
            "holds a private key, a token or a password, which does not belong here; \
                     replace it, for it may have been read already"
                .to_owned(),
        ),
    }
}
