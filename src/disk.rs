//! The one way to touch a path that others may write or replace.
//!
//! A directory is reached component by component: each one is opened with `O_PATH | O_NOFOLLOW`
//! beneath the one before, and a link is followed only when it is root's or ours and lies in a
//! directory that no other user may change. What is written goes beneath a descriptor that was
//! checked; mode, owner and times are changed through descriptors only. What stays true: nothing
//! here waits for another process (no FIFO, no device is opened), and nothing is read without a limit.
//!
//! `openat2` is not used: `RESOLVE_NO_SYMLINKS` would refuse `/var/run`, and no flag of it asks who
//! owns a link or a directory. cap-std neither looks at owners nor limits what is read. Names below
//! a descriptor are single components, for which `O_NOFOLLOW` says the same as `RESOLVE_BENEATH`.

mod access;
mod path_refusal;
mod read;
#[cfg(test)]
mod tests;
mod walk;

use std::{
    ffi::OsString,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStringExt as _,
    },
    path::{Path, PathBuf},
};

pub(crate) use access::{own_gid, set_mode_of, strip_acl};
pub use path_refusal::{PathFault, PathRefusal};
pub(crate) use read::{Content, read, read_credential, read_ours, take};
use rustix::{
    fs::{self, FileType, Mode, OFlags, Stat},
    process::geteuid,
};

/// Whom we take a directory, a file or a link from, besides root and ourselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrustedOwners {
    /// The configured owner of the files.
    pub uid: Option<u32>,
    /// The configured group: it may write where other users may not.
    pub gid: Option<u32>,
}

impl TrustedOwners {
    /// Root and ourselves only.
    pub const OWN: Self = Self {
        uid: None,
        gid: None,
    };

    /// True for root, ourselves and the configured owner.
    pub(crate) fn owns(&self, uid: u32) -> bool {
        uid == 0 || uid == geteuid().as_raw() || Some(uid) == self.uid
    }

    /// The bits by which another user may write.
    pub(crate) fn foreign_write_bits(&self, stat: &Stat) -> u32 {
        match self.gid == Some(stat.st_gid) {
            true => stat.st_mode & 0o002,
            false => stat.st_mode & 0o022,
        }
    }

    /// Owner and mode of a directory in which we are about to write.
    fn judge(&self, path: &Path, stat: &Stat) -> Result<(), PathRefusal> {
        if !self.owns(stat.st_uid) {
            return Err(PathRefusal::new(path, stat, PathFault::ForeignDirectory));
        }
        let sticky = stat.st_mode & 0o1000 != 0;
        let safe = sticky && (stat.st_uid == 0 || stat.st_uid == geteuid().as_raw());
        if self.foreign_write_bits(stat) != 0 && !safe {
            return Err(PathRefusal::new(path, stat, PathFault::OpenDirectory));
        }
        Ok(())
    }
}

/// A directory that is held by a descriptor. `O_PATH` only: see [`Directory::listable`].
#[derive(Debug)]
pub(crate) struct Directory {
    fd: OwnedFd,
    stat: Stat,
    path: PathBuf,
}

/// What to do with a link as the last component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Last {
    /// Follow it, when it is one of ours.
    Followed,
    /// The directory has to be a real one.
    Real,
}

impl Directory {
    /// Opens an existing directory, and says nothing about its own owner and mode.
    ///
    /// # Errors
    /// A [`PathRefusal`] for a foreign link on the way or something else than a directory.
    pub(crate) fn find(
        path: &Path,
        last: Last,
        trust: &TrustedOwners,
    ) -> Result<Self, PathRefusal> {
        walk::Walk::new(trust, None).directory(path, last)
    }

    /// As [`Directory::find`]; missing directories are made with `mode`, umask applied, our own
    /// group and no inherited access list.
    ///
    /// # Errors
    /// As [`Directory::find`].
    pub(crate) fn make(
        path: &Path,
        last: Last,
        mode: u32,
        trust: &TrustedOwners,
    ) -> Result<Self, PathRefusal> {
        walk::Walk::new(trust, Some(mode)).directory(path, last)
    }

    /// Refuses a directory that is another user's, or that others may write.
    ///
    /// # Errors
    /// A [`PathRefusal`] with path, owner and mode.
    pub(crate) fn checked(self, trust: &TrustedOwners) -> Result<Self, PathRefusal> {
        trust.judge(&self.path, &self.stat)?;
        Ok(self)
    }

