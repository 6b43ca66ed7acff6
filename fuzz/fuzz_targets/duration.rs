//! Any text: a duration is refused, or prints as text that means the same.
#![no_main]

use certagent_model::duration;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(value) = duration::parse(text) {
        assert_eq!(duration::parse(&duration::print(value)), Ok(value));
    }
});
