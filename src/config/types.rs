//! The configuration as the program uses it: every field present, checked and with its unit.
//!
//! Never parses. What stays true: a value of these types needs no further check.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use crate::{
    disk::TrustedOwners,
    model::{
        reload::Action, request::Request, schedule::RenewPolicy, secret::Secret, stagger::Stagger,
        trust::TrustPolicy,
    },
};

/// Everything one process needs.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the issuer is and how to talk to it.
    pub vault: VaultConfig,
    /// How to get a token.
    pub auth: Auth,
    /// At least one; names and directories are distinct.
    pub certificates: Vec<CertConfig>,
    /// How to write log lines.
    pub log: LoggingConfig,
    /// Where health and metrics are served, if anywhere.
    pub http: Option<Listen>,
    /// Where `certagent status` finds this agent, if anywhere.
    pub status: Option<StatusSocket>,
    /// Give up privileges and files that are not needed.
    pub hardening: bool,
}

/// The longest path of a Unix socket, in bytes: `sockaddr_un.sun_path` holds 108, one of them for
/// the NUL at the end (unix(7)).
pub const MAX_SOCKET_PATH: usize = 107;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// An address, on loopback unless the configuration says that others are meant.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

/// The socket for `certagent status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusSocket {
    /// At most [`MAX_SOCKET_PATH`] bytes.
    pub path: PathBuf,
    /// It was configured; else it is worked out, and the agent does without when it can't be.
    pub chosen: bool,
}

/// Where the issuer is and how to talk to it.
#[derive(Clone, Debug)]
pub struct VaultConfig {
    /// `http://`, `https://` or `unix://`, tried in this order; at least one. A path prefix is kept.
    pub addresses: Vec<String>,
    /// `http://` to another host is meant: see [`VaultConfig::plain_addresses`].
    pub allow_plain_http: bool,
    /// `X-Vault-Namespace`, when one is used.
    pub namespace: Option<String>,
    /// Trust and identity for `https://`.
    pub tls: TlsConfig,
    /// Limit for one request and its answer.
    pub timeout: Duration,
    /// Explicit proxy for all requests (`VAULT_PROXY_ADDR`); the usual proxy variables are not obeyed.
    /// A URL that may hold a user and a password.
    pub proxy: Option<Secret>,
    /// Requests per second and burst (`VAULT_RATE_LIMIT`), when limited.
    pub rate_limit: Option<(f64, u32)>,
    /// How often one attempt is repeated on a transport error before the retry plan takes over.
    pub max_retries: u32,
    /// Follow no redirect at all (`VAULT_DISABLE_REDIRECTS`); else only to a listed address.
    pub disable_redirects: bool,
    /// Extra headers (`VAULT_HEADERS`).
    pub headers: Vec<(String, Secret)>,
}

impl VaultConfig {
    /// The `http://` addresses to which requests leave this host, by themselves or by the proxy.
    pub fn plain_addresses(&self) -> impl Iterator<Item = &str> {
        let proxied = self
            .proxy
            .as_ref()
            .is_some_and(|url| !is_here(url.expose()));
        let all = self.addresses.iter().map(String::as_str);
        all.filter(move |url| url.starts_with("http://") && (proxied || !is_here(url)))
    }
}

/// Is the host of this URL on loopback? What a resolver could lead elsewhere is not, except for
/// `localhost` (RFC 6761 section 6.3).
pub(super) fn is_here(url: &str) -> bool {
    let Ok(url) = url.parse::<http::Uri>() else {
        return false;
    };
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    let address = host.parse::<std::net::IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|ip| ip.is_loopback())
}

