//! Reads header fields of HTTP/2 (HPACK, RFC 7541), as far as one answer of gRPC needs them.
//!
//! Never encodes, and keeps no name of the static table but `:status`: nobody here asks for another.
//! What stays true: whatever the bytes, the result is bounded.

use std::collections::VecDeque;

/// Name and value.
pub(super) type Field = (String, String);

/// All fields of one answer together may not be larger.
const LARGEST: usize = 64 << 10;
/// Size of the dynamic table before anybody says otherwise (RFC 9113 section 6.5.2).
const TABLE: usize = 4096;
/// What each entry counts beyond its texts (RFC 7541 section 4.1).
const ENTRY: usize = 32;
/// Entries of the static table (RFC 7541 appendix A).
const STATIC: usize = 61;
/// Its entries 8 to 14.
const STATUS: [&str; 7] = ["200", "204", "206", "304", "400", "404", "500"];

/// Reads the blocks of one connection, in their order.
pub(super) struct Decoder {
    table: VecDeque<Field>,
    limit: usize,
    read: usize,
}

impl Decoder {
    pub(super) fn new() -> Self {
        Self {
            table: VecDeque::new(),
            limit: TABLE,
            read: 0,
        }
    }

    /// The fields of one block; `None` when it is broken or too large.
    pub(super) fn decode(&mut self, block: &[u8]) -> Option<Vec<Field>> {
        let mut rest = Rest(block);
        let mut fields = Vec::new();
        while let Some(&first) = rest.0.first() {
            if first & 0xe0 == 0x20 {
                self.limit = rest.integer(5)?;
                if self.limit > TABLE {
                    return None;
                }
                self.evict();
                continue;
            }
            let field = self.field(&mut rest, first)?;
            self.read += field.0.len() + field.1.len() + ENTRY;
            if self.read > LARGEST {
                return None;
            }
            fields.push(field);
        }
        Some(fields)
    }

    fn field(&mut self, rest: &mut Rest<'_>, first: u8) -> Option<Field> {
        if first & 0x80 != 0 {
            let index = rest.integer(7)?;
            return self.entry(index);
        }
        let kept = first & 0x40 != 0;
        let name = match rest.integer(if kept { 6 } else { 4 })? {
            0 => rest.text()?,
            index => self.entry(index)?.0,
        };
        let field = (name, rest.text()?);
        if kept {
            self.table.push_front(field.clone());
            self.evict();
        }
        Some(field)
    }

    fn entry(&self, index: usize) -> Option<Field> {
        match index {
            0 => None,
            8..=14 => Some((":status".to_owned(), STATUS[index - 8].to_owned())),
            1..=STATIC => Some(Field::default()),
            _ => self.table.get(index - STATIC - 1).cloned(),
        }
    }

    fn evict(&mut self) {
        let size = |field: &Field| field.0.len() + field.1.len() + ENTRY;
        let mut sum: usize = self.table.iter().map(size).sum();
        while sum > self.limit {
            sum -= self.table.pop_back().as_ref().map_or(sum, size);
        }
    }
}

struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    /// An integer whose first part is the lowest `bits` of the next byte (RFC 7541 section 5.1).
    fn integer(&mut self, bits: u32) -> Option<usize> {
        let most = (1_usize << bits) - 1;
        let mut value = usize::from(self.byte()?) & most;
        if value < most {
            return Some(value);
        }
        for place in 0..4 {
            let byte = self.byte()?;
            value += usize::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    /// A text, plain or Huffman-coded (RFC 7541 section 5.2).
    fn text(&mut self) -> Option<String> {
        let coded = self.0.first()? & 0x80 != 0;
        let length = self.integer(7)?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        let bytes = if coded { unpack(text)? } else { text.to_vec() };
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }
}

/// Undoes the Huffman code. It is canonical: codes of one length follow each other in the order of
/// their bytes, so that the lengths say everything.
fn unpack(coded: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let (mut code, mut length) = (0_u32, 0_u8);
    let mut table = Lengths::new();
    for bit in coded
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1))
    {
        code = code << 1 | u32::from(bit);
        length += 1;
        match table.find(code, length) {
            Some(byte) => {
                bytes.push(byte);
                (code, length) = (0, 0);
            }
            None if length >= 30 => return None,
            None => {}
        }
    }
    // What is left is the beginning of the end mark: ones, less than a byte of them.
    (length < 8 && code == (1 << length) - 1).then_some(bytes)
}

