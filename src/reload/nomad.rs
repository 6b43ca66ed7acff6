//! Nomad's Task API: signal or restart a task of our own allocation, and a lock in a variable.
//!
//! Never touches another allocation, never keeps the token: it is read anew for each call. What
//! stays true: every refusal has a name of its own, and a task that does not
//! run is no failure, because its next start reads the new files.

mod lock;
mod refused;

use std::{
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::fs::FileType;
use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, pem::PemObject};
use serde_json::{Value, json};

pub use self::lock::{Lock, Taken};
use crate::{
    config::{Environment, MAX_SOCKET_PATH},
    disk::{self, TrustedOwners},
    http_client::{self, Unanswered},
    model::{
        reload::{Delivery, ReloadFailure, SignalName},
        secret::Secret,
    },
};

/// Limit for a call that Nomad answers at once.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// A restart is answered when the old process is gone; this is added to `kill_timeout`.
const RESTART_EXTRA_TIMEOUT: Duration = Duration::from_secs(30);
/// More of an answer is not looked at.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// No task has this name.
const ABSENT_TASK: &str = "certagent-doctor-asks-for-a-task-that-is-not-there";
/// Bytes of the largest workload identity.
const MAX_TOKEN_BYTES: u64 = 64 * 1024;
/// Bytes of the largest `NOMAD_CACERT`.
const MAX_CA_BYTES: u64 = 1024 * 1024;

/// Where the Task API is, and who we are.
#[derive(Clone, Debug)]
pub struct NomadConfig {
    /// `${NOMAD_SECRETS_DIR}/api.sock`.
    pub socket: Option<PathBuf>,
    /// `NOMAD_ADDR`, used when the socket is missing.
    pub address: Option<String>,
    /// `NOMAD_CACERT`: PEM file that replaces the system's anchors for `https://`.
    pub ca_cert: Option<PathBuf>,
    /// `${NOMAD_SECRETS_DIR}/nomad_token`, read anew for each call.
    pub token_file: Option<PathBuf>,
    /// `NOMAD_TOKEN`, used when the file is missing.
    pub token: Option<Secret>,
    /// `NOMAD_ALLOC_ID`: the full id.
    pub alloc_id: String,
    /// `NOMAD_NAMESPACE`.
    pub namespace: Option<String>,
    /// The task's `kill_timeout`: a restart takes that long.
    pub kill_timeout: Duration,
}

impl NomadConfig {
    /// What Nomad says about itself in the environment.
    /// Nomad, "Runtime environment settings".
    ///
    /// # Errors
    /// `nomad-missing` outside of an allocation.
    pub fn of(environment: &Environment, kill_timeout: Duration) -> Result<Self, ReloadFailure> {
        let variable = |name: &str| environment.get(name).filter(|text| !text.is_empty());
        let secrets = variable("NOMAD_SECRETS_DIR").map(PathBuf::from);
        let Some(alloc_id) = variable("NOMAD_ALLOC_ID") else {
            let text = "NOMAD_ALLOC_ID is not set: this is no allocation of Nomad".to_owned();
            let hint = "use signal, exec or http instead of nomad_signal and nomad_restart";
            return Err(ReloadFailure::lasting("nomad-missing", text, hint));
        };
        Ok(Self {
            socket: secrets.as_ref().map(|dir| dir.join("api.sock")),
            address: variable("NOMAD_ADDR").cloned(),
            ca_cert: variable("NOMAD_CACERT").map(PathBuf::from),
            token_file: secrets.as_ref().map(|dir| dir.join("nomad_token")),
            token: variable("NOMAD_TOKEN").cloned().map(Secret::new),
            alloc_id: alloc_id.clone(),
            namespace: variable("NOMAD_NAMESPACE").cloned(),
            kill_timeout,
        })
    }
}

/// The Task API.
#[derive(Debug)]
pub struct Nomad {
    config: NomadConfig,
}

/// One call.
struct NomadCall<'a> {
    /// For messages: `signalling task loki`.
    what: &'a str,
    /// Below `/v1/`, with its query.
    path: &'a str,
    body: Value,
    limit: Duration,
}

/// Any answer.
struct NomadAnswer {
    status: u16,
    text: String,
}

impl Nomad {
    /// Connects nowhere.
    ///
    /// # Errors
    /// `nomad-alloc-id` when the id is not a full one.
    pub fn new(config: NomadConfig) -> Result<Self, ReloadFailure> {
        let id = &config.alloc_id;
        let hex = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
        if id.len() != 36 || !id.bytes().all(hex) {
            let text = format!("{id:?} is not the full id of an allocation");
            let hint = "pass on NOMAD_ALLOC_ID as it is";
            return Err(ReloadFailure::lasting("nomad-alloc-id", text, hint));
        }
        Ok(Self { config })
    }

