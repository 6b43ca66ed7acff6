//! HTTP clients: what all have in common, and those for everything but the issuer: one request, one answer.
//!
//! Never follows a redirect, never obeys a proxy variable, keeps no idle connection that would wake
//! the process. What stays true: an error is shown without the URL, whose query may hold a key.

mod apart;

use std::{error::Error as _, sync::Arc};

use reqwest::{Client, ClientBuilder, RequestBuilder, StatusCode, header::HeaderMap, redirect};
use rustls::{ClientConfig, RootCertStore};

pub(crate) use apart::{Apart, run};

/// No answer.
#[derive(Debug)]
pub(crate) enum Unanswered {
    /// The client's own word.
    Failed(reqwest::Error),
    /// The server sends and sends, and none of it is an answer.
    Endless,
}

/// A client that trusts `roots`; reqwest wants TLS to be set up even where none is used.
pub(crate) fn builder(roots: RootCertStore) -> Result<ClientBuilder, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(fenced(tls))
}

/// What every client of ours has in common: this TLS, no redirect, no proxy from the environment, and no
/// connection kept: it would outlive the thread that serves it.
pub(crate) fn fenced(tls: ClientConfig) -> ClientBuilder {
    Client::builder()
        .pool_max_idle_per_host(0)
        .tls_backend_preconfigured(tls)
        .redirect(redirect::Policy::none())
        .referer(false)
        .no_proxy()
        .http1_only()
        .user_agent(concat!("certagent/", env!("CARGO_PKG_VERSION")))
}

/// The finished client.
pub(crate) fn build(builder: ClientBuilder) -> Result<Client, String> {
    builder.build().map_err(|error| chain(&error))
}

/// What went wrong and why, without the URL.
pub(crate) fn why(unanswered: &Unanswered) -> String {
    match unanswered {
        Unanswered::Failed(error) => chain(error),
        Unanswered::Endless => "interim responses (1xx) and no answer".to_owned(),
    }
}

fn chain(error: &reqwest::Error) -> String {
    let mut text = if error.is_timeout() {
        "no answer in time".to_owned()
    } else if error.is_connect() {
        "cannot connect".to_owned()
    } else {
        "the exchange broke".to_owned()
    };
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// Status and the beginning of the body, no more than `most` bytes of it, as text.
pub(crate) async fn exchange(
    client: Client,
    request: RequestBuilder,
    most: usize,
) -> Result<(StatusCode, String), Unanswered> {
    let request = request.build().map_err(Unanswered::Failed)?;
    let receive = async move |answer: reqwest::Result<reqwest::Response>| {
        let answer = answer.map_err(Unanswered::Failed)?;
        let status = answer.status();
        let text = match most {
            0 => String::new(),
            most => text(answer, most).await,
        };
        Ok((status, text))
    };
    let apart = Apart::start();
    let received = run(apart.as_ref(), client, request, receive).await;
    received.unwrap_or(Err(Unanswered::Endless))
}

/// Status, headers and the whole body.
///
/// # Errors
/// Why there is none, without the URL; also when it has more than `most` bytes.
pub(crate) async fn whole(
    client: Client,
    request: RequestBuilder,
    most: usize,
) -> Result<(StatusCode, HeaderMap, Vec<u8>), String> {
    let request = request.build().map_err(|error| chain(&error))?;
    let receive = async move |answer: reqwest::Result<reqwest::Response>| {
        let mut answer = answer.map_err(|error| chain(&error))?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| chain(&error))? {
            if body.len() + chunk.len() > most {
                return Err(format!("the answer has more than {most} bytes"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok((status, headers, body))
    };
    let apart = Apart::start();
    let received = run(apart.as_ref(), client, request, receive).await;
    received.unwrap_or_else(|| Err(why(&Unanswered::Endless)))
}

async fn text(mut answer: reqwest::Response, most: usize) -> String {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        let room = most.saturating_sub(body.len()).min(chunk.len());
        body.extend_from_slice(&chunk[..room]);
        if body.len() >= most {
            break;
        }
    }
    String::from_utf8_lossy(&body).into_owned()
}
