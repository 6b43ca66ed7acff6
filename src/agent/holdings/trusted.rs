//! Which anchors go into CA.pem, and a new CA.pem when they change.
//!
//! Never asks for a certificate: leaf and key stay. What stays true: an anchor leaves CA.pem only
//! after its overlap, and never while the live leaf hangs on it.

use std::{slice, time::Duration};

use tracing::warn;

use super::Holdings;
use crate::{
    config::CertConfig,
    issuance::extras,
    model::{
        failure::Failure,
        pem,
        time::Timestamp,
        trust::{self, MountIssuer, Trust, Vouched},
        verify::Verified,
    },
    publish::PREVIOUS_RETENTION,
};

/// The longest time between two looks at the anchors: what an anchor's overlap is counted in.
const REFRESH_INTERVAL: Duration = Duration::from_secs(600);

impl Holdings {
    /// Reads the extra anchors anew and returns them. A file that is damaged or gone stops nothing:
    /// what was read from it last counts, also over a restart.
    pub(in crate::agent) fn extra_anchors(&mut self, config: &CertConfig) -> Vec<Vec<u8>> {
        let Some(path) = &config.extra_ca else {
            self.extra_ca_failure = None;
            return Vec::new();
        };
        match extras::read(path) {
            Ok(extras) => {
                self.extra_ca_failure = None;
                let texts = extras.iter().map(|der| pem::encode(pem::CERTIFICATE, der));
                let texts: Vec<String> = texts.collect();
                self.unsaved |= self.state.extra_anchors != texts;
                self.state.extra_anchors = texts;
                extras
            }
            Err(failure) => {
                if self.extra_ca_failure.as_ref() != Some(&failure) {
                    warn!(
                        code = failure.code,
                        "{failure}; the last good content is used"
                    );
                }
                self.extra_ca_failure = Some(failure);
                self.last_extras()
            }
        }
    }

    /// What the record says of them.
    fn last_extras(&self) -> Vec<Vec<u8>> {
        let texts = self.state.extra_anchors.iter();
        texts
            .filter_map(|text| trust::extras(text).ok())
            .flatten()
            .collect()
    }

    /// What CA.pem shall hold for this leaf.
    pub(in crate::agent) fn trust(
        &self,
        verified: &Verified,
        config: &CertConfig,
        mount: Option<&[MountIssuer]>,
        now: Timestamp,
    ) -> Trust {
        let extras = if config.extra_ca.is_some() {
            self.last_extras()
        } else {
            Vec::new()
        };
        let vouched = Vouched {
            chain: slice::from_ref(verified.path_anchor()),
            // without a poll only chain and configuration vouch
            mount: if config.ca_poll_interval.is_zero() {
                Some(&[])
            } else {
                mount
            },
            extras: &extras,
        };
        let (memory, retention) = (&self.state.trust, config.ca_retention);
        trust::union(vouched, memory, &config.trust, retention, now)
    }

    /// An answer with the anchors that CA.pem shall hold.
    pub(in crate::agent) fn with_trust(
        &mut self,
        verified: &Verified,
        config: &CertConfig,
        mount: Option<&[MountIssuer]>,
        now: Timestamp,
    ) -> Verified {
        let trust = self.trust(verified, config, mount, now);
        self.unsaved |= self.state.trust != trust.memory;
        self.state.trust = trust.memory;
        for note in &trust.notes {
            if !self.trust_notes.contains(note) {
                warn!(code = note.code(), "{note}");
            }
        }
        self.trust_notes = trust.notes;
        verified.with_anchors(&trust.anchors)
    }

    /// Puts the anchors together anew when there is news or it is time. The change of CA.pem, when
    /// there was one.
    pub(in crate::agent) fn retrust(
        &mut self,
        config: &CertConfig,
        news: bool,
        mount: Option<&[MountIssuer]>,
        now: Timestamp,
    ) -> Option<AnchorChange> {
        let recent = self
            .trusted_at
            .is_some_and(|at| now >= at && now.since(at) < REFRESH_INTERVAL);
        let held = self.live.as_ref().filter(|_| news || !recent)?;
        if self.trust_is_held(&held.verified.leaf().serial, now) {
            return None;
        }
        let live = held.verified.clone();
        let _read = self.extra_anchors(config);
        let wanted = self.with_trust(&live, config, mount, now);
        let change = (wanted.ca_pem() != live.ca_pem()).then(|| AnchorChange {
            before: live.anchors().to_vec(),
            after: wanted.anchors().to_vec(),
        });
        if change.is_some()
            && let Err(failure) = self.replace_anchors(config, wanted, now)
        {
            self.trusted_at = None;
            self.warn_once(&failure, "CA.pem could not be brought up to date");
            return None;
        }
        self.trusted_at = Some(now);
        self.save();
        change
    }

    fn replace_anchors(
        &mut self,
        config: &CertConfig,
        wanted: Verified,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let generation = self.opened()?.publish(&wanted)?.generation;
        self.announce(&wanted, generation, config, now);
        if let Some(held) = &mut self.live {
            held.verified = wanted;
            held.generation = generation;
        }
        self.state.generation = Some(generation.to_string());
        self.unsaved = true;
        self.previous_until = Some(now.plus(PREVIOUS_RETENTION));
        self.mark(config, now);
        Ok(())
    }
}

/// The anchors in CA.pem before and after, DER.
pub(in crate::agent) struct AnchorChange {
    pub(in crate::agent) before: Vec<Vec<u8>>,
    pub(in crate::agent) after: Vec<Vec<u8>>,
}
