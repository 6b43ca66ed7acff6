//! The routes: paths and bodies in, answers out.
//!
//! Never answers while sealed but for the seal's own paths. What stays true: nothing but the public
//! paths is reached without a live token whose policies allow it.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{FromRequestParts, Path, Request, State},
    http::{Method, StatusCode, Uri, request::Parts},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use certagent_model::time::Timestamp;
use serde::Deserialize;
use serde_json::json;

use crate::{
    answer::{self, ApiError, Handled},
    authority::{Mount, Shown},
    identity::JWT_ROLE,
    input, issue,
    log::RequestLog,
    policy, role,
    store::Store,
    token::IssuedToken,
};

/// The version that `sys/health` names: the OpenBao whose behaviour is imitated.
const VERSION: &str = "2.7.2";

/// What the handlers share.
pub(crate) struct Server {
    store: Mutex<Store>,
    pub(crate) log: RequestLog,
}

type ServerState = State<Arc<Server>>;

impl Server {
    pub(crate) fn new(store: Store) -> Self {
        Self {
            store: Mutex::new(store),
            log: RequestLog::default(),
        }
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer of the mount in a path.
    fn on_mount(&self, uri: &Uri, answer: impl FnOnce(&Mount) -> Handled) -> Handled {
        let path = below_v1(uri);
        let store = self.store();
        let mount = path.split('/').next().and_then(|mount| store.mount(mount));
        answer(mount.ok_or_else(|| ApiError::no_route(path))?)
    }
}

/// The wall time: the one place that reads it.
#[expect(clippy::disallowed_methods, reason = "handed on as an argument")]
pub(crate) fn now() -> Timestamp {
    Timestamp::from(SystemTime::now())
}

/// All routes below `/v1/`; POST and PUT are the same to Vault.
pub(crate) fn router(shared: Arc<Server>) -> Router {
    Router::new()
        .route("/v1/sys/health", get(health))
        .route("/v1/sys/seal-status", get(seal_status))
        .route("/v1/sys/seal", post(seal).put(seal))
        .route("/v1/sys/unseal", post(unseal).put(unseal))
        .route(
            "/v1/sys/capabilities-self",
            post(capabilities).put(capabilities),
        )
        .route("/v1/auth/jwt-nomad/login", post(log_in).put(log_in))
        .route("/v1/auth/token/lookup-self", get(look_up).post(look_up))
        .route("/v1/auth/token/renew-self", post(renew).put(renew))
        .route("/v1/auth/token/revoke-self", post(revoke).put(revoke))
        .route("/v1/{mount}/ca/pem", get(ca_pem))
        .route("/v1/{mount}/ca_chain", get(ca_chain))
        .route("/v1/{mount}/issuers", get(issuers))
        .route("/v1/{mount}/issuer/{issuer}", get(issuer_settings))
        .route("/v1/{mount}/issuer/{issuer}/{form}", get(issuer))
        .route("/v1/{mount}/roles/{role}", get(read_role))
        .route("/v1/{mount}/issue/{role}", post(issue_leaf).put(issue_leaf))
        .route("/v1/{mount}/sign/{role}", post(sign_leaf).put(sign_leaf))
        .fallback(no_route)
        .method_not_allowed_fallback(no_operation)
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), guard))
        .with_state(shared)
}

fn below_v1(uri: &Uri) -> &str {
    uri.path().strip_prefix("/v1/").unwrap_or_default()
}

/// A query parameter; values here are numbers and `true`, so that nothing is percent-decoded.
fn query<'a>(uri: &'a Uri, name: &str) -> Option<&'a str> {
    let pairs = uri.query().unwrap_or_default().split('&');
    let mut pairs = pairs.filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// The seal before each request, the log after it.
