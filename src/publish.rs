//! A `Verified` set to disk as one crash-consistent generation, read back, repaired.
//!
//! Never decides what is good: it takes only `Verified`. What stays true: a reader that resolves
//! `..data` once sees one whole set, whatever crashes when.
//!
//! The certificate directory is a real directory and is never replaced: a container bind pins it.
//! In it, only these names are ours; everything else stays as it is:
//!
//! ```text
//! ..gen-<id>/CA.pem cert.pem key.pem   complete generations, at most three
//! ..data -> ..gen-<id>                 the live one; changing it is the one visible step
//! CA.pem cert.pem key.pem              links to ..data/<name>
//! ..state.json                         the durable record, no secret in it
//! ..lock                               locked by the one agent that publishes here
//! ..new ..old ..data.tmp ..link.tmp ..state.json.tmp   leftovers of a crash, removed at open
//! ```
//!
//! The numbered algorithm is in `generation.rs`, every file-system step in `place.rs`.

mod error;
pub mod file;
mod generation;
mod glance;
mod hold;
mod place;
pub mod ready_file;
mod record_file;
mod repair;
#[cfg(test)]
mod tests;

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

pub use error::PublishError;
pub(crate) use error::{GENERATION_MISSING, HELD};
pub(crate) use generation::{DATA, GENERATION_PREFIX, LEFTOVERS, NAMES};
pub use generation::{GenerationId, MAX_GENERATIONS, PREVIOUS_RETENTION};
use glance::{Glance, LastGood};
pub use hold::Hold;
pub(crate) use place::DIR_MODE;
pub use place::{Op, Step, Witness};
use place::{Place, Rules};
use record_file::RecordFile;
pub use repair::{Difference, Drift, Repaired, Wrong};
use tokio::time::Instant;

use crate::{
    config::Files,
    disk::{Directory, Last, PathFault, PathRefusal},
    model::{record::Record, secret::Secret, time::Timestamp, verify::Verified},
};

/// The three texts of one set, as they stand in the files. Only a `Verified` becomes one, or what
/// was read from disk.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rendered {
    ca: String,
    cert: String,
    key: Secret,
}

impl From<&Verified> for Rendered {
    fn from(set: &Verified) -> Self {
        Self {
            ca: set.ca_pem().to_owned(),
            cert: set.cert_pem().to_owned(),
            key: set.key_pem().clone(),
        }
    }
}

impl Rendered {
    fn content(&self, name: &str) -> &str {
        match name {
            "CA.pem" => &self.ca,
            "cert.pem" => &self.cert,
            _ => self.key.expose(),
        }
    }
}

/// One complete set that was found on disk; not verified.
#[derive(Clone, Debug)]
pub struct SetOnDisk {
    /// Its generation.
    pub generation: GenerationId,
    /// True for the one that `..data` points at.
    pub live: bool,
    /// CA.pem.
    pub ca: String,
    /// cert.pem.
    pub cert: String,
    /// key.pem.
    pub key: Secret,
}

/// A set went live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Its generation.
    pub generation: GenerationId,
    /// The directory of that generation.
    pub dir: PathBuf,
}

/// One certificate directory. Holds no descriptor between calls; each call that changes something
/// takes the directory's lock, so two publishers never mix.
#[derive(Clone)]
pub struct CertDir {
    path: PathBuf,
    rules: Rules,
    witness: Option<Arc<dyn Witness>>,
    seen: Arc<Mutex<LastGood>>,
}

impl CertDir {
    /// Makes the directory (0750) where it is missing and clears what a crash left in it.
    ///
    /// # Errors
    /// [`PublishError`]: no permission, no space, not a real directory, in use.
    pub fn open(files: &Files) -> Result<Self, PublishError> {
        Self::open_witnessed(files, None)
    }

    /// As [`CertDir::open`], with a witness that sees, and may fail, every file-system step.
    ///
    /// # Errors
    /// As [`CertDir::open`].
    pub fn open_witnessed(
        files: &Files,
        witness: Option<Arc<dyn Witness>>,
    ) -> Result<Self, PublishError> {
        let dir = Self::at(files, witness);
        let place = dir.enter()?;
        if place.names()?.iter().any(|name| generation::is_ours(name)) {
            repair::regain(&place, &dir.rules);
            generation::sweep(&place, None)?;
        }
        drop(place);
        Ok(dir)
    }

