//! Strict PEM (RFC 7468): text to blocks and back.
//!
//! Never skips over what it does not understand: junk between blocks is an error. What stays true:
//! what [`encode`] writes ends with a newline and parses back to the same bytes.

mod base64;
#[cfg(test)]
mod tests;

use zeroize::Zeroizing;

/// Label of a certificate block (RFC 7468 section 5).
pub const CERTIFICATE: &str = "CERTIFICATE";
/// Label of a PKCS#8 private key block (RFC 7468 section 10).
pub const PRIVATE_KEY: &str = "PRIVATE KEY";

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

/// Takes a text apart. CRLF, blank lines between blocks, blanks at line ends and a missing final
/// newline are accepted; anything else outside of blocks is not.
///
/// # Errors
/// The first thing that is not PEM.
pub fn parse(text: &str) -> Result<Vec<Block>, PemError> {
    let mut blocks = Vec::new();
    let mut lines = (1..).zip(text.lines().map(str::trim_ascii_end));
    while let Some((number, line)) = lines.next() {
        if line.is_empty() {
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
        return Err(if line.starts_with("-----") {
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
    // Reserved once: a growing buffer would leave copies of a key behind.
    let mut decoder = base64::Decoder::with_capacity(4096);
    for (_, line) in lines {
        if let Some(rest) = line.strip_prefix("-----END ") {
            if rest.strip_suffix("-----") != Some(label) {
                return Err(PemError::End(number));
            }
            let der = decoder.finish().ok_or(PemError::Base64(number))?;
            return if der.is_empty() {
                Err(PemError::NoContent(number))
            } else {
                Ok(der)
            };
        }
        if line.starts_with("-----") {
            return Err(PemError::End(number));
        }
        if line.contains(':') {
            return Err(PemError::Headers(number));
        }
        if line.is_empty() || !decoder.line(line.as_bytes()) {
            return Err(PemError::Base64(number));
        }
    }
    Err(PemError::End(number))
}

/// Writes one block with 64 characters a line and a final newline.
#[must_use]
pub fn encode(label: &str, der: &[u8]) -> String {
    let body = der.len().div_ceil(3) * 4;
    // The exact size: a reallocation would leave part of a key in freed memory.
    let mut text = String::with_capacity(body + body.div_ceil(64) + 2 * label.len() + 32);
    text.push_str("-----BEGIN ");
    text.push_str(label);
    text.push_str("-----\n");
    for line in der.chunks(48) {
        base64::encode(line, &mut text);
        text.push('\n');
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}
