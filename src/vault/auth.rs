//! A token, however it is had: JWT, file, environment, AppRole, TLS certificate, Kubernetes.
//!
//! Says what to send and reads what comes back; the session sends it. Never caches a credential
//! file: each login reads it anew. What stays true: no credential reaches a message.

mod credential_file;
// Numbers from outside end up here, and an overflow ends the process.
#[deny(clippy::arithmetic_side_effects)]
mod token;

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::{
    config::Auth,
    model::{
        failure::{Failure, FailureClass},
        secret::Secret,
    },
};

pub use token::Token;
pub(crate) use token::parse_renewal;

/// What to do for a token.
#[derive(Debug)]
pub(crate) enum Way {
    /// Send this login.
    Login(Login),
    /// First unwrap the secret id, then log in with [`Login::approle`].
    Unwrap {
        /// The response-wrapping token.
        wrapping: Secret,
    },
    /// The token is there already.
    Given(Secret),
}

/// One login request, ready to be sent.
pub(crate) struct Login {
    /// API path below `v1/`.
    pub path: String,
    /// JSON body; holds the credential.
    pub body: Zeroizing<Vec<u8>>,
    /// What must not show up in any text that comes back.
    pub secrets: Vec<Secret>,
    /// For messages: `jwt role certagent`.
    pub method: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Login({} at {})", self.method, self.path)
    }
}

impl Login {
    fn new(method: String, mount: &str, fields: &[(&str, &str)], secrets: Vec<Secret>) -> Self {
        let fields: Map<String, Value> = fields
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Value::from(*value)))
            .collect();
        Self {
            path: format!("auth/{}/login", mount.trim_matches('/')),
            body: Zeroizing::new(Value::Object(fields).to_string().into_bytes()),
            secrets,
            method,
        }
    }

    /// AppRole login (`auth/<mount>/login {role_id, secret_id}`).
    pub(crate) fn approle(mount: &str, role_id: &str, secret_id: Option<&Secret>) -> Self {
        let mut fields = vec![("role_id", role_id)];
        if let Some(secret_id) = secret_id {
            fields.push(("secret_id", secret_id.expose()));
        }
        let secrets = secret_id.cloned().into_iter().collect();
        Self::new("approle".to_owned(), mount, &fields, secrets)
    }
}

/// Gathers the credential that `auth` names; reads files anew, waits up to two seconds for one that
/// is being written.
///
/// # Errors
/// `Denied` with code `credential-missing` or `credential-unreadable`.
pub(crate) async fn prepare(auth: &Auth) -> Result<Way, Failure> {
    Ok(match auth {
        Auth::Token(token) => Way::Given(checked(token.clone(), "the token")?),
        Auth::TokenFile(path) => Way::Given(credential_file::read_token(path).await?),
        Auth::Jwt { mount, role, path } => {
            let jwt = credential_file::read_jwt(path).await?;
            let mut fields = vec![("jwt", jwt.expose())];
            let mut method = "jwt".to_owned();
            if let Some(role) = role {
                fields.push(("role", role));
                method = format!("jwt role {role}");
            }
            Way::Login(Login::new(method, mount, &fields, vec![jwt.clone()]))
        }
        Auth::Kubernetes { mount, role, path } => {
            let jwt = credential_file::read_jwt(path).await?;
            let fields = [("role", role.as_str()), ("jwt", jwt.expose())];
            let method = format!("kubernetes role {role}");
            Way::Login(Login::new(method, mount, &fields, vec![jwt.clone()]))
        }
        Auth::Cert { mount, role } => {
            let fields: Vec<_> = role.iter().map(|role| ("name", role.as_str())).collect();
            Way::Login(Login::new(
                "tls certificate".to_owned(),
                mount,
                &fields,
                Vec::new(),
            ))
        }
        Auth::AppRole { .. } => approle(auth).await?,
    })
}

async fn approle(auth: &Auth) -> Result<Way, Failure> {
    let Auth::AppRole {
        mount,
        role_id,
        secret_id_path,
        secret_id,
        wrapped,
    } = auth
    else {
        return prepare_bug();
    };
    let secret_id = match (secret_id_path, secret_id) {
        (Some(path), _) => Some(credential_file::read_token(path).await?),
        (None, Some(secret)) => Some(checked(secret.clone(), "the secret id")?),
        (None, None) => None,
    };
    match secret_id {
        Some(wrapping) if *wrapped => Ok(Way::Unwrap { wrapping }),
        secret_id => Ok(Way::Login(Login::approle(
            mount,
            role_id,
            secret_id.as_ref(),
        ))),
    }
}

fn prepare_bug() -> Result<Way, Failure> {
    Err(refused("internal", "not an approle".to_owned(), None))
}

/// True when the token is one that this process asked for, and may therefore revoke.
pub(crate) fn logs_in(auth: &Auth) -> bool {
    !matches!(auth, Auth::Token(_) | Auth::TokenFile(_))
}

/// True when logging in once more may not work, so that a token is worth keeping alive: it was
/// given to us, or it was had with a secret id that came wrapped (usually for a single use).
pub(crate) fn keeps_token(auth: &Auth) -> bool {
    matches!(
        auth,
        Auth::Token(_) | Auth::TokenFile(_) | Auth::AppRole { wrapped: true, .. }
    )
}

/// True when a login uses nothing up: what it shows is good for any number of them.
pub(crate) fn login_is_free(auth: &Auth) -> bool {
    matches!(
        auth,
        Auth::Jwt { .. } | Auth::Cert { .. } | Auth::Kubernetes { .. }
    )
}

/// Refuses what can't travel in a header: vaultrs would panic on it.
fn checked(secret: Secret, name: &str) -> Result<Secret, Failure> {
    let text = secret.expose();
    if text.is_empty() {
        return Err(refused(
            "credential-missing",
            format!("{name} is empty"),
            None,
        ));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(refused(
            "credential-unreadable",
            format!("{name} contains a space, a control character or a character outside ASCII"),
            Some("check how it was written; a token is one word".to_owned()),
        ));
    }
    Ok(secret)
}

fn refused(code: &str, message: String, hint: Option<String>) -> Failure {
    Failure {
        class: FailureClass::Denied,
        code: code.to_owned(),
        message,
        hint,
        retry_after: None,
    }
}

#[cfg(test)]
mod tests;