    fn at(files: &Files, witness: Option<Arc<dyn Witness>>) -> Self {
        Self {
            path: files.dir.clone(),
            rules: Rules {
                cert_perms: files.cert_perms,
                key_perms: files.key_perms,
                uid: files.uid,
                gid: files.gid,
            },
            witness,
            seen: Arc::default(),
        }
    }

    /// Writes a complete new generation and makes it live.
    ///
    /// # Errors
    /// [`PublishError`]; the set that was live is live still, or the new one already is.
    pub fn publish(&self, set: &Verified) -> Result<Published, PublishError> {
        let set = set.into();
        let done = self.publish_texts(&set);
        self.as_seen(done, &set)
    }

    /// An error may come after the one visible step. A set that every reader has seen is published:
    /// to say otherwise would put the one before back in its place.
    fn as_seen(
        &self,
        done: Result<Published, PublishError>,
        set: &Rendered,
    ) -> Result<Published, PublishError> {
        let error = match done {
            Err(error) if self.drift_from(set).is_ok_and(|drift| drift.is_none()) => error,
            done => return done,
        };
        let Some(id) = self.look().ok().and_then(|place| generation::live(&place)) else {
            return Err(error);
        };
        tracing::warn!(%error, "an error came after the certificate files were published");
        Ok(Published {
            generation: id,
            dir: self.path.join(id.dir()),
        })
    }

    fn publish_texts(&self, set: &Rendered) -> Result<Published, PublishError> {
        let place = self.enter()?;
        let before = generation::live(&place);
        generation::missing_links(&place)?;
        let id = switch(&place, set, &self.rules)?;
        self.settle(&place, id, before)
    }

    /// Writes a complete new generation that is not live. Record it in [`Record::staged`].
    ///
    /// # Errors
    /// [`PublishError`]; nothing has changed then.
    pub fn stage(&self, set: &Verified) -> Result<GenerationId, PublishError> {
        self.stage_texts(&set.into())
    }

    fn stage_texts(&self, set: &Rendered) -> Result<GenerationId, PublishError> {
        generation::write(&self.enter()?, set, &self.rules)
    }

    /// Makes a staged generation live.
    ///
    /// # Errors
    /// [`PublishError::NoSuchGeneration`] when it is not there or not whole; others as for
    /// [`CertDir::publish`].
    pub fn activate(&self, id: &GenerationId) -> Result<Published, PublishError> {
        let place = self.enter()?;
        let Some(set) = read_set(&place, *id) else {
            return Err(PublishError::NoSuchGeneration {
                generation: id.to_string(),
                path: self.path.clone(),
            });
        };
        let before = generation::live(&place);
        generation::missing_links(&place)?;
        let done = generation::point(&place, *id).and_then(|()| self.settle(&place, *id, before));
        self.as_seen(done, &set)
    }

    /// After the switch: outer links, then the sweep, which may fail without harm.
    fn settle(
        &self,
        place: &Place<'_>,
        id: GenerationId,
        before: Option<GenerationId>,
    ) -> Result<Published, PublishError> {
        generation::outer_links(place)?;
        if let Err(error) = generation::sweep(place, before) {
            tracing::warn!(%error, "old generations could not be removed");
        }
        Ok(Published {
            generation: id,
            dir: self.path.join(id.dir()),
        })
    }

    /// Every complete set on disk: the live one first, then the newest first. Not verified.
    #[must_use]
    pub fn sets_on_disk(&self) -> Vec<SetOnDisk> {
        self.look()
            .map_or_else(|_| Vec::new(), |place| sets_at(&place))
    }

    /// What on disk differs from the set that shall be live. Reads only.
    ///
    /// # Errors
    /// [`PublishError`] when the directory can't be looked at.
    pub fn drift(&self, set: &Verified) -> Result<Drift, PublishError> {
        self.drift_from(&set.into())
    }

