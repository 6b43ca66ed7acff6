//! Writing and switching generations: the numbered steps below.
//!
//! ```text
//! 0  make the outer links that are missing: where they can't be, nothing is published
//! 1  remove a leftover ..new, make ..new (0700)
//! 2  create CA.pem, cert.pem, key.pem in it: owner, mode, content, fsync each
//! 3  give ..new its owner and mode (0750), fsync it
//! 4  rename ..new to ..gen-<id>, fsync the certificate directory: the generation is complete
//! 5  link ..data.tmp -> ..gen-<id>, rename it over ..data, fsync: the one visible step
//! 6  make the outer links CA.pem, cert.pem, key.pem -> ..data/<name> where they are not right
//! 7  remove what is no longer needed
//! ```
//!
//! Never touches anything outside the certificate directory, nor a name in it that is not ours.
//! What stays true: `..gen-<id>` exists only complete, so anything half-done is `..new`; whatever
//! `..data` points at is complete.

use std::{fmt, str::FromStr, time::Duration};

use rustix::fs::FileType;

use super::{
    PublishError, Rendered,
    place::{Place, Rules},
    record_file::RecordFile,
};
use crate::model::time::Timestamp;

/// The files of a set, in the order they are written; the key last.
pub(crate) const NAMES: [&str; 3] = ["CA.pem", "cert.pem", "key.pem"];
/// The link to the live generation.
pub(crate) const DATA: &str = "..data";
/// What the directory of a generation begins with.
pub(crate) const GENERATION_PREFIX: &str = "..gen-";
const NEW: &str = "..new";
const OLD: &str = "..old";
const DATA_TMP: &str = "..data.tmp";
const LINK_TMP: &str = "..link.tmp";

/// What a crash leaves behind, removed at the next start.
pub(crate) const LEFTOVERS: [&str; 5] = [NEW, OLD, DATA_TMP, LINK_TMP, RecordFile::TMP];

/// How many generations may exist at one moment: a Nomad secrets directory has 1 MiB.
pub const MAX_GENERATIONS: usize = 3;

/// How long the previous generation stays readable after the switch, for a reader that resolved it.
pub const PREVIOUS_RETENTION: Duration = Duration::from_secs(300);

/// Names one generation in one directory. Later ones are greater.
///
/// The number is the file system's time of its making, in milliseconds since the epoch, or one more
/// than the newest there was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GenerationId(u64);

impl GenerationId {
    /// Fifteen digits hold every millisecond until the year 33658.
    const MAX_ID_MILLIS: u64 = 999_999_999_999_999;

    pub(super) fn dir(self) -> String {
        format!("{GENERATION_PREFIX}{self}")
    }

    fn of_dir(name: &str) -> Option<Self> {
        name.strip_prefix(GENERATION_PREFIX)?.parse().ok()
    }
}

impl fmt::Display for GenerationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:015}", self.0)
    }
}

impl FromStr for GenerationId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.len() == 15 && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(number) if digits => Ok(Self(number)),
            _ => Err(format!("`{text}` is no generation id: it has 15 digits")),
        }
    }
}

/// Steps 1 to 4. On an error nothing of it is left, as far as the disk lets us.
pub(super) fn write(
    place: &Place<'_>,
    set: &Rendered,
    rules: &Rules,
) -> Result<GenerationId, PublishError> {
    make_room(place, false)?;
    match write_once(place, set, rules) {
        // The previous generation is a courtesy; the new one is needed.
        Err(full) if full.is_full() && make_room(place, true)? => write_once(place, set, rules),
        done => done,
    }
}

fn write_once(
    place: &Place<'_>,
    set: &Rendered,
    rules: &Rules,
) -> Result<GenerationId, PublishError> {
    place.remove(NEW)?;
    let result = fill(place, set, rules);
    if result.is_err() {
        let _cleaned = place.remove(NEW);
    }
    result
}

