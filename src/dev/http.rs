//! HTTP to Vault's terms and back.
//!
//! Never logs a body or a token. What stays true: a request below `/v1/` always gets JSON, or the
//! raw form its path is documented to have.

use std::sync::{Arc, Mutex, PoisonError};

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::Response,
};
use serde_json::json;

use crate::clock::Clock;

use super::{
    answer::{Answer, Outcome, Refused},
    call::{self, Call, Op},
    faults::{Fault, Faults},
    store::Store,
};

/// What the handler shares between requests.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) store: Arc<Mutex<Store>>,
    pub(super) faults: Faults,
    pub(super) clock: Arc<dyn Clock>,
}

/// The one handler: Vault's paths depend on its mounts, not on a fixed table.
pub(super) async fn handle(
    State(shared): State<Shared>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let fault = shared.faults.current();
    if !fault.latency.is_zero() {
        tokio::time::sleep(fault.latency).await;
    }
    let path = uri.path().trim_start_matches('/');
    let path = path.strip_prefix("v1/").map(decoded);
    let response = match (faulty(&fault, path.as_deref()), &path) {
        (Some(response), _) => response,
        (None, None) => written(Err(Refused::absent())),
        (None, Some(path)) => {
            let answered = read(&shared, &method, path, &uri, &headers, &body).and_then(|call| {
                let store = shared.store.lock();
                let mut store = store.unwrap_or_else(PoisonError::into_inner);
                store.answer(&call)
            });
            written(answered)
        }
    };
    let status = response.status().as_u16();
    let path = path.unwrap_or_default();
    shared.faults.note(format!("{method} {path} {status}"));
    response
}

fn faulty(fault: &Fault, path: Option<&str>) -> Option<Response> {
    if let Some((status, text)) = &fault.instead {
        return Some(raw(*status, "text/html", text.clone().into_bytes()));
    }
    let path = path.unwrap_or_default();
    if let Some(secs) = fault.throttled {
        let text = format!("request path \"{path}\": rate limit quota exceeded");
        let mut response = written(Err(Refused::new(429, text)));
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, secs.into());
        return Some(response);
    }
    let own = matches!(path, "sys/health" | "sys/seal-status" | "sys/unseal");
    (fault.sealed && !own).then(|| written(Err(Refused::new(503, "Vault is sealed"))))
}

fn read(
    shared: &Shared,
    method: &Method,
    path: &str,
    uri: &Uri,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Call, Refused> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if *method == Method::PATCH {
        let kind = header("content-type").unwrap_or_default();
        return Err(Refused::new(
            415,
            format!("PATCH requires Content-Type of application/merge-patch+json, provided {kind}"),
        ));
    }
    let query = pairs(uri.query().unwrap_or_default());
    let (op, path) = call::operation(method.as_str(), path, &query)?;
    let input = match op {
        Op::Update => call::json_input(body)?,
        _ => serde_json::Map::new(),
    };
    let bearer = header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    let token = header("x-vault-token").or(bearer).map(str::to_owned);
    let wrap = header("x-vault-wrap-ttl").map(call::wrap_ttl).transpose()?;
    Ok(Call {
        op,
        path,
        query,
        input,
        token,
        wrap: wrap.filter(|secs| *secs > 0),
        now: shared.clock.now(),
    })
}

fn pairs(query: &str) -> Vec<(String, String)> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(key), decoded(value))
        })
        .collect()
}

/// Percent-decoding (RFC 3986 section 2.1); what is not valid stays as it is.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let hex = (byte == b'%').then(|| tail.get(..2)).flatten();
        let hex = hex.and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(value) => {
                bytes.push(value);
                rest = &tail[2..];
            }
            None => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn written(outcome: Outcome) -> Response {
    match outcome {
        Ok(Answer::Nothing) => raw(204, "application/json", Vec::new()),
        Ok(Answer::Envelope(envelope)) => json_body(200, &envelope.into_json()),
        Ok(Answer::Plain(status, body)) => json_body(status, &body),
        Ok(Answer::Raw(kind, bytes)) if bytes.is_empty() => raw(204, kind, bytes),
        Ok(Answer::Raw(kind, bytes)) => raw(200, kind, bytes),
        Err(refused) => json_body(refused.status, &json!({ "errors": refused.errors })),
    }
}

fn json_body(status: u16, body: &serde_json::Value) -> Response {
    raw(status, "application/json", format!("{body}\n").into_bytes())
}

fn raw(status: u16, kind: &'static str, bytes: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    headers.insert(
        header::CACHE_CONTROL,
        header::HeaderValue::from_static("no-store"),
    );
    response
}

#[cfg(test)]
mod tests {
    use super::decoded;

    #[test]
    fn percent_signs_are_decoded() {
        assert_eq!(decoded("cert/aa%3Abb"), "cert/aa:bb");
        assert_eq!(decoded("100%"), "100%");
    }
}
