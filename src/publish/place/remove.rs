//! Removing what bears a name of ours, whatever another process made of it.
//!
//! Never holds more than two descriptors, however deep a tree is, and never takes longer than
//! [`MAX_ENTRIES`] entries take. What stays true: what can't be removed is moved aside, so that no
//! leftover ever stands in the way of a publication.

use std::{ffi::CString, io};

use rustix::{
    fs::{self, AtFlags, FileType, Mode, OFlags},
    io::Errno,
};

use super::{Op, Place, PublishError, directory_flags, disk, only_path};

/// Entries that one call removes at most; a set has three.
const MAX_ENTRIES: usize = 10_000;

impl Place<'_> {
    /// Removes a file, a link or a whole tree; absent is fine. Only for names that are ours. A tree
    /// that can't be removed is moved aside.
    pub(in super::super) fn remove(&self, name: &str) -> Result<(), PublishError> {
        match self.kind(name) {
            None => Ok(()),
            Some(FileType::Directory) => {
                // Twice: a passing failure shall leave nothing aside.
                let removed = self.remove_tree(name).or_else(|_| self.remove_tree(name));
                removed.or_else(|error| self.set_aside(name).map_err(|_| error))
            }
            Some(_) => self.unlink(name, AtFlags::empty()),
        }
    }

    fn remove_tree(&self, name: &str) -> Result<(), PublishError> {
        self.empty(name)?;
        self.unlink(name, AtFlags::REMOVEDIR)
    }

    /// Gives a directory that is in the way a name that says so.
    pub(super) fn set_aside(&self, name: &str) -> Result<(), PublishError> {
        let stem = name.trim_start_matches('.');
        let aside = (0..10_000)
            .map(|count| format!("displaced-{stem}-{count}"))
            .find(|aside| self.kind(aside).is_none())
            .unwrap_or_else(|| format!("displaced-{stem}"));
        tracing::warn!(path = %self.path.join(name).display(), moved_to = %aside,
            "a directory was in the place of a file of certagent");
        self.rename(name, &aside)
    }

    /// Empties a tree level by level: what lies in a directory of it is moved up to its top, and
    /// then the directory is removed.
    fn empty(&self, name: &str) -> Result<(), PublishError> {
        let failed = |source| self.failed("open", name, source);
        let top = self.enter_own(name).map_err(failed)?;
        let mut left = MAX_ENTRIES;
        let mut moved = 0_u64;
        loop {
            let entries = top.entries(left)?;
            if entries.is_empty() {
                return Ok(());
            }
            for entry in &entries {
                left = left
                    .checked_sub(1)
                    .ok_or_else(|| failed(io::Error::other("it has too many entries")))?;
                let Err(Errno::ISDIR | Errno::PERM) = top.try_unlink(entry, AtFlags::empty())?
                else {
                    continue;
                };
                let inside = top.open_own(entry).map_err(|error| failed(error.into()))?;
                let deeper = Place::entries_of(&inside, left).map_err(failed)?;
                for deep in &deeper {
                    left = left.saturating_sub(1);
                    if fs::unlinkat(&inside, deep, AtFlags::empty()).is_err() {
                        top.move_up(&inside, deep, &mut moved).map_err(failed)?;
                    }
                }
                if let Err(error) = top.try_unlink(entry, AtFlags::REMOVEDIR)?
                    && error != Errno::NOTEMPTY
                {
                    return Err(failed(error.into()));
                }
            }
        }
    }

    fn move_up(
        &self,
        inside: &impl std::os::fd::AsFd,
        deep: &CString,
        moved: &mut u64,
    ) -> io::Result<()> {
        loop {
            *moved += 1;
            match fs::renameat(inside, deep, &self.fd, format!("moved-{moved}")) {
                Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {}
                done => return Ok(done?),
            }
        }
    }

    fn open_own(&self, name: &CString) -> Result<std::os::fd::OwnedFd, Errno> {
        match fs::openat(&self.fd, name, directory_flags(), Mode::empty()) {
            Err(Errno::ACCESS) => {
                let found = fs::openat(
                    &self.fd,
                    name,
                    only_path() | OFlags::DIRECTORY,
                    Mode::empty(),
                )?;
                disk::set_mode_of(&found, 0o700).map_err(|_| Errno::ACCESS)?;
                fs::openat(&self.fd, name, directory_flags(), Mode::empty())
            }
            opened => opened,
        }
    }

    /// One step of a removal. The outer error is a witness's.
    fn try_unlink(
        &self,
        name: &CString,
        flags: AtFlags,
    ) -> Result<Result<(), Errno>, PublishError> {
        let shown = name.to_string_lossy();
        self.step(Op::Remove, &shown, || {
            Ok(match fs::unlinkat(&self.fd, name, flags) {
                Err(Errno::NOENT) => Ok(()),
                done => done,
            })
        })
    }

    fn entries(&self, most: usize) -> Result<Vec<CString>, PublishError> {
        Self::entries_of(&self.fd, most).map_err(|source| self.failed("list", ".", source))
    }

    /// At most so many names and one more, of every spelling.
    fn entries_of(fd: &impl std::os::fd::AsFd, most: usize) -> io::Result<Vec<CString>> {
        let mut names = Vec::new();
        for entry in fs::Dir::read_from(fd)? {
            let entry = entry?;
            if entry.file_name() != c"." && entry.file_name() != c".." {
                names.push(entry.file_name().to_owned());
            }
            if names.len() > most {
                break;
            }
        }
        Ok(names)
    }
}
