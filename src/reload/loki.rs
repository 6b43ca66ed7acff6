//! What `auto` means for Loki: by its version (docs/loki.md).
//!
//! Never sends SIGHUP, which kills every version. What stays true: a version that could not be asked
//! for leads to a list that looks first and restarts only when that shows nothing.

use std::time::Duration;

use rustls::RootCertStore;
use serde::Deserialize;

use crate::{
    http_client,
    model::reload::{Action, EventKind},
};

/// Loki answers at once or not at all.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// More of an answer is not looked at.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// From here on Loki's clients too read leaf and key at every handshake (dskit PR 537).
const FIRST_VERSION_THAT_READS_CERTIFICATES: Version = Version { major: 3, minor: 2 };

/// The part of Loki's version that matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// 3 of 3.7.8.
    pub major: u32,
    /// 7 of 3.7.8.
    pub minor: u32,
}

impl Version {
    /// `3.7.8`, `v2.9.0`, `3.2.0-rc.1`; `None` for `main-a1b2c3d` and the like.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let mut parts = text.strip_prefix('v').unwrap_or(text).split('.');
        let major = parts.next()?.parse().ok()?;
        let minor: String = parts
            .next()?
            .chars()
            .take_while(char::is_ascii_digit)
            .collect();
        let minor = minor.parse().ok()?;
        Some(Self { major, minor })
    }
}

/// The escalation list that `auto` stands for.
#[must_use]
pub fn auto(version: Option<Version>, event: EventKind, task: &str) -> Vec<Action> {
    let restart = Action::NomadRestart {
        task: task.to_owned(),
    };
    match (version, event) {
        // No version re-reads anchors for what is already set up.
        (_, EventKind::Trust) => vec![restart],
        (Some(version), EventKind::Leaf) if version >= FIRST_VERSION_THAT_READS_CERTIFICATES => {
            vec![Action::None]
        }
        (Some(_), EventKind::Leaf) => vec![restart],
        (None, EventKind::Leaf) => vec![Action::None, restart],
    }
}

#[derive(Deserialize)]
struct BuildInfo {
    version: String,
}

/// Asks Loki for its version at `base`, as `http://127.0.0.1:3100`.
///
/// # Errors
/// Why it is not known: lower case, no full stop.
pub async fn version(base: &str) -> Result<Version, String> {
    let url = format!(
        "{}/loki/api/v1/status/buildinfo",
        base.trim_end_matches('/')
    );
    let client = http_client::builder(RootCertStore::empty())
        .and_then(|builder| http_client::build(builder.timeout(CALL_TIMEOUT)))?;
    let request = client.get(url);
    let answer = http_client::exchange(client, request, MAX_BODY_BYTES).await;
    let (status, text) = answer.map_err(|none| http_client::why(&none))?;
    if !status.is_success() {
        return Err(format!("Loki answered {status}"));
    }
    let info: BuildInfo =
        serde_json::from_str(&text).map_err(|_| "Loki's answer names no version".to_owned())?;
    Version::parse(&info.version)
        .ok_or_else(|| format!("Loki's version {:?} is none", info.version))
}

#[cfg(test)]
mod tests;
