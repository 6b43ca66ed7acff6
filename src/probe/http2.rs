//! One request on a new connection of HTTP/2 (RFC 9113), and its whole answer.
//!
//! Never sends a second request and never needs more than the first window. What stays true: an
//! answer is bounded in size; who asks bounds it in time.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::hpack::{Decoder, Field};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The largest frame, while nobody allows a larger one (section 4.2).
const FRAME: usize = 16 << 10;
/// Header blocks and bodies may not be larger; both far below the first window of 65,535.
const LARGEST: usize = 32 << 10;
/// The only stream.
const STREAM: u32 = 1;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

/// ACK of SETTINGS and PING, END_STREAM of DATA and HEADERS.
const FIRST_FLAG: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 0x20;

/// What came back.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// Fields before the body, `:status` among them.
    pub(super) head: Vec<Field>,
    pub(super) body: Vec<u8>,
    /// Fields after the body; none when the head was all.
    pub(super) trailers: Vec<Field>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Fault {
    /// The connection failed.
    Io(io::Error),
    /// The peer ended the stream or the connection by a frame of HTTP/2.
    Ended(String),
    /// What the peer sent is not HTTP/2.
    Broken(String),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Sends the request, which fits into one frame, and reads the answer.
pub(super) async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    fields: &[(&str, &str)],
    body: &[u8],
) -> Result<Answer, Fault> {
    let mut out = PREFACE.to_vec();
    // ENABLE_PUSH (2) is 0.
    frame(&mut out, SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 0]);
    frame(&mut out, HEADERS, END_HEADERS, STREAM, &block(fields));
    frame(&mut out, DATA, FIRST_FLAG, STREAM, body);
    let sent = send(&mut stream, &out).await;
    let answer = Reading::new(&mut stream).run().await;
    match (sent, answer) {
        // What the peer said on leaving tells more than that we could not write to it.
        (Err(error), Err(Fault::Io(end))) if end.kind() == io::ErrorKind::UnexpectedEof => {
            Err(error.into())
        }
        (_, answer) => answer,
    }
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), out: &[u8]) -> io::Result<()> {
    stream.write_all(out).await?;
    stream.flush().await
}

/// Literals that no table remembers (RFC 7541 section 6.2.2).
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        for text in [name, value] {
            length(&mut out, text.len());
            out.extend(text.as_bytes());
        }
    }
    out
}

/// A length in seven bits, or more bytes of seven bits each (RFC 7541 section 5.1).
fn length(out: &mut Vec<u8>, length: usize) {
    let low = |rest: usize| u8::try_from(rest & 0x7f).unwrap_or_default();
    let Some(mut rest) = length.checked_sub(127) else {
        return out.push(low(length));
    };
    out.push(127);
    while rest > 127 {
        out.push(low(rest) | 0x80);
        rest >>= 7;
    }
    out.push(low(rest));
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len())
        .unwrap_or_default()
        .to_be_bytes();
    out.extend(&length[1..]);
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
}

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Frame {
    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The payload without padding, and of HEADERS without priority (sections 6.1 and 6.2).
    fn content(&self) -> Result<&[u8], Fault> {
        let broken = || Fault::Broken("a frame is shorter than its padding".to_owned());
        let mut content = self.payload.as_slice();
        if self.has(PADDED) {
            let (padding, rest) = content.split_first().ok_or_else(broken)?;
            let end = rest
                .len()
                .checked_sub(usize::from(*padding))
                .ok_or_else(broken)?;
            content = &rest[..end];
        }
        if self.kind == HEADERS && self.has(PRIORITY) {
            content = content.get(5..).ok_or_else(broken)?;
        }
        Ok(content)
    }
}

struct Reading<'a, S> {
    stream: &'a mut S,
    decoder: Decoder,
    answer: Answer,
    /// A header block that is not complete yet, and whether the stream ends with it.
    open: Option<(Vec<u8>, bool)>,
}

impl<'a, S: AsyncRead + AsyncWrite + Unpin> Reading<'a, S> {
    fn new(stream: &'a mut S) -> Self {
        Self {
            stream,
            decoder: Decoder::new(),
            answer: Answer::default(),
            open: None,
        }
    }

