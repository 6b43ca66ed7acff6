//! The few words of PostgreSQL and SMTP after which a connection becomes TLS.
//!
//! Never reads a byte too many: what follows belongs to TLS. What stays true: nothing that the peer
//! says in clear text is believed beyond "continue".

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Length and code of an SSLRequest (PostgreSQL's manual, 55.7).
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
/// RFC 5321 section 4.5.3.1.5 allows 512 bytes; some send more.
const MAX_LINE_BYTES: usize = 2048;
/// Lines of one answer.
const MAX_LINES: usize = 100;

/// Asks for TLS; the peer says yes, or why not.
/// PostgreSQL, "Frontend/Backend Protocol", SSLRequest.
pub(super) async fn postgres<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
) -> Result<(), String> {
    let mut answer = [0];
    let asked = async {
        stream.write_all(&SSL_REQUEST).await?;
        stream.read_exact(&mut answer).await
    };
    asked
        .await
        .map_err(|error| format!("SSLRequest: {error}"))?;
    match answer[0] {
        b'S' => Ok(()),
        b'N' => Err("PostgreSQL has TLS switched off (ssl = off)".to_owned()),
        b'E' => Err("PostgreSQL answered the SSLRequest with an error".to_owned()),
        other => Err(format!(
            "not PostgreSQL: the answer to SSLRequest is byte {other}"
        )),
    }
}

/// Greets and asks for TLS; the peer says yes, or why not.
/// RFC 3207 section 4.
pub(super) async fn smtp<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> Result<(), String> {
    expect(stream, "greeting", 220).await?;
    say(stream, "EHLO certagent.invalid\r\n").await?;
    let offers = expect(stream, "EHLO", 250).await?;
    let offered = |line: &String| line.trim().eq_ignore_ascii_case("STARTTLS");
    if !offers.iter().any(offered) {
        return Err("SMTP: STARTTLS is not offered".to_owned());
    }
    say(stream, "STARTTLS\r\n").await?;
    expect(stream, "STARTTLS", 220).await.map(drop)
}

async fn say<S: AsyncWrite + Unpin>(stream: &mut S, line: &str) -> Result<(), String> {
    let sent = stream.write_all(line.as_bytes()).await;
    sent.map_err(|error| format!("SMTP: {error}"))
}

/// The texts of one answer, when it has the wanted code.
async fn expect<S: AsyncRead + Unpin>(
    stream: &mut S,
    to: &str,
    wanted: u16,
) -> Result<Vec<String>, String> {
    let mut texts = Vec::new();
    while texts.len() < MAX_LINES {
        let line = line(stream).await?;
        let code = line.get(..3).and_then(|code| code.parse::<u16>().ok());
        let Some(code) = code else {
            return Err(format!("not SMTP: the answer to {to} has no code"));
        };
        if code != wanted {
            return Err(format!("SMTP: the answer to {to} is {code}, not {wanted}"));
        }
        texts.push(line.get(4..).unwrap_or_default().to_owned());
        if line.as_bytes().get(3) != Some(&b'-') {
            return Ok(texts);
        }
    }
    Err(format!("SMTP: the answer to {to} has no end"))
}

/// Byte by byte: slow, but TLS may follow at once.
async fn line<S: AsyncRead + Unpin>(stream: &mut S) -> Result<String, String> {
    let mut bytes = Vec::new();
    loop {
        let byte = stream.read_u8().await;
        match byte.map_err(|error| format!("SMTP: {error}"))? {
            b'\n' => break,
            byte => bytes.push(byte),
        }
        if bytes.len() > MAX_LINE_BYTES {
            return Err(format!(
                "not SMTP: a line of more than {MAX_LINE_BYTES} bytes"
            ));
        }
    }
    Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What we say to a peer that says all of `script` at once, and what comes of it; the last is
    /// what was left unread.
    async fn smtp_with(script: &str) -> (Result<(), String>, String, String) {
        let (mut ours, mut theirs) = tokio::io::duplex(1 << 16);
        theirs.write_all(script.as_bytes()).await.unwrap();
        theirs.shutdown().await.unwrap();
        let result = smtp(&mut ours).await;
        let mut left = String::new();
        ours.read_to_string(&mut left).await.unwrap();
        drop(ours);
        let mut said = String::new();
        theirs.read_to_string(&mut said).await.unwrap();
        (result, said, left)
    }

    #[tokio::test]
    async fn smtp_goes_on_to_tls_and_leaves_what_follows() {
        let script =
            "220-mail\r\n220 ready\r\n250-mail\r\n250-SIZE 1\r\n250 starttls\r\n220 go\r\nTLS";
        let (result, said, left) = smtp_with(script).await;
        assert_eq!(result, Ok(()));
        assert_eq!(said, "EHLO certagent.invalid\r\nSTARTTLS\r\n");
        assert_eq!(left, "TLS");
    }

    #[tokio::test]
    async fn smtp_says_why_it_does_not_go_on() {
        let table = [
            ("554 no\r\n", "SMTP: the answer to greeting is 554, not 220"),
            ("220 a\r\n250 SIZE\r\n", "SMTP: STARTTLS is not offered"),
            (
                "220 a\r\n250 STARTTLS\r\n454 busy\r\n",
                "SMTP: the answer to STARTTLS is 454, not 220",
            ),
            (
                "HTTP/1.1 400\r\n",
                "not SMTP: the answer to greeting has no code",
            ),
            ("220 a", "SMTP: unexpected end of file"),
        ];
        for (script, wanted) in table {
            let (result, _, _) = smtp_with(script).await;
            assert_eq!(result, Err(wanted.to_owned()), "{script:?}");
        }
        let (result, _, _) = smtp_with(&"x".repeat(5000)).await;
        assert!(result.unwrap_err().starts_with("not SMTP: a line of"));
        let (result, _, _) = smtp_with(&"220-x\r\n".repeat(500)).await;
        assert_eq!(
            result,
            Err("SMTP: the answer to greeting has no end".to_owned())
        );
    }

    #[tokio::test]
    async fn postgres_says_yes_or_why_not() {
        let table: [(&[u8], Result<(), &str>); 4] = [
            (b"S", Ok(())),
            (b"N", Err("PostgreSQL has TLS switched off (ssl = off)")),
            (
                b"E",
                Err("PostgreSQL answered the SSLRequest with an error"),
            ),
            (
                b"H",
                Err("not PostgreSQL: the answer to SSLRequest is byte 72"),
            ),
        ];
        for (answer, wanted) in table {
            let (mut ours, mut theirs) = tokio::io::duplex(64);
            theirs.write_all(answer).await.unwrap();
            let result = postgres(&mut ours).await;
            assert_eq!(result, wanted.map_err(str::to_owned));
            let mut said = [0; 8];
            theirs.read_exact(&mut said).await.unwrap();
            assert_eq!(said, [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]);
        }
    }
}
