//! What the embedded PKI answers: Vault's envelope, other bodies, and refusals.
//!
//! Never decides anything. What stays true: every refusal has the shape `{"errors":[...]}`.

use axum::{
    Json,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use crate::random;

/// What every handler returns.
pub(crate) type Handled = Result<Response, ApiError>;

/// The envelope around `data` or `auth` (Vault API, "Responses").
fn envelope(data: &Value, auth: &Value, warnings: &[String]) -> Value {
    let warnings = (!warnings.is_empty()).then_some(warnings);
    json!({
        "request_id": random::uuid(), "lease_id": "", "renewable": false, "lease_duration": 0,
        "data": data, "wrap_info": null, "warnings": warnings, "auth": auth,
    })
}

/// 200 with `data` and warnings.
pub(crate) fn data(data: &Value, warnings: &[String]) -> Response {
    Json(envelope(data, &Value::Null, warnings)).into_response()
}

/// 200 with `auth`: a login or a token's renewal.
pub(crate) fn auth(auth: &Value) -> Response {
    Json(envelope(&Value::Null, auth, &[])).into_response()
}

/// 200 with `data`, its fields repeated beside the envelope's own, as `sys/` does.
pub(crate) fn flat(data: &Value) -> Response {
    let mut body = envelope(data, &Value::Null, &[]);
    if let (Value::Object(body), Value::Object(data)) = (&mut body, data) {
        body.extend(data.clone());
    }
    Json(body).into_response()
}

/// 204.
pub(crate) fn nothing() -> Response {
    let json = [(header::CONTENT_TYPE, "application/json")];
    (StatusCode::NO_CONTENT, json).into_response()
}

/// A certificate, not in JSON.
pub(crate) fn certificate(content_type: &'static str, body: impl Into<Vec<u8>>) -> Response {
    ([(header::CONTENT_TYPE, content_type)], body.into()).into_response()
}

/// A refusal: status and texts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ApiError {
    status: StatusCode,
    errors: Vec<String>,
}

impl ApiError {
    /// One text.
    pub(crate) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self {
            status,
            errors: vec![text.into()],
        }
    }

    /// 400 with one text.
    pub(crate) fn bad(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    /// 500: what cannot be the caller's fault.
    pub(crate) fn internal(error: &rcgen::Error) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }

    /// 404 without a text: no such entry.
    pub(crate) fn absent() -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            errors: Vec::new(),
        }
    }

    /// 503 for everything while sealed.
    pub(crate) fn sealed() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "Vault is sealed")
    }

    /// The token is missing, unknown, expired or revoked.
    pub(crate) fn no_token() -> Self {
        Self::new(StatusCode::FORBIDDEN, "permission denied")
    }

    /// The token is good, its policies do not allow the request.
    pub(crate) fn no_permission() -> Self {
        Self::framed(StatusCode::FORBIDDEN, "permission denied")
    }

    /// The path exists, the operation does not.
    pub(crate) fn no_operation() -> Self {
        Self::framed(StatusCode::METHOD_NOT_ALLOWED, "unsupported operation")
    }

    /// No mount has the path.
    pub(crate) fn no_route(path: &str) -> Self {
        let text = format!("no handler for route \"{path}\". route entry not found.");
        Self::new(StatusCode::NOT_FOUND, text)
    }

    /// One text inside the frame that OpenBao puts round a Go error of an authenticated request.
    pub(crate) fn framed(status: StatusCode, text: &str) -> Self {
        Self::new(status, format!("1 error occurred:\n\t* {text}\n\n"))
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "errors": self.errors }))).into_response()
    }
}
