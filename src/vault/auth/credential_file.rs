//! Credential files that something else rewrites, perhaps at this moment.
//!
//! Nomad rewrites its identity file in place (truncate, then write), so a reader can see nothing or
//! a part of it. Never follows a file's growth beyond 64 KiB; never keeps what it read.

use std::time::Duration;

use super::{checked, refused};
use crate::{
    config::CredentialPath,
    disk::{self, Content, PathRefusal},
    model::{failure::Failure, secret::Secret},
};

/// How long to wait before another look at a file that is not whole.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// How many looks before giving up: two seconds in all.
const MAX_POLLS: u32 = 20;
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// Reads a JWT: three base64url parts with dots between them (RFC 7519 section 3).
///
/// # Errors
/// `credential-missing` when there is none after two seconds, `credential-unreadable` when what is
/// there is no JWT, and at once the code of a refusal: another user's file or link, no regular file.
pub(super) async fn read_jwt(file: &CredentialPath) -> Result<Secret, Failure> {
    read_when(file, is_jwt, "no JWT (three parts with dots between them)").await
}

/// Reads a token or secret id: one word; a newline at its end is dropped.
///
/// # Errors
/// As [`read_jwt`].
pub(super) async fn read_token(file: &CredentialPath) -> Result<Secret, Failure> {
    let secret = read_when(file, |text| !text.is_empty(), "nothing").await?;
    checked(
        secret,
        &format!("the credential in {}", file.path.display()),
    )
}

async fn read_when(
    file: &CredentialPath,
    whole: impl Fn(&str) -> bool,
    found: &str,
) -> Result<Secret, Failure> {
    let mut last = None;
    for look in 0..MAX_POLLS {
        if look > 0 {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        match read(file) {
            Ok(found) => match found.text().map(str::trim) {
                Some(text) if whole(text) => return Ok(Secret::new(text.to_owned())),
                Some(_) => last = None,
                None => last = Some("it is no text".to_owned()),
            },
            Err(refusal) if refusal.kind().is_none() => return Err(not_taken(file, &refusal)),
            Err(refusal) => last = Some(refusal.to_string()),
        }
    }
    let path = file.path.display();
    Err(match last {
        Some(error) => refused(
            "credential-missing",
            format!("reading the credential file {path}: {error}"),
            Some("check the path, and that whoever writes it has started".to_owned()),
        ),
        None => refused(
            "credential-unreadable",
            format!("reading the credential file {path}: {found} in it after two seconds"),
            Some("wait for whoever writes it, or check that it is the right file".to_owned()),
        ),
    })
}

/// Whoever writes the credential decides as whom we ask, so another user may not.
fn read(file: &CredentialPath) -> Result<Content, PathRefusal> {
    disk::read_credential(&file.path, MAX_FILE_BYTES, &file.owners())
}

fn not_taken(file: &CredentialPath, refusal: &PathRefusal) -> Failure {
    refused(
        refusal.code(),
        format!(
            "reading the credential file {}: {refusal}",
            file.path.display()
        ),
        refusal.hint().map(str::to_owned),
    )
}

fn is_jwt(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    parts.len() == 3 && parts.iter().all(|part| is_base64url(part))
}

/// Not empty, right alphabet, and a length that base64 without padding can have (RFC 4648).
fn is_base64url(part: &str) -> bool {
    !part.is_empty()
        && part.len() % 4 != 1
        && part
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}
