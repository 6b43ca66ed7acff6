//! One open directory and every file-system step that publication can take beneath it.
//!
//! The narrow seam: nothing else in `publish` changes a directory, and each change announces itself
//! to a [`Witness`] before and after. Never follows a link: every name is a single component, opened
//! with `O_NOFOLLOW` beneath the directory's descriptor. What stays true: a file's mode and owner
//! are final before its content is there, whatever the umask.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{self, AtFlags, FileType, Gid, Mode, OFlags, Stat, StatxAttributes, StatxFlags, Uid},
    io::Errno,
};

mod remove;

use super::error::PublishError;
use crate::disk::{self, Content, Directory, Last, PathRefusal, TrustedOwners};

#[cfg(test)]
use crate::testing::planted::{self, Planted};

/// Files larger than this are not ours; a chain with hundreds of certificates is far below.
const MAX_FILE_BYTES: u64 = 8 * 1024 * 1024;

/// One kind of change to a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// `mkdirat`.
    MakeDir,
    /// `openat` with `O_EXCL`.
    Create,
    /// `fchown`, only when the owner differs.
    Own,
    /// `fchmod`.
    SetMode,
    /// `write`, all of it.
    Write,
    /// `fsync` of a file or a directory.
    Sync,
    /// `symlinkat`.
    Link,
    /// `renameat`.
    Rename,
    /// `unlinkat` of a file, a link or an empty directory.
    Remove,
}

impl Op {
    /// The verb for messages.
    fn verb(self) -> &'static str {
        match self {
            Self::MakeDir => "make the directory",
            Self::Create => "create",
            Self::Own => "set the owner of",
            Self::SetMode => "set the mode of",
            Self::Write => "write",
            Self::Sync => "sync",
            Self::Link => "link",
            Self::Rename => "rename to",
            Self::Remove => "remove",
        }
    }
}

/// One change, as a witness sees it.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// What is done.
    pub op: Op,
    /// The name it is done to, inside its directory; `.` is the directory itself.
    pub name: &'a str,
}

/// Sees every step of publication; a test's way to crash or to fail one.
///
/// The program itself never has one, and none can be set from outside of the process.
pub trait Witness: Send + Sync {
    /// Before the step; an error is returned in its place and the step is not done.
    ///
    /// # Errors
    /// The error that the step shall fail with.
    fn before(&self, step: Step<'_>) -> io::Result<()>;
    /// After the step was done; an error is returned although it was.
    ///
    /// # Errors
    /// The error that the step shall seem to have failed with.
    fn after(&self, step: Step<'_>) -> io::Result<()>;
}

/// Mode of the directory and of each generation's.
pub(crate) const DIR_MODE: u32 = 0o750;

/// Modes and owner of everything in one certificate directory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) cert_perms: u32,
    pub(super) key_perms: u32,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
}

impl Rules {
    pub(super) fn file(&self, name: &str) -> Access {
        self.with_mode(match name {
            "key.pem" => self.key_perms,
            _ => self.cert_perms,
        })
    }

    pub(super) fn dir(&self) -> Access {
        self.with_mode(DIR_MODE)
    }

    pub(super) fn trust(&self) -> TrustedOwners {
        TrustedOwners {
            uid: self.uid,
            gid: self.gid,
        }
    }

    /// The record holds no secret, yet no other user needs it.
    pub(super) fn record(&self) -> Access {
        self.with_mode(0o640)
    }

    fn with_mode(&self, mode: u32) -> Access {
        Access {
            mode,
            uid: self.uid,
            gid: self.gid,
        }
    }
}

/// Mode and owner that a file or directory shall have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Access {
    pub(super) mode: u32,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
}

impl Access {
    /// True when the owner is as wanted. Without a wanted group it has to be our own, unless the
    /// group may do no more than every user.
    pub(super) fn owner_fits(&self, stat: &Stat) -> bool {
        let gains = (self.mode >> 3) & 0o7 & !self.mode;
        let group = match self.gid {
            None if gains == 0 => true,
            _ => self.group() == stat.st_gid,
        };
        group && self.uid.is_none_or(|uid| uid == stat.st_uid)
    }

    /// A setgid directory would give our files its own group.
    fn group(&self) -> u32 {
        self.gid.unwrap_or_else(disk::own_gid)
    }

    /// True when the permission bits are exactly as wanted.
    pub(super) fn mode_fits(&self, stat: &Stat) -> bool {
        stat.st_mode & 0o7777 == self.mode
    }
}

