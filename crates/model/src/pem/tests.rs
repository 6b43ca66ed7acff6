//! PEM as issuers and editors write it, and what is no PEM.

use proptest::prelude::*;

use super::*;

const GOOD: &str = "-----BEGIN CERTIFICATE-----\nAAEC\n-----END CERTIFICATE-----\n";

#[test]
fn what_is_outside_of_blocks_must_be_blank() {
    let table: &[(&str, String, Result<usize, PemError>)] = &[
        ("plain", GOOD.into(), Ok(1)),
        ("crlf", GOOD.replace('\n', "\r\n"), Ok(1)),
        ("no final newline", GOOD.trim_end().into(), Ok(1)),
        ("two with a blank line", format!("{GOOD}\n{GOOD}"), Ok(2)),
        ("empty", String::new(), Err(PemError::Empty)),
        ("blank", "\n \n".into(), Err(PemError::Empty)),
        ("text", "hello".into(), Err(PemError::Junk(1))),
        ("junk after", format!("{GOOD}x"), Err(PemError::Junk(4))),
        ("junk before", format!("x\n{GOOD}"), Err(PemError::Junk(1))),
        ("glued", GOOD.trim_end().repeat(2), Err(PemError::End(1))),
        ("cut", GOOD[..33].into(), Err(PemError::End(1))),
    ];
    for (name, text, expected) in table {
        assert_eq!(parse(text).map(|blocks| blocks.len()), *expected, "{name}");
    }
}

#[test]
fn a_bent_block_is_refused_for_its_fault() {
    // What is replaced in a good block, by what, and what is wrong then.
    let table = [
        ("CERT", "cert", PemError::Begin(1)),
        ("E-----\nA", "E---\nA", PemError::Begin(1)),
        ("BEGIN ", "BEGIN  ", PemError::Begin(1)),
        ("BEGIN", "BEGUN", PemError::Begin(1)),
        ("END C", "END X", PemError::End(1)),
        ("AAEC", "-----BEGIN CERTIFICATE-----", PemError::End(1)),
        ("AAEC", "AAE", PemError::Base64(1)),
        ("AAEC", "AAF=", PemError::Base64(1)),
        ("AAEC", "A===", PemError::Base64(1)),
        ("AAEC", "AA==\nAAAA", PemError::Base64(1)),
        ("AAEC", "AA EC", PemError::Base64(1)),
        ("AAEC", "AAEC\n", PemError::Base64(1)),
        ("AAEC", "AA\0C", PemError::Base64(1)),
        ("AAEC", "AA-_", PemError::Base64(1)),
        ("AAEC\n", "", PemError::NoContent(1)),
        (
            "AAEC",
            "Proc-Type: 4,ENCRYPTED\n\nAAEC",
            PemError::Headers(1),
        ),
    ];
    for (from, to, error) in table {
        assert_eq!(
            parse(&GOOD.replacen(from, to, 1)),
            Err(error),
            "{from:?} -> {to:?}"
        );
    }
}

#[test]
fn debug_shows_no_content() {
    let block = parse(GOOD).unwrap().remove(0);
    assert_eq!(format!("{block:?}"), "Block(CERTIFICATE, 3 bytes)");
}

proptest! {
    #[test]
    fn encoded_bytes_parse_back(der in prop::collection::vec(any::<u8>(), 1..300)) {
        let text = encode("PRIVATE KEY", &der);
        prop_assert!(text.ends_with("-----\n"));
        prop_assert!(text.lines().all(|line| line.len() <= 64));
        prop_assert_eq!(text.capacity(), text.len());
        let blocks = parse(&text).unwrap();
        prop_assert_eq!(blocks.len(), 1);
        prop_assert_eq!(&*blocks[0].der, &der);
    }

    #[test]
    fn any_text_never_panics(text in "(?s).{0,200}") {
        let _ = parse(&text);
    }

    #[test]
    fn a_bent_block_never_panics(at in 0usize..58, byte in 0u8..128) {
        let mut bytes = GOOD.as_bytes().to_vec();
        bytes[at] = byte;
        let _ = parse(std::str::from_utf8(&bytes).unwrap());
    }
}
