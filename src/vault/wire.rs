//! One request to one address, through vaultrs' client with our own HTTP client inside.
//!
//! vaultrs builds the request (API version, namespace, request header). What it can't do is done
//! here: path prefix, unix socket, verify name, exclusive roots, a token that can't make it panic,
//! headers and bodies of refusals, a limit to the body. Never follows a redirect, never obeys a
//! proxy variable, never keeps a connection after the agent has become idle.

use std::{
    net::IpAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use http::{HeaderMap, HeaderValue, Method, header};
use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};
use rustify::{
    Endpoint,
    clients::reqwest::Client as HttpClient,
    enums::{RequestMethod, RequestType, ResponseType},
    errors::ClientError,
};
use rustls::ClientConfig;
use vaultrs::{
    api::EndpointMiddleware,
    client::{VaultClient, VaultClientSettings},
};
use zeroize::Zeroizing;

use super::{
    address::Address,
    cause::{NameNotFound, NoAnswer, chain, trouble},
    classify::{Who, misconfigured},
};
use crate::{
    http_client::{self, Apart},
    model::{failure::Failure, secret::Secret},
};

/// As many idle connections as orders may be under way: fewer would be made anew for each order.
const MAX_IDLE_CONNECTIONS: usize = 64;
/// An answer larger than this is none.
const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;

/// What to send. Not yet where to.
#[derive(Clone)]
pub(super) struct Ask<'a> {
    /// For messages: `issuing a certificate`.
    pub what: &'a str,
    /// GET, POST or DELETE.
    pub method: Method,
    /// Below `/v1/`.
    pub path: &'a str,
    /// Without the question mark.
    pub query: Option<&'static str>,
    /// JSON, or empty.
    pub body: Zeroizing<Vec<u8>>,
    /// Sent as `X-Vault-Token`.
    pub token: Option<&'a Secret>,
    /// May be sent again although the first one may have arrived.
    pub repeatable: bool,
    /// Its refusals are refusals of credentials.
    pub login: bool,
    /// Asked of the server itself: without the namespace.
    pub root: bool,
    /// Must not show up in a message, besides the token.
    pub secrets: &'a [Secret],
}

impl<'a> Ask<'a> {
    /// POST without token and body, repeatable.
    pub(super) fn new(what: &'a str, path: &'a str) -> Self {
        Self {
            what,
            method: Method::POST,
            path,
            query: None,
            body: Zeroizing::default(),
            token: None,
            repeatable: true,
            login: false,
            root: false,
            secrets: &[],
        }
    }

    pub(super) fn who(&self) -> Who {
        match self.token {
            _ if self.login => Who::Login,
            Some(_) => Who::Token,
            None => Who::Nobody,
        }
    }

    /// The text without our own secrets: a server may repeat what it was sent.
    pub(super) fn scrub(&self, mut text: String) -> String {
        for secret in self.secrets.iter().chain(self.token) {
            if !secret.is_empty() && text.contains(secret.expose()) {
                text = text.replace(secret.expose(), "[secret]");
            }
        }
        text
    }
}

/// What all requests have in common.
pub(super) struct Common {
    pub namespace: Option<String>,
    pub server_name: Option<String>,
    pub proxy: Option<Secret>,
    pub timeout: Duration,
    pub headers: HeaderMap,
}

/// A client for one address.
pub(super) struct Server {
    pub address: Address,
    client: VaultClient,
    /// The thread for it, once there was a request.
    apart: OnceLock<Option<Apart>>,
    /// Sent as `Host` when the URL names the verify name instead.
    host: Option<HeaderValue>,
}

/// An answer, whatever its status.
pub(super) struct Received {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Zeroizing<Vec<u8>>,
}

/// An [`Ask`] as rustify wants it. Paths have no slash at their start: rustify would double it.
struct Raw<'a>(&'a Ask<'a>);

