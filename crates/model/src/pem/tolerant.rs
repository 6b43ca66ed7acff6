//! PEM in files of people, taken as OpenSSL and Go take it.
//!
//! Never passes over a certificate or a key in silence: what a server would not read is refused by
//! name. What stays true: what [`super::parse`] accepts is accepted here.

use super::{BYTE_ORDER_MARK, Block, CERTIFICATE, PemError, begin, blocks};

/// Why a file is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// A block can't be read.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// `TRUSTED CERTIFICATE` or `X509 CERTIFICATE`, as `openssl x509 -trustout` writes it.
    #[error(
        "it holds a `{0}` block, which Go and rustls skip: \
         `openssl x509 -in FILE -out NEW` writes a plain one"
    )]
    Trusted(String),
    /// A private key among certificates.
    #[error("it holds a `{0}` block: a private key belongs into a file of its own")]
    Key(String),
    /// There are blocks, none of them a certificate.
    #[error("no certificate in it, but a `{0}` block")]
    NoCertificate(String),
}

/// Takes a file apart. Text outside of blocks is permitted (RFC 7468, 2: "explanatory text"), such as
/// comments, bag attributes and what `openssl x509 -text` writes; so is a byte order mark before it.
///
/// # Errors
/// The first block that can't be read, or that OpenSSL and Go would not see as one.
pub fn parse_file(text: &str) -> Result<Vec<Block>, PemError> {
    blocks(text, |number, line| {
        let start = line.trim_start();
        if line.starts_with("-----BEGIN ") {
            Ok(true)
        } else if start
            .strip_prefix(BYTE_ORDER_MARK)
            .is_some_and(|rest| begin(number, rest).is_ok())
        {
            Err(PemError::Mark(number))
        } else if begin(number, start).is_ok() {
            Err(PemError::Indented(number))
        } else {
            Ok(false)
        }
    })
}

/// DER of every certificate of a file. What is neither a certificate nor a key is passed over, such
/// as `DH PARAMETERS`: servers keep it in the same file.
///
/// # Errors
/// A block that can't be read, a private key, a certificate in OpenSSL's own form, or none at all.
pub fn certificates(text: &str) -> Result<Vec<Vec<u8>>, FileError> {
    let blocks = parse_file(text)?;
    for Block { label, .. } in &blocks {
        if label.ends_with("PRIVATE KEY") {
            return Err(FileError::Key(label.clone()));
        }
        if label != CERTIFICATE && label.ends_with(CERTIFICATE) {
            return Err(FileError::Trusted(label.clone()));
        }
    }
    let all = blocks.iter().filter(|block| block.label == CERTIFICATE);
    let ders: Vec<Vec<u8>> = all.map(|block| block.der.to_vec()).collect();
    match blocks.first() {
        Some(other) if ders.is_empty() => Err(FileError::NoCertificate(other.label.clone())),
        _ => Ok(ders),
    }
}

/// The key blocks of a file: `EC PARAMETERS` before the key, or certificates beside it, are passed
/// over, as servers do. A file without a key gives all of its blocks.
///
/// # Errors
/// A block that can't be read.
pub fn private_key(text: &str) -> Result<Vec<Block>, PemError> {
    let blocks = parse_file(text)?;
    let is_key = |block: &Block| block.label.ends_with("PRIVATE KEY");
    match blocks.iter().any(is_key) {
        true => Ok(blocks.into_iter().filter(is_key).collect()),
        false => Ok(blocks),
    }
}
