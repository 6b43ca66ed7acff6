//! One HTTP request to the application, on this machine and in plain text.
//!
//! Never follows a redirect, never uses a proxy, sends no body and no credentials. What stays true:
//! a message names host and path, never the query, which may hold a key.

use std::{net::IpAddr, time::Duration};

use reqwest::{Method, Url};
use rustls::RootCertStore;

use crate::{
    http_client::{self, Unanswered},
    model::reload::{Delivery, ReloadFailure},
};

/// Sends it; any status in `expect` (any 2xx when empty) is success.
pub(super) async fn send(
    method: &str,
    url: &str,
    expect: &[u16],
    limit: Duration,
) -> Result<Delivery, ReloadFailure> {
    let url = check(url)?;
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| {
        let text = "the method is no HTTP method".to_owned();
        ReloadFailure::lasting("http-method", text, "use POST, PUT or GET")
    })?;
    let place = place(&method, &url);
    let client = http_client::builder(RootCertStore::empty())
        .and_then(|builder| http_client::build(builder.timeout(limit)))
        .map_err(|why| ReloadFailure::lasting("http-client", format!("{place}: {why}"), ""))?;
    let request = client.request(method, url);
    let status = match http_client::exchange(client, request, 0).await {
        Ok((status, _)) => status.as_u16(),
        Err(none) => return Err(no_answer(&place, &none)),
    };
    let good = match expect {
        [] => (200..300).contains(&status),
        some => some.contains(&status),
    };
    if good {
        return Ok(Delivery::Delivered);
    }
    let text = format!("{place} answered {status}");
    Err(ReloadFailure::passing(
        "http-status",
        text,
        "check url and expect",
    ))
}

/// `http://` to loopback: the request would be open to others on the way elsewhere.
pub(super) fn check(url: &str) -> Result<Url, ReloadFailure> {
    let wrong = |why: &str| {
        let hint = "write it as http://127.0.0.1:8080/-/reload";
        ReloadFailure::lasting("http-url", format!("the url {why}"), hint)
    };
    let url = Url::parse(url).map_err(|_| wrong("is none"))?;
    if url.scheme() != "http" {
        return Err(wrong("is not http://"));
    }
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    if host != "localhost" && !address.is_ok_and(|address| address.is_loopback()) {
        return Err(wrong("is not on loopback"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("has a user in it"));
    }
    Ok(url)
}

fn place(method: &Method, url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or(80);
    format!("{method} http://{host}:{port}{}", url.path())
}

fn no_answer(place: &str, none: &Unanswered) -> ReloadFailure {
    let text = format!("{place}: {}", http_client::why(none));
    let code = match none {
        Unanswered::Failed(error) if error.is_connect() => {
            return ReloadFailure::passing("http-unreachable", text, "is the application running");
        }
        Unanswered::Failed(error) if error.is_timeout() => "http-timeout",
        _ => "http-broken",
    };
    ReloadFailure::unclear(code, text, "")
}

#[cfg(test)]
mod tests;
