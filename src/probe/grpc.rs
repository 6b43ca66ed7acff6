//! One call of `grpc.health.v1.Health/Check` over HTTP/2, the two small messages by hand.
//!
//! Never retries and never speaks another method. What stays true: an answer is bounded in size;
//! who asks bounds it in time.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use http::{HeaderMap, Method, Request, Version};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::failure;
use crate::model::served::Health;

/// The service as a whole: an empty message, not compressed (gRPC over HTTP/2, Length-Prefixed-Message).
const REQUEST: [u8; 5] = [0; 5];
/// The answer is 7 bytes; a text of an error may be longer.
const LARGEST: usize = 16 << 10;

/// Did the peer say anything in HTTP/2? It does so only after it accepted us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Spoke {
    /// Yes, whatever it was.
    Yes,
    /// No.
    No,
    /// An alert of TLS came instead: it refused us.
    Alert(String),
}

/// Asks.
pub(super) async fn check<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    authority: &str,
) -> (Health, Spoke) {
    let mut stream = Heard {
        stream,
        alert: None,
    };
    let answer = ask(&mut stream, authority).await;
    match (answer, stream.alert) {
        (Err(Fault::Connection(error)), Some(alert)) => (broken(&error), Spoke::Alert(alert)),
        (Err(Fault::Connection(error)), None) => {
            // A reset stream or a GOAWAY is an answer too, the end of the connection is none.
            let spoke = if error.is_remote() {
                Spoke::Yes
            } else {
                Spoke::No
            };
            (broken(&error), spoke)
        }
        (Err(Fault::Answer(why)), _) => (Health::Broken(why), Spoke::Yes),
        (Ok(health), _) => (health, Spoke::Yes),
    }
}

async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    authority: &str,
) -> Result<Health, Fault> {
    let (client, connection) = h2::client::handshake(stream).await?;
    let call = call(client, authority);
    tokio::pin!(call, connection);
    tokio::select! {
        biased;
        answer = &mut call => answer,
        ended = &mut connection => match (call.await, ended) {
            // The connection knows more than the call that it took down.
            (Err(Fault::Connection(_)), Err(error)) => Err(error.into()),
            (answer, _) => answer,
        },
    }
}