    fn drift_from(&self, set: &Rendered) -> Result<Drift, PublishError> {
        let glance = Glance::take(&self.path, set);
        // Nothing in it can be left half-done by a panic.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.is_known(&glance) {
            return Ok(Drift::default());
        }
        let drift = self.compare(set)?;
        seen.compared(glance, drift.is_none(), Instant::now());
        Ok(drift)
    }

    fn compare(&self, set: &Rendered) -> Result<Drift, PublishError> {
        match self.look() {
            Ok(place) => Ok(repair::compare(&place, set, &self.rules)),
            Err(refusal) => {
                let wrong = match (&refusal.reason, refusal.kind()) {
                    (_, Some(io::ErrorKind::NotFound)) => Wrong::Missing,
                    (_, Some(io::ErrorKind::PermissionDenied)) => Wrong::Mode,
                    (PathFault::OpenDirectory, _) => Wrong::Mode,
                    _ => return Err(refusal.into()),
                };
                let name = ".".to_owned();
                Ok(Drift {
                    findings: vec![Difference { name, wrong }],
                })
            }
        }
    }

    /// Puts the disk right, from what the caller holds: no issuance.
    ///
    /// # Errors
    /// [`PublishError`], as for [`CertDir::publish`].
    pub fn repair(&self, set: &Verified) -> Result<Repaired, PublishError> {
        self.repair_from(&set.into())
    }

    fn repair_from(&self, set: &Rendered) -> Result<Repaired, PublishError> {
        let place = self.enter()?;
        let repaired = repair::repair(&place, set, &self.rules)?;
        if let Err(error) = generation::sweep(&place, None) {
            tracing::warn!(%error, "old generations could not be removed");
        }
        Ok(repaired)
    }

    /// Removes the previous generation once the live one has been live for [`PREVIOUS_RETENTION`].
    ///
    /// # Errors
    /// [`PublishError`]; harmless, the next call tries again.
    pub fn end_grace(&self, now: Timestamp) -> Result<(), PublishError> {
        generation::end_grace(&self.enter()?, now)
    }

    /// The durable record; an empty one when there is none or it is damaged (then with a warning).
    #[must_use]
    pub fn load_record(&self) -> Record {
        self.look()
            .map_or_else(|_| Record::default(), |place| RecordFile::read(&place))
    }

    /// Replaces the durable record atomically.
    ///
    /// # Errors
    /// [`PublishError`]; the old record is there still.
    pub fn save_record(&self, state: &Record) -> Result<(), PublishError> {
        RecordFile::write(&self.enter()?, state, &self.rules)
    }

    /// The directories in which a change may be damage: the directory and the live generation's.
    #[must_use]
    pub fn watched(&self) -> Vec<PathBuf> {
        let live = self.look().ok().and_then(|place| {
            let id = generation::live(&place)?;
            Some(self.path.join(id.dir()))
        });
        std::iter::once(self.path.clone()).chain(live).collect()
    }

    /// Opens the directory, made where it is missing, and takes its lock.
    fn enter(&self) -> Result<Place<'_>, PublishError> {
        let trust = self.rules.trust();
        let find = || Directory::find(&self.path, Last::Real, &trust);
        let mut directory = match find() {
            Err(refusal) if refusal.is_missing() => {
                self.make()?;
                find()?
            }
            found => found?,
        };
        self.close(&mut directory)?;
        let directory = directory.exclusive(&trust)?;
        let mut place = Place::beneath(&directory, self.witness.as_deref(), Some(trust))
            .map_err(|source| file::failed("open", &self.path, source))?;
        match place.lock() {
            Ok(true) => Ok(place),
            Ok(false) => Err(PublishError::InUse {
                path: self.path.clone(),
            }),
            Err(source) => Err(file::failed("lock", &self.path, source)),
        }
    }

    /// Another process took our own rights to the directory away, or gave others the right to write in it:
    /// sets that back. A directory that holds nothing of ours is left as it is, and refused.
    fn close(&self, directory: &mut Directory) -> Result<(), PublishError> {
        let stat = *directory.stat();
        let open = self.rules.trust().foreign_write_bits(&stat);
        let set = |directory: &mut Directory, mode| {
            // In another user's directory this fails, and the next step says why.
            let _not_ours = directory.set_mode(mode & 0o7777);
        };
        if !self.rules.trust().owns(stat.st_uid) {
            return Ok(());
        }
        if repair::lacks_owner_bits(&stat) {
            set(directory, stat.st_mode | self.rules.dir().mode);
        }
        if open != 0 && stat.st_mode & 0o1000 == 0 {
            let place = Place::beneath(directory, None, None)
                .map_err(|source| file::failed("open", &self.path, source))?;
            if place.names()?.iter().any(|name| generation::is_ours(name)) {
                tracing::warn!(path = %self.path.display(), mode = %format!("{:04o}", stat.st_mode & 0o7777),
                    "others could write in the certificate directory; it is closed to them");
                set(directory, (stat.st_mode | 0o700) & !open);
            }
        }
        Ok(())
    }

    /// The directory as it is, for reading.
    fn look(&self) -> Result<Place<'_>, PathRefusal> {
        Place::open_ours(&self.path, &self.rules.trust())
    }

    fn make(&self) -> Result<(), PublishError> {
        let trust = self.rules.trust();
        let (parent, name) = file::split(&self.path)?;
        let parent = Directory::make(parent, Last::Followed, 0o750, &trust)?;
        let above = Place::beneath(&parent, self.witness.as_deref(), Some(trust))
            .map_err(|source| file::failed("open", parent.path(), source))?;
        let access = self.rules.dir();
        let made = above.make_dir(name, access.mode)?;
        if !made.names()?.is_empty() {
            // It was exchanged at this moment: what that is may not be given away.
            let error = io::ErrorKind::DirectoryNotEmpty.into();
            return Err(file::failed("make the directory", &self.path, error));
        }
        made.set_access(access)?;
        above.sync()
    }
}

