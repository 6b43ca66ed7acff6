//! One blocking HTTP request over TCP or TLS, for setting servers up and asking them.
//!
//! Never reuses a connection. HTTP/1.0, so that a body ends with the connection.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    path::Path,
    sync::Arc,
    time::Duration,
};

use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use serde_json::Value;

/// Status and body of an answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) text: String,
}

impl Answer {
    /// The body as JSON; null when it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }
}

/// Sends one request. `address` is `http://host:port` or `https://host:port`, the latter checked against `ca`.
pub(crate) fn request(
    address: &str,
    ca: Option<&Path>,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<&Value>,
) -> io::Result<Answer> {
    let (scheme, host) = address
        .split_once("://")
        .ok_or_else(|| io::Error::other(format!("no scheme in {address}")))?;
    let body = body.map(Value::to_string).unwrap_or_default();
    let mut text = format!("{method} {path} HTTP/1.0\r\nHost: {host}\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));

    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.set_nodelay(true)?;
    let raw = match scheme {
        "http" => exchange(&mut stream, &text)?,
        "https" => exchange(&mut tls(stream, host, ca)?, &text)?,
        other => return Err(io::Error::other(format!("unknown scheme {other}"))),
    };
    parse(&raw).ok_or_else(|| io::Error::other("answer is not HTTP"))
}

fn exchange(stream: &mut (impl Read + Write), text: &str) -> io::Result<Vec<u8>> {
    stream.write_all(text.as_bytes())?;
    stream.flush()?;
    let mut raw = Vec::new();
    match stream.read_to_end(&mut raw) {
        // A TLS peer may close without its farewell; the length is checked by the caller's JSON.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(raw),
        Err(error) => Err(error),
        Ok(_) => Ok(raw),
    }
}

type Tls = rustls::StreamOwned<rustls::ClientConnection, TcpStream>;

fn tls(stream: TcpStream, host: &str, ca: Option<&Path>) -> io::Result<Tls> {
    let ca = ca.ok_or_else(|| io::Error::other("https needs a CA file"))?;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).map_err(io::Error::other)? {
        roots
            .add(certificate.map_err(io::Error::other)?)
            .map_err(io::Error::other)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
    let connection =
        rustls::ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    Ok(rustls::StreamOwned::new(connection, stream))
}

fn parse(raw: &[u8]) -> Option<Answer> {
    let text = String::from_utf8_lossy(raw);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer {
        status,
        head: head.to_owned(),
        text: body.to_owned(),
    })
}
