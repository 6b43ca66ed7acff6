//! One holder of a certificate directory for its whole life: a lock on an open file in it.
//!
//! Never waits. What stays true: the kernel frees the lock when its holder ends, however it ends
//! (flock(2)); what the file says of the holder is for people and decides nothing.

use std::os::fd::OwnedFd;

use rustix::{fs, io::Errno};

use super::{CertDir, PublishError, file};

#[cfg(test)]
use crate::testing::planted::{self, Planted};

/// The file whose lock is the right to publish; it stays for the next holder.
pub(crate) const LOCK: &str = "..lock";

/// Bytes of a process id that are read at most.
const MAX_PID_BYTES: usize = 20;

/// The right to publish into one certificate directory; ends with this value.
pub struct Hold {
    file: OwnedFd,
}

impl CertDir {
    /// Takes the right to publish, without waiting.
    ///
    /// # Errors
    /// [`PublishError::Held`] when another process has it; others as for [`CertDir::open`].
    pub fn hold(files: &crate::config::Files) -> Result<Hold, PublishError> {
        let dir = Self::at(files, None);
        // not the lock of one step: whoever waits must not disturb the holder
        let place = match dir.look() {
            Ok(place) => place,
            Err(_) => dir.enter()?,
        };
        let failed = |source: Errno| file::failed("lock", &dir.path, source.into());
        let file = place.open_lock(LOCK).map_err(failed)?;
        #[cfg(test)]
        if planted::is(Planted::NoHolder) {
            return Ok(Hold { file });
        }
        match fs::flock(&file, fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(PublishError::Held {
                    holder: holder(&file),
                    path: dir.path.clone(),
                });
            }
            // A file system without locks: one agent per directory is the user's promise then.
            Err(Errno::NOTSUP | Errno::NOSYS | Errno::INVAL | Errno::NOLCK) => {}
            Err(error) => return Err(failed(error)),
        }
        // For people only: a full disk must not keep a holder from its work.
        let _shown = fs::ftruncate(&file, 0).and_then(|()| {
            rustix::io::pwrite(&file, format!("{}\n", std::process::id()).as_bytes(), 0)
        });
        Ok(Hold { file })
    }

    /// Whether the lock is still that of this directory: another process may have removed the directory,
    /// or the file, and then another agent can hold the new one.
    #[must_use]
    pub fn is_held_by(&self, hold: &Hold) -> bool {
        let Ok(place) = self.look() else {
            return false;
        };
        match (place.stat(LOCK), fs::fstat(&hold.file)) {
            (Some(there), Ok(ours)) => (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino),
            _ => false,
        }
    }
}

fn holder(file: &OwnedFd) -> Option<u32> {
    let mut bytes = [0; MAX_PID_BYTES];
    let length = rustix::io::pread(file, &mut bytes, 0).ok()?;
    std::str::from_utf8(bytes.get(..length)?)
        .ok()?
        .trim()
        .parse()
        .ok()
}