impl Endpoint for Raw<'_> {
    type Response = ();
    const REQUEST_BODY_TYPE: RequestType = RequestType::JSON;
    const RESPONSE_BODY_TYPE: ResponseType = ResponseType::JSON;

    fn path(&self) -> String {
        self.0.path.to_owned()
    }

    fn method(&self) -> RequestMethod {
        match self.0.method {
            Method::GET => RequestMethod::GET,
            Method::DELETE => RequestMethod::DELETE,
            _ => RequestMethod::POST,
        }
    }

    fn query(&self) -> Result<Option<String>, ClientError> {
        Ok(self.0.query.map(str::to_owned))
    }

    fn body(&self) -> Result<Option<Vec<u8>>, ClientError> {
        Ok((!self.0.body.is_empty()).then(|| self.0.body.to_vec()))
    }
}

impl Server {
    /// Makes the client; connects nowhere.
    ///
    /// # Errors
    /// `Misconfigured` when address, proxy and verify name can't go together.
    pub(super) fn new(
        address: &Address,
        tls: ClientConfig,
        common: &Common,
    ) -> Result<Self, Failure> {
        let mut origin = address.origin.clone();
        let mut http = http_client::fenced(tls)
            .timeout(common.timeout)
            .connect_timeout(common.timeout.min(Duration::from_secs(10)))
            // No timer that wakes an idle process; the whole pool goes when the agent is idle.
            .pool_idle_timeout(None)
            .pool_max_idle_per_host(MAX_IDLE_CONNECTIONS);
        let (mut host, mut instead) = (None, None);
        // an IP address is checked by the TLS configuration: it is not sent as SNI (RFC 6066 section 3)
        let sent = common
            .server_name
            .as_ref()
            .filter(|name| name.parse::<IpAddr>().is_err());
        if let (Some(name), true) = (sent, address.is_tls()) {
            let real = origin.host_str().unwrap_or_default().to_owned();
            host = HeaderValue::from_str(&host_header(&origin)).ok();
            origin
                .set_host(Some(name))
                .map_err(|error| server_name(name, &error.to_string()))?;
            if !matches!(origin.domain(), Some(domain) if !domain.is_empty()) {
                return Err(server_name(name, "it must be a DNS name"));
            }
            instead = Some(Arc::from(real));
        }
        if let Some(path) = &address.socket {
            http = http.unix_socket(path.as_path());
        } else if let Some(proxy) = &common.proxy {
            if host.is_some() {
                return Err(server_name("", "it can't be used together with a proxy"));
            }
            let proxy = reqwest::Proxy::all(proxy.expose()).map_err(|_| {
                let text = "reading the proxy address: it is no URL".to_owned();
                misconfigured("proxy", text, "write it as http://proxy.example:3128")
            })?;
            http = http.proxy(proxy);
        }
        let http = http.dns_resolver(Resolver { instead });
        let http = http.build().map_err(|error| {
            misconfigured(
                "http-client",
                format!("setting up HTTP: {}", chain(&error)),
                "",
            )
        })?;
        Ok(Self {
            client: client(origin, http, common),
            apart: OnceLock::new(),
            address: address.clone(),
            host,
        })
    }

    /// Sends once. Any status is an answer.
    pub(super) async fn send(
        &self,
        ask: &Ask<'_>,
        common: &Common,
        limit: Duration,
    ) -> Result<Received, NoAnswer> {
        let mut request = self.request(ask, common)?;
        *request.timeout_mut() = Some(limit.min(common.timeout));
        let apart = self.apart.get_or_init(Apart::start).as_ref();
        let client = self.client.http.http.clone();
        let received = http_client::run(apart, client, request, receive).await;
        received.unwrap_or_else(|| {
            let text = "the server sends interim responses (1xx) and no answer";
            Err(not_vault("answer-endless", text))
        })
    }

