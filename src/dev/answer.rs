//! What the embedded PKI answers: Vault's envelope, plain bodies and refusals.
//!
//! Never decides anything. What stays true: every refusal has the shape `{"errors":[...]}`.

use serde_json::{Map, Value, json};

use super::random;

/// A successful answer.
pub(super) enum Answer {
    /// 204, no body.
    Nothing,
    /// 200 with Vault's envelope.
    Envelope(Envelope),
    /// JSON without an envelope, as `sys/health` has it.
    Plain(u16, Value),
    /// A body that is not JSON; 204 when it is empty.
    Raw(&'static str, Vec<u8>),
}

/// The varying parts of Vault's envelope.
#[derive(Default)]
pub(super) struct Envelope {
    pub(super) data: Option<Value>,
    pub(super) auth: Option<Value>,
    pub(super) wrap_info: Option<Value>,
    pub(super) warnings: Vec<String>,
    pub(super) lease: Option<(String, u64)>,
    /// Repeat the fields of `data` beside the envelope's own, as `sys/` does.
    pub(super) flat: bool,
}

impl Envelope {
    /// The JSON body.
    pub(super) fn into_json(self) -> Value {
        let mut body = Map::new();
        if let (true, Some(Value::Object(data))) = (self.flat, &self.data) {
            body.extend(data.clone());
        }
        let request_id = if self.wrap_info.is_some() {
            String::new()
        } else {
            random::uuid()
        };
        let (lease_id, lease_duration) = self.lease.unwrap_or_default();
        body.insert("request_id".to_owned(), json!(request_id));
        body.insert("lease_id".to_owned(), json!(lease_id));
        body.insert("renewable".to_owned(), json!(false));
        body.insert("lease_duration".to_owned(), json!(lease_duration));
        body.insert("data".to_owned(), self.data.unwrap_or(Value::Null));
        body.insert(
            "wrap_info".to_owned(),
            self.wrap_info.unwrap_or(Value::Null),
        );
        let warnings = match self.warnings.is_empty() {
            true => Value::Null,
            false => json!(self.warnings),
        };
        body.insert("warnings".to_owned(), warnings);
        body.insert("auth".to_owned(), self.auth.unwrap_or(Value::Null));
        Value::Object(body)
    }
}

impl Answer {
    /// An envelope around `data`.
    pub(super) fn data(data: Value) -> Self {
        Self::Envelope(Envelope {
            data: Some(data),
            ..Envelope::default()
        })
    }

    /// An envelope around `data` with warnings.
    pub(super) fn data_with(data: Value, warnings: Vec<String>) -> Self {
        Self::Envelope(Envelope {
            data: Some(data),
            warnings,
            ..Envelope::default()
        })
    }

    /// An envelope around `data`, repeated at top level.
    pub(super) fn flat(data: Value) -> Self {
        Self::Envelope(Envelope {
            data: Some(data),
            flat: true,
            ..Envelope::default()
        })
    }

    /// An envelope around `auth`: a login or a token renewal.
    pub(super) fn auth(auth: Value, warnings: Vec<String>) -> Self {
        Self::Envelope(Envelope {
            auth: Some(auth),
            warnings,
            ..Envelope::default()
        })
    }
}

/// A refusal: status and texts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) status: u16,
    pub(super) errors: Vec<String>,
}

impl Refused {
    /// One text.
    pub(super) fn new(status: u16, text: impl Into<String>) -> Self {
        Self {
            status,
            errors: vec![text.into()],
        }
    }

    /// 400 with one text.
    pub(super) fn bad(text: impl Into<String>) -> Self {
        Self::new(400, text)
    }

    /// One text inside the frame that OpenBao puts round a Go error of an authenticated request.
    pub(super) fn framed(status: u16, text: &str) -> Self {
        Self::new(status, format!("1 error occurred:\n\t* {text}\n\n"))
    }

    /// 404 without a text: no such entry.
    pub(super) fn absent() -> Self {
        Self {
            status: 404,
            errors: Vec::new(),
        }
    }

    /// The token is missing, unknown, expired or revoked.
    pub(super) fn no_token() -> Self {
        Self::new(403, "permission denied")
    }

    /// The token is good, its policies do not allow the request.
    pub(super) fn no_permission() -> Self {
        Self::framed(403, "permission denied")
    }

    /// The mount knows no such path.
    pub(super) fn no_path() -> Self {
        Self::framed(404, "unsupported path")
    }

    /// The path exists, the operation does not.
    pub(super) fn no_operation() -> Self {
        Self::framed(405, "unsupported operation")
    }
}

/// What every handler returns.
pub(super) type Outcome = Result<Answer, Refused>;
