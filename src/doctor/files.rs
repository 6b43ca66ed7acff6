//! Checks of the certificate directory, of what lies in it, and of the ready file.
//!
//! Never opens the directory as a publisher does: that would make it, lock it and clear it. What
//! stays true: a set is judged by the functions that the agent uses on start.

use std::path::{Path, PathBuf};

use super::{
    CheckOutcome, DoctorFacts, DoctorFinding,
    disk::{DirStat, Owned, PathKind},
    facts::{CertificateFacts, DirFacts},
};
use crate::{
    config::{Files, Reader},
    disk::{self, Directory, Last, PathRefusal},
    publish::{
        self, DATA, DIR_MODE, GENERATION_PREFIX, LEFTOVERS, MAX_GENERATIONS, NAMES,
        ready_file::ReadyFile,
    },
};

/// A set with a chain of three and an RSA key of 4096 bits is far below; two of them must fit.
const GENERATION_BYTES: u64 = 64 * 1024;
/// Directory, three files, two links, the record and its successor.
const GENERATION_INODES: u64 = 8;
impl DirFacts {
    /// Why the agent would not take the directory, were it to start now.
    fn refusal(&self) -> Option<&PathRefusal> {
        self.refusal.as_ref()
    }

    pub(super) fn look(files: &Files) -> Self {
        let trust = files.trust();
        let found = Directory::find(&files.dir, Last::Real, &trust);
        let refusal = found.and_then(|found| found.checked(&trust)).err();
        let live = NAMES.iter().filter_map(|name| {
            let (_, stat) = disk::look(&files.dir.join(DATA).join(name)).ok()?;
            Some((*name, Owned::of(&stat)))
        });
        let sets = publish::sets_in(&files.dir);
        Self {
            look: DirStat::at(&files.dir),
            refusal,
            live: live.collect(),
            complete: sets.iter().map(|set| set.generation.to_string()).collect(),
        }
    }
}

fn own() -> Reader {
    Reader {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
    }
}

fn dir_is(one: &CertificateFacts, reason: impl Into<String>) -> CheckOutcome {
    let path = one.dir.look.path.display().to_string();
    CheckOutcome::wrong(path, reason)
}

pub(super) fn extra_ca(facts: &DoctorFacts) -> CheckOutcome {
    facts.each(|one| match &one.extra_ca {
        None => CheckOutcome::Fine,
        Some(why) => CheckOutcome::wrong(&one.config.name, why.clone()),
    })
}

pub(super) fn not_a_directory(facts: &DoctorFacts) -> CheckOutcome {
    facts.each(|one| match one.dir.look.kind {
        PathKind::Link => dir_is(
            one,
            "it is a link: a bind mount of it would miss all new certificate files",
        ),
        PathKind::Other => dir_is(one, "it is no directory"),
        PathKind::Directory | PathKind::Missing => CheckOutcome::Fine,
    })
}

pub(super) fn not_writable(facts: &DoctorFacts) -> CheckOutcome {
    facts.each(|one| {
        let look = &one.dir.look;
        match &look.writable {
            Err(_) if matches!(&look.system, Ok(system) if system.read_only) => CheckOutcome::Fine,
            Err(why) => {
                let uid = own().uid;
                let at = look.nearest.display();
                dir_is(one, format!("user {uid} may not write in {at}: {why}"))
            }
            Ok(()) => CheckOutcome::Fine,
        }
    })
}

/// Judges the file system below the directory.
fn system(
    facts: &DoctorFacts,
    wrong: impl Fn(&super::disk::FileSystem) -> Option<String>,
) -> CheckOutcome {
    facts.each(|one| match &one.dir.look.system {
        Ok(system) => match wrong(system) {
            Some(reason) => dir_is(one, reason),
            None => CheckOutcome::Fine,
        },
        Err(why) => CheckOutcome::skipped(why.clone()),
    })
}

pub(super) fn no_rename(facts: &DoctorFacts) -> CheckOutcome {
    system(facts, |system| {
        system.no_switch.then(|| {
            format!(
                "{} lacks rename or symbolic links, which publishing needs",
                system.name
            )
        })
    })
}

pub(super) fn read_only(facts: &DoctorFacts) -> CheckOutcome {
    system(facts, |system| {
        system
            .read_only
            .then(|| format!("this {} is mounted read-only", system.name))
    })
}

pub(super) fn in_container(facts: &DoctorFacts) -> CheckOutcome {
    system(facts, |system| {
        system
            .in_container
            .then(|| "it is inside the container, on no mount".to_owned())
    })
}