/// Keeps the alert of TLS that ended the stream, because HTTP/2 keeps only its text.
struct Heard<S> {
    stream: S,
    alert: Option<String>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Heard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if let Poll::Ready(Err(error)) = &polled
            && failure::is_alert(error)
        {
            self.alert = Some(failure::words(error));
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Heard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

enum Fault {
    /// HTTP/2 failed.
    Connection(h2::Error),
    /// The answer came and is not one of gRPC.
    Answer(String),
}

impl From<h2::Error> for Fault {
    fn from(error: h2::Error) -> Self {
        Self::Connection(error)
    }
}

fn broken(error: &h2::Error) -> Health {
    let why = match error.get_io() {
        Some(error) => failure::words(error),
        None => error.to_string(),
    };
    Health::Broken(format!("HTTP/2: {why}"))
}

async fn call(client: SendRequest<Bytes>, authority: &str) -> Result<Health, Fault> {
    let authority = if authority.contains(':') {
        format!("[{authority}]")
    } else {
        authority.to_owned()
    };
    let request = Request::builder()
        .method(Method::POST)
        .version(Version::HTTP_2)
        .uri(format!("https://{authority}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header(
            "user-agent",
            concat!("certagent/", env!("CARGO_PKG_VERSION")),
        )
        .body(())
        .map_err(|error| Fault::Answer(format!("no request can be made: {error}")))?;
    let mut client = client.ready().await?;
    let (answer, mut body) = client.send_request(request, false)?;
    body.send_data(Bytes::from_static(&REQUEST), true)?;
    read(answer).await
}

async fn read(answer: ResponseFuture) -> Result<Health, Fault> {
    let (head, mut body) = answer.await?.into_parts();
    if head.status != http::StatusCode::OK {
        return Err(Fault::Answer(format!("HTTP status {}", head.status)));
    }
    // An answer without a message has its status in the head ("Trailers-Only").
    if let Some(failed) = status(&head.headers)? {
        return Ok(failed);
    }
    let mut message = Vec::new();
    while let Some(part) = body.data().await {
        let part = part?;
        body.flow_control().release_capacity(part.len())?;
        message.extend_from_slice(&part);
        if message.len() > LARGEST {
            return Err(Fault::Answer("the answer is far too long".to_owned()));
        }
    }
    let trailers = body.trailers().await?.unwrap_or_default();
    match status(&trailers)? {
        Some(failed) => Ok(failed),
        None if !trailers.contains_key("grpc-status") => {
            Err(Fault::Answer("the answer has no grpc-status".to_owned()))
        }
        None => decode(&message).map_err(Fault::Answer),
    }
}

/// The error of gRPC in these headers, if there is one.
fn status(headers: &HeaderMap) -> Result<Option<Health>, Fault> {
    let Some(code) = headers.get("grpc-status") else {
        return Ok(None);
    };
    let code = code.to_str().ok().and_then(|code| code.parse::<u32>().ok());
    let Some(code) = code else {
        return Err(Fault::Answer("grpc-status is no number".to_owned()));
    };
    if code == 0 {
        return Ok(None);
    }
    let text = headers.get("grpc-message");
    let text = text.and_then(|text| text.to_str().ok()).unwrap_or_default();
    let text: String = text.chars().take(200).collect();
    Ok(Some(Health::Status(code, text)))
}

/// `HealthCheckResponse` (grpc/health/v1/health.proto): field 1, the status, an enumeration; left
/// out when it is 0.
fn decode(message: &[u8]) -> Result<Health, String> {
    let (head, mut rest) = message.split_at_checked(5).ok_or("the answer is cut off")?;
    if head[0] != 0 {
        return Err("the answer is compressed".to_owned());
    }
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
    if usize::try_from(length) != Ok(rest.len()) {
        return Err("the answer does not have the length it says".to_owned());
    }
    let mut found = 0;
    while !rest.is_empty() {
        let tag = varint(&mut rest).ok_or(CUT)?;
        match (tag >> 3, tag & 7) {
            (1, 0) => found = varint(&mut rest).ok_or(CUT)?,
            (_, 0) => drop(varint(&mut rest).ok_or(CUT)?),
            (_, 1) => skip(&mut rest, 8)?,
            (_, 2) => {
                let length = varint(&mut rest).ok_or(CUT)?;
                skip(&mut rest, length)?;
            }
            (_, 5) => skip(&mut rest, 4)?,
            _ => return Err("the answer is no message of protobuf".to_owned()),
        }
    }
    Ok(match found {
        1 => Health::Serving,
        2 => Health::NotServing,
        other => Health::Other(other),
    })
}

const CUT: &str = "a field of the answer is cut off";

fn skip(rest: &mut &[u8], length: u64) -> Result<(), String> {
    let length = usize::try_from(length).map_err(|_| CUT)?;
    *rest = rest.get(length..).ok_or(CUT)?;
    Ok(())
}

/// At most ten bytes of seven bits, the lowest first.
fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for place in 0..10 {
        let (first, others) = rest.split_first()?;
        *rest = others;
        value |= u64::from(first & 0x7f) << (7 * place);
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_status_is_read_from_the_message() {
        let table: [(&[u8], Result<Health, &str>); 9] = [
            (&[0, 0, 0, 0, 2, 8, 1], Ok(Health::Serving)),
            (&[0, 0, 0, 0, 2, 8, 2], Ok(Health::NotServing)),
            (&[0, 0, 0, 0, 0], Ok(Health::Other(0))),
            (&[0, 0, 0, 0, 3, 8, 0x80, 1], Ok(Health::Other(128))),
            // An unknown field of text before it.
            (&[0, 0, 0, 0, 5, 0x12, 1, b'x', 8, 1], Ok(Health::Serving)),
            (&[0, 0, 0, 0], Err("the answer is cut off")),
            (&[1, 0, 0, 0, 2, 8, 1], Err("the answer is compressed")),
            (
                &[0, 0, 0, 0, 3, 8, 1],
                Err("the answer does not have the length it says"),
            ),
            (&[0, 0, 0, 0, 1, 8], Err(CUT)),
        ];
        for (message, wanted) in table {
            assert_eq!(
                decode(message),
                wanted.map_err(str::to_owned),
                "{message:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_message_breaks_the_reader(message in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut framed = vec![0, 0, 0, 0, u8::try_from(message.len()).unwrap()];
            framed.extend(&message);
            let _any = decode(&framed);
            let _any = decode(&message);
        }
    }
}
