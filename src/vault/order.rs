//! What an order looks like on the wire: path and JSON body.
//!
//! Never sends. What stays true: the ttl is always there, in whole seconds, because anything under
//! a second silently means "the role's default" to Vault.

use serde_json::{Map, Value};

use crate::issuer::{IssuanceRequest, OrderedKey};

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
    if let OrderedKey::Asked(kind) = order.key {
        // Vault warns of both, OpenBao where the role has a kind: sent only when they are needed.
        let (key_type, key_bits) = kind.vault();
        put("key_type", key_type.into());
        put("key_bits", key_bits.into());
    }
    let (what, word) = match order.key {
        OrderedKey::OfRole | OrderedKey::Asked(_) => {
            put("private_key_format", "pkcs8".into());
            ("issuing a certificate", "issue")
        }
        OrderedKey::Csr(csr) => {
            put("csr", csr.into());
            ("signing a certificate", "sign")
        }
    };
    RequestPlan {
        what,
        path: format!("{}/{word}/{}", request.mount, request.role),
        body: Value::Object(body),
    }
}