    fn request(&self, ask: &Ask<'_>, common: &Common) -> Result<reqwest::Request, NoAnswer> {
        let unsendable = |why: String| NoAnswer {
            code: "unsendable",
            text: why,
            hint: "check mount, role and token for invalid characters",
            sent: false,
        };
        let endpoint = Raw(ask).with_middleware(&self.client.middle);
        let request = endpoint
            .request(&self.client.http.base)
            .map_err(|error| unsendable(error.to_string()))?;
        let mut request =
            reqwest::Request::try_from(request).map_err(|error| unsendable(chain(&error)))?;
        // vaultrs puts the version before a path prefix; it belongs behind it.
        let path = format!("{}{}", self.address.prefix, request.url().path());
        request.url_mut().set_path(&path);
        let headers = request.headers_mut();
        headers.extend(common.headers.clone());
        if ask.root {
            // OpenBao refuses such a path within a namespace
            headers.remove("x-vault-namespace");
        }
        if let Some(token) = ask.token {
            let mut value = HeaderValue::from_str(token.expose())
                .map_err(|_| unsendable("the token can't be put into a header".to_owned()))?;
            value.set_sensitive(true);
            headers.insert("x-vault-token", value);
        }
        if !ask.body.is_empty() {
            let json = HeaderValue::from_static("application/json");
            headers.insert(header::CONTENT_TYPE, json);
        }
        if let Some(host) = &self.host {
            headers.insert(header::HOST, host.clone());
        }
        Ok(request)
    }
}

/// What answered is something else.
fn not_vault(code: &'static str, text: &str) -> NoAnswer {
    NoAnswer {
        code,
        text: text.to_owned(),
        hint: "check that the address is Vault's",
        sent: true,
    }
}

/// One exchange, whole.
async fn receive(answer: reqwest::Result<reqwest::Response>) -> Result<Received, NoAnswer> {
    let mut response = answer.map_err(|error| trouble(&error))?;
    let expected = response
        .content_length()
        .unwrap_or(0)
        .min(MAX_BODY_BYTES as u64);
    // In one piece, so that no copy of a key stays behind when the buffer grows.
    let mut body = Zeroizing::new(Vec::with_capacity(usize::try_from(expected).unwrap_or(0)));
    loop {
        let chunk = match response.chunk().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break,
            // A server that refuses early may reset the connection; the status says enough.
            Err(_) if !response.status().is_success() => break,
            Err(error) => return Err(trouble(&error)),
        };
        if body.len() + chunk.len() > MAX_BODY_BYTES {
            return Err(not_vault(
                "answer-too-large",
                "the answer has more than 4 MiB",
            ));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Received {
        status: response.status().as_u16(),
        headers: std::mem::take(response.headers_mut()),
        body,
    })
}

/// Every field is set here: vaultrs' builder would look into the environment.
fn client(origin: Url, http: reqwest::Client, common: &Common) -> VaultClient {
    let base = origin.as_str().to_owned();
    VaultClient {
        http: HttpClient::new(&base, http),
        middle: EndpointMiddleware {
            token: String::new(),
            version: "v1".to_owned(),
            wrap: None,
            namespace: common.namespace.clone(),
        },
        settings: VaultClientSettings {
            address: origin,
            ca_certs: Vec::new(),
            identity: None,
            timeout: Some(common.timeout),
            token: String::new(),
            verify: true,
            version: 1,
            wrapping: false,
            namespace: common.namespace.clone(),
            proxy: None,
        },
    }
}

fn host_header(origin: &Url) -> String {
    let host = origin.host_str().unwrap_or_default();
    match origin.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

fn server_name(name: &str, why: &str) -> Failure {
    let message = format!("setting the TLS server name `{name}`: {why}");
    misconfigured(
        "server-name",
        message,
        "check tls server_name (VAULT_TLS_SERVER_NAME)",
    )
}

/// Looks up the host of a URL, or another one instead: the URL names whom to verify, this says
/// where to connect.
struct Resolver {
    instead: Option<Arc<str>>,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let instead = self.instead.clone();
        Box::pin(async move {
            let host = instead.as_deref().unwrap_or(name.as_str());
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let found = tokio::net::lookup_host((host, 0)).await;
            let found: Vec<_> = found.map_err(NameNotFound)?.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}
