//! Any text: a configuration file is read or refused with problems, never with a panic.
#![no_main]

use certagent::config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(problems) = config::parse(text, "fuzz.hcl") {
        assert!(!problems.is_empty());
    }
});
