//! Text that must not be printed: keys, tokens, secret ids.
//!
//! Never shows its content in `Debug`, has no `Display` and no `Serialize`; the memory is wiped on
//! drop. Only code that sends or publishes it calls [`Secret::expose`].

use std::fmt;

use zeroize::Zeroizing;

/// Secret text, wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes ownership of secret text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself. Every caller is a place where it may leak: search for this name.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// True when there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_never_shows_the_content() {
        assert_eq!(
            format!("{:?}", Secret::new("hunter2".to_owned())),
            "[secret]"
        );
    }
}
