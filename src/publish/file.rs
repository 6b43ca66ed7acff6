//! One file, replaced as a whole: for everything that is not part of a certificate set.
//!
//! Never follows a link at the file's name, nor one of another user above it. What stays true: a
//! reader sees the old content or the new, and the mode is the wanted one from the first instant,
//! whatever the umask.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{
    PublishError,
    place::{Access, Place},
};
pub(super) use crate::disk::split;
use crate::disk::{Directory, Last, TrustedOwners};

/// Replaces the file at `path`; missing parent directories are made with mode 0755. The file's
/// directory has to be root's or ours, and no other user may write in it (a sticky one is fine).
/// rename(2) after fsync(2).
///
/// # Errors
/// [`PublishError`] with the step that failed; the old file is still there then.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), PublishError> {
    replace_for(path, bytes, mode, &TrustedOwners::OWN)
}

/// As [`replace`]; the directory may also be the configured owner's.
pub(super) fn replace_for(
    path: &Path,
    bytes: &[u8],
    mode: u32,
    trust: &TrustedOwners,
) -> Result<(), PublishError> {
    let (parent, name) = split(path)?;
    let directory = Directory::make(parent, Last::Followed, 0o755, trust)?.checked(trust)?;
    let place = Place::beneath(&directory, None, Some(*trust))
        .map_err(|source| failed("open", parent, source))?;
    let access = Access {
        mode,
        uid: None,
        gid: None,
    };
    let beside = format!(".{name}.tmp");
    place.remove(&beside)?;
    let result = place
        .create(&beside, bytes, access)
        .and_then(|()| place.rename_over(&beside, name))
        .and_then(|()| place.sync());
    if result.is_err() {
        let _cleaned = place.remove(&beside);
    }
    result
}

/// Removes the file at `path`; absent is fine. Its directory is judged as for [`replace`].
pub(super) fn remove(path: &Path, trust: &TrustedOwners) -> Result<(), PublishError> {
    let (parent, name) = split(path)?;
    match Directory::find(parent, Last::Followed, trust) {
        Err(refusal) if refusal.is_missing() => Ok(()),
        found => {
            let directory = found?.checked(trust)?;
            Place::beneath(&directory, None, Some(*trust))
                .map_err(|source| failed("open", parent, source))?
                .unlink_file(name)
        }
    }
}

pub(super) fn failed(action: &'static str, path: &Path, source: io::Error) -> PublishError {
    PublishError::Step {
        action,
        path: PathBuf::from(path),
        source,
    }
}
