//! One request, read from HTTP into Vault's terms.
//!
//! Never answers. What stays true: the path has no leading slash, and a list operation's path ends
//! with one, as in Vault's policies.

use serde_json::{Map, Value};

use crate::model::time::Timestamp;

use super::{
    answer::Refused,
    duration,
    fields::{Fields, Schema},
};

/// Vault's operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// GET.
    Read,
    /// LIST, or GET with `list=true`.
    List,
    /// POST or PUT.
    Update,
    /// DELETE.
    Delete,
}

impl Op {
    /// The capability a policy must give for it.
    pub(super) fn capability(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::List => "list",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// One request in Vault's terms.
pub(super) struct Call {
    pub(super) op: Op,
    /// Below `/v1/`.
    pub(super) path: String,
    pub(super) query: Vec<(String, String)>,
    pub(super) input: Map<String, Value>,
    pub(super) token: Option<String>,
    /// Seconds asked for with `X-Vault-Wrap-TTL`.
    pub(super) wrap: Option<u64>,
    pub(super) now: Timestamp,
}

impl Call {
    /// The fields by a schema.
    pub(super) fn fields(&self, schema: Schema) -> Result<Fields, Refused> {
        Fields::read(&self.input, schema)
    }

    /// The path's part after a mount or prefix.
    pub(super) fn after<'a>(&'a self, prefix: &str) -> &'a str {
        self.path.strip_prefix(prefix).unwrap_or_default()
    }

    /// A query parameter.
    pub(super) fn query(&self, name: &str) -> Option<&str> {
        let pair = self.query.iter().find(|(key, _)| key == name);
        pair.map(|(_, value)| value.as_str())
    }
}

/// Reads the operation and the path from method, path below `/v1/`, and query.
pub(super) fn operation(
    method: &str,
    path: &str,
    query: &[(String, String)],
) -> Result<(Op, String), Refused> {
    let listed = query
        .iter()
        .any(|(key, value)| key == "list" && value == "true");
    let op = match method {
        "GET" | "HEAD" if listed => Op::List,
        "GET" | "HEAD" => Op::Read,
        "LIST" => Op::List,
        "POST" | "PUT" => Op::Update,
        "DELETE" => Op::Delete,
        _ => {
            return Err(Refused {
                status: 405,
                errors: Vec::new(),
            });
        }
    };
    let mut path = path.to_owned();
    if op == Op::List && !path.ends_with('/') {
        path.push('/');
    }
    Ok((op, path))
}

/// The body as a JSON object, with the texts of Vault's decoder.
pub(super) fn json_input(body: &[u8]) -> Result<Map<String, Value>, Refused> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Map::new());
    }
    let refused = |why: String| Refused::bad(format!("failed to decode JSON input: {why}"));
    match serde_json::from_slice(body) {
        Ok(Value::Object(input)) => Ok(input),
        Ok(Value::Null) => Ok(Map::new()),
        Ok(other) => {
            let kind = match other {
                Value::Array(_) => "array",
                Value::String(_) => "string",
                Value::Bool(_) => "bool",
                _ => "number",
            };
            Err(refused(format!(
                "json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"
            )))
        }
        Err(error) if error.is_eof() => Err(refused("unexpected EOF".to_owned())),
        Err(error) => {
            let at = body
                .split(|byte| *byte == b'\n')
                .nth(error.line().saturating_sub(1))
                .and_then(|line| line.get(error.column().saturating_sub(1)));
            let at = char::from(at.copied().unwrap_or_default());
            Err(refused(format!(
                "invalid character '{at}' looking for beginning of value"
            )))
        }
    }
}

/// Seconds of an `X-Vault-Wrap-TTL` header.
pub(super) fn wrap_ttl(header: &str) -> Result<u64, Refused> {
    duration::seconds(&Value::String(header.to_owned())).map_err(Refused::bad)
}
