//! What one certificate has on disk, and the same in memory: published files, staged files, record.
//!
//! Never asks anybody. What stays true: memory holds nothing as live that was not published; a set
//! that could not be written is kept in memory and written later; an order is on record, durably,
//! before it may leave.

mod adopt;
mod check;
mod progress;
mod shared;
mod trusted;

use std::{mem, path::PathBuf, sync::Arc};

pub(super) use self::{
    adopt::refusal,
    shared::{Distant, Shared},
};
use crate::{
    config::CertConfig,
    csr,
    model::{
        bundle::PrivateKey,
        decide::{self, Facts},
        failure::{Failure, FailureClass, FailureRun},
        health::HealthHistory,
        issuance_limit::{Aftermath, Share},
        pem,
        record::{Record, StagedRecord},
        reload,
        schedule::{self, Due},
        secret::Secret,
        time::Timestamp,
        trust::{self, TrustNote, Vouched},
        verify::Verified,
    },
    publish::{self, CertDir, GenerationId, Hold, PREVIOUS_RETENTION, Witness},
};

#[cfg(test)]
use crate::testing::planted::{self, Planted};

/// The published certificate files.
pub(super) struct LiveFiles {
    pub(super) verified: Verified,
    pub(super) generation: GenerationId,
    /// Fingerprint of the request it answers; empty when it is not known.
    pub(super) fingerprint: String,
    /// When it came from Vault; unknown when the record was lost.
    pub(super) obtained_at: Option<Timestamp>,
}

impl LiveFiles {
    /// When they are due for renewal, with all its inputs.
    pub(super) fn due(&self, config: &CertConfig) -> Due {
        schedule::due(self.verified.validity(), self.obtained_at, &config.renew)
    }

    /// Writes down that they are live.
    fn enter(&self, state: &mut Record, config: &CertConfig) {
        state.generation = Some(self.generation.to_string());
        state.fingerprint.clone_from(&self.fingerprint);
        state.obtained_at = self.obtained_at;
        state.due_at = Some(self.due(config).at);
    }
}

/// A published certificate that is to be revoked when another one has taken its place.
pub(super) struct Superseded {
    pub(super) serial: String,
    /// The leaf alone, PEM.
    pub(super) certificate: String,
    pub(super) key: Secret,
}

/// A set that was issued and is not live yet.
pub(super) struct StagedFiles {
    pub(super) verified: Verified,
    /// Where it lies; absent while it could not be written.
    pub(super) generation: Option<GenerationId>,
    pub(super) fingerprint: String,
    pub(super) obtained_at: Timestamp,
    /// What its request counts as, and when it was sent; unknown after a restart.
    pub(super) request: Option<(Share, Timestamp)>,
}

/// Everything one certificate has.
#[derive(Default)]
pub(super) struct Holdings {
    dir: Option<CertDir>,
    /// The right to publish there.
    hold: Option<Hold>,
    state: Record,
    live: Option<LiveFiles>,
    waiting: Option<StagedFiles>,
    /// The record in memory is newer than the one on disk.
    unsaved: bool,
    /// When the previous generation may go.
    previous_until: Option<Timestamp>,
    /// When the anchors were last put together.
    trusted_at: Option<Timestamp>,
    /// Why the extra anchors could not be read the last time.
    extra_ca_failure: Option<Failure>,
    /// What was last said of the anchors.
    trust_notes: Vec<TrustNote>,
    /// The last trouble with files that is in the log already.
    logged: Option<String>,
    /// What could not be put right at the last check.
    files_failure: Option<Failure>,
    /// A test's, who sees every step on the disk.
    pub(super) witness: Option<Arc<dyn Witness>>,
}

impl Holdings {
    /// What [`Holdings::open`] would find, without changing anything on disk.
    pub(super) fn glance(config: &CertConfig, fingerprint: &str, now: Timestamp) -> Self {
        let state = publish::record_in(&config.files.dir);
        let sets = publish::sets_in(&config.files.dir);
        let (live, waiting) = adopt::adopt(&sets, &state, config, fingerprint, now);
        Self {
            state,
            live,
            waiting,
            ..Self::default()
        }
    }

