//! Which anchors go into CA.pem, and a new CA.pem when they change.
//!
//! Never asks for a certificate: leaf and key stay. What stays true: an anchor leaves CA.pem only
//! after its overlap, and never while the live leaf hangs on it.

use std::{slice, time::Duration};

use super::Holdings;
use crate::{
    agent::{extras, log},
    config::CertConfig,
    model::{
        failure::Failure,
        time::Timestamp,
        trust::{self, Vouched},
        verify::Verified,
    },
    publish::GRACE,
};

/// The longest time between two looks at the anchors: what an anchor's overlap is counted in.
const EVERY: Duration = Duration::from_secs(600);

impl Holdings {
    /// Reads the pinned extra anchors anew and returns them. Before anything was read a damaged
    /// file is an error; later the last good content stays in force.
    pub(in crate::agent) fn extra_anchors(
        &mut self,
        config: &CertConfig,
    ) -> Result<Vec<Vec<u8>>, Failure> {
        let Some(path) = &config.extra_ca else {
            return Ok(Vec::new());
        };
        match extras::read(path) {
            Ok(extras) => self.extras = extras,
            Err(failure) if self.extras.is_empty() => return Err(failure),
            Err(failure) => self.tell(&failure, "the extra anchors stay as they were"),
        }
        Ok(self.extras.clone())
    }

    /// An answer with the anchors that CA.pem shall hold.
    pub(in crate::agent) fn with_trust(
        &mut self,
        verified: &Verified,
        config: &CertConfig,
        mount: Option<&[Vec<u8>]>,
        now: Timestamp,
    ) -> Verified {
        let vouched = Vouched {
            chain: slice::from_ref(verified.path_anchor()),
            // without a poll only chain and configuration vouch
            mount: if config.trust_poll.is_zero() {
                Some(&[])
            } else {
                mount
            },
            extras: &self.extras,
        };
        let trust = trust::union(vouched, &self.state.trust, config.trust_overlap, now);
        self.unsaved |= self.state.trust != trust.memory;
        self.state.trust = trust.memory;
        verified.with_anchors(&trust.anchors)
    }

    /// Puts the anchors together anew when there is news or it is time. True when CA.pem changed.
    pub(in crate::agent) fn retrust(
        &mut self,
        config: &CertConfig,
        news: bool,
        mount: Option<&[Vec<u8>]>,
        now: Timestamp,
    ) -> bool {
        let recent = self
            .trusted_at
            .is_some_and(|at| now >= at && now.since(at) < EVERY);
        let Some(held) = self.live.as_ref().filter(|_| news || !recent) else {
            return false;
        };
        if self.trust_is_held(&held.verified.leaf().serial, now) {
            return false;
        }
        let live = held.verified.clone();
        if let Err(failure) = self.extra_anchors(config) {
            self.tell(&failure, "CA.pem stays as it is");
            return false;
        }
        let wanted = self.with_trust(&live, config, mount, now);
        let changed = wanted.ca_pem() != live.ca_pem();
        if changed && let Err(failure) = self.replace_anchors(config, wanted, now) {
            self.trusted_at = None;
            self.tell(&failure, "CA.pem could not be brought up to date");
            return false;
        }
        self.trusted_at = Some(now);
        self.save();
        changed
    }

    fn replace_anchors(
        &mut self,
        config: &CertConfig,
        wanted: Verified,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let published = self.opened()?.publish(&wanted)?;
        self.announce(&wanted, published.generation, config, now);
        if let Some(held) = &mut self.live {
            log::trust_changed(held.verified.anchors(), wanted.anchors());
            held.verified = wanted;
            held.generation = published.generation;
        }
        self.state.generation = Some(published.generation.to_string());
        self.unsaved = true;
        self.grace_ends = Some(now.plus(GRACE));
        self.mark(config, now);
        Ok(())
    }
}