    /// Sends a signal to a task of our allocation.
    /// Nomad API, "Signal Allocation".
    ///
    /// # Errors
    /// Each refusal by its name.
    pub async fn signal(&self, task: &str, signal: SignalName) -> Result<Delivery, ReloadFailure> {
        let what = format!("sending {signal} to task {task}");
        self.signal_as(&what, task, &signal.to_string()).await
    }

    /// Whether it is there, takes our token, and lets us signal: signal 0 to a task that can't exist.
    /// Nomad judges the token first: whoever may signal is answered that there is no such task.
    ///
    /// # Errors
    /// Each refusal by its name.
    pub async fn check(&self) -> Result<(), ReloadFailure> {
        let asked = self
            .signal_as("checking Nomad's Task API", ABSENT_TASK, "SIGNULL")
            .await;
        match asked {
            Err(failure) if failure.code != "nomad-task-unknown" => Err(failure),
            _ => Ok(()),
        }
    }

    async fn signal_as(
        &self,
        what: &str,
        task: &str,
        signal: &str,
    ) -> Result<Delivery, ReloadFailure> {
        let path = format!("client/allocation/{}/signal", self.config.alloc_id);
        let body = json!({ "Task": named(task)?, "Signal": signal });
        self.task(what, &path, body, CALL_TIMEOUT).await
    }

    /// Restarts a task of our allocation; returns when its old process is gone.
    /// Nomad API, "Restart Allocation".
    ///
    /// # Errors
    /// Each refusal by its name.
    pub async fn restart(&self, task: &str) -> Result<Delivery, ReloadFailure> {
        let what = format!("restarting task {task}");
        let path = format!("client/allocation/{}/restart", self.config.alloc_id);
        let body = json!({ "TaskName": named(task)? });
        self.task(&what, &path, body, self.restart_limit()).await
    }

    /// The longest that a signal takes.
    #[must_use]
    pub fn limit(&self) -> Duration {
        CALL_TIMEOUT
    }

    /// The longest that a restart takes: more than `kill_timeout`.
    #[must_use]
    pub fn restart_limit(&self) -> Duration {
        self.config
            .kill_timeout
            .saturating_add(RESTART_EXTRA_TIMEOUT)
    }

    async fn task(
        &self,
        what: &str,
        path: &str,
        body: Value,
        limit: Duration,
    ) -> Result<Delivery, ReloadFailure> {
        let call = NomadCall {
            what,
            path,
            body,
            limit,
        };
        let answer = self.send(&call).await?;
        if (200..300).contains(&answer.status) {
            return Ok(Delivery::Delivered);
        }
        refused::task(what, answer.status, &answer.text)
    }

    async fn send(&self, call: &NomadCall<'_>) -> Result<NomadAnswer, ReloadFailure> {
        let what = call.what;
        let token = self.token(what)?;
        let (client, origin) = self.client(what)?;
        let mut header = http::HeaderValue::from_str(token.expose()).map_err(|_| {
            let text = format!("{what}: the token contains characters that no token has");
            ReloadFailure::lasting("nomad-token-unreadable", text, "")
        })?;
        header.set_sensitive(true);
        let mut request = client
            .put(format!("{origin}/v1/{}", call.path))
            .header("X-Nomad-Token", header)
            .header(http::header::CONTENT_TYPE, "application/json")
            .timeout(call.limit)
            .body(call.body.to_string());
        if let Some(namespace) = &self.config.namespace {
            request = request.header("X-Nomad-Namespace", namespace);
        }
        match http_client::exchange(client, request, MAX_BODY_BYTES).await {
            Ok((status, text)) => Ok(NomadAnswer {
                status: status.as_u16(),
                text,
            }),
            Err(none) => Err(no_answer(what, &none)),
        }
    }

