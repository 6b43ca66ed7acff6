//! What is done at each check: files, ready file and record are as they should be, or are put right.
//!
//! Never asks anybody. What stays true: trouble is logged once, and tried again at the next check.

use tracing::warn;

use super::{Holdings, adopt, valid};
use crate::{
    config::CertConfig,
    model::{failure::Failure, time::Timestamp},
    publish::{self, CertDir, Repaired, ready_file::ReadyFile},
};

impl Holdings {
    /// Puts right what is not as it should be on disk: files, ready file, record. Returns the repair, when
    /// there was one. Trouble is logged once and tried again at the next check.
    pub(in crate::agent) fn check_files(
        &mut self,
        config: &CertConfig,
        now: Timestamp,
    ) -> Option<Repaired> {
        let dir = self.dir.clone()?;
        self.files_failure = None;
        if !self.keep_hold(&dir, config) {
            return None;
        }
        self.save();
        let repaired = self.repair(&dir).unwrap_or_else(|failure| {
            self.warn_once(&failure, "the files are not as they should be");
            None
        });
        self.mark(config, now);
        let over = self.previous_until.is_some_and(|ends| now >= ends);
        if over && !self.may_go_back(config) {
            self.previous_until = None;
            if let Err(error) = dir.end_grace(now) {
                tracing::debug!("an old generation stays for now: {error}");
            }
        }
        repaired
    }

    /// Another process may have removed the directory with its lock. False when another agent has it now:
    /// then nothing here counts any more.
    fn keep_hold(&mut self, dir: &CertDir, config: &CertConfig) -> bool {
        if self.hold.as_ref().is_some_and(|hold| dir.is_held_by(hold)) {
            return true;
        }
        // first: the lock of the old file must not be in the way of our own
        self.hold = None;
        match CertDir::hold(&config.files) {
            Ok(hold) => self.hold = Some(hold),
            Err(error) if error.code() == publish::HELD => {
                *self = Self {
                    witness: self.witness.take(),
                    ..Self::default()
                };
                return false;
            }
            Err(error) => self.warn_once(&error.into(), "the directory can't be locked"),
        }
        true
    }

    fn repair(&mut self, dir: &CertDir) -> Result<Option<Repaired>, Failure> {
        let Some(held) = &mut self.live else {
            return Ok(None);
        };
        if dir.drift(&held.verified)?.is_none() {
            return Ok(None);
        }
        let repaired = dir.repair(&held.verified)?;
        if let Some(generation) = repaired.generation {
            held.generation = generation;
            self.state.generation = Some(generation.to_string());
            if let Some(record) = &mut self.state.reload {
                // the same content: what was done and proven about it holds
                record.about.generation = generation.to_string();
            }
            self.unsaved = true;
            self.save();
        }
        self.logged = None;
        Ok(Some(repaired))
    }

    /// Writes the ready file where it is missing or old; removes it when nothing valid is live.
    pub(super) fn mark(&mut self, config: &CertConfig, now: Timestamp) {
        let Some(path) = &config.ready_file else {
            return;
        };
        let wanted = self.live.as_ref().filter(|held| valid(&held.verified, now));
        let wanted = wanted.map(|held| adopt::ready_file(held, config));
        let there = ReadyFile::read(path).unwrap_or_default();
        if there == wanted {
            return;
        }
        let trust = config.files.trust();
        let done = match wanted {
            Some(wanted) => wanted.write(path, &trust),
            None => ReadyFile::remove(path, &trust),
        };
        if let Err(error) = done {
            self.warn_once(&error.into(), "the ready file is not as it should be");
        }
    }

    pub(super) fn save(&mut self) {
        if !self.unsaved {
            return;
        }
        let saved = self
            .opened()
            .and_then(|dir| Ok(dir.save_record(&self.state)?));
        match saved {
            Ok(()) => self.unsaved = false,
            Err(failure) => self.warn_once(&failure, "the record is not up to date on disk"),
        }
    }

    pub(super) fn warn_once(&mut self, failure: &Failure, what: &str) {
        self.files_failure = Some(failure.clone());
        let text = format!("{what}: {failure}");
        if self.logged.as_ref() != Some(&text) {
            warn!(code = failure.code, "{text}; tried again at every check");
            self.logged = Some(text);
        }
    }
}
