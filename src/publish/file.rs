//! One file, replaced as a whole: for everything that is not part of a certificate set.
//!
//! Never follows a link at the file's name. What stays true: a reader sees the old content or the
//! new, and the mode is the wanted one from the first instant, whatever the umask.

use std::{
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use super::{
    PublishError,
    place::{Access, Place},
};

/// Replaces the file at `path`; missing parent directories are made with mode 0755.
///
/// # Errors
/// [`PublishError::Step`] with the step that failed; the old file is still there then.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), PublishError> {
    let (parent, name) = split(path)?;
    make_dirs(parent, 0o755)?;
    let place =
        Place::open_followed(parent, None).map_err(|source| failed("open", parent, source))?;
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

/// Makes a directory and its missing parents; `mode` is for those that are made, umask applied.
pub(super) fn make_dirs(path: &Path, mode: u32) -> Result<(), PublishError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(|source| failed("make the directory", path, source))
}

/// The directory (`.` when the path has none) and the file name.
pub(super) fn split(path: &Path) -> Result<(&Path, &str), PublishError> {
    let name = path.file_name().and_then(|name| name.to_str());
    let parent = path.parent().unwrap_or_else(|| Path::new(""));
    let parent = match parent.as_os_str().is_empty() {
        true => Path::new("."),
        false => parent,
    };
    match name {
        Some(name) => Ok((parent, name)),
        None => Err(failed(
            "name a file at",
            path,
            io::ErrorKind::InvalidFilename.into(),
        )),
    }
}

pub(super) fn failed(action: &'static str, path: &Path, source: io::Error) -> PublishError {
    PublishError::Step {
        action,
        path: PathBuf::from(path),
        source,
    }
}
