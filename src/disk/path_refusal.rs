//! Why a path is not touched, by what to do about it.
//!
//! Never holds content. What stays true: a refusal names path, owner and mode, and has a code.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use rustix::fs::Stat;

/// What is wrong with a path.
#[derive(Debug)]
#[non_exhaustive]
pub enum PathFault {
    /// The system refused a step: its verb and the error.
    Io(&'static str, io::Error),
    /// The directory belongs to another user.
    ForeignDirectory,
    /// Others may write in the directory.
    OpenDirectory,
    /// A link on the way that another user made or could have replaced.
    ForeignLink,
    /// A directory is needed and something else is there.
    NotADirectory,
    /// A regular file is needed and something else is there: a FIFO, a device, a directory, a link.
    NotAFile,
    /// The file has another name too, so its owner and mode are not ours to set.
    OtherNames,
    /// The file is larger than it can be: the limit in bytes.
    TooLarge(u64),
    /// The file was written by another user, who is not trusted with it.
    ForeignFile,
    /// Another user may write the file.
    OpenFile,
}

/// A path that is not touched.
#[derive(Debug)]
pub struct PathRefusal {
    /// The path, as far as it was followed.
    pub path: PathBuf,
    /// Owner and permission bits of what stands there, where that was seen.
    pub owned: Option<(u32, u32)>,
    /// What is wrong.
    pub reason: PathFault,
}

impl PathRefusal {
    pub(crate) fn new(path: &Path, stat: &Stat, reason: PathFault) -> Self {
        Self {
            path: path.to_owned(),
            owned: Some((stat.st_uid, stat.st_mode & 0o7777)),
            reason,
        }
    }

    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self {
            path: path.to_owned(),
            owned: None,
            reason: PathFault::Io(action, source),
        }
    }

    /// The system's word, when it is not our own judgement.
    #[must_use]
    pub fn kind(&self) -> Option<io::ErrorKind> {
        match &self.reason {
            PathFault::Io(_, source) => Some(source.kind()),
            _ => None,
        }
    }

    /// True when nothing is there.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        self.kind() == Some(io::ErrorKind::NotFound)
    }

    /// The short stable code: the metric and JSON name.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match &self.reason {
            PathFault::Io(_, source) => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "disk-full",
                io::ErrorKind::PermissionDenied => "disk-permission",
                io::ErrorKind::ReadOnlyFilesystem => "disk-read-only",
                _ => "disk-error",
            },
            PathFault::ForeignDirectory => "directory-foreign",
            PathFault::OpenDirectory => "directory-open",
            PathFault::ForeignLink => "link-foreign",
            PathFault::NotADirectory => "dir-not-real",
            PathFault::NotAFile => "file-not-regular",
            PathFault::OtherNames => "file-linked",
            PathFault::TooLarge(_) => "file-too-large",
            PathFault::ForeignFile => "file-foreign",
            PathFault::OpenFile => "file-open",
        }
    }

    /// What the reader can do about it, when we know.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        Some(match &self.reason {
            PathFault::Io(..) => match self.code() {
                "disk-full" => {
                    "free some space; a Nomad secrets directory has 1 MiB unless `resources { secrets }` says more"
                }
                "disk-permission" => {
                    "run certagent as the owner of the directory, or give that user write permission"
                }
                _ => return None,
            },
            PathFault::ForeignDirectory => {
                "find out who made it, remove it and let certagent make its own, or set `uid` to its owner"
            }
            PathFault::OpenDirectory => {
                "chmod go-w it, or set `gid` to the group that may write, or name a directory of its own in it"
            }
            PathFault::ForeignLink => "remove the link, or name the directory that it leads to",
            PathFault::NotADirectory => {
                "make it a real directory: a container bind pins the directory itself"
            }
            PathFault::NotAFile => "find out who put it there and remove it",
            PathFault::OtherNames => "remove the other name of the file (find -samefile)",
            PathFault::TooLarge(_) => "check that it is the right file",
            PathFault::OpenFile => "chmod go-w it, and write its content again",
            PathFault::ForeignFile => {
                "have it written by root or certagent's user; for a login, auth.file_uid may name its owner"
            }
        })
    }
}

impl fmt::Display for PathRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.reason {
            PathFault::Io(action, source) => {
                return write!(f, "could not {action} {path}: {source}");
            }
            PathFault::ForeignDirectory => {
                write!(f, "the directory {path} belongs to another user")
            }
            PathFault::OpenDirectory => write!(f, "others may write in the directory {path}"),
            PathFault::ForeignLink => write!(f, "{path} is a link that another user controls"),
            PathFault::NotADirectory => write!(f, "{path} is not a real directory"),
            PathFault::NotAFile => write!(f, "{path} is not a regular file"),
            PathFault::OtherNames => write!(f, "the file {path} has another name too"),
            PathFault::TooLarge(limit) => write!(f, "{path} is larger than {limit} bytes"),
            PathFault::ForeignFile => write!(f, "the file {path} was written by another user"),
            PathFault::OpenFile => write!(f, "others may write the file {path}"),
        }?;
        match self.owned {
            Some((uid, mode)) => write!(f, " (owner {uid}, mode {mode:04o})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for PathRefusal {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.reason {
            PathFault::Io(_, source) => Some(source),
            _ => None,
        }
    }
}