    /// Opens the directory and takes over what lies there; does nothing when that was done.
    pub(super) fn open(
        &mut self,
        config: &CertConfig,
        fingerprint: &str,
        now: Timestamp,
    ) -> Result<(), Failure> {
        if self.dir.is_some() {
            return Ok(());
        }
        // before anything is cleared or repaired: another agent may be at work
        let hold = CertDir::hold(&config.files)?;
        let dir = CertDir::open_witnessed(&config.files, self.witness.clone())?;
        let mut state = dir.load_record();
        let sets = dir.sets_on_disk();
        let (mut live, waiting) = adopt::adopt(&sets, &state, config, fingerprint, now);
        if let Some(held) = &mut live {
            // the best set need not be the one that is live, nor whole
            let repaired = dir.repair(&held.verified)?;
            let found = held.generation;
            held.generation = repaired.generation.unwrap_or(found);
            progress::take_over(held, found, &sets, &mut state, now);
            take_over(held, &mut state, config, now);
        }
        *self = Self {
            dir: Some(dir),
            hold: Some(hold),
            unsaved: live.is_some(),
            previous_until: Some(now.plus(PREVIOUS_RETENTION)),
            state,
            live,
            waiting,
            witness: self.witness.take(),
            ..Self::default()
        };
        Ok(())
    }
}

impl Holdings {
    /// Whether the directory could be opened yet.
    pub(super) fn is_open(&self) -> bool {
        self.dir.is_some()
    }

    /// The published certificate files.
    pub(super) fn live(&self) -> Option<&LiveFiles> {
        self.live.as_ref()
    }

    /// What is not as it should be on disk.
    pub(super) fn files_failure(&self) -> Option<&Failure> {
        self.files_failure.as_ref()
    }

    /// Fingerprint of the credential that we have sent to be used up.
    pub(super) fn spent_credential(&self) -> &str {
        &self.state.spent_credential
    }

    /// Why the file of extra anchors can't be used.
    pub(super) fn extra_ca_failure(&self) -> Option<&Failure> {
        self.extra_ca_failure.as_ref()
    }

    /// What a person should know of the anchors.
    pub(super) fn trust_notes(&self) -> &[TrustNote] {
        &self.trust_notes
    }

    /// Whether an issued set waits for publication.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// The generation of that set, once it is on disk.
    pub(super) fn waiting_generation(&self) -> Option<&GenerationId> {
        self.waiting.as_ref()?.generation.as_ref()
    }

    /// Serials that an answer must not repeat.
    pub(super) fn serials(&self) -> Vec<String> {
        let live = self
            .live
            .iter()
            .map(|held| held.verified.leaf().serial.clone());
        let broken = self.state.quarantined.iter().map(|one| one.serial.clone());
        live.chain(broken).collect()
    }

    /// The key in use, for orders that keep it.
    pub(super) fn key(&self) -> Option<PrivateKey> {
        let held = self.live.as_ref()?;
        csr::key_of(held.verified.key_pem().expose()).ok()
    }

    /// The published certificate with its key, while it is valid: what may be revoked later.
    pub(super) fn superseded(&self, now: Timestamp) -> Option<Superseded> {
        let verified = &self.live.as_ref()?.verified;
        let leaf = pem::certificates(verified.cert_pem()).ok()?;
        let certificate = pem::encode(pem::CERTIFICATE, leaf.first()?);
        (now < verified.leaf().not_after).then(|| Superseded {
            serial: verified.leaf().serial.clone(),
            certificate,
            key: verified.key_pem().clone(),
        })
    }