    /// A client for the socket, or for the address when there is no socket; and the origin.
    fn client(&self, what: &str) -> Result<(reqwest::Client, String), ReloadFailure> {
        let broken = |why: String| {
            let text = format!("{what}: setting up HTTP: {why}");
            ReloadFailure::lasting("nomad-client", text, "")
        };
        let missing = match &self.config.socket {
            Some(socket) => match disk::look(socket) {
                Ok((FileType::Socket, _)) => {
                    let builder = http_client::builder(RootCertStore::empty()).map_err(broken)?;
                    let builder = builder.unix_socket(socket.as_path());
                    let client = http_client::build(builder).map_err(broken)?;
                    return Ok((client, "http://localhost".to_owned()));
                }
                Ok(_) => format!("{} is no socket", socket.display()),
                Err(error) => why_missing(socket, &error),
            },
            None => "NOMAD_SECRETS_DIR is not set".to_owned(),
        };
        let Some(address) = &self.config.address else {
            let text = format!("{what}: no Task API: {missing}");
            let hint = "Nomad 1.5 and later make it; NOMAD_ADDR may name the agent instead";
            return Err(ReloadFailure::passing("nomad-socket-missing", text, hint));
        };
        let roots = match address.split_once("://") {
            Some(("https", _)) => self.roots(what)?,
            Some(("http", _)) => RootCertStore::empty(),
            _ => {
                let text = format!("{what}: NOMAD_ADDR {address:?} is not http:// or https://");
                return Err(ReloadFailure::lasting("nomad-address", text, ""));
            }
        };
        let builder = http_client::builder(roots).map_err(broken)?;
        let client = http_client::build(builder).map_err(broken)?;
        Ok((client, address.trim_end_matches('/').to_owned()))
    }

    fn roots(&self, what: &str) -> Result<RootCertStore, ReloadFailure> {
        let mut roots = RootCertStore::empty();
        let Some(path) = &self.config.ca_cert else {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            return Ok(roots);
        };
        let wrong = |why: String| {
            let text = format!("{what}: NOMAD_CACERT {}: {why}", path.display());
            ReloadFailure::lasting("nomad-ca", text, "")
        };
        let all = disk::read(path, MAX_CA_BYTES).map_err(|error| wrong(error.to_string()))?;
        for one in CertificateDer::pem_slice_iter(&all.bytes) {
            let one = one.map_err(|error| wrong(error.to_string()))?;
            roots.add(one).map_err(|error| wrong(error.to_string()))?;
        }
        Ok(roots)
    }

    /// The workload identity's token: the file at this moment, else the variable.
    fn token(&self, what: &str) -> Result<Secret, ReloadFailure> {
        let mut hint = "give the task an identity { file = true } block";
        let mut code = "nomad-token-missing";
        let read =
            |path: &PathBuf| disk::read_credential(path, MAX_TOKEN_BYTES, &TrustedOwners::OWN);
        let missing = match self.config.token_file.as_ref().map(read) {
            Some(Ok(found)) => match found.text().map(str::trim) {
                Some("") => "the token file is empty".to_owned(),
                Some(text) => return Ok(Secret::new(text.to_owned())),
                None => "the token file is no text".to_owned(),
            },
            Some(Err(refusal)) => {
                if refusal.kind().is_none() {
                    code = refusal.code();
                    hint = refusal.hint().unwrap_or_default();
                }
                format!("the token file: {refusal}")
            }
            None => "NOMAD_SECRETS_DIR is not set".to_owned(),
        };
        self.config.token.clone().ok_or_else(|| {
            let text = format!("{what}: no token: {missing}, and NOMAD_TOKEN is not set");
            ReloadFailure::passing(code, text, hint)
        })
    }
}

fn no_answer(what: &str, none: &Unanswered) -> ReloadFailure {
    let text = format!("{what}: {}", http_client::why(none));
    match none {
        Unanswered::Failed(error) if error.is_connect() => {
            let hint = "is the Nomad client running, and may this user open api.sock";
            ReloadFailure::passing("nomad-unreachable", text, hint)
        }
        Unanswered::Failed(error) if error.is_timeout() => {
            let hint = "set kill_timeout to that of the task";
            ReloadFailure::unclear("nomad-timeout", text, hint)
        }
        _ => ReloadFailure::unclear("nomad-broken", text, ""),
    }
}

/// An empty name would mean all tasks, us included.
fn named(task: &str) -> Result<&str, ReloadFailure> {
    if task.is_empty() {
        let text = "no task is named".to_owned();
        return Err(ReloadFailure::lasting(
            "nomad-task-unknown",
            text,
            "set task",
        ));
    }
    Ok(task)
}

fn why_missing(socket: &Path, error: &std::io::Error) -> String {
    let length = socket.as_os_str().as_bytes().len();
    let place = socket.display();
    if length > MAX_SOCKET_PATH {
        return format!(
            "Nomad could not make {place}: the path has {length} bytes and a socket's has at most \
             {MAX_SOCKET_PATH}; shorten the client's data_dir"
        );
    }
    format!("{place}: {error}")
}

#[cfg(test)]
mod tests;
