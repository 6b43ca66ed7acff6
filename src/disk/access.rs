//! Mode, group and access lists, through descriptors only.

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _},
};

use rustix::{
    fs::{self, Mode},
    io::Errno,
    process::getegid,
};

/// What a directory with a default access list gives to everything that is made in it (acl(5)).
const ACCESS_LISTS: [&str; 2] = ["system.posix_acl_default", "system.posix_acl_access"];

/// The group that our files have when none is configured, whatever a setgid directory says.
pub(crate) fn own_gid() -> u32 {
    getegid().as_raw()
}

/// Sets the mode of what an `O_PATH` descriptor means, through its name below `/proc/self/fd`.
/// That name leads to the open file itself, so no process can put something else in its place.
///
/// # Errors
/// As chmod(2); `NotFound` when `/proc` is not there.
#[expect(clippy::disallowed_methods, reason = "the path is a descriptor")]
pub(crate) fn set_mode_of(fd: impl AsFd, mode: u32) -> io::Result<()> {
    let path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    Ok(fs::chmod(path, Mode::from_raw_mode(mode))?)
}

/// Takes away what a parent's default access list gave to a new file or directory.
///
/// # Errors
/// The list is there and can't be removed.
pub(crate) fn strip_acl(fd: impl AsFd) -> io::Result<()> {
    for name in ACCESS_LISTS {
        match fs::fremovexattr(&fd, name) {
            // None there, or a file system (or a kind of file) without them.
            Ok(()) | Err(Errno::NODATA | Errno::NOTSUP | Errno::NOSYS | Errno::ACCESS) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