    /// The key of the generation before is known to others: there is no way back to it.
    pub(super) fn forget_previous(&mut self) {
        if let Some(record) = &mut self.state.reload {
            record.forget_previous();
        }
        self.state.previous = None;
        self.unsaved = true;
        self.save();
    }

    /// The directories in which a change may be damage.
    pub(super) fn watched(&self) -> Vec<PathBuf> {
        self.dir.as_ref().map(CertDir::watched).unwrap_or_default()
    }

    /// What `model/decide.rs` wants to know.
    pub(super) fn facts(
        &self,
        failure: Option<FailureRun>,
        forced: bool,
        fingerprint: &str,
        now: Timestamp,
    ) -> Facts {
        Facts {
            live: self.live.as_ref().map(|held| decide::LiveLeaf {
                validity: held.verified.validity(),
                obtained_at: held.obtained_at,
                fingerprint: held.fingerprint.clone(),
                serial: held.verified.leaf().serial.clone(),
            }),
            staged: self.waiting.as_ref().map(|waiting| decide::Staged {
                validity: waiting.verified.validity(),
                obtained_at: waiting.obtained_at,
                fingerprint: waiting.fingerprint.clone(),
                serial: waiting.verified.leaf().serial.clone(),
            }),
            failure,
            health_checks: HealthHistory::default(),
            requests: self.state.requests.clone(),
            forced,
            freed: false,
            fingerprint: fingerprint.to_owned(),
            held_until: reload::held_until(&self.state.quarantined, fingerprint, now),
        }
    }
}

impl Holdings {
    /// Puts an order on record. Only when this worked may the order leave.
    pub(super) fn record_order(
        &mut self,
        fingerprint: &str,
        share: Share,
        now: Timestamp,
    ) -> Result<(), Failure> {
        #[cfg(test)]
        let share = planted::counted(share);
        let mut requests = self.state.requests.clone();
        requests.sent(share, now);
        let state = Record {
            requested: fingerprint.to_owned(),
            requests,
            ..self.state.clone()
        };
        self.opened()?.save_record(&state)?;
        self.state = state;
        Ok(())
    }

    /// Puts on record that a credential is about to be used up. Only when this worked may it be.
    pub(super) fn record_spending(&mut self, fingerprint: &str) -> Result<(), Failure> {
        if self.state.spent_credential == fingerprint {
            return Ok(());
        }
        let state = Record {
            spent_credential: fingerprint.to_owned(),
            ..self.state.clone()
        };
        self.opened()?.save_record(&state)?;
        self.state = state;
        Ok(())
    }

    /// The newest request of this share failed: writes down what it counts as from now on.
    pub(super) fn request_failed(&mut self, share: Share, class: FailureClass) {
        #[cfg(test)]
        if class == FailureClass::BadAnswer && planted::is(Planted::RefusedUnpaced) {
            return;
        }
        match Aftermath::from(class) {
            Aftermath::Withdrawn => self.state.requests.withdraw(share),
            Aftermath::Refused => self.state.requests.was_refused(share),
            Aftermath::Counted => return,
        }
        self.unsaved = true;
    }

    /// Notes which CAs the mount has. True when they are others than those that were known before.
    pub(super) fn note_mount(&mut self, cas: &str) -> bool {
        if self.state.mount_cas == cas {
            return false;
        }
        let before = mem::replace(&mut self.state.mount_cas, cas.to_owned());
        self.unsaved = true;
        !before.is_empty()
    }

    /// Takes an issued set. One that starts later is written down, so that a restart has it too.
    /// Of two that start later the one that starts first is kept: else a new one every minute
    /// would never start.
    pub(super) fn keep(&mut self, waiting: StagedFiles, now: Timestamp) {
        let later = waiting.verified.starts_at() > now;
        let starts = waiting.verified.validity().not_before;
        let earlier = self.waiting.as_mut().filter(|old| {
            old.fingerprint == waiting.fingerprint && old.verified.validity().not_before <= starts
        });
        if let Some(old) = earlier.filter(|_| later) {
            // what paces the next order; before its start it moves no renewal
            old.obtained_at = waiting.obtained_at;
            return;
        }
        self.waiting = Some(waiting);
        if later && let Err(failure) = self.stage() {
            self.warn_once(
                &failure,
                "the new certificate files are kept in memory only",
            );
        }
    }

