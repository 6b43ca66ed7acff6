//! Health and metrics over HTTP, and the status socket, which speaks HTTP too.
//!
//! Never answers with a secret, never keeps a connection open after its answer, and wakes only when
//! asked. What stays true: only the status socket, which only our own user and root can use, takes
//! a wish for a renewal.

use std::{future::pending, io, net::SocketAddr, time::Duration};

use axum::{
    Json, Router,
    body::Body,
    extract::{Request, State},
    http::{
        HeaderValue, Method, StatusCode,
        header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE},
    },
    response::{IntoResponse as _, Response},
    serve::Listener,
};
use serde::Serialize;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    metrics,
    report::{ForcedReport, Ready, Renewed, RenewedCert, Report},
    socket::{Limited, OwnUser, Socket, SocketError},
    status::Seen,
};
use crate::config::{Listen, StatusSocket};

/// How long one connection to health and metrics may take in all.
const LIFE: Duration = Duration::from_secs(10);

/// Everybody on this machine, as on loopback.
const PUBLIC: u32 = 0o666;

/// Our own user; root may do everything anyway.
const PRIVATE: u32 = 0o600;

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address of health and metrics can't be had.
    #[error("cannot serve health and metrics at {address}")]
    Address {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The socket of health and metrics can't be had.
    #[error("cannot serve health and metrics")]
    Http(#[source] SocketError),
    /// The status socket can't be had.
    #[error("cannot serve the status")]
    Status(#[source] SocketError),
}

/// Bound, not yet running.
#[derive(Debug, Default)]
pub struct Servers {
    tcp: Option<TcpListener>,
    unix: Option<Socket>,
    status: Option<Socket>,
}

impl Servers {
    /// Binds what is configured. A status socket that nobody chose is done without when it can't be
    /// had, with a warning.
    ///
    /// # Errors
    /// What was chosen can't be had.
    pub fn bind(http: Option<&Listen>, status: Option<&StatusSocket>) -> Result<Self, ServeError> {
        let mut servers = Self::default();
        match http {
            None => {}
            Some(Listen::Tcp(address)) => {
                let address = *address;
                let bound = std::net::TcpListener::bind(address).and_then(|bound| {
                    bound.set_nonblocking(true)?;
                    TcpListener::from_std(bound)
                });
                let bound = bound.map_err(|cause| ServeError::Address { address, cause })?;
                if let Ok(address) = bound.local_addr() {
                    info!("health and metrics at http://{address}");
                }
                servers.tcp = Some(bound);
            }
            Some(Listen::Unix(path)) => {
                servers.unix = Some(Socket::bind(path, PUBLIC).map_err(ServeError::Http)?);
            }
        }
        match status.map(|status| (status, Socket::bind(&status.path, PRIVATE))) {
            None => {}
            Some((_, Ok(socket))) => servers.status = Some(socket),
            Some((status, Err(error))) if status.chosen => {
                return Err(ServeError::Status(error));
            }
            Some((_, Err(error))) => {
                warn!("{error}; certagent status can't ask this agent: set status-socket");
            }
        }
        Ok(servers)
    }

    /// Answers until `stop`; the sockets' files are gone then.
    pub async fn run(self, seen: Seen, stop: CancellationToken) {
        let tcp = async {
            match self.tcp {
                Some(listener) => serve(listener, Some(LIFE), public(seen.clone())).await,
                None => pending().await,
            }
        };
        let unix = async {
            match self.unix {
                Some(socket) => {
                    let (listener, _file) = socket.split();
                    serve(listener, Some(LIFE), public(seen.clone())).await;
                }
                None => pending().await,
            }
        };
        let status = async {
            match self.status {
                Some(socket) => {
                    let (listener, _file) = socket.split();
                    serve(OwnUser(listener), None, private(seen.clone())).await;
                }
                None => pending().await,
            }
        };
        tokio::select! {
            () = tcp => {}
            () = unix => {}
            () = status => {}
            () = stop.cancelled() => {}
        }
    }
}

async fn serve<L>(listener: L, life: Option<Duration>, router: Router)
where
    L: Listener,
    L::Addr: std::fmt::Debug,
{
    // It never ends by itself.
    let _ended = axum::serve(Limited::new(listener, life), router).await;
}

fn public(seen: Seen) -> Router {
    let answer = async |State(seen): State<Seen>, request: Request| {
        finished(&request, health(&seen, request.uri().path()))
    };
    Router::new().fallback(answer).with_state(seen)
}

fn private(seen: Seen) -> Router {
    let answer = async |State(seen): State<Seen>, request: Request| {
        let path = request.uri().path().to_owned();
        if let Some(name) = path.strip_prefix("/renew") {
            if request.method() != Method::POST {
                return closing(refused(StatusCode::METHOD_NOT_ALLOWED, "use POST"));
            }
            return closing(renew(&seen, name.trim_start_matches('/')).await);
        }
        let found = match path.as_str() {
            "/status" => Some(Json(Report::from(&seen.view())).into_response()),
            path => health(&seen, path),
        };
        finished(&request, found)
    };
    Router::new().fallback(answer).with_state(seen)
}

/// Only reading, only these paths.
fn finished(request: &Request, found: Option<Response>) -> Response {
    let reading = [Method::GET, Method::HEAD].contains(request.method());
    closing(match found {
        None => refused(StatusCode::NOT_FOUND, "try /live, /ready or /metrics"),
        Some(_) if !reading => {
            let mut refused = refused(StatusCode::METHOD_NOT_ALLOWED, "use GET");
            let headers = refused.headers_mut();
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            refused
        }
        Some(answer) => answer,
    })
}

/// A connection that waits for a next request would cost a wake-up in the end.
fn closing(mut answer: Response) -> Response {
    let headers = answer.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

fn refused(status: StatusCode, hint: &str) -> Response {
    (
        status,
        Json(json!({ "error": status.canonical_reason(), "hint": hint })),
    )
        .into_response()
}

fn health(seen: &Seen, path: &str) -> Option<Response> {
    match path {
        // Who answers runs: the loops are on the same thread.
        "/live" => Some(Json(json!({ "live": true })).into_response()),
        "/ready" => {
            let ready = Ready::from(&seen.view());
            let status = if ready.ready {
                StatusCode::OK
            } else {
                StatusCode::SERVICE_UNAVAILABLE
            };
            Some((status, pretty(&ready)).into_response())
        }
        "/metrics" => Some(match metrics::exposition(seen.view()) {
            Ok(text) => ([(CONTENT_TYPE, metrics::MEDIA_TYPE)], text).into_response(),
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }),
        _ => None,
    }
}

/// People look at it with curl.
fn pretty(value: &impl Serialize) -> Response {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    let mut answer = Response::new(Body::from(text + "\n"));
    let json = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(CONTENT_TYPE, json);
    answer
}

/// One renewal of the named certificate, or of all; the answer when each has come to something.
/// Wishes that come while one is under way share its answer.
async fn renew(seen: &Seen, name: &str) -> Response {
    let known: Vec<String> = seen.force().names().map(str::to_owned).collect();
    let wanted: Vec<String> = match name {
        "" => known.clone(),
        name => known.iter().filter(|one| *one == name).cloned().collect(),
    };
    if wanted.is_empty() {
        let hint = format!("the certificates are {}", known.join(", "));
        return refused(StatusCode::NOT_FOUND, &hint);
    }
    let mut waiting = Vec::new();
    for name in wanted {
        let Some(status) = seen.of(&name) else {
            continue;
        };
        let before = number(&status.borrow());
        if seen.force().one(&name) {
            waiting.push((name, status, before));
        }
    }
    let mut answer = Renewed::default();
    for (name, mut status, before) in waiting {
        let Ok(ended) = status.wait_for(|status| number(status) > before).await else {
            return refused(StatusCode::SERVICE_UNAVAILABLE, "the agent is ending");
        };
        let forced = ended.forced.as_ref().map(ForcedReport::from);
        let forced = forced.unwrap_or_default();
        answer.certificates.push(RenewedCert {
            name,
            serial: forced.serial,
            failure: forced.failure,
        });
    }
    Json(answer).into_response()
}

fn number(status: &crate::status::Status) -> u64 {
    status.forced.as_ref().map_or(0, |forced| forced.number)
}
