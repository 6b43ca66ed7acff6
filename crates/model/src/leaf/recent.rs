//! The certificates that were read last: one CA stands in every answer, and is looked at in every
//! step of an answer's way to the disk.
//!
//! Never holds a key, never decides. What stays true: equal bytes have equal facts, so that a
//! remembered result is the result.

use std::cell::RefCell;

use super::{CertError, CertFacts};

/// A chain, its anchors and some of a mount's.
const MAX_ENTRIES: usize = 8;

thread_local! {
    /// The newest first.
    static RECENT: RefCell<Vec<(Vec<u8>, CertFacts)>> = const { RefCell::new(Vec::new()) };
}

/// The facts of `der`: known ones, or what `read` makes of it.
pub(super) fn facts(
    der: &[u8],
    read: impl FnOnce(&[u8]) -> Result<CertFacts, CertError>,
) -> Result<CertFacts, CertError> {
    RECENT.with_borrow_mut(|recent| {
        if let Some(at) = recent.iter().position(|(known, _)| known == der) {
            recent[..=at].rotate_right(1);
        } else {
            let facts = read(der)?;
            recent.truncate(MAX_ENTRIES - 1);
            recent.insert(0, (der.to_vec(), facts));
        }
        Ok(recent[0].1.clone())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{testing::ca::TestCa, time::Timestamp};

    #[test]
    fn what_is_known_is_not_read_again_and_the_oldest_is_forgotten() {
        let now = Timestamp::from_unix_secs(1_900_000_000);
        let certs: Vec<Vec<u8>> = (0..=MAX_ENTRIES)
            .map(|_| {
                let pem = TestCa::new(now).issuers().remove(0);
                crate::pem::parse(&pem).unwrap()[0].der.to_vec()
            })
            .collect();
        let known = |der: &[u8]| facts(der, |_| Err(CertError::Malformed)).ok();
        for der in &certs {
            assert_eq!(known(der), None);
            let read = facts(der, CertFacts::parse).unwrap();
            assert_eq!(known(der), Some(read));
        }
        assert_eq!(known(&certs[0]), None, "only {MAX_ENTRIES} are kept");
        assert_eq!(known(&certs[1]), CertFacts::parse(&certs[1]).ok());
    }
}
