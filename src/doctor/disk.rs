//! What a directory is like, without touching it.
//!
//! Opens nothing for writing and makes nothing; permission is asked of the kernel (`faccessat`) or
//! worked out from modes. What stays true: access times are the only thing that can change.

use std::{
    io,
    path::{Path, PathBuf},
};

use rustix::fs::{self, Access, AtFlags, CWD, FileType, Stat, StatVfsMountFlags, StatxFlags};

use crate::{config::Reader, disk};

/// Mode and owner of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owned {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Owned {
    pub(super) fn of(stat: &Stat) -> Self {
        Self {
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
        }
    }

    /// May the reader do all of `bits` (4 read, 2 write, 1 enter)? Modes only, as POSIX says.
    pub(super) fn lets(self, reader: Reader, bits: u32) -> bool {
        let shift = match () {
            () if reader.uid == 0 => return true,
            () if reader.uid == self.uid => 6,
            () if reader.gid == self.gid => 3,
            () => 0,
        };
        (self.mode >> shift) & bits == bits
    }
}

/// What stands at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PathKind {
    Missing,
    Directory,
    Link,
    Other,
}

/// The file system below a path.
#[derive(Clone, Debug)]
pub(super) struct FileSystem {
    /// As mount(8) calls it, where it is known.
    pub(super) name: String,
    pub(super) in_memory: bool,
    /// It is the root file system of a container: no other container sees it, and it goes with this one.
    pub(super) in_container: bool,
    /// It has no rename or no links, so no set can be switched on it.
    pub(super) no_switch: bool,
    pub(super) read_only: bool,
    pub(super) free_bytes: u64,
    /// None where it does not count them.
    pub(super) free_inodes: Option<u64>,
}

/// A directory as it was found.
#[derive(Clone, Debug)]
pub(super) struct DirStat {
    pub(super) path: PathBuf,
    pub(super) kind: PathKind,
    /// The path itself, or the nearest directory above it that exists.
    pub(super) nearest: PathBuf,
    /// May this process make and replace files there? If not, why.
    pub(super) writable: Result<(), String>,
    pub(super) system: Result<FileSystem, String>,
    /// Only of a directory.
    pub(super) owned: Option<Owned>,
    /// Names in it, as far as they may be listed.
    pub(super) names: Vec<String>,
    /// All directories above, the root first.
    pub(super) above: Vec<(PathBuf, Owned)>,
}

/// Magic numbers of linux/magic.h: name, in memory, without rename or links.
const SYSTEMS: &[(u64, &str, bool, bool)] = &[
    (0x0102_1994, "tmpfs", true, false),
    (0x8584_58f6, "ramfs", true, false),
    (0xef53, "ext4", false, false),
    (0x5846_5342, "xfs", false, false),
    (0x9123_683e, "btrfs", false, false),
    (0x794c_7630, "overlay", false, false),
    (0x6969, "nfs", false, false),
    (0x4d44, "vfat", false, true),
    (0x2011_bab0, "exfat", false, true),
    (0x1980_0202, "mqueue", true, true),
    (0x9fa0, "proc", true, true),
    (0x6265_6572, "sysfs", true, true),
    (0x0027_e0eb, "cgroup", true, true),
    (0x6367_7270, "cgroup2", true, true),
    (0x1cd1, "devpts", true, true),
    (0x9660, "iso9660", false, true),
    (0x7371_7368, "squashfs", false, true),
];

impl DirStat {
    /// Looks at a directory that shall be, or is.
    pub(super) fn at(path: &Path) -> Self {
        let found = disk::look_at_name(path).ok();
        let kind = match &found {
            Some((FileType::Directory, _)) => PathKind::Directory,
            Some((FileType::Symlink, _)) => PathKind::Link,
            Some(_) => PathKind::Other,
            None => PathKind::Missing,
        };
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let nearest = absolute
            .ancestors()
            .find(|place| matches!(disk::look(place), Ok((FileType::Directory, _))))
            .unwrap_or_else(|| Path::new("/"))
            .to_owned();
        let owned = found.filter(|(kind, _)| *kind == FileType::Directory);
        Self {
            path: path.to_owned(),
            kind,
            writable: writable(&nearest).map_err(|error| error.to_string()),
            system: system(&nearest).map_err(|error| error.to_string()),
            owned: owned.map(|(_, stat)| Owned::of(&stat)),
            names: disk::names(path).unwrap_or_default(),
            above: above(&absolute),
            nearest,
        }
    }
}