fn fill(place: &Place<'_>, set: &Rendered, rules: &Rules) -> Result<GenerationId, PublishError> {
    let new = place.make_dir(NEW, 0o700)?;
    for name in NAMES {
        new.create(name, set.content(name).as_bytes(), rules.file(name))?;
    }
    new.set_access(rules.dir())?;
    new.sync()?;
    let id = next_id(place, &new)?;
    place.rename(NEW, &id.dir())?;
    place.sync()?;
    Ok(id)
}

/// The file system's own time, so that no clock is read; and always more than any there is.
fn next_id(place: &Place<'_>, new: &Place<'_>) -> Result<GenerationId, PublishError> {
    let stat = new.own_stat()?;
    let millis = i128::from(stat.st_mtime) * 1000 + i128::from(stat.st_mtime_nsec) / 1_000_000;
    let now = u64::try_from(millis)
        .unwrap_or(0)
        .min(GenerationId::MAX_ID_MILLIS);
    let all = generations(place)?;
    let next = all.last().map_or(now, |newest| now.max(newest.0 + 1));
    // A number at the very end was made up by another process: count on from today's, past any that is.
    let first = if next > GenerationId::MAX_ID_MILLIS {
        now
    } else {
        next
    };
    let free = (first..=GenerationId::MAX_ID_MILLIS).map(GenerationId);
    let id = free.into_iter().find(|id| !all.contains(id));
    Ok(id.unwrap_or(GenerationId(now)))
}

/// Step 5. After an error `..data` points where it did, or at the new generation.
/// rename(2): the replacement is atomic.
pub(super) fn point(place: &Place<'_>, id: GenerationId) -> Result<(), PublishError> {
    place.remove(DATA_TMP)?;
    let result = place
        .link(&id.dir(), DATA_TMP)
        .and_then(|()| place.rename_over(DATA_TMP, DATA))
        .and_then(|()| place.sync());
    if result.is_err() {
        let _cleaned = place.remove(DATA_TMP);
    }
    result
}

/// Step 0. A set that not all names lead to would be half a set to its readers: one had no room
/// left, or something is mounted there.
pub(super) fn missing_links(place: &Place<'_>) -> Result<(), PublishError> {
    for name in NAMES {
        place.not_mounted(name)?;
    }
    let make = || {
        let missing = NAMES.into_iter().filter(|name| place.kind(name).is_none());
        link_all(place, &missing.collect::<Vec<_>>())
    };
    match make() {
        Err(full) if full.is_full() && make_room(place, true)? => make(),
        done => done,
    }
}

