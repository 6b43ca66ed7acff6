//! PEM (RFC 7468): text to blocks and back. [`parse`] is for what Vault answers, [`parse_file`] for
//! files that people wrote.
//!
//! Never loses a block: what begins like one and can't be read is an error. What stays true: what
//! [`encode`] writes ends with a newline and parses back to the same bytes.

mod tolerant;

#[cfg(test)]
mod tests;

pub use tolerant::{FileError, certificates, parse_file, private_key};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

/// Label of a certificate block (RFC 7468 section 5).
pub const CERTIFICATE: &str = "CERTIFICATE";
/// Label of a PKCS#8 private key block (RFC 7468 section 10).
pub const PRIVATE_KEY: &str = "PRIVATE KEY";

/// U+FEFF, which some editors write at the start of a file.
pub const BYTE_ORDER_MARK: char = '\u{feff}';

/// One `-----BEGIN x-----` block. The content may be a key: it is wiped on drop, never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Block {
    /// What stands after BEGIN, as `CERTIFICATE`.
    pub label: String,
    /// The decoded bytes.
    pub der: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Block({}, {} bytes)", self.label, self.der.len())
    }
}

/// Why a text is not PEM. Lines are counted from one; no content is repeated, it may be a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// There is no block at all.
    #[error("no PEM block in it")]
    Empty,
    /// Something that is not a block, outside of one.
    #[error("line {0} is outside of any PEM block and not empty")]
    Junk(usize),
    /// A BEGIN line that is not formed as RFC 7468 wants, or a BEGIN inside of a block.
    #[error("line {0} is not a well-formed BEGIN line")]
    Begin(usize),
    /// A byte order mark where a block or nothing may stand.
    #[error(
        "line {0} has a byte order mark before it, and OpenSSL and Go skip such a block: \
         save the file as UTF-8 without one"
    )]
    Mark(usize),
    /// BEGIN is not the first on its line.
    #[error("line {0}: BEGIN is indented, and OpenSSL and Go skip such a block: remove the blanks")]
    Indented(usize),
    /// END is missing or names another label than BEGIN.
    #[error("the block that begins on line {0} has no matching END line")]
    End(usize),
    /// `Proc-Type:` and the like: an old-style encrypted key.
    #[error("the block that begins on line {0} has headers, as encrypted keys do")]
    Headers(usize),
    /// The body is not base64.
    #[error("the block that begins on line {0} is not valid base64")]
    Base64(usize),
    /// There is nothing between BEGIN and END.
    #[error("the block that begins on line {0} is empty")]
    NoContent(usize),
}

/// Takes an answer apart. CRLF, blank lines between blocks, blanks at line ends and a missing final
/// newline are accepted; anything else outside of blocks is not.
/// The grammar is RFC 7468 section 3, "stricttextualmsg", with the tolerances named here.
///
/// # Errors
/// The first thing that is not PEM.
pub fn parse(text: &str) -> Result<Vec<Block>, PemError> {
    blocks(text, |_, line| Ok(!line.is_empty()))
}

/// The blocks of `text`; `begins` says whether a line outside of a block must begin one.
fn blocks(
    text: &str,
    begins: impl Fn(usize, &str) -> Result<bool, PemError>,
) -> Result<Vec<Block>, PemError> {
    let mut blocks = Vec::new();
    let mut lines = (1..).zip(text.lines().map(str::trim_ascii_end));
    while let Some((number, line)) = lines.next() {
        if !begins(number, line)? {
            continue;
        }
        let label = begin(number, line)?;
        let der = body(number, label, &mut lines)?;
        blocks.push(Block {
            label: label.to_owned(),
            der,
        });
    }
    if blocks.is_empty() {
        return Err(PemError::Empty);
    }
    Ok(blocks)
}

/// The label of a BEGIN line.
fn begin(number: usize, line: &str) -> Result<&str, PemError> {
    let Some(rest) = line.strip_prefix("-----BEGIN ") else {
        return Err(if line.starts_with(BYTE_ORDER_MARK) {
            PemError::Mark(number)
        } else if line.starts_with("-----") {
            PemError::Begin(number)
        } else {
            PemError::Junk(number)
        });
    };
    let label = rest.strip_suffix("-----").ok_or(PemError::Begin(number))?;
    let allowed = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == ' ';
    let formed = !label.is_empty() && label.trim() == label && label.chars().all(allowed);
    formed.then_some(label).ok_or(PemError::Begin(number))
}

/// The bytes up to the END line that fits `label`.
fn body<'a>(
    number: usize,
    label: &str,
    lines: &mut impl Iterator<Item = (usize, &'a str)>,
) -> Result<Zeroizing<Vec<u8>>, PemError> {
    let mut text = Vec::new();
    for (_, line) in lines {
        if let Some(rest) = line.strip_prefix("-----END ") {
            if rest.strip_suffix("-----") != Some(label) {
                return Err(PemError::End(number));
            }
            return match decode(&text) {
                None => Err(PemError::Base64(number)),
                Some(der) if der.is_empty() => Err(PemError::NoContent(number)),
                Some(der) => Ok(der),
            };
        }
        if line.starts_with("-----") {
            return Err(PemError::End(number));
        }
        if line.contains(':') {
            return Err(PemError::Headers(number));
        }
        if line.is_empty() {
            return Err(PemError::Base64(number));
        }
        text.push(line);
    }
    Err(PemError::End(number))
}

/// The bytes of base64 in lines of any length (RFC 4648 section 4: padding, no stray bits). Each
/// buffer is made once in its size and wiped: a growing one would leave copies of a key behind.
fn decode(lines: &[&str]) -> Option<Zeroizing<Vec<u8>>> {
    let text = Zeroizing::new(lines.concat());
    let mut der = Zeroizing::new(vec![0; base64::decoded_len_estimate(text.len())]);
    let count = STANDARD.decode_slice(text.as_bytes(), &mut der).ok()?;
    der.truncate(count);
    Some(der)
}

/// Writes one block with 64 characters a line and a final newline.
/// RFC 7468 section 2.
#[must_use]
pub fn encode(label: &str, der: &[u8]) -> String {
    let body = der.len().div_ceil(3) * 4;
    // The exact size: a reallocation would leave part of a key in freed memory.
    let mut text = String::with_capacity(body + body.div_ceil(64) + 2 * label.len() + 32);
    text.push_str("-----BEGIN ");
    text.push_str(label);
    text.push_str("-----\n");
    let mut line = Zeroizing::new([0; 64]);
    for bytes in der.chunks(48) {
        // 48 bytes are 64 characters of ASCII: neither step can fail.
        let count = STANDARD.encode_slice(bytes, line.as_mut_slice());
        text.push_str(std::str::from_utf8(&line[..count.unwrap_or(0)]).unwrap_or_default());
        text.push('\n');
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}
