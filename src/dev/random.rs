//! Ids, tokens and serial numbers from the crypto library's generator.
//!
//! Never used outside the embedded PKI. It cannot fail: without randomness the process has no use.

use aws_lc_rs::rand;

use crate::model::request::hex;

const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Random bytes.
pub(super) fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if rand::fill(&mut bytes).is_err() {
        // aws-lc aborts the process itself when its generator fails; this branch keeps the type.
        fastrand::fill(&mut bytes);
    }
    bytes
}

/// Random letters and digits.
pub(super) fn letters<const N: usize>() -> String {
    bytes::<N>()
        .iter()
        .map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()]))
        .collect()
}

/// Sixteen random bytes in the usual form with dashes.
pub(super) fn uuid() -> String {
    let text = hex(&bytes::<16>());
    format!(
        "{}-{}-{}-{}-{}",
        &text[..8],
        &text[8..12],
        &text[12..16],
        &text[16..20],
        &text[20..]
    )
}

/// A positive serial number of exactly 20 bytes.
pub(super) fn serial() -> [u8; 20] {
    let mut bytes = bytes::<20>();
    bytes[0] = (bytes[0] & 0x7f).max(1);
    bytes
}