/// True when entries of the directory may be made and replaced by this process.
pub(super) fn writable(directory: &Path) -> io::Result<()> {
    let wanted = Access::WRITE_OK | Access::EXEC_OK;
    Ok(fs::accessat(CWD, directory, wanted, AtFlags::EACCESS)?)
}

fn system(place: &Path) -> io::Result<FileSystem> {
    let kind = fs::statfs(place)?;
    let room = fs::statvfs(place)?;
    let magic = u64::try_from(kind.f_type).unwrap_or(0) & 0xffff_ffff;
    let known = SYSTEMS.iter().find(|(number, ..)| *number == magic);
    Ok(FileSystem {
        name: known.map_or_else(|| format!("{magic:#x}"), |(_, name, ..)| (*name).to_owned()),
        in_memory: known.is_some_and(|(_, _, memory, _)| *memory),
        in_container: in_container(place),
        no_switch: known.is_some_and(|(.., broken)| *broken),
        read_only: room.f_flag.contains(StatVfsMountFlags::RDONLY),
        free_bytes: room.f_bavail.saturating_mul(room.f_frsize),
        free_inodes: (room.f_files > 0).then_some(room.f_favail),
    })
}

/// Files with which Docker and Podman mark the root of a container.
const CONTAINER_MARKS: [&str; 2] = ["/.dockerenv", "/run/.containerenv"];

/// In a container, and not on a mount of its own. False where the kernel does not tell (before Linux 5.8).
fn in_container(place: &Path) -> bool {
    let mount = |place: &Path| {
        let found = fs::statx(CWD, place, AtFlags::empty(), StatxFlags::MNT_ID).ok()?;
        let told = StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::MNT_ID);
        told.then_some(found.stx_mnt_id)
    };
    let marked = CONTAINER_MARKS
        .iter()
        .any(|mark| disk::look(Path::new(mark)).is_ok());
    marked && mount(place).is_some_and(|id| mount(Path::new("/")) == Some(id))
}

fn above(path: &Path) -> Vec<(PathBuf, Owned)> {
    let mut found: Vec<_> = path
        .ancestors()
        .skip(1)
        .filter_map(|place| Some((place.to_owned(), Owned::of(&disk::look(place).ok()?.1))))
        .collect();
    found.reverse();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_read_as_the_kernel_reads_them() {
        let file = |mode| Owned {
            mode,
            uid: 10,
            gid: 20,
        };
        let table = [
            (0o400, (10, 1), true),
            (0o040, (10, 20), false), // the owner's bits count for the owner, alone
            (0o040, (11, 20), true),
            (0o004, (11, 20), false),
            (0o004, (11, 21), true),
            (0o640, (11, 21), false),
            (0o000, (0, 0), true),
        ];
        for (mode, (uid, gid), readable) in table {
            let reader = Reader { uid, gid };
            assert_eq!(file(mode).lets(reader, 4), readable, "{mode:o} {reader}");
        }
    }

    #[test]
    fn a_reader_is_one_number_or_two() {
        assert_eq!(
            "10001".parse(),
            Ok(Reader {
                uid: 10001,
                gid: 10001
            })
        );
        assert_eq!("1:2".parse(), Ok(Reader { uid: 1, gid: 2 }));
        assert!("loki".parse::<Reader>().is_err());
        assert!("1:2:3".parse::<Reader>().is_err());
    }

    #[test]
    fn a_missing_directory_is_judged_by_what_is_above_it() {
        let home = tempfile::tempdir().unwrap();
        let look = DirStat::at(&home.path().join("a/b"));
        assert_eq!(look.kind, PathKind::Missing);
        assert_eq!(look.nearest, home.path());
        assert!(look.names.is_empty());
        assert!(!home.path().join("a").exists());
    }
}
