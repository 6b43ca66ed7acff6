//! The `auth` block: the configured method, or the one that the machine has the means for.
//!
//! Looks whether a file exists, and opens none.

use std::path::{Path, PathBuf};

use super::super::{
    layers::{Derived, Layers, issuer_variable},
    problem::Source,
    types::{Auth, CredentialPath},
    values,
};
use crate::{disk, model::secret::Secret};

const KUBERNETES_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Jwt,
    Token,
    TokenFile,
    AppRole,
    Cert,
    Kubernetes,
}

impl Method {
    const ALL: [Self; 6] = [
        Self::Jwt,
        Self::Token,
        Self::TokenFile,
        Self::AppRole,
        Self::Cert,
        Self::Kubernetes,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Jwt => "jwt",
            Self::Token => "token",
            Self::TokenFile => "token_file",
            Self::AppRole => "approle",
            Self::Cert => "cert",
            Self::Kubernetes => "kubernetes",
        }
    }

    fn mount(self) -> Option<&'static str> {
        match self {
            Self::Jwt => Some("jwt-nomad"),
            Self::AppRole => Some("approle"),
            Self::Cert => Some("cert"),
            Self::Kubernetes => Some("kubernetes"),
            Self::Token | Self::TokenFile => None,
        }
    }

    /// The keys that mean something to it.
    fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Jwt | Self::Kubernetes => &["mount", "role", "path", "file_uid"],
            Self::Token => &["token"],
            Self::TokenFile => &["path", "file_uid"],
            Self::AppRole => &[
                "mount",
                "role_id",
                "secret_id_path",
                "file_uid",
                "secret_id",
                "secret_id_wrapped",
            ],
            Self::Cert => &["mount", "role"],
        }
    }
}

/// `client_cert`: is there a client certificate for the issuer?
pub(super) fn auth(layers: &mut Layers<'_, '_>, client_cert: bool) -> Option<Auth> {
    let chosen = match layers.written("method") {
        Some(_) => None,
        None => Some(choose(layers, client_cert)),
    };
    if let Some(None) = chosen {
        layers.problem("method", NO_WAY);
        return None;
    }
    let derived = chosen
        .flatten()
        .map(|(method, why)| Derived::new(method.name(), why));
    let method = layers.read_or("method", derived, |text| {
        let known = Method::ALL.into_iter().find(|one| one.name() == text);
        known.ok_or_else(|| {
            let list = Method::ALL.map(Method::name).join(", ");
            format!("not a method; known are {list}")
        })
    })?;
    if layers
        .block
        .is_some_and(|block| block.label.as_deref() != Some(method.name()))
    {
        // A stronger source names another method: the block's keys are about something else.
        layers.block = None;
    }
    unused(layers, method);
    read(layers, method, client_cert)
}

/// The operator's own token, where Vault's command line keeps it.
/// Vault, "Token helpers".
pub(super) fn operator(environment: &crate::config::Environment) -> Option<Auth> {
    if let Some((_, token)) = issuer_variable("TOKEN", environment) {
        return Some(Auth::Token(Secret::new(token.to_owned())));
    }
    let path = match issuer_variable("TOKEN_PATH", environment) {
        Some((_, path)) => PathBuf::from(path),
        None => PathBuf::from(environment.get("HOME")?).join(".vault-token"),
    };
    disk::look(&path)
        .is_ok()
        .then(|| Auth::TokenFile(path.into()))
}

const NO_WAY: &str = "no way to authenticate: neither VAULT_TOKEN or BAO_TOKEN, nor a file \
    nomad_certagent.jwt or vault_token in NOMAD_SECRETS_DIR, nor a role id, nor a client certificate; \
    add `identity { name = \"certagent\" file = true aud = [\"vault.io\"] }` to the task, \
    or set one up with an auth block (see configs/auth-*.hcl)";

/// The first method whose means are there, and what they are.
fn choose(layers: &Layers<'_, '_>, client_cert: bool) -> Option<(Method, String)> {
    let named = |source: Source| source.to_string();
    if let Some(source) = layers.written("token") {
        return Some((Method::Token, named(source)));
    }
    if let Some(source) = layers.written("role_id") {
        return Some((Method::AppRole, named(source)));
    }
    if let Some(source) = layers.written("path") {
        return Some((Method::Jwt, named(source)));
    }
    let there = |path: Option<PathBuf>| path.filter(|path| disk::look(path).is_ok());
    if let Some(path) = there(in_secrets(layers, "nomad_certagent.jwt")) {
        return Some((Method::Jwt, path.display().to_string()));
    }
    if let Some((name, _)) = issuer_variable("TOKEN_PATH", layers.all.environment) {
        return Some((Method::TokenFile, name));
    }
    if let Some(path) = there(in_secrets(layers, "vault_token")) {
        return Some((Method::TokenFile, path.display().to_string()));
    }
    let role = layers.written("role").is_some();
    if role && disk::look(Path::new(KUBERNETES_TOKEN)).is_ok() {
        return Some((Method::Kubernetes, KUBERNETES_TOKEN.to_owned()));
    }
    client_cert.then(|| (Method::Cert, "vault.client_cert".to_owned()))
}

fn in_secrets(layers: &Layers<'_, '_>, file: &str) -> Option<PathBuf> {
    let dir = layers.all.environment.get("NOMAD_SECRETS_DIR")?;
    Some(Path::new(dir).join(file))
}