async fn guard(State(shared): ServerState, request: Request, next: Next) -> Response {
    let path = below_v1(request.uri()).to_owned();
    let method = request.method().clone();
    let own = matches!(
        path.as_str(),
        "sys/health" | "sys/seal-status" | "sys/unseal"
    );
    let sealed = shared.store().sealed && !own;
    let response = match sealed {
        true => ApiError::sealed().into_response(),
        false => next.run(request).await,
    };
    let status = response.status().as_u16();
    shared.log.note(format!("{method} {path} {status}"));
    response
}

/// Who sent a request: a live token whose policies allow it.
struct Caller(IssuedToken);

impl FromRequestParts<Arc<Server>> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut Parts,
        shared: &Arc<Server>,
    ) -> Result<Self, Self::Rejection> {
        let header = |name| {
            parts
                .headers
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        let bearer = header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        let id = header("x-vault-token").or(bearer).unwrap_or_default();
        let found = shared.store().tokens.find(id, now()).cloned();
        let token = found.ok_or_else(ApiError::no_token)?;
        let capability = match parts.method {
            Method::GET | Method::HEAD => "read",
            Method::DELETE => "delete",
            _ => "update",
        };
        match policy::allows(token.policies, below_v1(&parts.uri), capability) {
            true => Ok(Self(token)),
            false => Err(ApiError::no_permission()),
        }
    }
}

async fn no_route(_: Caller, uri: Uri) -> ApiError {
    ApiError::no_route(below_v1(&uri))
}

async fn no_operation(_: Caller) -> ApiError {
    ApiError::no_operation()
}

async fn health(State(shared): ServerState, uri: Uri) -> Handled {
    let sealed = shared.store().sealed;
    let (code, default) = match sealed {
        true => ("sealedcode", StatusCode::SERVICE_UNAVAILABLE),
        false => ("activecode", StatusCode::OK),
    };
    let status = query(&uri, code).map_or(Ok(default), str::parse);
    let status = status.map_err(|_| ApiError::bad(format!("bad {code}")))?;
    let mode = if sealed { "unknown" } else { "disabled" };
    let body = json!({
        "initialized": true,
        "sealed": sealed,
        "standby": sealed,
        "replication_performance_mode": mode,
        "replication_dr_mode": mode,
        "server_time_utc": now().unix_secs(),
        "version": VERSION,
    });
    Ok((status, Json(body)).into_response())
}

async fn seal_status(State(shared): ServerState) -> Response {
    let sealed = shared.store().sealed;
    let body = json!({
        "type": "shamir", "initialized": true, "sealed": sealed, "t": 1, "n": 1, "progress": 0,
        "nonce": "", "version": VERSION, "storage_type": "inmem",
    });
    Json(body).into_response()
}

