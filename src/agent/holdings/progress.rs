//! The record about the live generation: how far the application has come with it; and the way back
//! to the generation before.
//!
//! Never reloads. What stays true: a live generation has its record in the same write of the state;
//! a generation that broke the application is on record as such before it is taken back.

use super::{Holdings, LiveFiles, adopt, valid};
use crate::{
    config::CertConfig,
    model::{
        failure::Failure,
        leaf::CertFacts,
        pem,
        record::{Record, StagedRecord},
        reload::{self, EventKind, Previous, Publication, Quarantined, ReloadRecord, Start},
        time::Timestamp,
        verify::Verified,
    },
    publish::{GenerationId, PREVIOUS_RETENTION, SetOnDisk},
};

impl Holdings {
    /// The record about the live generation; its times are pulled back when the clock was.
    pub(in crate::agent) fn reload_record(&mut self, now: Timestamp) -> Option<ReloadRecord> {
        self.live.as_ref()?;
        let record = self.state.reload.as_mut()?;
        record.clamp_times(now);
        Some(record.clone())
    }

    /// Writes a changed record down. Only when this worked may an action leave.
    pub(in crate::agent) fn record_attempt(&mut self, record: ReloadRecord) -> Result<(), Failure> {
        let state = Record {
            reload: Some(record),
            ..self.state.clone()
        };
        self.opened()?.save_record(&state)?;
        self.state = state;
        self.unsaved = false;
        Ok(())
    }

    /// Takes a changed record over; on disk as soon as the disk lets us.
    pub(in crate::agent) fn keep_record(&mut self, record: ReloadRecord) {
        self.note_record(record);
        self.save();
    }

    /// Takes a changed record over; on disk at the next check.
    pub(in crate::agent) fn note_record(&mut self, record: ReloadRecord) {
        self.state.reload = Some(record);
        self.unsaved = true;
    }

    /// The generation that was taken back last, while it is kept away.
    pub(in crate::agent) fn quarantined(&self, now: Timestamp) -> Option<&Quarantined> {
        let newest = self.state.quarantined.last()?;
        (newest.hold_until > now).then_some(newest)
    }

    /// The record for a generation that has just become live in place of `self.live`.
    pub(super) fn announce(
        &mut self,
        verified: &Verified,
        generation: GenerationId,
        config: &CertConfig,
        now: Timestamp,
    ) {
        let old = self.state.reload.as_ref();
        let served = config.probe.is_some() && old.is_some_and(ReloadRecord::is_verified);
        let live = self.live.as_ref();
        let previous = live.map(|held| Previous {
            generation: held.generation.to_string(),
            serial: held.verified.leaf().serial.clone(),
            not_after: held.verified.validity().not_after,
            served,
        });
        let same_trust = match live {
            Some(held) => held.verified.ca_pem() == verified.ca_pem(),
            None => self.unusable_had(verified.ca_pem()),
        };
        let first = live.is_none() && self.state.generation.is_none();
        let about = publication(verified, generation, first || same_trust, first, previous);
        let before = live.map(|held| StagedRecord {
            generation: held.generation.to_string(),
            fingerprint: held.fingerprint.clone(),
            obtained_at: held.obtained_at.unwrap_or(now),
        });
        self.state.reload = Some(ReloadRecord::new(about, old, now));
        self.state.previous = before;
    }

    /// A set that can't be used any more, as after its end, still says which CA.pem the application was given.
    fn unusable_had(&self, ca: &str) -> bool {
        let (Some(known), Some(dir)) = (&self.state.generation, &self.dir) else {
            return false;
        };
        let sets = dir.sets_on_disk();
        let mut same = sets
            .iter()
            .filter(|set| *known == set.generation.to_string());
        same.any(|set| set.ca == ca)
    }

    /// The generation before may still be needed: the application has not been seen with this one.
    pub(super) fn may_go_back(&self, config: &CertConfig) -> bool {
        let record = self.state.reload.as_ref();
        let open = record.is_some_and(|one| !one.is_verified() && one.about.previous.is_some());
        open && config.probe.is_some() && config.rollback.is_some()
    }

    /// The last new CA.pem for this very leaf broke the application, and it is too early to try again.
    pub(super) fn trust_is_held(&self, serial: &str, now: Timestamp) -> bool {
        let mut all = self.state.quarantined.iter();
        all.any(|one| one.serial == serial && one.holds(now))
    }

