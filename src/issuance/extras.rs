//! The pinned extra anchors of a certificate: a PEM file that another process may replace.
//!
//! Never writes. What stays true: all certificates of the file or none.

use std::path::Path;

use crate::{
    disk,
    model::{failure::Failure, trust},
};

/// Bytes of the largest file: all public roots of the web are a fifth of it.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// DER of every certificate in the file.
///
/// # Errors
/// Why it can't be used, with its path.
pub(crate) fn read(path: &Path) -> Result<Vec<Vec<u8>>, Failure> {
    let found =
        disk::read(path, MAX_FILE_BYTES).map_err(|error| failed(path, &error.to_string()))?;
    let text = found.text().ok_or_else(|| failed(path, "it is no text"))?;
    trust::extras(text).map_err(|why| failed(path, &why))
}

fn failed(path: &Path, why: &str) -> Failure {
    let message = format!(
        "could not read the extra trust anchors {}: {why}",
        path.display()
    );
    Failure {
        hint: Some(
            "the file must contain CA certificates in PEM; text between them is permitted"
                .to_owned(),
        ),
        ..Failure::local("extra-ca", message)
    }
}
