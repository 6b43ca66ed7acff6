//! The credential file, before Vault is asked.
//!
//! Never keeps or shows the credential; of a JWT it keeps the claims that say when and for whom it
//! is good. Looks once: the agent waits two seconds for a file that is being written.

use std::path::PathBuf;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as URL_SAFE_NO_PAD};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::{
    config::{Auth, CredentialPath},
    disk,
    model::time::Timestamp,
};

/// Bytes; larger ones are no credential.
const MAX_CREDENTIAL_BYTES: u64 = 64 * 1024;

/// The credential, as far as it may be shown.
#[derive(Clone, Debug)]
pub(super) struct Credential {
    pub(super) path: PathBuf,
    pub(super) state: CredentialFile,
}

/// What the look found.
#[derive(Clone, Debug)]
pub(super) enum CredentialFile {
    Missing,
    Unreadable(String),
    /// There, and no JWT, although the login needs one.
    Malformed,
    Readable {
        mode: u32,
        claims: Option<Claims>,
    },
}

/// Claims of RFC 7519 section 4.1, as far as they are there.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Claims {
    exp: Option<f64>,
    nbf: Option<f64>,
    #[serde(default)]
    aud: Audience,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Default for Audience {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl Claims {
    /// When it ends.
    pub(super) fn ends(&self) -> Option<Timestamp> {
        self.exp.map(moment)
    }

    /// When it begins to count.
    pub(super) fn starts(&self) -> Option<Timestamp> {
        self.nbf.map(moment)
    }

    /// For messages.
    pub(super) fn audience(&self) -> String {
        match &self.aud {
            Audience::One(one) => one.clone(),
            Audience::Many(many) => many.join(", "),
        }
    }
}

/// A NumericDate of RFC 7519 section 2: seconds, perhaps with a fraction.
fn moment(seconds: f64) -> Timestamp {
    Timestamp::from_unix_secs(seconds as i64)
}

/// The file that a login reads; none when the credential is not in a file.
pub(super) fn look(auth: &Auth) -> Option<Credential> {
    let file = auth.credential()?;
    let jwt = matches!(auth, Auth::Jwt { .. } | Auth::Kubernetes { .. });
    Some(Credential {
        path: file.path.clone(),
        state: read(file, jwt),
    })
}

/// The claims of a JWT (RFC 7519, section 3), unverified: whoever is logged in to verifies them.
fn claims(jwt: &str) -> Option<Claims> {
    let mut parts = jwt.split('.');
    let (_header, payload, _signature) = (parts.next()?, parts.next()?, parts.next()?);
    let payload = URL_SAFE_NO_PAD.decode(payload).map(Zeroizing::new).ok()?;
    let whole = parts.next().is_none();
    serde_json::from_slice(&payload).ok().filter(|_| whole)
}

fn read(file: &CredentialPath, jwt: bool) -> CredentialFile {
    let found = match disk::read_credential(&file.path, MAX_CREDENTIAL_BYTES, &file.owners()) {
        Ok(found) => found,
        Err(refusal) if refusal.is_missing() => return CredentialFile::Missing,
        Err(refusal) => return CredentialFile::Unreadable(refusal.to_string()),
    };
    let Some(text) = found.text() else {
        return CredentialFile::Unreadable("it is no UTF-8 text".to_owned());
    };
    let claims = claims(text.trim());
    if jwt && claims.is_none() {
        return CredentialFile::Malformed;
    }
    CredentialFile::Readable {
        mode: found.stat.st_mode & 0o7777,
        claims: claims.filter(|_| jwt),
    }
}