async fn seal(State(shared): ServerState, _: Caller) -> Response {
    shared.store().sealed = true;
    answer::nothing()
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Unseal {
    key: String,
}

async fn unseal(State(shared): ServerState, body: Bytes) -> Handled {
    let request: Unseal = input::read(&body)?;
    shared.store().unseal(&request.key)?;
    Ok(seal_status(State(shared)).await)
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct CapabilitiesBody {
    #[serde(deserialize_with = "input::list")]
    paths: Vec<String>,
    #[serde(deserialize_with = "input::list")]
    path: Vec<String>,
}

async fn capabilities(Caller(token): Caller, body: Bytes) -> Handled {
    let request: CapabilitiesBody = input::read(&body)?;
    let paths = [request.paths, request.path].concat();
    if paths.is_empty() {
        return Err(ApiError::bad("paths must be supplied"));
    }
    let mut data = json!({});
    for path in &paths {
        data[path.as_str()] = json!(policy::capabilities(token.policies, path));
    }
    if let [path] = &paths[..] {
        data["capabilities"] = data[path.as_str()].clone();
    }
    Ok(answer::flat(&data))
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct LogIn {
    role: String,
    jwt: String,
}

async fn log_in(State(shared): ServerState, body: Bytes) -> Handled {
    let request: LogIn = input::read(&body)?;
    let role = request.role.to_lowercase();
    if !role.is_empty() && role != JWT_ROLE {
        let text = format!("role \"{role}\" could not be found");
        return Err(ApiError::bad(text));
    }
    if request.jwt.is_empty() {
        return Err(ApiError::bad("missing token"));
    }
    let (mut store, now) = (shared.store(), now());
    let identity = store.workload.check(&request.jwt, now)?;
    let token = store.log_in(&identity, now);
    Ok(answer::auth(&token.auth(now)))
}

async fn look_up(Caller(token): Caller) -> Response {
    answer::data(&token.lookup(now()), &[])
}

async fn renew(State(shared): ServerState, Caller(token): Caller) -> Handled {
    let now = now();
    let renewed = shared.store().tokens.renew(&token.id, now);
    let token = renewed.ok_or_else(|| ApiError::bad("lease is not renewable"))?;
    Ok(answer::auth(&token.auth(now)))
}

async fn revoke(State(shared): ServerState, Caller(token): Caller) -> Response {
    shared.store().tokens.revoke(&token.id);
    answer::nothing()
}

async fn ca_pem(State(shared): ServerState, uri: Uri) -> Handled {
    shared.on_mount(&uri, |mount| Ok(pem(mount.signer().pem.clone())))
}

async fn ca_chain(State(shared): ServerState, uri: Uri) -> Handled {
    shared.on_mount(&uri, |mount| {
        let chain = mount.chain().join("\n");
        Ok(answer::certificate("application/pkix-cert", chain))
    })
}

fn pem(text: String) -> Response {
    answer::certificate("application/pem-certificate-chain", text)
}

async fn issuers(State(shared): ServerState, uri: Uri) -> Handled {
    if query(&uri, "list") != Some("true") {
        return Err(ApiError::no_operation());
    }
    shared.on_mount(&uri, |mount| Ok(answer::data(&mount.list(), &[])))
}

async fn issuer(
    State(shared): ServerState,
    uri: Uri,
    Path((_, issuer, form)): Path<(String, String, String)>,
) -> Handled {
    shared.on_mount(&uri, |mount| {
        let shown = mount.find(&issuer);
        let shown = shown.map_err(|why| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, why))?;
        match form.as_str() {
            "json" => Ok(answer::data(&mount.described(shown, false), &[])),
            "pem" => Ok(pem(format!("{}\n", shown.pem))),
            "der" => Ok(der(shown)),
            _ => Err(ApiError::absent()),
        }
    })
}

fn der(shown: &Shown) -> Response {
    answer::certificate("application/pkix-cert", shown.der.clone())
}

async fn issuer_settings(
    State(shared): ServerState,
    _: Caller,
    uri: Uri,
    Path((_, issuer)): Path<(String, String)>,
) -> Handled {
    shared.on_mount(&uri, |mount| {
        let shown = mount.find(&issuer);
        let shown =
            shown.map_err(|why| ApiError::framed(StatusCode::INTERNAL_SERVER_ERROR, &why))?;
        Ok(answer::data(&mount.described(shown, true), &[]))
    })
}

async fn read_role(
    State(shared): ServerState,
    _: Caller,
    uri: Uri,
    Path((_, name)): Path<(String, String)>,
) -> Handled {
    shared.on_mount(&uri, |_| match name == role::ROLE {
        true => Ok(answer::data(&role::described(), &[])),
        false => Err(ApiError::absent()),
    })
}

async fn issue_leaf(
    State(shared): ServerState,
    _: Caller,
    uri: Uri,
    Path((_, role)): Path<(String, String)>,
    body: Bytes,
) -> Handled {
    shared.on_mount(&uri, |mount| issue::issue(mount, &role, &body, now()))
}

async fn sign_leaf(
    State(shared): ServerState,
    _: Caller,
    uri: Uri,
    Path((_, role)): Path<(String, String)>,
    body: Bytes,
) -> Handled {
    shared.on_mount(&uri, |mount| issue::sign(mount, &role, &body, now()))
}