pub(super) fn on_disk(facts: &DoctorFacts) -> CheckOutcome {
    system(facts, |system| {
        (!system.in_memory).then(|| {
            format!(
                "it is on {}: keys reach a disk, its backups and its snapshots",
                system.name
            )
        })
    })
}

pub(super) fn full(facts: &DoctorFacts) -> CheckOutcome {
    system(facts, |system| {
        (!system.read_only && !system.no_switch && system.free_bytes < GENERATION_BYTES).then(
            || {
                format!(
                    "{} bytes are free, {GENERATION_BYTES} are needed",
                    system.free_bytes
                )
            },
        )
    })
}

pub(super) fn no_inodes(facts: &DoctorFacts) -> CheckOutcome {
    system(facts, |system| {
        let left = system
            .free_inodes
            .filter(|left| *left < GENERATION_INODES)?;
        (!system.read_only && !system.no_switch)
            .then(|| format!("{left} inodes are free, {GENERATION_INODES} are needed"))
    })
}

pub(super) fn in_alloc(facts: &DoctorFacts) -> CheckOutcome {
    let Some(shared) = &facts.alloc_dir else {
        return CheckOutcome::skipped("NOMAD_ALLOC_DIR is not set");
    };
    facts.each(|one| {
        if one.dir.look.path.starts_with(shared) {
            let reason =
                "every token with `read-fs` on the namespace can read the key, whatever its mode";
            return dir_is(one, reason);
        }
        CheckOutcome::Fine
    })
}

/// The agent would refuse the directory because of its owner.
pub(super) fn foreign_directory(facts: &DoctorFacts) -> CheckOutcome {
    refused_for(facts, "directory-foreign")
}

/// The agent would not follow a link above the directory.
pub(super) fn foreign_link(facts: &DoctorFacts) -> CheckOutcome {
    refused_for(facts, "link-foreign")
}

fn refused_for(facts: &DoctorFacts, code: &str) -> CheckOutcome {
    facts.each(|one| match one.dir.refusal() {
        Some(refusal) if refusal.code() == code => dir_is(one, refusal.to_string()),
        _ => CheckOutcome::Fine,
    })
}

pub(super) fn dir_open(facts: &DoctorFacts) -> CheckOutcome {
    facts.each(|one| match one.dir.look.owned {
        Some(owned) => {
            let ours = one.config.files.gid == Some(owned.gid);
            let bits = if ours { 0o002 } else { 0o022 };
            if owned.mode & bits == 0 {
                return CheckOutcome::Fine;
            }
            let reason = format!(
                "its mode is {:04o}: others can put certificate files of their own there",
                owned.mode
            );
            dir_is(one, reason)
        }
        None => CheckOutcome::Fine,
    })
}

pub(super) fn key_open(facts: &DoctorFacts) -> CheckOutcome {
    facts.each(|one| {
        let mut found = Vec::new();
        let configured = one.config.files.key_perms;
        if configured & 0o007 != 0 {
            let reason = format!("key_perms is {configured:04o}: every user can read the key");
            found.push(DoctorFinding::new(&one.config.name, reason));
        }
        let key = one.dir.live.iter().find(|(name, _)| *name == "key.pem");
        if let Some((_, owned)) = key.filter(|(_, owned)| owned.mode & 0o007 != 0) {
            let reason = format!("the mode of the published key.pem is {:04o}", owned.mode);
            found.push(DoctorFinding::new(
                one.dir.look.path.display().to_string(),
                reason,
            ));
        }
        CheckOutcome::of(found)
    })
}

pub(super) fn owner(facts: &DoctorFacts) -> CheckOutcome {
    let own = own();
    facts.each(|one| {
        let files = &one.config.files;
        let other_user = files.uid.filter(|uid| *uid != own.uid);
        if let (Some(uid), true) = (other_user, own.uid != 0) {
            let reason = format!(
                "files shall belong to user {uid}, and user {} can't do that",
                own.uid
            );
            return CheckOutcome::wrong(&one.config.name, reason);
        }
        CheckOutcome::Fine
    })
}