    /// Makes the waiting set live.
    pub(super) fn publish(&mut self, config: &CertConfig, now: Timestamp) -> Result<(), Failure> {
        let Some(waiting) = self.waiting.take() else {
            return Ok(());
        };
        match self.switch(&waiting) {
            Ok(generation) => {
                self.made_live(waiting, generation, config, now);
                Ok(())
            }
            Err(failure) => {
                let is_lost = failure.code == publish::GENERATION_MISSING;
                let generation = waiting.generation.filter(|_| !is_lost);
                let is_stored = generation.is_some();
                self.waiting = Some(StagedFiles {
                    generation,
                    ..waiting
                });
                // it was paid for: try to have it survive a restart
                if !is_stored && let Err(worse) = self.stage() {
                    tracing::debug!(
                        "the certificate files could not be stored for later either: {worse}"
                    );
                }
                Err(failure)
            }
        }
    }

    fn switch(&self, waiting: &StagedFiles) -> Result<GenerationId, Failure> {
        let dir = self.opened()?;
        let published = match &waiting.generation {
            Some(generation) => dir.activate(generation)?,
            None => dir.publish(&waiting.verified)?,
        };
        Ok(published.generation)
    }

    fn made_live(
        &mut self,
        waiting: StagedFiles,
        generation: GenerationId,
        config: &CertConfig,
        now: Timestamp,
    ) {
        self.announce(&waiting.verified, generation, config, now);
        let live = LiveFiles {
            verified: waiting.verified,
            generation,
            fingerprint: waiting.fingerprint,
            obtained_at: Some(waiting.obtained_at),
        };
        live.enter(&mut self.state, config);
        if let Some((share, sent)) = waiting.request {
            #[cfg(test)]
            let share = planted::counted(share);
            let life = live.verified.validity().remaining(waiting.obtained_at);
            self.state.requests.was_published(share, sent, life);
        }
        self.state.staged = None;
        self.live = Some(live);
        self.logged = None;
        self.unsaved = true;
        self.previous_until = Some(now.plus(PREVIOUS_RETENTION));
        self.save();
        self.mark(config, now);
    }

    fn stage(&mut self) -> Result<(), Failure> {
        let Some(waiting) = &self.waiting else {
            return Ok(());
        };
        let generation = self.opened()?.stage(&waiting.verified)?;
        self.state.staged = Some(StagedRecord {
            generation: generation.to_string(),
            fingerprint: waiting.fingerprint.clone(),
            obtained_at: waiting.obtained_at,
        });
        if let Some(waiting) = &mut self.waiting {
            waiting.generation = Some(generation);
        }
        self.unsaved = true;
        self.save();
        Ok(())
    }

    fn opened(&self) -> Result<&CertDir, Failure> {
        self.dir.as_ref().ok_or_else(|| {
            let message = "the certificate directory is not open".to_owned();
            Failure::local("dir-not-open", message)
        })
    }
}

/// Records what was found as the published certificate files.
fn take_over(held: &LiveFiles, state: &mut Record, config: &CertConfig, now: Timestamp) {
    held.enter(state, config);
    if state.trust.is_empty() {
        // the record was lost: what is trusted stays trusted for the overlap
        let vouched = Vouched {
            chain: held.verified.anchors(),
            ..Vouched::default()
        };
        state.trust = trust::union(
            vouched,
            &state.trust,
            &config.trust,
            config.ca_retention,
            now,
        )
        .memory;
    }
}

fn valid(verified: &Verified, now: Timestamp) -> bool {
    let validity = verified.validity();
    validity.not_before <= now && now < validity.not_after
}
