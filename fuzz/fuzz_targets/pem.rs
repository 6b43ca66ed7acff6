//! Any text: PEM is refused or round-trips, and what is in it is read without a panic.
#![no_main]

use certagent_model::{bundle::PrivateKey, leaf::CertFacts, pem};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let file = pem::parse_file(text);
    let Ok(blocks) = pem::parse(text).or(file.clone()) else {
        return;
    };
    assert_eq!(Ok(&blocks), file.as_ref());
    for block in blocks {
        let again = pem::parse(&pem::encode(&block.label, &block.der));
        assert_eq!(again.as_deref(), Ok(std::slice::from_ref(&block)));
        let _ = CertFacts::read(&block.der);
        let _ = PrivateKey::from_block(&block);
    }
});