/// Every complete set in a certificate directory, without changing anything there: for `inspect`.
#[must_use]
pub fn sets_in(dir: &std::path::Path) -> Vec<SetOnDisk> {
    Place::open_followed(dir).map_or_else(|_| Vec::new(), |place| sets_at(&place))
}

fn sets_at(place: &Place<'_>) -> Vec<SetOnDisk> {
    let live = generation::live(place);
    let mut ids = generation::generations(place).unwrap_or_default();
    ids.sort_by_key(|id| (Some(*id) != live, std::cmp::Reverse(*id)));
    ids.into_iter()
        .filter_map(|id| {
            let set = read_set(place, id)?;
            Some(SetOnDisk {
                generation: id,
                live: Some(id) == live,
                ca: set.ca,
                cert: set.cert,
                key: set.key,
            })
        })
        .collect()
}

/// The durable record of a certificate directory, without changing anything there; an empty one
/// when there is none.
#[must_use]
pub fn record_in(dir: &std::path::Path) -> Record {
    Place::open_followed(dir).map_or_else(|_| Record::default(), |p| RecordFile::read(&p))
}

/// Steps 1 to 5: a new generation, live. When the switch fails, the generation is removed again.
fn switch(place: &Place<'_>, set: &Rendered, rules: &Rules) -> Result<GenerationId, PublishError> {
    let id = generation::write(place, set, rules)?;
    if let Err(error) = generation::point(place, id) {
        if generation::live(place) != Some(id) {
            let _cleaned = generation::discard(place, id);
        }
        return Err(error);
    }
    Ok(id)
}

fn read_set(place: &Place<'_>, id: GenerationId) -> Option<Rendered> {
    let inside = place.enter(&id.dir()).ok()?;
    let text = |name: &str| -> Option<Secret> {
        let found = inside.read(name)?;
        let text = std::str::from_utf8(&found.bytes).ok()?;
        (!text.is_empty()).then(|| Secret::new(text.to_owned()))
    };
    let [ca, cert, key] = NAMES.map(text);
    Some(Rendered {
        ca: ca?.expose().to_owned(),
        cert: cert?.expose().to_owned(),
        key: key?,
    })
}
