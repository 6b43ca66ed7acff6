//! One call of `grpc.health.v1.Health/Check` over HTTP/2, the two small messages by hand.
//!
//! Never retries and never speaks another method. What stays true: an answer is bounded in size;
//! who asks bounds it in time.

use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    failure,
    hpack::Field,
    http2::{self, Answer, Fault},
};
use crate::model::served::Health;

/// The service as a whole: an empty message, not compressed (gRPC over HTTP/2, Length-Prefixed-Message).
const REQUEST: [u8; 5] = [0; 5];

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
    let authority = if authority.contains(':') {
        format!("[{authority}]")
    } else {
        authority.to_owned()
    };
    let fields = [
        (":method", "POST"),
        (":scheme", "https"),
        (":path", "/grpc.health.v1.Health/Check"),
        (":authority", authority.as_str()),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        (
            "user-agent",
            concat!("certagent/", env!("CARGO_PKG_VERSION")),
        ),
    ];
    let broken = |why: &str| Health::Broken(format!("HTTP/2: {why}"));
    match http2::exchange(stream, &fields, &REQUEST).await {
        Ok(answer) => (read(&answer).unwrap_or_else(Health::Broken), Spoke::Yes),
        Err(Fault::Io(error)) if failure::is_alert(&error) => {
            let why = failure::words(&error);
            (broken(&why), Spoke::Alert(why))
        }
        // A reset stream or a GOAWAY is an answer too, the end of the connection is none.
        Err(Fault::Ended(why)) => (broken(&why), Spoke::Yes),
        Err(Fault::Broken(why)) => (broken(&why), Spoke::No),
        Err(Fault::Io(error)) => (broken(&failure::words(&error)), Spoke::No),
    }
}

fn read(answer: &Answer) -> Result<Health, String> {
    match http2::status(&answer.head) {
        Some("200") => {}
        Some(other) => return Err(format!("HTTP status {other}")),
        None => return Err("the answer has no HTTP status".to_owned()),
    }
    // An answer without a message has its status in the head ("Trailers-Only").
    if let Some(failed) = status(&answer.head)? {
        return Ok(failed);
    }
    match status(&answer.trailers)? {
        Some(failed) => Ok(failed),
        None if http2::value(&answer.trailers, "grpc-status").is_none() => {
            Err("the answer has no grpc-status".to_owned())
        }
        None => decode(&answer.body),
    }
}

/// The error of gRPC in these fields, if there is one.
fn status(fields: &[Field]) -> Result<Option<Health>, String> {
    let Some(code) = http2::value(fields, "grpc-status") else {
        return Ok(None);
    };
    let Ok(code) = code.parse::<u32>() else {
        return Err("grpc-status is no number".to_owned());
    };
    if code == 0 {
        return Ok(None);
    }
    let text = http2::value(fields, "grpc-message").unwrap_or_default();
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
