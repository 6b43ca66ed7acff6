//! What the loop publishes about itself.
//!
//! Never decides, and nothing in the loop reads it. What stays true: only changes are sent.

use super::Renewer;
use crate::{
    agent::holdings::{Holdings, LiveFiles},
    clock::Clock,
    issuer::Issuer,
    model::{
        decide,
        failure::FailureClass,
        leaf::{CertFacts, sha256},
        retry,
        time::Timestamp,
    },
    status::{Anchor, AppStatus, Budget, Counts, EventKind, Events, Live, Status},
};

impl<I: Issuer, C: Clock> Renewer<I, C> {
    pub(super) fn publish_status(&self, next: Option<Timestamp>) {
        let holdings = self.holdings.lock();
        let mut status = self.status(&holdings, next);
        drop(holdings);
        self.status.send_if_modified(|old| {
            // the first is the other loop's, the second both loops'
            status.app.clone_from(&old.app);
            status.events.clone_from(&old.events);
            let changed = *old != status;
            *old = status;
            changed
        });
    }

    /// Adds to the last events.
    pub(super) fn note(&self, event: EventKind, detail: &str) {
        let now = self.now();
        self.status
            .send_modify(|status| status.events.push(now, event, detail));
    }

    fn status(&self, holdings: &Holdings, next: Option<Timestamp>) -> Status {
        let live = holdings.live();
        let trouble = self.trouble.as_ref();
        let anchors = self.anchors(live);
        Status {
            name: self.config.name.clone(),
            live: live.map(Live::from),
            due: live.map(|held| held.due(&self.config).at),
            next,
            renewal_attempts_remaining: live.map(|held| self.runway(held)),
            failure: trouble.map(|trouble| trouble.run.clone()),
            last_health_check: trouble.and_then(|trouble| trouble.checked.clone()),
            publish_pending: holdings.is_waiting(),
            pending_generation: holdings.waiting_generation().map(ToString::to_string),
            counts: Counts {
                logins: self.context.issuer.logins(),
                ..self.counts
            },
            repairs_lately: self.repaired_at.len(),
            unwatched: self.unwatched.clone(),
            files: holdings.files_failure().cloned(),
            standby: self.standby.clone(),
            extra_ca: holdings.extra_ca_failure().cloned(),
            trust: holdings.trust_notes().to_vec(),
            issuance_limit: self.budget(holdings),
            key_origin: Some(self.key_origin.clone()),
            vault_clock_offset_millis: self.issuer_ahead_millis,
            anchors_since: self.anchors_since(&anchors, live),
            anchors,
            manual_renewal: self.manual.answer.clone(),
            events: Events::default(),
            app: AppStatus::default(),
        }
    }

    /// Attempts that are left before the live certificate expires.
    fn runway(&self, held: &LiveFiles) -> u32 {
        let (class, from) = match &self.trouble {
            Some(trouble) => (trouble.run.last.class, self.now()),
            None => (FailureClass::Transport, held.due(&self.config).at),
        };
        retry::runway(class, held.verified.validity(), from)
    }

    fn budget(&self, holdings: &Holdings) -> Budget {
        let (policy, now) = (&self.config.renew, self.now());
        let facts = holdings.facts(None, false, &self.fingerprint, now);
        let due = holdings.live().map(|held| held.due(&self.config));
        Budget {
            per_hour: decide::limit(&facts, policy),
            used: facts.requests.used(now),
            refused: facts.requests.refused(now),
            free_at: decide::free_at(&facts, policy, now).err(),
            needed: due.and_then(|due| due.over_limit(policy.max_issuances_per_hour)),
        }
    }

    /// The anchors of the live files; read from them once per generation.
    fn anchors(&self, live: Option<&LiveFiles>) -> Vec<Anchor> {
        let Some(held) = live else {
            return Vec::new();
        };
        let last = self.status.borrow();
        let generation = held.generation.to_string();
        let same = last
            .live
            .as_ref()
            .filter(|live| live.generation == generation);
        if same.is_some() {
            return last.anchors.clone();
        }
        let facts = held.verified.anchors().iter();
        let known = |sha256: &str| last.anchors.iter().find(|one| one.sha256 == sha256);
        facts
            .filter_map(|der| CertFacts::read(der).ok())
            .map(|ca| Anchor {
                since: known(&ca.sha256)
                    .map_or_else(|| generation.clone(), |one| one.since.clone()),
                subject: ca.subject,
                sha256: ca.sha256,
                not_before: ca.not_before,
                not_after: ca.not_after,
            })
            .collect()
    }

    fn anchors_since(&self, anchors: &[Anchor], live: Option<&LiveFiles>) -> String {
        let last = self.status.borrow();
        let names = |all: &[Anchor]| all.iter().map(|one| one.sha256.clone()).collect::<Vec<_>>();
        if names(anchors) == names(&last.anchors) {
            return last.anchors_since.clone();
        }
        live.map(|held| held.generation.to_string())
            .unwrap_or_default()
    }
}

impl From<&LiveFiles> for Live {
    fn from(held: &LiveFiles) -> Self {
        let validity = held.verified.validity();
        Self {
            generation: held.generation.to_string(),
            serial: held.verified.leaf().serial.clone(),
            issuer: held.verified.leaf().issuer.clone(),
            issuer_sha256: held.verified.issuer_sha256().to_owned(),
            anchor_sha256: sha256(held.verified.path_anchor()),
            not_before: validity.not_before,
            not_after: validity.not_after,
            obtained_at: held.obtained_at,
        }
    }
}
