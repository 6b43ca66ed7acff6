use proptest::prelude::*;

use super::*;

const GOOD: &str = "-----BEGIN CERTIFICATE-----\nAAEC\n-----END CERTIFICATE-----\n";

#[test]
fn good_texts_parse_and_bad_ones_say_why() {
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
        (
            "lower label",
            GOOD.replace("CERT", "cert"),
            Err(PemError::Begin(1)),
        ),
        (
            "short dashes",
            GOOD.replace("E-----\nA", "E---\nA"),
            Err(PemError::Begin(1)),
        ),
        (
            "other END",
            GOOD.replace("END C", "END X"),
            Err(PemError::End(1)),
        ),
        (
            "padding",
            GOOD.replace("AAEC", "AAE"),
            Err(PemError::Base64(1)),
        ),
        (
            "stray bits",
            GOOD.replace("AAEC", "AAF="),
            Err(PemError::Base64(1)),
        ),
        (
            "after padding",
            GOOD.replace("AAEC", "AA==\nAAAA"),
            Err(PemError::Base64(1)),
        ),
        (
            "blank inside",
            GOOD.replace("AAEC", "AA EC"),
            Err(PemError::Base64(1)),
        ),
        (
            "empty line inside",
            GOOD.replace("AAEC", "AAEC\n"),
            Err(PemError::Base64(1)),
        ),
        (
            "nul",
            GOOD.replace("AAEC", "AA\0C"),
            Err(PemError::Base64(1)),
        ),
        (
            "no content",
            GOOD.replace("AAEC\n", ""),
            Err(PemError::NoContent(1)),
        ),
        (
            "encrypted",
            GOOD.replace("AAEC", "Proc-Type: 4,ENCRYPTED\n\nAAEC"),
            Err(PemError::Headers(1)),
        ),
    ];
    for (name, text, expected) in table {
        assert_eq!(parse(text).map(|blocks| blocks.len()), *expected, "{name}");
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
