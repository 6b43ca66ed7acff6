//! Base64 of RFC 4648 section 4, strict: padding demanded, no stray bits, no other characters.
//!
//! Never keeps a copy: the decoder's buffer is wiped on drop.

use zeroize::Zeroizing;

/// Decodes line by line.
pub(super) struct Decoder {
    out: Zeroizing<Vec<u8>>,
    group: Zeroizing<[u8; 4]>,
    filled: usize,
    padding: usize,
    broken: bool,
}

impl Decoder {
    /// Room for `bytes` before the buffer has to move.
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self {
            out: Zeroizing::new(Vec::with_capacity(bytes)),
            group: Zeroizing::new([0; 4]),
            filled: 0,
            padding: 0,
            broken: false,
        }
    }

    /// Takes one line; false when it holds anything but base64.
    pub(super) fn line(&mut self, line: &[u8]) -> bool {
        for &byte in line {
            if byte == b'=' {
                self.padding += 1;
                self.put(0);
                continue;
            }
            match value(byte) {
                Some(bits) if self.padding == 0 => self.put(bits),
                _ => self.broken = true,
            }
        }
        !self.broken
    }

    fn put(&mut self, bits: u8) {
        self.group[self.filled] = bits;
        self.filled += 1;
        if self.filled < 4 {
            return;
        }
        self.filled = 0;
        let [a, b, c, d] = *self.group;
        let bytes = [a << 2 | b >> 4, b << 4 | c >> 2, c << 6 | d];
        // What the padding cuts off must be zero, else two texts mean the same bytes.
        let kept = 3usize.saturating_sub(self.padding);
        if self.padding > 2 || bytes[kept..].iter().any(|byte| *byte != 0) {
            self.broken = true;
            return;
        }
        self.out.extend_from_slice(&bytes[..kept]);
    }

    /// All bytes, when the text was complete.
    pub(super) fn finish(mut self) -> Option<Zeroizing<Vec<u8>>> {
        let whole = !self.broken && self.filled == 0;
        whole.then(|| std::mem::take(&mut self.out))
    }
}

fn value(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Appends the base64 of `bytes`.
pub(super) fn encode(bytes: &[u8], text: &mut String) {
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let index = (bits >> (18 - 6 * at)) & 63;
            text.push(if at > group.len() {
                '='
            } else {
                char::from(ALPHABET[index as usize])
            });
        }
    }
}