/// One open directory.
pub(super) struct Place<'w> {
    fd: OwnedFd,
    path: PathBuf,
    witness: Option<&'w dyn Witness>,
    /// Whose directories and files in it are taken; `None` for a reader that changes nothing.
    trust: Option<TrustedOwners>,
    locked: bool,
}

impl AsFd for Place<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Place<'_> {
    /// Closing would do, were it not for a process that is being started in another thread at this
    /// moment: until its exec it holds a copy of the descriptor, and the lock with it.
    fn drop(&mut self) {
        if self.locked {
            let _closed_next = fs::flock(&self.fd, fs::FlockOperation::Unlock);
        }
    }
}

impl<'w> Place<'w> {
    /// A directory that was judged.
    pub(super) fn beneath(
        directory: &Directory,
        witness: Option<&'w dyn Witness>,
        trust: Option<TrustedOwners>,
    ) -> io::Result<Self> {
        Ok(Self {
            fd: directory.listable()?,
            path: directory.path().to_owned(),
            witness,
            trust,
            locked: false,
        })
    }

    /// Opens a directory for reading only, through links too and whosever it is: it is the user's
    /// choice.
    pub(super) fn open_followed(path: &Path) -> io::Result<Self> {
        let fd = fs::open(path, directory_flags() - OFlags::NOFOLLOW, Mode::empty())?;
        Ok(Self {
            fd,
            path: path.to_owned(),
            witness: None,
            trust: None,
            locked: false,
        })
    }

    /// Opens a real directory that is ours.
    pub(super) fn open_ours(path: &Path, trust: &TrustedOwners) -> Result<Self, PathRefusal> {
        let directory = Directory::find(path, Last::Real, trust)?.exclusive(trust)?;
        Self::beneath(&directory, None, Some(*trust))
            .map_err(|source| PathRefusal::io("open", path, source))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the one lock of the directory without waiting; it ends with this value.
    pub(super) fn lock(&mut self) -> io::Result<bool> {
        match fs::flock(&self.fd, fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                self.locked = true;
                Ok(true)
            }
            Err(Errno::WOULDBLOCK) => Ok(false),
            // A file system without locks: one publisher per directory is the user's promise then.
            Err(Errno::NOTSUP | Errno::NOSYS | Errno::INVAL | Errno::NOLCK) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    fn step<T>(
        &self,
        op: Op,
        name: &str,
        act: impl FnOnce() -> io::Result<T>,
    ) -> Result<T, PublishError> {
        let step = Step { op, name };
        let run = || {
            self.witness.map_or(Ok(()), |seen| seen.before(step))?;
            let done = act()?;
            self.witness.map_or(Ok(()), |seen| seen.after(step))?;
            Ok(done)
        };
        run().map_err(|source| self.failed(op.verb(), name, source))
    }

    fn failed(&self, action: &'static str, name: &str, source: io::Error) -> PublishError {
        let path = match name {
            "." => self.path.clone(),
            name => self.path.join(name),
        };
        if source.kind() == io::ErrorKind::StorageFull && has_no_inode(&self.fd) {
            return PublishError::NoInodes { action, path };
        }
        PublishError::Step {
            action,
            path,
            source,
        }
    }

    /// Makes a directory with at most this mode, and opens it.
    pub(super) fn make_dir(&self, name: &str, mode: u32) -> Result<Self, PublishError> {
        let mode = Mode::from_raw_mode(mode);
        self.step(Op::MakeDir, name, || Ok(fs::mkdirat(&self.fd, name, mode)?))?;
        let made = self
            .enter(name)
            .map_err(|source| self.failed("open", name, source))?;
        // Else a default access list above would reach every file in it.
        disk::strip_acl(&made).map_err(|source| self.failed("close", name, source))?;
        Ok(made)
    }

    /// Opens a directory beneath, never through a link, and none that is another user's.
    pub(super) fn enter(&self, name: &str) -> io::Result<Self> {
        let fd = fs::openat(&self.fd, name, directory_flags(), Mode::empty())?;
        if let Some(trust) = &self.trust
            && !trust.owns(fs::fstat(&fd)?.st_uid)
        {
            return Err(io::Error::other("it belongs to another user"));
        }
        Ok(Self {
            fd,
            path: self.path.join(name),
            witness: self.witness,
            trust: self.trust,
            locked: false,
        })
    }

    /// As [`Place::enter`]; when another process took our own right to enter away, takes it back.
    pub(super) fn enter_own(&self, name: &str) -> io::Result<Self> {
        let inside = match self.enter(name) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let found = fs::openat(&self.fd, name, only_path(), Mode::empty())?;
                if FileType::from_raw_mode(fs::fstat(&found)?.st_mode) != FileType::Directory {
                    return Err(error);
                }
                disk::set_mode_of(&found, 0o700)?;
                self.enter(name)?
            }
            entered => entered?,
        };
        let lost = |stat: Stat| stat.st_mode & 0o700 != 0o700;
        if fs::fstat(&inside.fd).is_ok_and(lost) {
            fs::fchmod(&inside.fd, Mode::RWXU)?;
        }
        Ok(inside)
    }

