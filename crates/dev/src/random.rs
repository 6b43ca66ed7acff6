//! Ids, tokens and serial numbers from the crypto library's generator.
//!
//! Never fails: aws-lc ends the process itself when its generator does.

use aws_lc_rs::rand;
use certagent_model::request::hex;

const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    assert!(rand::fill(&mut bytes).is_ok(), "no random bytes");
    bytes
}

/// Random letters and digits.
pub(crate) fn letters<const N: usize>() -> String {
    bytes::<N>()
        .iter()
        .map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()]))
        .collect()
}

/// A random id in the form of a UUID (RFC 9562, section 4).
pub(crate) fn uuid() -> String {
    let text = hex(&bytes::<16>());
    let [a, b, c, d] = [&text[..8], &text[8..12], &text[12..16], &text[16..20]];
    format!("{a}-{b}-{c}-{d}-{}", &text[20..])
}

/// A positive serial number of exactly 20 bytes (RFC 5280, section 4.1.2.2).
pub(crate) fn serial() -> [u8; 20] {
    let mut bytes = bytes::<20>();
    bytes[0] = (bytes[0] & 0x7f).max(1);
    bytes
}
