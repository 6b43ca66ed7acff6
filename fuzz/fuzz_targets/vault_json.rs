//! Any body: an answer is refused with a known code, or taken apart.
#![no_main]

use certagent_model::{answer, pem, verify::codes};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    match answer::parse(body, None) {
        Ok(bundle) => {
            for text in [bundle.ca_pem(), bundle.cert_pem()] {
                assert!(text.is_empty() || pem::parse(&text).is_ok());
            }
        }
        Err(refusal) => {
            assert!(!refusal.problems.is_empty());
            assert!(codes::find(refusal.code()).is_some());
        }
    }
});
