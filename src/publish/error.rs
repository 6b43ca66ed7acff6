//! What can go wrong on the file system, by what to do about it.
//!
//! Never holds file content. What stays true: every error names the path and the step that failed.

use std::{io, path::PathBuf};

use crate::{
    disk::PathRefusal,
    model::failure::{Failure, FailureClass},
};

/// The code of [`PublishError::Held`].
pub(crate) const HELD: &str = "dir-held";
/// The code of [`PublishError::NoSuchGeneration`].
pub(crate) const GENERATION_MISSING: &str = "generation-missing";

/// A failure of publication, reading back or repair. The published files are what they were before.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// One file-system step failed.
    #[error("could not {action} {}: {source}", path.display())]
    Step {
        /// What was tried, as a verb.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file system has space, and no inode for another file.
    #[error("could not {action} {}: no inode is left on its file system", path.display())]
    NoInodes {
        /// What was tried, as a verb.
        action: &'static str,
        /// Where.
        path: PathBuf,
    },
    /// The owner could not be set.
    #[error(
        "could not {action} {}: {source} (uid {}, gid {gid})",
        path.display(),
        uid.map_or("as it is".to_owned(), |uid| uid.to_string())
    )]
    Owner {
        /// What was tried, as a verb.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// The wanted owner, when one is configured.
        uid: Option<u32>,
        /// The wanted group.
        gid: u32,
        /// Why.
        source: io::Error,
    },
    /// A directory, a file or a link that is not touched, because of what it is or whose.
    #[error(transparent)]
    Refused(#[from] PathRefusal),
    /// Another process publishes into the directory at this moment.
    #[error("the certificate directory {} is in use by another publisher", path.display())]
    InUse {
        /// The path as configured.
        path: PathBuf,
    },
    /// Another agent holds the directory for its whole life.
    #[error("the certificate directory {} is held by another certagent{}", path.display(), named(*holder))]
    Held {
        /// The process that says that it is the holder, where it is known.
        holder: Option<u32>,
        /// The path as configured.
        path: PathBuf,
    },
    /// A generation that was named is not on disk, or not whole.
    #[error("generation {generation} is not complete in {}", path.display())]
    NoSuchGeneration {
        /// Its id.
        generation: String,
        /// The certificate directory.
        path: PathBuf,
    },
    /// The ready file is not a ready file.
    #[error("the ready file {} can't be read: {reason}", path.display())]
    ReadyFile {
        /// The ready file's path.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

fn named(holder: Option<u32>) -> String {
    holder.map_or_else(String::new, |pid| format!(", process {pid}"))
}

impl PublishError {
    /// The short stable code: the metric and JSON name.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Step { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "disk-full",
                io::ErrorKind::PermissionDenied => "disk-permission",
                io::ErrorKind::ReadOnlyFilesystem => "disk-read-only",
                io::ErrorKind::ResourceBusy => "mount-point",
                _ => "disk-error",
            },
            Self::NoInodes { .. } => "disk-full",
            Self::Owner { .. } => "disk-permission",
            Self::Refused(refusal) => refusal.code(),
            Self::InUse { .. } => "dir-in-use",
            Self::Held { .. } => HELD,
            Self::NoSuchGeneration { .. } => GENERATION_MISSING,
            Self::ReadyFile { .. } => "ready-file-unreadable",
        }
    }

    /// What the reader can do about it, when we know.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match (self, self.code()) {
            (Self::Refused(refusal), _) => refusal.hint(),
            (Self::NoInodes { .. }, _) => {
                Some("remove files from it, or mount it with more inodes (nr_inodes of a tmpfs)")
            }
            (Self::Owner { .. }, _) => Some(
                "uid and gid need CAP_CHOWN, and inside of a user namespace ids that it maps: \
                 run certagent as that user, or unset uid and gid",
            ),
            (_, "mount-point") => Some(
                "a single file is mounted there, and a mount can't be replaced: bind the directory",
            ),
            (_, "disk-full") => Some(
                "free some space; a Nomad secrets directory has 1 MiB unless `resources { secrets }` says more",
            ),
            (_, "disk-permission") => Some(
                "run certagent as the owner of the directory, or give that user write permission",
            ),
            (Self::InUse { .. } | Self::Held { .. }, _) => {
                Some("run one certagent per certificate directory")
            }
            _ => None,
        }
    }

    /// True when the disk has no room left.
    pub(crate) fn is_full(&self) -> bool {
        self.code() == "disk-full"
    }
}

impl From<PublishError> for Failure {
    fn from(error: PublishError) -> Self {
        Self {
            class: FailureClass::Local,
            code: error.code().to_owned(),
            message: error.to_string(),
            hint: error.hint().map(str::to_owned),
            retry_after: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_of_the_machine_has_its_own_advice() {
        let path = PathBuf::from("/c/cert.pem");
        let step = |kind: io::ErrorKind| PublishError::Step {
            action: "replace",
            path: path.clone(),
            source: kind.into(),
        };
        let no_inodes = PublishError::NoInodes {
            action: "create",
            path: path.clone(),
        };
        let owner = PublishError::Owner {
            action: "set the owner of",
            path: path.clone(),
            uid: Some(70),
            gid: 71,
            source: io::ErrorKind::InvalidInput.into(),
        };
        assert!(owner.to_string().contains("(uid 70, gid 71)"), "{owner}");
        for (error, code, part) in [
            (
                step(io::ErrorKind::StorageFull),
                "disk-full",
                "free some space",
            ),
            (no_inodes, "disk-full", "more inodes"),
            (
                step(io::ErrorKind::ResourceBusy),
                "mount-point",
                "bind the directory",
            ),
            (
                step(io::ErrorKind::PermissionDenied),
                "disk-permission",
                "owner of the directory",
            ),
            (owner, "disk-permission", "CAP_CHOWN"),
        ] {
            assert_eq!(error.code(), code, "{error}");
            assert!(error.hint().unwrap().contains(part), "{error}");
            assert!(error.to_string().contains("/c/cert.pem"), "{error}");
        }
    }
}