    /// Takes back our own right to read a regular file; anything else stays as it is.
    pub(super) fn regain_file(&self, name: &str, access: Access) -> io::Result<()> {
        let fd = fs::openat(&self.fd, name, only_path(), Mode::empty())?;
        let stat = fs::fstat(&fd)?;
        let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        if regular && stat.st_nlink == 1 && stat.st_mode & 0o400 == 0 {
            disk::set_mode_of(&fd, access.mode)?;
        }
        Ok(())
    }

    /// Creates a new file: mode and owner first, then content, then fsync.
    pub(super) fn create(
        &self,
        name: &str,
        bytes: &[u8],
        access: Access,
    ) -> Result<(), PublishError> {
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // Owner bits only: no other process may hold a descriptor from before the owner was set.
        let first = Mode::from_raw_mode(access.mode & 0o600);
        let fd = self.step(Op::Create, name, || {
            Ok(fs::openat(&self.fd, name, flags, first)?)
        })?;
        disk::strip_acl(&fd).map_err(|source| self.failed("close", name, source))?;
        self.apply(&fd, name, access)?;
        let mut file = File::from(fd);
        self.step(Op::Write, name, || file.write_all(bytes))?;
        #[cfg(test)]
        if planted::is(Planted::Unsynced) {
            return Ok(());
        }
        self.step(Op::Sync, name, || Ok(fs::fsync(&file)?))
    }

    /// Sets owner and mode of an open file, each only when it differs.
    fn apply(&self, fd: impl AsFd, name: &str, access: Access) -> Result<(), PublishError> {
        let stat = fs::fstat(&fd).map_err(|error| self.failed("look at", name, error.into()))?;
        if !access.owner_fits(&stat) {
            let uid = access.uid.map(Uid::from_raw_unchecked);
            let gid = Some(Gid::from_raw_unchecked(access.group()));
            let owned = self.step(Op::Own, name, || Ok(fs::fchown(&fd, uid, gid)?));
            owned.map_err(|error| match error {
                PublishError::Step {
                    action,
                    path,
                    source,
                } if matches!(
                    source.kind(),
                    io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput
                ) =>
                {
                    PublishError::Owner {
                        action,
                        path,
                        uid: access.uid,
                        gid: access.group(),
                        source,
                    }
                }
                other => other,
            })?;
        }
        // A change of owner may clear bits, so the mode comes last.
        self.step(Op::SetMode, name, || {
            Ok(fs::fchmod(&fd, Mode::from_raw_mode(access.mode))?)
        })
    }

    /// Sets owner and mode of this directory.
    pub(super) fn set_access(&self, access: Access) -> Result<(), PublishError> {
        self.apply(&self.fd, ".", access)
    }

    /// Sets owner and mode of a regular file beneath that has this content and no other name, and
    /// syncs it. What was compared is what is changed: one descriptor.
    pub(super) fn set_file_access(
        &self,
        name: &str,
        content: &[u8],
        access: Access,
    ) -> Result<(), PublishError> {
        let fd = fs::openat(&self.fd, name, file_flags(), Mode::empty())
            .map_err(|error| self.failed("open", name, error.into()))?;
        let found = disk::take(&fd, &self.path.join(name), MAX_FILE_BYTES)?;
        if found.stat.st_nlink != 1 || found.bytes.as_slice() != content {
            let changed = io::Error::other("it was changed at this moment");
            return Err(self.failed("set the owner of", name, changed));
        }
        self.apply(&fd, name, access)?;
        self.step(Op::Sync, name, || Ok(fs::fsync(&fd)?))
    }

    /// Makes what this directory says durable.
    pub(super) fn sync(&self) -> Result<(), PublishError> {
        self.step(Op::Sync, ".", || match fs::fsync(&self.fd) {
            // Some network and FUSE file systems can't sync a directory; there is no other way.
            Ok(()) | Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => Ok(()),
            Err(error) => Err(error.into()),
        })
    }

