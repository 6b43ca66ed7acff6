//! What an order looks like on the wire: path and JSON body.
//!
//! Never sends. What stays true: the ttl is always there, in whole seconds, because anything under
//! a second silently means "the role's default" to Vault.

use serde_json::{Map, Value};

use crate::{issuer::IssuanceRequest, model::request::Mode};

/// The exact request for an order; holds no secret (a CSR is public).
#[derive(Clone, Debug)]
pub struct RequestPlan {
    /// For messages: `issuing a certificate`.
    pub what: &'static str,
    /// Below `/v1/`: `pki/issue/internal`. Sent with POST.
    pub path: String,
    /// The JSON body.
    pub body: Value,
}

/// The request that [`crate::issuer::Issuer::issue`] sends for this order.
/// Vault API, PKI, "Generate certificate and key" and "Sign certificate".
#[must_use]
pub fn plan(order: &IssuanceRequest<'_>) -> RequestPlan {
    let request = order.request;
    let names = &request.names;
    let mut body = Map::new();
    let mut put = |name: &str, value: Value| body.insert(name.to_owned(), value);
    if !names.common_name.is_empty() {
        put("common_name", names.common_name.as_str().into());
    }
    if !names.dns.is_empty() {
        // Only a comma list is taken here; an array is a 400.
        let dns: Vec<&str> = names.dns.iter().map(String::as_str).collect();
        put("alt_names", dns.join(",").into());
    }
    if !names.ips.is_empty() {
        let ips: Vec<String> = names.ips.iter().map(ToString::to_string).collect();
        put("ip_sans", ips.into());
    }
    if !names.uris.is_empty() {
        let uris: Vec<&str> = names.uris.iter().map(String::as_str).collect();
        put("uri_sans", uris.into());
    }
    put("ttl", request.ttl.as_secs().max(1).into());
    put("format", "pem".into());
    let what = match request.mode {
        Mode::Issue => {
            let (key_type, key_bits) = request.key_type.vault();
            put("private_key_format", "pkcs8".into());
            put("key_type", key_type.into());
            put("key_bits", key_bits.into());
            "issuing a certificate"
        }
        Mode::Sign => {
            put("csr", order.csr.unwrap_or_default().into());
            "signing a certificate"
        }
    };
    RequestPlan {
        what,
        path: format!("{}/{}/{}", request.mount, request.mode, request.role),
        body: Value::Object(body),
    }
}