/// Step 6. Returns the names that had to be put right.
pub(super) fn outer_links(place: &Place<'_>) -> Result<Vec<&'static str>, PublishError> {
    let wrong: Vec<_> = NAMES
        .into_iter()
        .filter(|name| place.target(name) != Some(outer_target(name)))
        .collect();
    link_all(place, &wrong)?;
    Ok(wrong)
}

fn link_all(place: &Place<'_>, names: &[&str]) -> Result<(), PublishError> {
    for name in names {
        place.remove(LINK_TMP)?;
        place.link(&outer_target(name), LINK_TMP)?;
        place.rename_over(LINK_TMP, name)?;
    }
    match names.is_empty() {
        true => Ok(()),
        false => place.sync(),
    }
}

pub(super) fn outer_target(name: &str) -> String {
    format!("{DATA}/{name}")
}

/// The generation that `..data` points at, when it points at one of ours that is there.
pub(super) fn live(place: &Place<'_>) -> Option<GenerationId> {
    let id = GenerationId::of_dir(&place.target(DATA)?)?;
    place.enter(&id.dir()).ok().map(|_| id)
}

/// All generations on disk, oldest first.
pub(super) fn generations(place: &Place<'_>) -> Result<Vec<GenerationId>, PublishError> {
    Ok(among(&place.names()?))
}

fn among(names: &[String]) -> Vec<GenerationId> {
    names
        .iter()
        .filter_map(|name| GenerationId::of_dir(name))
        .collect()
}

/// What only a publisher makes: a generation, the link to one, or a leftover.
pub(super) fn is_ours(name: &str) -> bool {
    name == DATA || LEFTOVERS.contains(&name) || GenerationId::of_dir(name).is_some()
}

/// What the sweep leaves alone: live, staged and previous, in this order of importance.
///
/// Staged is what the record names, else the newest one that is later than the live one: a crash
/// may have come between writing it and writing the record.
fn wanted(
    place: &Place<'_>,
    all: &[GenerationId],
    previous: Option<GenerationId>,
) -> Vec<GenerationId> {
    let live = live(place);
    let whole = |id: &GenerationId| Some(*id) == live || is_whole(place, *id);
    let all: Vec<_> = all.iter().copied().filter(whole).collect();
    let recorded = RecordFile::read(place)
        .staged
        .and_then(|record| record.generation.parse().ok())
        .filter(|id| all.contains(id));
    let later = all.iter().rev().copied().find(|id| Some(*id) > live);
    let mut wanted: Vec<GenerationId> = live.into_iter().collect();
    wanted.extend(recorded.or(later).filter(|id| Some(*id) != live));
    let other = |id: &GenerationId| !wanted.contains(id) && all.contains(id);
    let newest_other = all.iter().rev().copied().find(other);
    let previous = previous.filter(other).or(newest_other);
    wanted.extend(previous);
    wanted
}

/// Step 7: removes leftovers and every generation beyond live, staged and previous.
pub(super) fn sweep(place: &Place<'_>, previous: Option<GenerationId>) -> Result<(), PublishError> {
    let names = place.names()?;
    for name in names
        .iter()
        .filter(|name| LEFTOVERS.contains(&name.as_str()))
    {
        place.remove(name)?;
    }
    keep(place, &among(&names), MAX_GENERATIONS, previous).map(drop)
}

/// Before a new generation is written: room for it among the most that may exist. With `all`, the
/// previous generation goes too. True when something was removed.
fn make_room(place: &Place<'_>, all: bool) -> Result<bool, PublishError> {
    let most = MAX_GENERATIONS - 1;
    let found = generations(place)?;
    let mut removed = found.len() > most && keep(place, &found, most, None)?;
    if all {
        let live = live(place);
        for id in generations(place)? {
            if Some(id) != live && !is_staged(place, id) {
                discard(place, id)?;
                removed = true;
            }
        }
    }
    Ok(removed)
}

/// All three files are there; another process may have taken one away.
fn is_whole(place: &Place<'_>, id: GenerationId) -> bool {
    place.enter(&id.dir()).is_ok_and(|inside| {
        let file = |name| inside.kind(name) == Some(FileType::RegularFile);
        NAMES.into_iter().all(file)
    })
}

fn is_staged(place: &Place<'_>, id: GenerationId) -> bool {
    RecordFile::read(place)
        .staged
        .is_some_and(|record| record.generation == id.to_string())
}

fn keep(
    place: &Place<'_>,
    all: &[GenerationId],
    most: usize,
    previous: Option<GenerationId>,
) -> Result<bool, PublishError> {
    let mut wanted = wanted(place, all, previous);
    wanted.truncate(most);
    let mut removed = false;
    for id in all.iter().filter(|id| !wanted.contains(id)) {
        discard(place, *id)?;
        removed = true;
    }
    Ok(removed)
}

/// Removes a generation. The rename comes first, so that a crash on the way leaves a leftover and
/// not half a generation.
pub(super) fn discard(place: &Place<'_>, id: GenerationId) -> Result<(), PublishError> {
    place.remove(OLD)?;
    place.rename(&id.dir(), OLD)?;
    place.remove(OLD)
}

/// Removes the previous generation when the live one has been live for [`PREVIOUS_RETENTION`].
pub(super) fn end_grace(place: &Place<'_>, now: Timestamp) -> Result<(), PublishError> {
    let (Some(live), Some(stat)) = (live(place), place.stat(DATA)) else {
        return Ok(());
    };
    let switched = Timestamp::from_unix_secs(stat.st_mtime);
    if now.since(switched) < PREVIOUS_RETENTION {
        return Ok(());
    }
    for id in generations(place)? {
        if id < live && !is_staged(place, id) {
            discard(place, id)?;
        }
    }
    Ok(())
}