/// Can the application read what is, or will be, published? Modes and owners alone; other
/// namespaces and access control lists are not seen.
pub(super) fn reader(facts: &DoctorFacts) -> CheckOutcome {
    let Some(reader) = facts.options.as_user else {
        return CheckOutcome::skipped("name the application's user with --as-user UID:GID");
    };
    facts.each(|one| {
        let (files, own, look) = (&one.config.files, own(), &one.dir.look);
        let planned = |mode| Owned {
            mode,
            uid: files.uid.unwrap_or(own.uid),
            gid: files.gid.unwrap_or(own.gid),
        };
        let directory = look.owned.unwrap_or_else(|| planned(DIR_MODE));
        let mut ways: Vec<(PathBuf, Owned, u32)> = look
            .above
            .iter()
            .map(|(path, owned)| (path.clone(), *owned, 1))
            .collect();
        ways.push((look.path.clone(), directory, 1));
        for (name, mode) in [("cert.pem", files.cert_perms), ("key.pem", files.key_perms)] {
            let live = one.dir.live.iter().find(|(live, _)| *live == name);
            let owned = live.map_or_else(|| planned(mode), |(_, owned)| *owned);
            ways.push((look.path.join(name), owned, 4));
        }
        let shut = ways
            .iter()
            .find(|(_, owned, bits)| !owned.lets(reader, *bits));
        match shut {
            Some((path, owned, bits)) => {
                let verb = if *bits == 1 { "enter" } else { "read" };
                let reason = format!(
                    "user {reader} can't {verb} {} (mode {:04o}, owner {}:{})",
                    path.display(),
                    owned.mode,
                    owned.uid,
                    owned.gid
                );
                CheckOutcome::wrong(&one.config.name, reason)
            }
            None => CheckOutcome::Fine,
        }
    })
}

pub(super) fn leftovers(facts: &DoctorFacts) -> CheckOutcome {
    facts.each(|one| {
        let names = &one.dir.look.names;
        let mut found = Vec::new();
        let left: Vec<&str> = names
            .iter()
            .map(String::as_str)
            .filter(|name| LEFTOVERS.contains(name))
            .collect();
        if !left.is_empty() {
            found.push(format!("a crash left {}", left.join(", ")));
        }
        let generations = names
            .iter()
            .filter(|name| name.starts_with(GENERATION_PREFIX))
            .count();
        if generations > MAX_GENERATIONS {
            found.push(format!(
                "{generations} generations are there, an agent keeps at most {MAX_GENERATIONS}"
            ));
        } else if generations > one.dir.complete.len() {
            let broken = generations - one.dir.complete.len();
            found.push(format!(
                "{broken} generations are not whole or can't be read"
            ));
        }
        match found.is_empty() {
            true => CheckOutcome::Fine,
            false => dir_is(one, found.join("; ")),
        }
    })
}

/// A set is there, and the agent would not use it.
pub(super) fn unusable_set(facts: &DoctorFacts) -> CheckOutcome {
    facts.each(|one| {
        let links = one.dir.look.names.iter().any(|name| name == DATA);
        match &one.next.live {
            None if !one.dir.complete.is_empty() || links => dir_is(
                one,
                "the published certificate files fail the checks, or can't be read",
            ),
            Some(live) if live.validity.not_after <= facts.now => {
                let reason = format!(
                    "the published certificate expired at {}",
                    live.validity.not_after
                );
                dir_is(one, reason)
            }
            _ => CheckOutcome::Fine,
        }
    })
}

/// The ready file says that something is published which is not.
pub(super) fn stale_ready_file(facts: &DoctorFacts) -> CheckOutcome {
    facts.each(|one| {
        let Some((path, _)) = &one.ready_file else {
            return CheckOutcome::skipped("no ready file is configured");
        };
        let wrong = |reason: String| CheckOutcome::wrong(path.display().to_string(), reason);
        match ReadyFile::read(path) {
            Ok(None) => CheckOutcome::Fine,
            Err(error) => wrong(error.to_string()),
            Ok(Some(ready_file)) if ready_file.ends_at().is_none_or(|end| end <= facts.now) => {
                wrong(format!(
                    "its certificate expired at {}",
                    ready_file.not_after
                ))
            }
            Ok(Some(ready_file)) => match &one.next.live {
                Some(live) if live.serial == ready_file.serial => CheckOutcome::Fine,
                Some(live) => wrong(format!(
                    "it names the serial {}, {} is published",
                    ready_file.serial, live.serial
                )),
                None => wrong(format!(
                    "it names the serial {}, nothing usable is published",
                    ready_file.serial
                )),
            },
        }
    })
}

pub(super) fn ready_file_place(facts: &DoctorFacts) -> CheckOutcome {
    facts.each(|one| {
        let Some((path, look)) = &one.ready_file else {
            return CheckOutcome::skipped("no ready file is configured");
        };
        match &look.writable {
            Err(why) => CheckOutcome::wrong(
                path.display().to_string(),
                format!("it can't be written in {}: {why}", look.nearest.display()),
            ),
            Ok(()) if inside(path, &one.dir.look.path) => CheckOutcome::wrong(
                path.display().to_string(),
                "it lies in the certificate directory, which other tasks can't see",
            ),
            Ok(()) => CheckOutcome::Fine,
        }
    })
}

fn inside(path: &Path, directory: &Path) -> bool {
    path.starts_with(directory)
}
