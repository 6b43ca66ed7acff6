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

/// What a person's file holds, and how both readers take it: by the number of blocks, or the fault.
#[test]
fn text_of_people_is_passed_over_and_no_block_is_lost() {
    let bag = "Bag Attributes\n    friendlyName: Ünser\n    localKeyID: 01 23\nsubject=CN = a\n\n";
    let dump = "Certificate:\n    Data:\n        Version: 3 (0x2)\n";
    let table: &[(&str, String, Result<usize, PemError>)] = &[
        ("plain", GOOD.into(), Ok(1)),
        ("comment", format!("# our root\n{GOOD}"), Ok(1)),
        ("comment after", format!("{GOOD}# end"), Ok(1)),
        ("bag attributes", format!("{bag}{GOOD}{bag}{GOOD}"), Ok(2)),
        ("openssl x509 -text", format!("{dump}{GOOD}"), Ok(1)),
        ("dashes in text", format!("----- root -----\n{GOOD}"), Ok(1)),
        ("a stray END", format!("-----END X-----\n{GOOD}"), Ok(1)),
        (
            "BEGIN in a sentence",
            format!("see -----BEGIN CERTIFICATE-----\n{GOOD}"),
            Ok(1),
        ),
        ("mark before text", format!("\u{feff}# root\n{GOOD}"), Ok(1)),
        (
            "mark before BEGIN",
            format!("\u{feff}{GOOD}"),
            Err(PemError::Mark(1)),
        ),
        (
            "mark between",
            format!("{GOOD}\u{feff}{GOOD}"),
            Err(PemError::Mark(4)),
        ),
        (
            "indented",
            format!("{GOOD}  {GOOD}"),
            Err(PemError::Indented(4)),
        ),
        ("tab", format!("\t{GOOD}"), Err(PemError::Indented(1))),
        ("text alone", "hello".into(), Err(PemError::Empty)),
        (
            "cut",
            format!("# a\n{}", &GOOD[..33]),
            Err(PemError::End(2)),
        ),
        (
            "wrong BEGIN",
            format!("# a\n-----BEGIN cert-----\n{GOOD}"),
            Err(PemError::Begin(2)),
        ),
    ];
    for (name, text, expected) in table {
        let found = parse_file(text).map(|blocks| blocks.len());
        assert_eq!(found, *expected, "{name}");
    }
}

#[test]
fn an_answer_with_a_mark_is_refused_by_its_name() {
    assert_eq!(parse(&format!("\u{feff}{GOOD}")), Err(PemError::Mark(1)));
}

#[test]
fn a_file_of_certificates_may_hold_parameters_and_no_key() {
    let block = |label: &str| GOOD.replace("CERTIFICATE", label);
    let of = |labels: &[&str]| {
        let text: String = labels.iter().map(|label| block(label)).collect();
        certificates(&text).map(|ders| ders.len())
    };
    assert_eq!(
        of(&["DH PARAMETERS", "CERTIFICATE", "X509 CRL", "CERTIFICATE"]),
        Ok(2)
    );
    let trusted = FileError::Trusted("TRUSTED CERTIFICATE".to_owned());
    assert!(trusted.to_string().contains("openssl x509"));
    assert_eq!(of(&["CERTIFICATE", "TRUSTED CERTIFICATE"]), Err(trusted));
    for label in ["PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY"] {
        assert_eq!(
            of(&["CERTIFICATE", label]),
            Err(FileError::Key(label.to_owned()))
        );
    }
    let none = FileError::NoCertificate("EC PARAMETERS".to_owned());
    assert_eq!(of(&["EC PARAMETERS"]), Err(none));
    assert_eq!(certificates(""), Err(FileError::Pem(PemError::Empty)));
}

#[test]
fn the_key_of_a_file_is_found_beside_parameters_and_certificates() {
    let block = |label: &str| GOOD.replace("CERTIFICATE", label);
    let of = |labels: &[&str]| {
        let text: String = labels.iter().map(|label| block(label)).collect();
        let blocks = private_key(&text).unwrap();
        blocks
            .into_iter()
            .map(|block| block.label)
            .collect::<Vec<_>>()
    };
    assert_eq!(of(&["EC PARAMETERS", "EC PRIVATE KEY"]), ["EC PRIVATE KEY"]);
    assert_eq!(
        of(&["CERTIFICATE", "PRIVATE KEY", "CERTIFICATE"]),
        ["PRIVATE KEY"]
    );
    assert_eq!(
        of(&["PRIVATE KEY", "PRIVATE KEY"]).len(),
        2,
        "which one is not for us to choose"
    );
    assert_eq!(of(&["CERTIFICATE"]), ["CERTIFICATE"]);
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
        let strict = parse(&text);
        let file = parse_file(&text);
        prop_assert!(strict.is_err() || strict == file);
    }

    #[test]
    fn a_bent_block_never_panics(at in 0usize..58, byte in 0u8..128) {
        let mut bytes = GOOD.as_bytes().to_vec();
        bytes[at] = byte;
        let _ = parse(std::str::from_utf8(&bytes).unwrap());
    }
}
