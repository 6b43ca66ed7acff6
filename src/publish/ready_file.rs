//! The non-secret ready file that `certagent wait` looks at.
//!
//! Never holds key material. What stays true: it exists only while a valid set is published.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{PublishError, file};
use crate::{
    disk::{self, TrustedOwners},
    model::time::Timestamp,
};

/// Bytes of the largest ready file: a leaf with hundreds of names is far below.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// What is published, for readers without access to the certificate directory. Every field may be
/// shown to anybody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadyFile {
    /// Serial of the leaf, lower-case hex with colons.
    pub serial: String,
    /// RFC 3339, UTC.
    pub not_before: String,
    /// RFC 3339, UTC.
    pub not_after: String,
    /// SHA-256 of the leaf's DER, hex.
    pub sha256: String,
    /// Id of the live generation.
    pub generation: String,
    /// DNS names and IP addresses in the leaf.
    pub names: Vec<String>,
    /// The certificate directory, as the agent sees it.
    pub dir: PathBuf,
}

impl ReadyFile {
    /// Replaces the ready file: mode 0644, parent directory made when missing. That directory has to
    /// be root's, ours or the configured owner's, and no other user may write in it.
    ///
    /// # Errors
    /// [`PublishError`]; an old ready file is still there then.
    pub fn write(&self, path: &Path, trust: &TrustedOwners) -> Result<(), PublishError> {
        let mut text = serde_json::to_vec_pretty(self)
            .map_err(|source| file::failed("write down", path, source.into()))?;
        text.push(b'\n');
        file::replace_for(path, &text, 0o644, trust)
    }

    /// Reads a ready file; `None` when there is none. Whoever wrote it: a reader may be another user
    /// than the agent. Never waits, whatever lies there.
    ///
    /// # Errors
    /// [`PublishError::ReadyFile`] when something is there that is no ready file.
    pub fn read(path: &Path) -> Result<Option<Self>, PublishError> {
        let damaged = |reason: String| PublishError::ReadyFile {
            path: path.to_owned(),
            reason,
        };
        match disk::read(path, MAX_FILE_BYTES) {
            Ok(found) => serde_json::from_slice(&found.bytes)
                .map(Some)
                .map_err(|error| damaged(error.to_string())),
            Err(refusal) if refusal.is_missing() => Ok(None),
            Err(refusal) => Err(damaged(refusal.to_string())),
        }
    }

    /// Removes a ready file that is no longer true; absent is fine.
    ///
    /// # Errors
    /// As [`ReadyFile::write`].
    pub fn remove(path: &Path, trust: &TrustedOwners) -> Result<(), PublishError> {
        file::remove(path, trust)
    }

    /// When the set ends; `None` when the text is no date.
    #[must_use]
    pub fn ends_at(&self) -> Option<Timestamp> {
        OffsetDateTime::parse(&self.not_after, &Rfc3339)
            .ok()
            .map(|end| Timestamp::from_unix_secs(end.unix_timestamp()))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn ready_file() -> ReadyFile {
        ReadyFile {
            serial: "0a:1b".to_owned(),
            not_before: "2026-11-24T10:00:00Z".to_owned(),
            not_after: "2026-12-04T10:00:00Z".to_owned(),
            sha256: "ff".to_owned(),
            generation: "000001795514400".to_owned(),
            names: vec!["loki.service.consul".to_owned()],
            dir: PathBuf::from("/secrets/certs"),
        }
    }

    #[test]
    fn a_marker_comes_back_as_written_with_mode_0644_and_its_directory_made() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("certagent/ready.json");
        ready_file().write(&path, &TrustedOwners::OWN).unwrap();
        ready_file().write(&path, &TrustedOwners::OWN).unwrap();
        assert_eq!(ReadyFile::read(&path).unwrap(), Some(ready_file()));
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o644);
        let names = std::fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(names, 1, "nothing is left beside it");
        assert_eq!(
            ready_file().ends_at(),
            Some(Timestamp::from_unix_secs(1_796_378_400))
        );
    }

    #[test]
    fn a_link_at_the_name_of_the_ready_file_is_replaced_and_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("ready.json"), dir.path().join("other"));
        std::os::unix::fs::symlink(&other, &path).unwrap();
        ready_file().write(&path, &TrustedOwners::OWN).unwrap();
        assert!(!other.exists());
        assert!(path.symlink_metadata().unwrap().is_file());
    }

    #[test]
    fn absent_is_none_garbage_is_an_error_and_removal_is_idempotent() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ready.json");
        assert_eq!(ReadyFile::read(&path).unwrap(), None);
        file::replace(&path, b"{\"serial\":", 0o600).unwrap();
        assert!(ReadyFile::read(&path).is_err());
        ReadyFile::remove(&path, &TrustedOwners::OWN).unwrap();
        ReadyFile::remove(&path, &TrustedOwners::OWN).unwrap();
    }
}