/// Codes by their length.
struct Lengths {
    /// For each length: its first code, and where its bytes begin in `bytes`.
    first: [(u32, usize); 32],
    bytes: Vec<u8>,
}

impl Lengths {
    fn new() -> Self {
        let mut this = Self {
            first: [(0, 0); 32],
            bytes: Vec::with_capacity(256),
        };
        let mut code = 0;
        for length in 0..31_u8 {
            this.first[usize::from(length)] = (code, this.bytes.len());
            let before = this.bytes.len();
            this.bytes
                .extend((0..=255).filter(|&byte| HUFFMAN[usize::from(byte)] == length));
            let count = u32::try_from(this.bytes.len() - before).unwrap_or_default();
            code = (code + count) << 1;
        }
        this.first[31] = (code, this.bytes.len());
        this
    }

    fn find(&mut self, code: u32, length: u8) -> Option<u8> {
        let length = usize::from(length);
        let (first, begin) = self.first[length];
        let end = self.first.get(length + 1)?.1;
        let at = begin + usize::try_from(code.checked_sub(first)?).ok()?;
        (at < end).then(|| self.bytes[at])
    }
}

/// Length of each byte's code, in bits (RFC 7541 appendix B); the end mark has 30 ones.
#[rustfmt::skip]
const HUFFMAN: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text
            .bytes()
            .filter(|byte| !byte.is_ascii_whitespace())
            .collect();
        let pair =
            |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.chunks(2).map(pair).collect()
    }

    /// RFC 7541 appendices C.4.1, C.4.3 and C.6.1 to C.6.3, on one connection each.
    #[test]
    fn the_examples_of_the_rfc_are_read() {
        let mut requests = Decoder::new();
        let first = requests
            .decode(&hex("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff"))
            .unwrap();
        assert_eq!(first[3].1, "www.example.com");
        requests
            .decode(&hex("8286 84be 5886 a8eb 1064 9cbf"))
            .unwrap();
        let third = requests
            .decode(&hex(
                "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
            ))
            .unwrap();
        assert_eq!(third[3].1, "www.example.com");
        assert_eq!(
            third[4],
            ("custom-key".to_owned(), "custom-value".to_owned())
        );

        let mut answers = Decoder::new();
        let first =
            "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6
            2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3";
        let first = answers.decode(&hex(first)).unwrap();
        assert_eq!(first[0], (":status".to_owned(), "302".to_owned()));
        assert_eq!(first[2].1, "Mon, 21 Oct 2013 20:13:21 GMT");
        let second = answers.decode(&hex("4883 640e ffc1 c0bf")).unwrap();
        assert_eq!(second[0], (":status".to_owned(), "307".to_owned()));
        assert_eq!(second[3].1, "https://www.example.com");
    }

    #[test]
    fn what_is_cut_off_or_too_much_is_refused() {
        let mut table = vec![
            hex("80"),           // entry 0
            hex("be"),           // an entry that is not there
            hex("40"),           // no name
            hex("4001 61"),      // no value
            hex("0001 6105 62"), // a value that is cut off
            hex("ff ff ff ff ff ff"),
            hex("3f e2 1f"),              // a table of 4097
            hex("0001 6182 00 00"),       // padding that is not of ones
            hex("0001 6184 ff ff ff ff"), // the end mark
        ];
        // One large entry, and then many references to it.
        let mut bomb = hex("4001 61 7f a1 1d");
        bomb.extend([b'x'; 3872]);
        bomb.extend([0xbe; 100]);
        table.push(bomb);
        for block in table {
            assert_eq!(Decoder::new().decode(&block), None, "{block:02x?}");
        }
    }

    #[test]
    fn a_smaller_table_forgets() {
        let mut decoder = Decoder::new();
        decoder.decode(&hex("4001 6101 62")).unwrap();
        assert!(decoder.decode(&hex("be")).is_some());
        decoder.decode(&hex("20")).unwrap();
        assert_eq!(decoder.decode(&hex("be")), None);
    }

    proptest! {
        #[test]
        fn no_block_breaks_the_reader(block in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _any = Decoder::new().decode(&block);
        }
    }
}