    async fn run(mut self) -> Result<Answer, Fault> {
        loop {
            let frame = self.frame().await?;
            if self.open.is_some() && frame.kind != CONTINUATION {
                return Err(Fault::Broken("a header block is interrupted".to_owned()));
            }
            let is_part = matches!(frame.kind, HEADERS | CONTINUATION | DATA);
            if is_part && frame.stream == STREAM && self.part(&frame)? {
                return Ok(self.answer);
            }
            match frame.kind {
                SETTINGS | PING if !frame.has(FIRST_FLAG) => self.acknowledge(&frame).await?,
                RST_STREAM if frame.stream == STREAM => {
                    return Err(Fault::Ended(format!(
                        "stream reset: {}",
                        code(&frame.payload, 0)
                    )));
                }
                GOAWAY => {
                    return Err(Fault::Ended(format!(
                        "go away: {}",
                        code(&frame.payload, 4)
                    )));
                }
                _ => {}
            }
        }
    }

    /// Takes in a part of the answer; true when it was the last.
    fn part(&mut self, frame: &Frame) -> Result<bool, Fault> {
        let large = || Fault::Broken("the answer is far too long".to_owned());
        let content = frame.content()?;
        if frame.kind == DATA {
            self.answer.body.extend(content);
            let fits = self.answer.body.len() <= LARGEST;
            return fits.then(|| frame.has(FIRST_FLAG)).ok_or_else(large);
        }
        let opened = (Vec::new(), frame.has(FIRST_FLAG));
        let (mut block, ends) = match (frame.kind, self.open.take()) {
            (HEADERS, None) => opened,
            (CONTINUATION, Some(open)) => open,
            _ => return Err(Fault::Broken("a header block does not begin".to_owned())),
        };
        block.extend(content);
        if block.len() > LARGEST {
            return Err(large());
        }
        if !frame.has(END_HEADERS) {
            self.open = Some((block, ends));
            return Ok(false);
        }
        let fields = self.decoder.decode(&block);
        let fields = fields.ok_or_else(|| Fault::Broken("a header block is damaged".to_owned()))?;
        let interim = status(&fields).is_some_and(|status| status.starts_with('1'));
        match (self.answer.head.is_empty(), interim) {
            (true, true) => {}
            (true, false) => self.answer.head = fields,
            (false, _) => self.answer.trailers = fields,
        }
        Ok(ends)
    }

    async fn acknowledge(&mut self, frame: &Frame) -> Result<(), Fault> {
        let payload = if frame.kind == PING {
            frame.payload.as_slice()
        } else {
            &[]
        };
        let mut out = Vec::new();
        self::frame(&mut out, frame.kind, FIRST_FLAG, 0, payload);
        // A peer that has sent its answer may be gone already.
        let _gone = send(&mut self.stream, &out).await;
        Ok(())
    }

    async fn frame(&mut self) -> Result<Frame, Fault> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).await?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        if length > FRAME {
            return Err(Fault::Broken("the peer does not speak it".to_owned()));
        }
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).await?;
        Ok(Frame {
            kind,
            flags,
            stream: u32::from_be_bytes(stream) & 0x7fff_ffff,
            payload,
        })
    }
}

/// The HTTP status among these fields.
pub(super) fn status(fields: &[Field]) -> Option<&str> {
    value(fields, ":status")
}

/// The value of the first field of that name.
pub(super) fn value<'a>(fields: &'a [Field], name: &str) -> Option<&'a str> {
    let found = fields.iter().find(|(known, _)| known == name);
    found.map(|(_, value)| value.as_str())
}

/// The error code at this place of a payload, by its name (section 7).
fn code(payload: &[u8], at: usize) -> String {
    const NAMES: [&str; 14] = [
        "no error",
        "protocol error",
        "internal error",
        "flow control error",
        "settings timeout",
        "stream closed",
        "frame size error",
        "refused stream",
        "cancel",
        "compression error",
        "connect error",
        "enhance your calm",
        "inadequate security",
        "HTTP/1.1 required",
    ];
    let bytes = payload
        .get(at..at + 4)
        .and_then(|bytes| bytes.try_into().ok());
    let Some(code) = bytes.map(u32::from_be_bytes) else {
        return "no code".to_owned();
    };
    let name = usize::try_from(code).ok().and_then(|code| NAMES.get(code));
    name.map_or_else(|| format!("code {code}"), |&name| name.to_owned())
}

#[cfg(test)]
mod tests;