    /// Makes the generation before live again and keeps the present one away. On an error the
    /// present one stays, and there is no way back from it any more.
    pub(in crate::agent) fn roll_back(
        &mut self,
        config: &CertConfig,
        why: &str,
        now: Timestamp,
    ) -> Result<Quarantined, Failure> {
        let way = self.way_back(config, why, now).and_then(|way| {
            let dir = self.opened()?;
            // before the switch: a crash between the two must not bring the broken one back
            dir.save_record(&way.state)?;
            dir.activate(&way.live.generation)?;
            Ok(way)
        });
        let way = match way {
            Ok(way) => way,
            Err(failure) => {
                if let Some(record) = &mut self.state.reload {
                    record.forget_previous();
                }
                self.unsaved = true;
                self.save();
                return Err(failure);
            }
        };
        self.state = way.state;
        self.live = Some(way.live);
        self.logged = None;
        self.previous_until = Some(now.plus(PREVIOUS_RETENTION));
        self.mark(config, now);
        Ok(way.quarantined)
    }

    /// What would be live and on record after going back.
    fn way_back(&self, config: &CertConfig, why: &str, now: Timestamp) -> Result<WayBack, Failure> {
        let margin = config.rollback.unwrap_or_default();
        let mut state = self.state.clone();
        let newest = state.reload.as_ref();
        let (mut record, quarantined) = newest
            .and_then(|newest| newest.roll_back(&state.fingerprint, why, margin, now))
            .ok_or_else(|| gone("its request is unknown"))?;
        let sets = self.opened()?.sets_on_disk();
        let set = sets
            .iter()
            .find(|set| set.generation.to_string() == record.about.generation)
            .ok_or_else(|| gone("it is not on disk any more"))?;
        let verified = adopt::reread(set, config, false, now)?;
        if !valid(&verified, now) {
            return Err(gone("it has expired"));
        }
        record.about.sha256.clone_from(&verified.leaf().sha256);
        let request = state.previous.take();
        let request = request.filter(|one| one.generation == record.about.generation);
        let live = LiveFiles {
            verified,
            generation: set.generation,
            obtained_at: request.as_ref().map(|one| one.obtained_at),
            fingerprint: request.map(|one| one.fingerprint).unwrap_or_default(),
        };
        reload::quarantine(&mut state.quarantined, quarantined.clone());
        live.enter(&mut state, config);
        state.reload = Some(record);
        Ok(WayBack {
            live,
            state,
            quarantined,
        })
    }
}

/// A rollback that is possible.
struct WayBack {
    live: LiveFiles,
    state: Record,
    quarantined: Quarantined,
}

/// Takes the record over for the set that was found at start. A record about another generation
/// means that a crash came between the switch and the record.
pub(super) fn take_over(
    held: &LiveFiles,
    found: GenerationId,
    sets: &[SetOnDisk],
    state: &mut Record,
    now: Timestamp,
) {
    if let Some(record) = &mut state.reload
        && record.about.generation == found.to_string()
    {
        // repaired: the same content
        record.about.generation = held.generation.to_string();
        return;
    }
    let old = state.reload.as_ref();
    let known = old.map(|record| &record.about.generation);
    let known = known.or(state.generation.as_ref());
    let before = sets.iter().find(|set| {
        set.generation != found && known.is_some_and(|known| *known == set.generation.to_string())
    });
    let same_trust = match before {
        Some(set) => set.ca == held.verified.ca_pem(),
        None => old.is_none(),
    };
    let previous = before.and_then(|set| previous(set, old));
    let about = publication(
        &held.verified,
        held.generation,
        same_trust,
        known.is_none(),
        previous,
    );
    state.previous = before.map(|set| StagedRecord {
        generation: set.generation.to_string(),
        fingerprint: state.fingerprint.clone(),
        obtained_at: state.obtained_at.unwrap_or(now),
    });
    state.reload = Some(ReloadRecord::new(about, old, now));
}

fn publication(
    verified: &Verified,
    generation: GenerationId,
    same_trust: bool,
    first: bool,
    previous: Option<Previous>,
) -> Publication {
    Publication {
        generation: generation.to_string(),
        serial: verified.leaf().serial.clone(),
        sha256: verified.leaf().sha256.clone(),
        event: if same_trust {
            EventKind::Leaf
        } else {
            EventKind::Trust
        },
        start: match first {
            true => Start::AtFirst,
            false => Start::Before,
        },
        previous,
    }
}

fn previous(set: &SetOnDisk, record: Option<&ReloadRecord>) -> Option<Previous> {
    let chain = pem::certificates(&set.cert).ok()?;
    let leaf = CertFacts::read(chain.first()?).ok()?;
    Some(Previous {
        generation: set.generation.to_string(),
        serial: leaf.serial,
        not_after: leaf.not_after,
        served: record.is_some_and(ReloadRecord::is_verified),
    })
}

fn gone(why: &str) -> Failure {
    let message = format!("the previous certificate files can't be used again: {why}");
    Failure::local("no-way-back", message)
}
