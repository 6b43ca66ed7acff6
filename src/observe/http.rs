//! Health and metrics over HTTP, and the status socket, which speaks HTTP too.
//!
//! Never answers with a secret, never keeps a connection open after its answer, and wakes only when
//! asked. What stays true: only the status socket, which only our own user and root can use, takes
//! a wish for a renewal.

use std::{future::pending, io, net::SocketAddr, time::Duration};

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, RawQuery, State},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{ACCEPT, CACHE_CONTROL, CONNECTION, CONTENT_TYPE},
    },
    middleware::map_response,
    response::{IntoResponse as _, Response},
    routing::{get, post},
    serve::Listener,
};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    limited::Limited,
    metrics, page,
    report::{Ready, Renewed, RenewedCert, Report},
    socket::{OwnUser, Socket, SocketError},
    view::AgentView,
};
use crate::{
    config::{Listen, StatusSocket},
    control::Wish,
    status::{ForcedReport, Status},
};

/// How long one connection to health and metrics may take in all.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);

/// Every user of this machine, as on loopback.
const PUBLIC_MODE: u32 = 0o666;

/// Our own user; root may do everything anyway.
const PRIVATE_MODE: u32 = 0o600;

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
    /// Binds what is configured. A status socket that was not configured is done without when it can't be
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
                servers.unix = Some(Socket::bind(path, PUBLIC_MODE).map_err(ServeError::Http)?);
            }
        }
        match status.map(|status| (status, Socket::bind(&status.path, PRIVATE_MODE))) {
            None => {}
            Some((_, Ok(socket))) => servers.status = Some(socket),
            Some((status, Err(error))) if status.chosen => {
                return Err(ServeError::Status(error));
            }
            Some((_, Err(error))) => {
                warn!("{error}; certagent status can't reach this agent: set status-socket");
            }
        }
        Ok(servers)
    }

    /// Answers until `stop`; the sockets' files are gone then.
    pub async fn run(self, seen: AgentView, stop: CancellationToken) {
        let tcp = async {
            match self.tcp {
                Some(listener) => {
                    serve(listener, Some(CONNECTION_TIMEOUT), public(seen.clone())).await
                }
                None => pending().await,
            }
        };
        let unix = async {
            match self.unix {
                Some(socket) => {
                    let (listener, _file) = socket.split();
                    serve(listener, Some(CONNECTION_TIMEOUT), public(seen.clone())).await;
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

fn public(seen: AgentView) -> Router {
    finished(health()).with_state(seen)
}

fn private(seen: AgentView) -> Router {
    let routes = health()
        .route("/renew", post(renew_all))
        .route("/renew/{name}", post(renew_one));
    finished(routes).with_state(seen)
}

fn health() -> Router<AgentView> {
    Router::new()
        .route("/", get(page))
        .route("/live", get(live))
        .route("/ready", get(ready))
        .route("/metrics", get(exposition))
        .route("/status", get(status))
}

/// What else may be asked for, and what every answer has.
fn finished(routes: Router<AgentView>) -> Router<AgentView> {
    routes
        .fallback(async || {
            refused(
                StatusCode::NOT_FOUND,
                "try /live, /ready, /status or /metrics",
            )
        })
        // The header Allow names the right one.
        .method_not_allowed_fallback(async || {
            refused(
                StatusCode::METHOD_NOT_ALLOWED,
                "use the method that Allow names",
            )
        })
        .layer(map_response(closing))
}

/// A connection that waits for a next request would cost a wake-up in the end.
async fn closing(mut answer: Response) -> Response {
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

/// Who answers runs: the loops are on the same thread.
async fn live() -> Json<Value> {
    Json(json!({ "live": true }))
}

async fn ready(State(seen): State<AgentView>) -> (StatusCode, Response) {
    let ready = Ready::from(&seen.view());
    let status = if ready.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, pretty(&ready))
}

async fn exposition(State(seen): State<AgentView>, headers: HeaderMap) -> Response {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    let format = metrics::Format::accepted(accept.unwrap_or_default());
    match metrics::exposition(seen.view(), format) {
        Ok(text) => ([(CONTENT_TYPE, format.media_type())], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn page(State(seen): State<AgentView>) -> Response {
    page::answer(page::agent(&seen.view()))
}

async fn status(State(seen): State<AgentView>) -> Response {
    Json(Report::from(&seen.view())).into_response()
}

async fn renew_all(State(seen): State<AgentView>, RawQuery(query): RawQuery) -> Response {
    let names = seen.force().names().map(str::to_owned).collect();
    renew(&seen, names, wish(query)).await
}

/// `new_key` and `revoke_old`, in any order; nothing else is known.
fn wish(query: Option<String>) -> Wish {
    let has = |word: &str| {
        query
            .iter()
            .flat_map(|text| text.split('&'))
            .any(|one| one == word)
    };
    let revoke_old = has("revoke_old");
    Wish {
        new_key: has("new_key") || revoke_old,
        revoke_old,
    }
}

async fn renew_one(
    State(seen): State<AgentView>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    if !seen.force().names().any(|known| known == name) {
        let known: Vec<_> = seen.force().names().collect();
        let hint = format!("the certificates are {}", known.join(", "));
        return refused(StatusCode::NOT_FOUND, &hint);
    }
    renew(&seen, vec![name], wish(query)).await
}

/// People look at it with curl.
fn pretty(value: &impl Serialize) -> Response {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    let mut answer = Response::new(Body::from(text + "\n"));
    let json = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(CONTENT_TYPE, json);
    answer
}

/// One renewal of each; the answer when each has come to something. Wishes that come while one is
/// under way share its answer.
async fn renew(seen: &AgentView, names: Vec<String>, wish: Wish) -> Response {
    let mut waiting = Vec::new();
    for name in names {
        let Some(status) = seen.of(&name) else {
            continue;
        };
        let before = number(&status.borrow());
        if seen.force().one(&name, wish) {
            waiting.push((name, status, before));
        }
    }
    let mut answer = Renewed::default();
    for (name, mut status, before) in waiting {
        let Ok(ended) = status.wait_for(|status| number(status) > before).await else {
            return refused(StatusCode::SERVICE_UNAVAILABLE, "the agent is ending");
        };
        let forced = ended.manual_renewal.clone().map(ForcedReport::from);
        let forced = forced.unwrap_or_default();
        answer.certificates.push(RenewedCert {
            name,
            serial: forced.serial,
            failure: forced.failure,
            revoked: forced.revoked,
        });
    }
    Json(answer).into_response()
}

fn number(status: &Status) -> u64 {
    status
        .manual_renewal
        .as_ref()
        .map_or(0, |forced| forced.number)
}