/// Trust and identity for `https://` addresses.
#[derive(Clone, Debug, Default)]
pub struct TlsConfig {
    /// PEM file with trust anchors; replaces the system's.
    pub ca_cert: Option<PathBuf>,
    /// PEM text with trust anchors; replaces the system's.
    pub ca_cert_bytes: Option<String>,
    /// Directory of PEM files with trust anchors; replaces the system's.
    pub ca_path: Option<PathBuf>,
    /// Client certificate chain (PEM file); always together with the key.
    pub client_cert: Option<PathBuf>,
    /// Client private key (PEM file).
    pub client_key: Option<PathBuf>,
    /// Name to verify (and send as SNI) instead of the address's host.
    pub server_name: Option<String>,
}

/// How to get a token.
#[derive(Clone, Debug)]
pub enum Auth {
    /// Log in with a JWT from a file, by default Nomad's workload identity.
    Jwt {
        /// Path of the auth mount: `jwt-nomad`.
        mount: String,
        /// Role; the mount's default role when absent.
        role: Option<String>,
        /// Re-read at each login.
        path: CredentialPath,
    },
    /// A token from the environment.
    Token(Secret),
    /// A token from a file that something else keeps fresh; watched and re-read.
    TokenFile(CredentialPath),
    /// AppRole login.
    AppRole {
        /// Path of the auth mount: `approle`.
        mount: String,
        /// The role id.
        role_id: String,
        /// File with the secret id, re-read at each login.
        secret_id_path: Option<CredentialPath>,
        /// The secret id itself.
        secret_id: Option<Secret>,
        /// The secret id is a response-wrapping token, to be unwrapped once.
        wrapped: bool,
    },
    /// TLS certificate login; uses the client certificate of [`TlsConfig`].
    Cert {
        /// Path of the auth mount: `cert`.
        mount: String,
        /// Name of the certificate role, when more than one could match.
        role: Option<String>,
    },
    /// Kubernetes service account login.
    Kubernetes {
        /// Path of the auth mount: `kubernetes`.
        mount: String,
        /// Role.
        role: String,
        /// Service account token, re-read at each login.
        path: CredentialPath,
    },
}

impl Auth {
    /// The file that a login reads; none when the credential is not in a file.
    #[must_use]
    pub fn credential(&self) -> Option<&CredentialPath> {
        match self {
            Self::Jwt { path, .. } | Self::Kubernetes { path, .. } | Self::TokenFile(path) => {
                Some(path)
            }
            Self::AppRole { secret_id_path, .. } => secret_id_path.as_ref(),
            Self::Token(_) | Self::Cert { .. } => None,
        }
    }
}

/// A file with a credential, and who may have written it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialPath {
    /// Where it is.
    pub path: PathBuf,
    /// Its owner, when that may be another user than root and certagent's own.
    pub file_uid: Option<u32>,
}

impl CredentialPath {
    /// Whose files and links are taken.
    #[must_use]
    pub fn owners(&self) -> TrustedOwners {
        TrustedOwners {
            uid: self.file_uid,
            gid: None,
        }
    }
}

impl From<PathBuf> for CredentialPath {
    fn from(path: PathBuf) -> Self {
        Self {
            path,
            file_uid: None,
        }
    }
}

/// One certificate: what to ask for, when, and where it goes.
#[derive(Clone, Debug)]
pub struct CertConfig {
    /// Name of the block; the label in logs and metrics.
    pub name: String,
    /// What to ask Vault for.
    pub request: Request,
    /// When to renew.
    pub renew: RenewPolicy,
    /// Where the set goes, with which modes and owner.
    pub files: Files,
    /// Non-secret ready file, for `certagent wait`.
    pub ready_file: Option<PathBuf>,
    /// Extra trust anchors for CA.pem (PEM file).
    pub extra_ca: Option<PathBuf>,
    /// Whose anchors CA.pem holds besides.
    pub trust: TrustPolicy,
    /// How often to look for new issuers of the mount; zero is never.
    pub ca_poll_interval: Duration,
    /// How long an anchor that is no longer listed stays in CA.pem.
    pub ca_retention: Duration,
    /// How to see which certificate the application serves, when it shall be looked at.
    pub probe: Option<ProbeConfig>,
    /// How to make the application load it; without it nothing is reloaded.
    pub reload: Option<ReloadConfig>,
    /// Go back to the set before, when that one lasts so much longer; `None` is never.
    pub rollback: Option<Duration>,
}

