//! Recognises a private key in a program's output, in whatever notation it is there.
//!
//! Never keeps the key itself longer than its owner does. What stays true: eight bytes of the key in
//! a row are enough, and what stands in the certificate too is no secret.

use std::collections::HashSet;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use crate::pem;

/// Digits in hex, of eight bytes.
const HEX: usize = 16;
/// Letters in base64, of nine bytes.
const BASE64: usize = 12;

/// What a line must not hold: every piece of a key in hex and in base64, of its bytes and of its
/// PEM text.
#[derive(Clone, Default)]
pub struct KeyTraces {
    hex: HashSet<[u8; HEX]>,
    base64: HashSet<[u8; BASE64]>,
}

impl std::fmt::Debug for KeyTraces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyTraces")
    }
}

impl KeyTraces {
    /// `key` and `certificate` are PEM texts that belong together; what is none gives no traces.
    #[must_use]
    pub fn of(key: &str, certificate: &str) -> Self {
        let mut traces = Self::default();
        traces.add(key);
        let mut public = Self::default();
        public.add(certificate);
        traces.hex.retain(|piece| !public.hex.contains(piece));
        traces.base64.retain(|piece| !public.base64.contains(piece));
        traces
    }

    /// Does the line hold a piece of the key?
    #[must_use]
    pub fn is_in(&self, line: &str) -> bool {
        let hex = line.bytes().filter(u8::is_ascii_hexdigit);
        let hex: Zeroizing<Vec<u8>> =
            Zeroizing::new(hex.map(|one| one.to_ascii_lowercase()).collect());
        // base64url (RFC 4648 section 5) as base64
        let letters = line.bytes().filter_map(|one| match one {
            b'-' => Some(b'+'),
            b'_' => Some(b'/'),
            b'+' | b'/' => Some(one),
            one => one.is_ascii_alphanumeric().then_some(one),
        });
        let letters: Zeroizing<Vec<u8>> = Zeroizing::new(letters.collect());
        pieces(&hex).any(|piece| self.hex.contains(&piece))
            || pieces(&letters).any(|piece| self.base64.contains(&piece))
    }

    fn add(&mut self, text: &str) {
        self.add_bytes(text.as_bytes());
        for block in pem::parse(text).unwrap_or_default() {
            self.add_bytes(&block.der);
        }
    }

    fn add_bytes(&mut self, bytes: &[u8]) {
        self.add_base64(bytes);
        let halves = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        let digit = |half: u8| b"0123456789abcdef"[usize::from(half)];
        let hex: Zeroizing<Vec<u8>> = Zeroizing::new(halves.map(digit).collect());
        self.hex.extend(pieces(&hex));
    }

    /// In base64 the same bytes look different at each of three places.
    fn add_base64(&mut self, bytes: &[u8]) {
        for skipped in 0..3.min(bytes.len()) {
            let text = Zeroizing::new(STANDARD.encode(&bytes[skipped..]));
            let letters = text.trim_end_matches('=').as_bytes();
            self.base64.extend(pieces(letters));
        }
    }
}

fn pieces<const N: usize>(text: &[u8]) -> impl Iterator<Item = [u8; N]> {
    text.windows(N).filter_map(|piece| piece.try_into().ok())
}