/// Whatever was written for another method was written by mistake.
fn unused(layers: &mut Layers<'_, '_>, method: Method) {
    let (name, keys) = (method.name(), method.keys().join(", "));
    for setting in layers.section.settings() {
        let meant = setting.key == "method" || method.keys().contains(&setting.key);
        let Some(source) = layers.written(setting.key) else {
            continue;
        };
        if meant {
            continue;
        }
        // A token in the environment is often there for other programs.
        if setting.key == "token" {
            let note = format!("{source}: not used, because auth.method is {name}");
            layers.all.notes.push(note);
            continue;
        }
        let message = format!("not used by {name}, which takes {keys}");
        layers.problem(setting.key, message);
    }
}

fn read(layers: &mut Layers<'_, '_>, method: Method, client_cert: bool) -> Option<Auth> {
    let mount = method.mount().and_then(|usual| {
        let derived = Derived::new(usual, "the method");
        layers.read_or("mount", Some(derived), values::api_path)
    });
    match method {
        Method::Jwt => {
            let role = layers.read("role", values::api_name);
            let path = path(layers, method);
            Some(Auth::Jwt {
                mount: mount?,
                role,
                path: path?,
            })
        }
        Method::Token => {
            if layers.written("token").is_none() {
                layers.problem(
                    "token",
                    "set VAULT_TOKEN, BAO_TOKEN or CERTAGENT_AUTH_TOKEN",
                );
            }
            Some(Auth::Token(layers.read("token", secret)?))
        }
        Method::TokenFile => Some(Auth::TokenFile(path(layers, method)?)),
        Method::AppRole => approle(layers, mount),
        Method::Cert => {
            let role = layers.read("role", values::api_name);
            if !client_cert {
                layers.problem("method", "needs vault.client_cert and vault.client_key");
            }
            Some(Auth::Cert {
                mount: mount?,
                role,
            })
        }
        Method::Kubernetes => {
            if layers.written("role").is_none() {
                layers.problem("role", "the method kubernetes needs a role");
            }
            let role = layers.read("role", values::api_name);
            let path = path(layers, method);
            Some(Auth::Kubernetes {
                mount: mount?,
                role: role?,
                path: path?,
            })
        }
    }
}

fn path(layers: &mut Layers<'_, '_>, method: Method) -> Option<CredentialPath> {
    let usual = match method {
        Method::Kubernetes => Some((PathBuf::from(KUBERNETES_TOKEN), "the method".to_owned())),
        Method::TokenFile => match issuer_variable("TOKEN_PATH", layers.all.environment) {
            Some((name, path)) => Some((PathBuf::from(path), name)),
            None => {
                in_secrets(layers, "vault_token").map(|path| (path, "NOMAD_SECRETS_DIR".to_owned()))
            }
        },
        _ => in_secrets(layers, "nomad_certagent.jwt")
            .map(|path| (path, "NOMAD_SECRETS_DIR".to_owned())),
    };
    if usual.is_none() && layers.written("path").is_none() {
        let message = format!("the method {} needs a file outside of Nomad", method.name());
        layers.problem("path", message);
    }
    let derived = usual.map(|(path, from)| Derived::new(path.display().to_string(), from));
    let path = layers.read_or("path", derived, |text| {
        Ok(PathBuf::from(values::text(text)?))
    });
    owned(layers, path)
}

fn owned(layers: &mut Layers<'_, '_>, path: Option<PathBuf>) -> Option<CredentialPath> {
    let file_uid = layers.read("file_uid", values::count);
    path.map(|path| CredentialPath { path, file_uid })
}

fn approle(layers: &mut Layers<'_, '_>, mount: Option<String>) -> Option<Auth> {
    if layers.written("role_id").is_none() {
        layers.problem("role_id", "the method approle needs a role id");
    }
    let role_id = layers.read("role_id", values::text);
    let secret_id_path = layers.read("secret_id_path", |text| {
        Ok(PathBuf::from(values::text(text)?))
    });
    if secret_id_path.is_none() && layers.written("file_uid").is_some() {
        layers.problem(
            "file_uid",
            "there is no secret_id_path whose owner it could be",
        );
    }
    let secret_id_path = owned(layers, secret_id_path);
    let secret_id = layers.read("secret_id", secret);
    let wrapped = layers.read("secret_id_wrapped", values::truth);
    if secret_id.is_some() && secret_id_path.is_some() {
        layers.problem(
            "secret_id_path",
            "is given, and so is secret_id; one of them is meant",
        );
    }
    if wrapped == Some(true) && secret_id.is_none() && secret_id_path.is_none() {
        layers.problem("secret_id_wrapped", "there is no secret id to unwrap");
    }
    Some(Auth::AppRole {
        mount: mount?,
        role_id: role_id?,
        secret_id_path,
        secret_id,
        wrapped: wrapped?,
    })
}

/// A token or secret id: it travels in a header or JSON, and a stray newline is a common slip.
fn secret(text: &str) -> Result<Secret, String> {
    let text = text.trim();
    if text.bytes().all(|byte| byte.is_ascii_graphic()) && !text.is_empty() {
        Ok(Secret::new(text.to_owned()))
    } else {
        Err("contains characters that no token has".to_owned())
    }
}