/// How to make one application load new files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReloadConfig {
    /// What `auto` means.
    pub app: App,
    /// Escalation list for a new leaf; not empty.
    pub on_cert_change: Vec<ReloadStep>,
    /// Escalation list for new anchors; not empty.
    pub on_ca_change: Vec<ReloadStep>,
    /// Task of the same Nomad group.
    pub task: Option<String>,
    /// Where Loki says which version it is.
    pub version_url: Option<String>,
    /// How long each step has.
    pub verify_timeout: Duration,
    /// `kill_timeout` of the task.
    pub kill_timeout: Duration,
    /// Turns of the group's allocations.
    pub stagger: Option<Stagger>,
    /// Nomad variable with a lock.
    pub lock: Option<String>,
    /// How long the lock is kept after the proof.
    pub min_healthy_time: Duration,
}

/// What kind of application it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum App {
    /// Grafana Loki.
    Loki,
    /// Any other.
    Generic,
}

/// One step of an escalation list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReloadStep {
    /// What the application's version needs.
    Auto,
    /// This.
    Do(Action),
}

/// How to see which certificate the application serves, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeConfig {
    /// Where and how.
    pub target: ProbeTarget,
    /// Pause between two looks once the certificate was seen.
    pub interval: Duration,
}

/// One place where a certificate is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeTarget {
    /// `host:port`; an IPv6 address stands in brackets.
    pub address: String,
    /// Name or IP address that the served certificate has to prove; a name is sent as SNI.
    pub server_name: String,
    /// Application protocols to offer (RFC 7301), the best first.
    pub alpn: Vec<String>,
    /// Show our own certificate when the peer asks for one.
    pub mtls: bool,
    /// How the connection becomes TLS, where it does not begin as such.
    pub starttls: Option<StartTls>,
    /// Also ask `grpc.health.v1.Health/Check`; needs `h2` among the protocols.
    pub grpc_health: bool,
    /// Limit for everything together.
    pub timeout: Duration,
}

/// A protocol whose connections become TLS on request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartTls {
    /// PostgreSQL's SSLRequest (its manual, 55.2.10).
    Postgres,
    /// SMTP's STARTTLS (RFC 3207).
    Smtp,
}

/// Where the set goes, with which modes and owner.
#[derive(Clone, Debug)]
pub struct Files {
    /// The directory: `secrets/certs`.
    pub dir: PathBuf,
    /// Mode of cert.pem and CA.pem.
    pub cert_perms: u32,
    /// Mode of key.pem.
    pub key_perms: u32,
    /// Owner of all files, when it shall differ from the process's.
    pub uid: Option<u32>,
    /// Group of all files, when it shall differ from the process's.
    pub gid: Option<u32>,
}

impl Files {
    /// Whose directories these files may lie in.
    #[must_use]
    pub fn trust(&self) -> TrustedOwners {
        TrustedOwners {
            uid: self.uid,
            gid: self.gid,
        }
    }
}

/// How to write log lines.
#[derive(Clone, Debug)]
pub struct LoggingConfig {
    /// Lines for people or objects for machines.
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: tracing::Level,
}

/// Lines for people or objects for machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One readable line per event.
    Text,
    /// One JSON object per event.
    Json,
}

/// Who has to read the certificate files, when that is not the process itself: the application's user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reader {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

impl std::str::FromStr for Reader {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (uid, gid) = text.split_once(':').unwrap_or((text, text));
        let number = |part: &str| {
            part.parse::<u32>()
                .map_err(|_| format!("`{text}` is not UID or UID:GID in numbers"))
        };
        Ok(Self {
            uid: number(uid)?,
            gid: number(gid)?,
        })
    }
}

impl std::fmt::Display for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.uid, self.gid)
    }
}
