//! A secret id that came response-wrapped: where it was wrapped, then what is in it.
//!
//! Never unwraps what was not wrapped by the AppRole mount: that would spend another process's token.

use serde::Deserialize;
use zeroize::Zeroizing;

use super::super::{
    call::{Hold, Wire},
    classify::failure,
    wire::Ask,
};
use crate::model::{
    failure::{Failure, FailureClass},
    secret::Secret,
};

/// The code of a wrapping token that is no more: see `vault/messages.rs`.
pub(super) const USED: &str = "wrapping-token-used";

/// This agent has sent it to be unwrapped before: no theft.
pub(super) fn used_by_us(failure: Failure) -> Failure {
    Failure {
        code: "wrapping-token-spent".to_owned(),
        message: format!(
            "{}: this agent sent it to be unwrapped itself, before a restart or without an answer, and \
             keeps a secret id in memory only",
            failure.message
        ),
        hint: Some(
            "deliver a new wrapped secret id, or use a login that survives a restart".to_owned(),
        ),
        ..failure
    }
}

#[derive(Deserialize)]
struct WrapLookup {
    data: WrapData,
}

#[derive(Deserialize)]
struct WrapData {
    creation_path: String,
}

#[derive(Deserialize)]
struct Unwrapped {
    data: SecretId,
}

#[derive(Deserialize)]
struct SecretId {
    secret_id: String,
}

/// Looks where a wrapped secret id comes from; it is not used by that.
pub(super) async fn look_up(
    wire: &Wire,
    hold: &Hold,
    wrapping: &Secret,
    mount: &str,
) -> Result<(), Failure> {
    let secrets = [wrapping.clone()];
    let body = serde_json::json!({ "token": wrapping.expose() }).to_string();
    let ask = Ask {
        body: Zeroizing::new(body.into_bytes()),
        secrets: &secrets,
        ..Ask::new("looking up the wrapped secret id", "sys/wrapping/lookup")
    };
    let answer = wire.send(hold, &ask).await?;
    let path = answer
        .json::<WrapLookup>("wrapping data")?
        .data
        .creation_path;
    if !is_secret_id_path(&path, mount) {
        let message = format!("unwrapping the secret id: it was wrapped at `{path}`");
        let hint = "it may have been swapped: destroy it and issue a new one";
        return Err(failure(
            FailureClass::Denied,
            "wrapping-token-strange",
            message,
            hint,
        ));
    }
    Ok(())
}

/// Unwraps a secret id, which can be done once.
pub(super) async fn unwrap(wire: &Wire, hold: &Hold, wrapping: &Secret) -> Result<Secret, Failure> {
    let ask = Ask {
        token: Some(wrapping),
        repeatable: false,
        ..Ask::new("unwrapping the secret id", "sys/wrapping/unwrap")
    };
    let answer = wire.send(hold, &ask).await?;
    let read: Unwrapped = answer.json("secret id")?;
    Ok(Secret::new(read.data.secret_id))
}

/// `auth/<mount>/role/<role>/secret-id`, perhaps below a namespace.
fn is_secret_id_path(path: &str, mount: &str) -> bool {
    let start = format!("auth/{}/role/", mount.trim_matches('/'));
    let Some((above, rest)) = path.split_once(&start) else {
        return false;
    };
    let below = above.is_empty() || above.ends_with('/');
    let mut rest = rest.split('/');
    let role = rest.next().is_some_and(|role| !role.is_empty());
    below && role && rest.next() == Some("secret-id") && rest.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_secret_id_of_this_mount_is_unwrapped() {
        let table = [
            ("auth/approle/role/web/secret-id", true),
            ("team-a/auth/approle/role/web/secret-id", true),
            ("auth/other/role/web/secret-id", false),
            ("auth/approle/role//secret-id", false),
            ("auth/approle/role/web/secret-id/x", false),
            ("xauth/approle/role/web/secret-id", false),
            ("cubbyhole/evil", false),
            ("auth/approle/login", false),
            ("", false),
        ];
        for (path, good) in table {
            assert_eq!(is_secret_id_path(path, "approle"), good, "{path}");
        }
    }
}
