//! Addresses: `http://`, `https://` and `unix://`, with a path prefix, as the user wrote them.
//!
//! Never resolves a name. What stays true: an address that exists here holds no credentials, query
//! or fragment, so that it may be printed.

use std::path::PathBuf;

use reqwest::Url;

use super::classify::misconfigured;
use crate::model::failure::Failure;

/// One place where the issuer is.
#[derive(Clone, Debug)]
pub(super) struct Address {
    /// As the user wrote it, for messages.
    pub shown: String,
    /// Scheme, host and port; no path.
    pub origin: Url,
    /// Path prefix with a slash at its start and none at its end; empty when there is none.
    pub prefix: String,
    /// The socket of a `unix://` address; the origin is then `http://localhost`.
    pub socket: Option<PathBuf>,
}

impl Address {
    /// Reads one address.
    ///
    /// # Errors
    /// `Misconfigured` with code `address`.
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        let wrong = |why: &str| {
            misconfigured(
                "address",
                format!(
                    "reading the address of Vault `{}`: {why}",
                    without_user(text)
                ),
                "write it as https://vault.example:8200 or unix:///run/vault.sock",
            )
        };
        if let Some(path) = text.strip_prefix("unix://") {
            if !path.starts_with('/') {
                return Err(wrong("the path of the socket must be absolute"));
            }
            let origin = Url::parse("http://localhost").map_err(|_| wrong("no socket"))?;
            return Ok(Self {
                shown: text.to_owned(),
                origin,
                prefix: String::new(),
                socket: Some(PathBuf::from(path)),
            });
        }
        let mut origin = Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
        if !matches!(origin.scheme(), "http" | "https") {
            return Err(wrong("the scheme is none of http, https and unix"));
        }
        if !origin.username().is_empty() || origin.password().is_some() {
            return Err(wrong("it must not contain a user name or password"));
        }
        if origin.query().is_some() || origin.fragment().is_some() {
            return Err(wrong("it must not contain a query or fragment"));
        }
        let prefix = origin.path().trim_end_matches('/').to_owned();
        if let Some(end) = ["/v1", "/ui"].iter().find(|end| prefix.ends_with(**end)) {
            return Err(wrong(&format!(
                "it must end before {end}: certagent adds the path of the API itself"
            )));
        }
        origin.set_path("");
        Ok(Self {
            shown: text.trim_end_matches('/').to_owned(),
            origin,
            prefix,
            socket: None,
        })
    }

    /// True for `https://`.
    pub(super) fn is_tls(&self) -> bool {
        self.origin.scheme() == "https"
    }

    /// True when `url` has this address's scheme, host and port.
    pub(super) fn is_at(&self, url: &Url) -> bool {
        self.socket.is_none() && self.origin.origin() == url.origin()
    }
}

/// What may be printed of a text that could hold a password before an `@`.
pub(super) fn without_user(text: &str) -> String {
    match (text.split_once("://"), text.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://[user]@{host}"),
        (None, Some((_, host))) => format!("[user]@{host}"),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        let table = [
            ("https://vault:8200", "https://vault:8200/", ""),
            ("https://lb/vault/", "https://lb/", "/vault"),
            ("http://[::1]:8200/a/b", "http://[::1]:8200/", "/a/b"),
            ("unix:///run/v.sock", "http://localhost/", ""),
        ];
        for (text, origin, prefix) in table {
            let address = Address::parse(text).unwrap();
            assert_eq!(
                (address.origin.as_str(), address.prefix.as_str()),
                (origin, prefix)
            );
        }
    }

    #[test]
    fn a_bad_address_is_an_error_and_no_panic_and_shows_no_password() {
        for text in [
            "",
            "vault:8200",
            "ftp://vault",
            "unix://relative.sock",
            "https://",
            "https://me:hunter2@vault",
            "https://vault/?x=1",
            "https://vault:99999",
            "https://vault:8200/v1/",
            "https://lb/vault/v1",
            "https://vault:8200/ui",
        ] {
            let failure = Address::parse(text).unwrap_err();
            assert_eq!(failure.code, "address", "{text}");
            assert!(!failure.to_string().contains("hunter2"));
        }
    }
}
