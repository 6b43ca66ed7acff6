//! Reading a file that another user may have put there: regular, bounded, never waited for.

use std::{
    fs::File,
    io::Read as _,
    os::fd::{AsFd, AsRawFd as _, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{self, CWD, FileType, Mode, OFlags, Stat},
    io::Errno,
};
use zeroize::Zeroizing;

use super::{Last, PathFault, PathRefusal, TrustedOwners, own_gid, walk};

/// A file as it was found.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) bytes: Zeroizing<Vec<u8>>,
    pub(crate) stat: Stat,
}

impl Content {
    /// As text; what is not UTF-8 is refused by the caller's own words.
    pub(crate) fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.bytes).ok()
    }
}

/// Reads a file that the operator named: links are followed wherever they lead, because what is
/// read is judged by its content. `limit` is in bytes.
///
/// # Errors
/// A [`PathRefusal`]: not there, no permission, no regular file, too large.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Content, PathRefusal> {
    let fd = fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| PathRefusal::io("read", path, error.into()))?;
    regular(&fd, path)?;
    take(&reopen(&fd, path)?, path, limit)
}

/// Reads a file that decides what we do to others: no link of another user on the way, one name
/// only. `limit` is in bytes; the caller judges the owner.
///
/// # Errors
/// As [`read`], and for a foreign link.
pub(crate) fn read_ours(
    path: &Path,
    limit: u64,
    trust: &TrustedOwners,
) -> Result<Content, PathRefusal> {
    let located = walk::Walk::new(trust, None).locate(path, Last::Followed)?;
    let fd = located
        .open()
        .map_err(|error| PathRefusal::io("read", path, error.into()))?;
    let stat = regular(&fd, path)?;
    if stat.st_nlink != 1 {
        return Err(PathRefusal::new(path, &stat, PathFault::OtherNames));
    }
    take(&reopen(&fd, path)?, path, limit)
}

/// Reads a credential: as [`read_ours`], and root, ourselves or a trusted owner has written it, and
/// no other user may: no group either, unless it is root's or our own.
///
/// # Errors
/// As [`read_ours`], and for a file that is foreign or open to others.
pub(crate) fn read_credential(
    path: &Path,
    limit: u64,
    trust: &TrustedOwners,
) -> Result<Content, PathRefusal> {
    let found = read_ours(path, limit, trust)?;
    let Stat {
        st_uid,
        st_gid,
        st_mode,
        ..
    } = found.stat;
    let group = st_gid == 0 || st_gid == own_gid();
    let reason = match trust.owns(st_uid) {
        false => PathFault::ForeignFile,
        true if st_mode & 0o002 != 0 || (st_mode & 0o020 != 0 && !group) => PathFault::OpenFile,
        true => return Ok(found),
    };
    Err(PathRefusal::new(path, &found.stat, reason))
}

/// Reads what is open already.
///
/// # Errors
/// As [`read`].
pub(crate) fn take(fd: &OwnedFd, path: &Path, limit: u64) -> Result<Content, PathRefusal> {
    let failed = |error: std::io::Error| PathRefusal::io("read", path, error);
    let stat = regular(fd, path)?;
    let size = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
    let too_large = || PathRefusal::new(path, &stat, PathFault::TooLarge(limit));
    if size > limit {
        return Err(too_large());
    }
    // Room for all of it at once, so that growing leaves no copy of a secret behind. Files of
    // /proc say 0; those are no secrets.
    let room = usize::try_from(size).unwrap_or(0) + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    let file = File::from(fd.try_clone().map_err(failed)?);
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limit {
        return Err(too_large());
    }
    Ok(Content { bytes, stat })
}

fn regular(fd: impl AsFd, path: &Path) -> Result<Stat, PathRefusal> {
    let stat = fs::fstat(fd).map_err(|error| PathRefusal::io("look at", path, error.into()))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(stat),
        _ => Err(PathRefusal::new(path, &stat, PathFault::NotAFile)),
    }
}

/// Opens the file that an `O_PATH` descriptor means: what was looked at is what is read, so that no
/// device and no FIFO is ever opened.
fn reopen(fd: &OwnedFd, path: &Path) -> Result<OwnedFd, PathRefusal> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let same = format!("/proc/self/fd/{}", fd.as_raw_fd());
    match fs::openat(CWD, same, flags, Mode::empty()) {
        // Without /proc the name has to do; what it leads to is looked at again.
        Err(Errno::NOENT) => fs::openat(CWD, path, flags, Mode::empty()),
        opened => opened,
    }
    .map_err(|error| PathRefusal::io("read", path, error.into()))
}
