//! `http` and `status`: where the agent can be seen, if anywhere.
//!
//! Never opens anything. What stays true: nothing listens beyond loopback unless that was written
//! down; a path that no socket can have is a problem here, not a surprise later.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use super::super::{
    Environment,
    layers::{Derived, Layers},
    types::{Listen, MAX_SOCKET_PATH, StatusSocket},
    values,
};

/// The word for no socket at all.
const OFF: &str = "off";

/// `http { }`.
pub(super) fn http(layers: &mut Layers<'_, '_>) -> Option<Listen> {
    let remote = layers.read("allow_remote", values::truth);
    let listen = layers.read("listen", listen)?;
    if let Listen::Tcp(address) = &listen
        && !address.ip().is_loopback()
        && remote == Some(false)
    {
        layers.problem(
            "listen",
            format!(
                "{address} can be reached from outside, and health and metrics have no access \
                 control; use 127.0.0.1, or set allow_remote"
            ),
        );
    }
    Some(listen)
}

fn listen(text: &str) -> Result<Listen, String> {
    const WANTED: &str = "not an address such as 127.0.0.1:9464, nor unix:///path";
    if let Some(path) = text.strip_prefix("unix://") {
        if !path.starts_with('/') {
            return Err("needs an absolute path: unix:///run/certagent/http.sock".to_owned());
        }
        return socket(path).map(Listen::Unix);
    }
    let text = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    let address = text.parse::<SocketAddr>().map_err(|_| WANTED.to_owned())?;
    Ok(Listen::Tcp(address))
}

/// `status { }`.
pub(super) fn status(layers: &mut Layers<'_, '_>) -> Option<StatusSocket> {
    let chosen = layers.written("socket").is_some();
    let derived = match usual_socket(layers.all.environment) {
        Some((path, _)) if !chosen && fits(&path).is_err() => {
            layers.all.notes.push(format!(
                "status.socket: {} is longer than the {MAX_SOCKET_PATH} bytes that a socket's path \
                 may have, so certagent status can't reach this agent; set a shorter one",
                path.display()
            ));
            None
        }
        Some((path, variable)) => Some(Derived::new(path.display().to_string(), variable)),
        None => None,
    };
    let path = layers.read_or("socket", derived, |text| match text {
        OFF => Ok(None),
        path => socket(path).map(Some),
    })?;
    path.map(|path| StatusSocket { path, chosen })
}

/// Where `certagent status` finds the agent: the variable, else the usual place.
pub(crate) fn status_socket(environment: &Environment) -> Option<PathBuf> {
    let named = environment.get("CERTAGENT_STATUS_SOCKET");
    match named.filter(|path| !path.is_empty()) {
        Some(path) if path == OFF => None,
        Some(path) => Some(PathBuf::from(path)),
        None => usual_socket(environment).map(|(path, _)| path),
    }
}

/// A directory of its own in the allocation, because the others there are open to all its tasks; else in the
/// user's runtime directory (XDG Base Directory Specification). With the variable that names the place.
fn usual_socket(environment: &Environment) -> Option<(PathBuf, &'static str)> {
    let places = [
        ("NOMAD_ALLOC_DIR", "certagent/run/status.sock"),
        ("XDG_RUNTIME_DIR", "certagent/status.sock"),
    ];
    places.into_iter().find_map(|(variable, path)| {
        let directory = environment.get(variable)?;
        let directory = Path::new(directory);
        directory
            .is_absolute()
            .then(|| (directory.join(path), variable))
    })
}

fn socket(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(values::text(text)?);
    fits(&path)?;
    Ok(path)
}

fn fits(path: &Path) -> Result<(), String> {
    let length = path.as_os_str().len();
    if length > MAX_SOCKET_PATH {
        return Err(format!(
            "{length} bytes; a socket's path has at most {MAX_SOCKET_PATH}: use a shorter one, such as one \
             below /run, or one relative to the working directory"
        ));
    }
    match path.file_name() {
        Some(name) if name.len() >= 4 => Ok(()),
        _ => Err("needs a file name of at least 4 characters".to_owned()),
    }
}
