//! The library's Vault client and the auth methods against a real OpenBao, or the Vault of `CERTAGENT_VAULT`.
//!
//! Never starts the built binary: other tests do that.

mod auth;
mod messages;
mod network;
mod orders;

use std::{path::Path, time::Duration};

use certagent::{
    config::{Auth, TlsConfig, VaultConfig},
    issuer::{IssuanceRequest, Issuer, OrderedKey, Reply},
    model::{
        failure::Failure,
        request::{KeyType, Mode, Names, Request},
        secret::Secret,
    },
    vault::Vault,
};

use crate::rig::{Claims, OpenBao, jwt};

fn config(address: &str) -> VaultConfig {
    VaultConfig {
        addresses: vec![address.to_owned()],
        allow_plain_http: false,
        namespace: None,
        tls: TlsConfig::default(),
        timeout: Duration::from_secs(20),
        proxy: None,
        rate_limit: None,
        max_retries: 0,
        disable_redirects: false,
        headers: Vec::new(),
    }
}

fn vault(server: &OpenBao, auth: Auth) -> Vault {
    Vault::new(&config(&server.address), auth).unwrap()
}

fn token(text: &str) -> Auth {
    Auth::Token(Secret::new(text.to_owned()))
}

/// JWT login with this identity, kept in a file of `dir`.
fn identity(dir: &Path, claims: &Claims) -> Auth {
    let path = dir.join("nomad_certagent.jwt");
    std::fs::write(&path, jwt(claims)).unwrap();
    Auth::Jwt {
        mount: "jwt-nomad".to_owned(),
        role: Some("certagent".to_owned()),
        path: path.into(),
    }
}

fn request() -> Request {
    Request {
        names: Names {
            common_name: "loki-read.service.consul".to_owned(),
            dns: ["localhost".to_owned()].into(),
            ips: ["10.0.0.1".parse().unwrap(), "::1".parse().unwrap()].into(),
            uris: ["spiffe://prod/loki".to_owned()].into(),
        },
        ttl: Duration::from_secs(3600),
        role: "ec".to_owned(),
        ..Request::example()
    }
}

async fn issue(vault: &Vault) -> Result<Reply, Failure> {
    let request = request();
    let order = IssuanceRequest {
        request: &request,
        key: OrderedKey::Asked(request.key_type),
    };
    vault.issue(order).await
}

/// True when the issuer still knows this token.
fn lives(server: &OpenBao, token: &str) -> bool {
    let path = "auth/token/lookup-self";
    server.request_as(token, "GET", path, None).status == 200
}