    /// As [`Directory::checked`], and a sticky bit is not enough: names of ours could be taken.
    ///
    /// # Errors
    /// As [`Directory::checked`].
    pub(crate) fn exclusive(self, trust: &TrustedOwners) -> Result<Self, PathRefusal> {
        let directory = self.checked(trust)?;
        match trust.foreign_write_bits(&directory.stat) {
            0 => Ok(directory),
            _ => Err(PathRefusal::new(
                &directory.path,
                &directory.stat,
                PathFault::OpenDirectory,
            )),
        }
    }

    /// Refuses a directory that is not our own user's alone.
    ///
    /// # Errors
    /// As [`Directory::checked`].
    pub(crate) fn private(self) -> Result<Self, PathRefusal> {
        if self.stat.st_uid != geteuid().as_raw() {
            return Err(PathRefusal::new(
                &self.path,
                &self.stat,
                PathFault::ForeignDirectory,
            ));
        }
        if self.stat.st_mode & 0o022 != 0 {
            return Err(PathRefusal::new(
                &self.path,
                &self.stat,
                PathFault::OpenDirectory,
            ));
        }
        Ok(self)
    }

    /// The path as it was asked for: for messages.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What it was when it was opened.
    pub(crate) fn stat(&self) -> &Stat {
        &self.stat
    }

    /// A descriptor that can list, sync and set the mode of this same directory.
    ///
    /// # Errors
    /// No permission to read it.
    pub(crate) fn listable(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(fs::openat(&self.fd, ".", flags, Mode::empty())?)
    }

    /// Sets the mode of this same directory, also when its own mode does not let us in.
    ///
    /// # Errors
    /// As chmod(2).
    pub(crate) fn set_mode(&mut self, mode: u32) -> io::Result<()> {
        set_mode_of(&self.fd, mode)?;
        self.stat = fs::fstat(&self.fd)?;
        Ok(())
    }

    /// The kind and facts of what bears a name in it, links not followed.
    pub(crate) fn entry(&self, name: &str) -> Option<(FileType, Stat)> {
        let stat = fs::statat(&self.fd, name, fs::AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some((FileType::from_raw_mode(stat.st_mode), stat))
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Kind and facts of what a path leads to, links followed; nothing is opened.
///
/// # Errors
/// As stat(2).
pub(crate) fn look(path: &Path) -> io::Result<(FileType, Stat)> {
    let stat = fs::stat(path)?;
    Ok((FileType::from_raw_mode(stat.st_mode), stat))
}

/// As [`look`], of the link itself where the last name is one.
///
/// # Errors
/// As lstat(2).
pub(crate) fn look_at_name(path: &Path) -> io::Result<(FileType, Stat)> {
    let stat = fs::lstat(path)?;
    Ok((FileType::from_raw_mode(stat.st_mode), stat))
}

/// What a link says.
///
/// # Errors
/// As readlink(2): no link too.
pub(crate) fn link_at(path: &Path) -> io::Result<PathBuf> {
    let text = fs::readlink(path, Vec::new())?;
    Ok(PathBuf::from(OsString::from_vec(text.into_bytes())))
}

/// The names in a directory that the operator named, sorted; no others than UTF-8 ones.
///
/// # Errors
/// It is no directory, or may not be read.
pub(crate) fn names(path: &Path) -> io::Result<Vec<String>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    list(fs::open(path, flags, Mode::empty())?)
}

/// As [`names`], of a directory that is open.
///
/// # Errors
/// It may not be read.
pub(crate) fn list(directory: impl AsFd) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::Dir::read_from(directory)? {
        match entry?.file_name().to_str() {
            Ok("." | "..") | Err(_) => {}
            Ok(name) => names.push(name.to_owned()),
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// The directory (`.` when the path has none) and the file name.
///
/// # Errors
/// A [`PathRefusal`] when the path ends in no name.
pub(crate) fn split(path: &Path) -> Result<(&Path, &str), PathRefusal> {
    let name = path.file_name().and_then(|name| name.to_str());
    let parent = path.parent().unwrap_or_else(|| Path::new(""));
    let parent = match parent.as_os_str().is_empty() {
        true => Path::new("."),
        false => parent,
    };
    match name {
        Some(name) => Ok((parent, name)),
        None => Err(PathRefusal::io(
            "name a file at",
            path,
            io::ErrorKind::InvalidFilename.into(),
        )),
    }
}
