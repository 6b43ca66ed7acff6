//! Any record of before: it is refused or read, and any number in it gives a decision, at any time.
#![no_main]

use std::time::Duration;

use certagent_model::{
    decide::{self, Facts, LiveLeaf},
    issuance_limit::IssuanceLimit,
    record::Record,
    reload,
    schedule::{self, MinRemaining, RenewAt, RenewPolicy, Validity},
    time::Timestamp,
};
use libfuzzer_sys::fuzz_target;

/// The first bytes are numbers, the rest is the record.
const NUMBERS: usize = 4 * 8;

fuzz_target!(|input: &[u8]| {
    let Some((numbers, text)) = input.split_at_checked(NUMBERS) else {
        return;
    };
    let Ok(record) = Record::parse(text) else {
        return;
    };
    let number = |index: usize| {
        let bytes = &numbers[index * 8..index * 8 + 8];
        i64::from_le_bytes(bytes.try_into().unwrap())
    };
    let at = |index| Timestamp::from_unix_millis(number(index));
    let span = Duration::from_millis(number(3).unsigned_abs());
    let policy = RenewPolicy {
        at: RenewAt::Before(span),
        splay: span,
        splay_seed: record.fingerprint.clone(),
        min_remaining: MinRemaining::Derived(span),
        max_issuances_per_hour: IssuanceLimit::Derived { ttl: span },
        startup_timeout: span,
    };
    let now = at(0);
    let validity = Validity {
        not_before: at(1),
        not_after: at(2),
    };
    let _ = schedule::due(validity, record.obtained_at, &policy);
    let facts = Facts {
        live: Some(LiveLeaf {
            validity,
            obtained_at: record.obtained_at,
            fingerprint: record.fingerprint.clone(),
            serial: String::new(),
        }),
        held_until: reload::held_until(&record.quarantined, &record.fingerprint, now),
        fingerprint: record.fingerprint,
        requests: record.requests,
        ..Facts::default()
    };
    let next = decide::decide(&facts, &policy, now);
    assert_eq!(next, decide::decide(&facts, &policy, now));
});