    pub(super) fn link(&self, target: &str, name: &str) -> Result<(), PublishError> {
        self.step(Op::Link, name, || {
            Ok(fs::symlinkat(target, &self.fd, name)?)
        })
    }

    pub(super) fn rename(&self, from: &str, to: &str) -> Result<(), PublishError> {
        self.step(Op::Rename, to, || {
            Ok(fs::renameat(&self.fd, from, &self.fd, to)?)
        })
    }

    /// Renames over whatever bears the name. A directory there is not ours: an empty one is
    /// removed, another is moved aside under a name that says so.
    pub(super) fn rename_over(&self, from: &str, to: &str) -> Result<(), PublishError> {
        if self.kind(to) == Some(FileType::Directory)
            && fs::unlinkat(&self.fd, to, AtFlags::REMOVEDIR).is_err()
        {
            self.set_aside(to)?;
        }
        self.rename(from, to)
    }

    /// Refuses a name at which something is mounted: no rename can replace it (rename(2), EBUSY).
    pub(super) fn not_mounted(&self, name: &str) -> Result<(), PublishError> {
        let found = fs::statx(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::TYPE);
        let root = |attributes: StatxAttributes| attributes.contains(StatxAttributes::MOUNT_ROOT);
        match found.is_ok_and(|found| root(found.stx_attributes)) {
            true => Err(self.failed("replace", name, io::ErrorKind::ResourceBusy.into())),
            false => Ok(()),
        }
    }

    /// Removes a file or a link; absent is fine.
    pub(super) fn unlink_file(&self, name: &str) -> Result<(), PublishError> {
        self.unlink(name, AtFlags::empty())
    }

    fn unlink(&self, name: &str, flags: AtFlags) -> Result<(), PublishError> {
        self.step(Op::Remove, name, || {
            match fs::unlinkat(&self.fd, name, flags) {
                Ok(()) | Err(Errno::NOENT) => Ok(()),
                Err(error) => Err(error.into()),
            }
        })
    }

    /// The kind of what bears the name, links not followed; nothing there is `None`.
    pub(super) fn kind(&self, name: &str) -> Option<FileType> {
        self.stat(name)
            .map(|stat| FileType::from_raw_mode(stat.st_mode))
    }

    pub(super) fn stat(&self, name: &str) -> Option<Stat> {
        fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW).ok()
    }

    /// An empty file of ours to lock, made where it is missing; a link is not followed.
    pub(super) fn open_lock(&self, name: &str) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let flags = flags | OFlags::NONBLOCK;
        fs::openat(&self.fd, name, flags, Mode::RUSR | Mode::WUSR)
    }

    pub(super) fn own_stat(&self) -> Result<Stat, PublishError> {
        fs::fstat(&self.fd).map_err(|error| self.failed("look at", ".", error.into()))
    }

    /// Where a link points; `None` when it is none, or not UTF-8.
    pub(super) fn target(&self, name: &str) -> Option<String> {
        fs::readlinkat(&self.fd, name, Vec::new())
            .ok()
            .and_then(|target| target.into_string().ok())
    }

    /// A regular file, whole; `None` when it is absent, no regular file, unreadable or huge, or has
    /// another name too.
    pub(super) fn read(&self, name: &str) -> Option<Content> {
        // Looked at before it is opened: opening a device may do something.
        let there = FileType::from_raw_mode(self.stat(name)?.st_mode);
        if there != FileType::RegularFile {
            return None;
        }
        let fd = fs::openat(&self.fd, name, file_flags(), Mode::empty()).ok()?;
        let found = disk::take(&fd, &self.path.join(name), MAX_FILE_BYTES).ok()?;
        (found.stat.st_nlink == 1).then_some(found)
    }

    /// The names in this directory, without `.` and `..`, sorted; names that are not UTF-8 can't be
    /// ours and are left out.
    pub(super) fn names(&self) -> Result<Vec<String>, PublishError> {
        disk::list(&self.fd).map_err(|source| self.failed("list", ".", source))
    }
}

fn only_path() -> OFlags {
    OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

fn directory_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

/// `O_NONBLOCK`: another user may have put a FIFO there, and opening it must not hang.
fn file_flags() -> OFlags {
    OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC
}

/// "No space" has two causes; here there is space. A file system that counts no inodes says 0 of 0.
fn has_no_inode(fd: impl AsFd) -> bool {
    fs::fstatvfs(fd).is_ok_and(|stat| stat.f_files > 0 && stat.f_favail == 0 && stat.f_bavail > 0)
}
