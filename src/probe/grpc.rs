//! One call of `grpc.health.v1.Health/Check` over HTTP/2; the two small messages by hand.
//!
//! Never retries and never speaks another method. What stays true: an answer is bounded in size;
//! the caller bounds the call in time and in bytes.

use std::pin::pin;

use h2::{RecvStream, client};
use http::{HeaderMap, Request, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::model::served::ApplicationHealth;

/// The service as a whole: an empty message, not compressed (gRPC over HTTP/2, Length-Prefixed-Message).
const EMPTY_REQUEST: &[u8] = &[0; 5];
/// Bytes of the answer's message; SERVING takes 7.
const MAX_MESSAGE_BYTES: usize = 4 << 10;
/// Bytes of the fields of one header block, and of the body: the window is never opened further.
const MAX_HEADER_LIST_BYTES: u32 = 16 << 10;

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Fault {
    /// HTTP/2 failed: [`h2::Error::is_remote`] says whether the peer closed it.
    Http2(h2::Error),
    /// The answer is none of gRPC.
    Answer(String),
}

impl From<h2::Error> for Fault {
    fn from(error: h2::Error) -> Self {
        Self::Http2(error)
    }
}

/// Asks the health service of `authority`, a host without port.
/// gRPC Health Checking Protocol, `grpc.health.v1.Health/Check`.
///
/// # Errors
/// [`Fault`] when no status of the health service came.
pub(super) async fn check<S>(stream: S, authority: &str) -> Result<ApplicationHealth, Fault>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let request = request(authority)?;
    let (client, connection) = client::Builder::new()
        .enable_push(false)
        .max_header_list_size(MAX_HEADER_LIST_BYTES)
        .initial_window_size(MAX_HEADER_LIST_BYTES)
        .handshake(stream)
        .await?;
    let mut answer = pin!(call(client, request));
    tokio::select! {
        biased;
        answer = &mut answer => return answer,
        // An answer that came together with the connection's end is in the stream's buffer.
        _ended = connection => {}
    }
    answer.await
}

fn request(authority: &str) -> Result<Request<()>, Fault> {
    let authority = if authority.contains(':') {
        format!("[{authority}]")
    } else {
        authority.to_owned()
    };
    Request::post(format!("https://{authority}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header(
            "user-agent",
            concat!("certagent/", env!("CARGO_PKG_VERSION")),
        )
        .body(())
        .map_err(|error| Fault::Answer(error.to_string()))
}

async fn call(
    client: client::SendRequest<&'static [u8]>,
    request: Request<()>,
) -> Result<ApplicationHealth, Fault> {
    let mut client = client.ready().await?;
    let (answer, mut sender) = client.send_request(request, false)?;
    sender.send_data(EMPTY_REQUEST, true)?;
    let (head, body) = answer.await?.into_parts();
    if head.status != StatusCode::OK {
        return Err(Fault::Answer(format!(
            "HTTP status {}",
            head.status.as_u16()
        )));
    }
    // An answer without a message has its status in the head ("Trailers-Only").
    if let Some(failed) = status(&head.headers)? {
        return Ok(failed);
    }
    let (message, trailers) = read(body).await?;
    match status(&trailers)? {
        Some(failed) => Ok(failed),
        None if trailers.get("grpc-status").is_none() => {
            Err(Fault::Answer("the answer has no grpc-status".to_owned()))
        }
        None => decode(&message).map_err(Fault::Answer),
    }
}

async fn read(mut body: RecvStream) -> Result<(Vec<u8>, HeaderMap), Fault> {
    let mut message = Vec::new();
    while let Some(part) = body.data().await {
        message.extend_from_slice(&part?);
        if message.len() > MAX_MESSAGE_BYTES {
            return Err(Fault::Answer("the answer is far too long".to_owned()));
        }
    }
    Ok((message, body.trailers().await?.unwrap_or_default()))
}

/// The error of gRPC in these fields, if there is one.
fn status(fields: &HeaderMap) -> Result<Option<ApplicationHealth>, Fault> {
    let Some(code) = fields.get("grpc-status") else {
        return Ok(None);
    };
    let Some(code) = code.to_str().ok().and_then(|code| code.parse::<u32>().ok()) else {
        return Err(Fault::Answer("grpc-status is no number".to_owned()));
    };
    if code == 0 {
        return Ok(None);
    }
    let text = fields
        .get("grpc-message")
        .map(|text| String::from_utf8_lossy(text.as_bytes()));
    let text = text.unwrap_or_default().chars().take(200).collect();
    Ok(Some(ApplicationHealth::Status(code, text)))
}

/// `HealthCheckResponse` (grpc/health/v1/health.proto): field 1, the status, an enumeration; left
/// out when it is 0.
fn decode(message: &[u8]) -> Result<ApplicationHealth, String> {
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
        1 => ApplicationHealth::Serving,
        2 => ApplicationHealth::NotServing,
        other => ApplicationHealth::Other(other),
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
        let table: [(&[u8], Result<ApplicationHealth, &str>); 9] = [
            (&[0, 0, 0, 0, 2, 8, 1], Ok(ApplicationHealth::Serving)),
            (&[0, 0, 0, 0, 2, 8, 2], Ok(ApplicationHealth::NotServing)),
            (&[0, 0, 0, 0, 0], Ok(ApplicationHealth::Other(0))),
            (
                &[0, 0, 0, 0, 3, 8, 0x80, 1],
                Ok(ApplicationHealth::Other(128)),
            ),
            // An unknown field of text before it.
            (
                &[0, 0, 0, 0, 5, 0x12, 1, b'x', 8, 1],
                Ok(ApplicationHealth::Serving),
            ),
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
