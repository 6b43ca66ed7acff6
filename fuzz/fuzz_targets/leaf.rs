//! Any bytes: a certificate is refused or read, never with a panic; it is also read as a key.
#![no_main]

use certagent_model::{bundle::PrivateKey, leaf::CertFacts, pem};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|der: &[u8]| {
    if let Ok(facts) = CertFacts::read(der) {
        assert!(!facts.serial.is_empty());
        assert_eq!(
            CertFacts::read(der).map(|again| again.sha256),
            Ok(facts.sha256)
        );
    }
    for label in ["PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY"] {
        let text = pem::encode(label, der);
        let Ok(blocks) = pem::parse(&text) else {
            continue;
        };
        for block in blocks {
            let _ = PrivateKey::from_block(&block);
        }
    }
});
