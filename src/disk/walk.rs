//! From a path to a descriptor, one component at a time.

use std::{
    collections::VecDeque,
    ffi::OsString,
    os::{fd::OwnedFd, unix::ffi::OsStringExt as _},
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{self, AtFlags, CWD, FileType, Mode, OFlags, Stat},
    io::Errno,
    process::geteuid,
};

use super::{Directory, Last, PathFault, PathRefusal, TrustedOwners, own_gid, strip_acl};

/// As the kernel's own limit (path_resolution(7)).
const MAX_LINKS: u32 = 40;

pub(super) struct Walk<'t> {
    trust: &'t TrustedOwners,
    make: Option<u32>,
    links: u32,
}

/// Where a path ends: the directory and the name in it, which is no link (or is not followed).
pub(super) struct Located {
    parent: Directory,
    /// `.` for the directory itself.
    name: OsString,
    /// What bears the name; none where nothing does, or where it was not opened.
    found: Option<Found>,
}

impl Located {
    /// An `O_PATH` descriptor of what bears the name.
    pub(super) fn open(self) -> Result<OwnedFd, Errno> {
        let found = self
            .found
            .map_or_else(|| Found::open(&self.parent, &self.name), Ok);
        found.map(|found| found.fd)
    }
}

/// What bears a name, by an `O_PATH` descriptor.
struct Found {
    fd: OwnedFd,
    stat: Stat,
}

impl Found {
    fn open(here: &Directory, name: &OsString) -> Result<Self, Errno> {
        let fd = fs::openat(here, name, only_path(), Mode::empty())?;
        let stat = fs::fstat(&fd)?;
        Ok(Self { fd, stat })
    }

    fn is_link(&self) -> bool {
        FileType::from_raw_mode(self.stat.st_mode) == FileType::Symlink
    }

    fn directory(self, path: PathBuf) -> Result<Directory, PathRefusal> {
        let Self { fd, stat } = self;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Ok(Directory { fd, stat, path }),
            _ => Err(PathRefusal::new(&path, &stat, PathFault::NotADirectory)),
        }
    }
}

fn only_path() -> OFlags {
    OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

impl<'t> Walk<'t> {
    pub(super) fn new(trust: &'t TrustedOwners, make: Option<u32>) -> Self {
        Self {
            trust,
            make,
            links: 0,
        }
    }

    pub(super) fn directory(mut self, path: &Path, last: Last) -> Result<Directory, PathRefusal> {
        let Located {
            parent,
            name,
            found,
        } = self.locate(path, last)?;
        let mut directory = match found {
            Some(found) => found.directory(parent.path.join(&name))?,
            None => self.step(&parent, &name)?,
        };
        directory.path = path.to_owned();
        Ok(directory)
    }

    /// Resolves everything but the last name, and that too while it is a link that may be followed.
    pub(super) fn locate(&mut self, path: &Path, last: Last) -> Result<Located, PathRefusal> {
        let mut here = start(path)?;
        let mut ahead: VecDeque<OsString> = names(path).collect();
        while let Some(name) = ahead.pop_front() {
            let is_last = ahead.is_empty();
            let found = match is_last && last == Last::Real {
                true => None,
                // the step that needs it says why it can't be opened
                false => Found::open(&here, &name).ok(),
            };
            here = match found {
                Some(link) if link.is_link() => {
                    let target = self.target(&here, &name, &link)?;
                    for name in names(&target).collect::<Vec<_>>().into_iter().rev() {
                        ahead.push_front(name);
                    }
                    match target.is_absolute() {
                        true => start(&target)?,
                        false => here,
                    }
                }
                found if is_last => {
                    return Ok(Located {
                        parent: here,
                        name,
                        found,
                    });
                }
                Some(found) => found.directory(here.path.join(&name))?,
                None => self.step(&here, &name)?,
            };
        }
        Ok(Located {
            parent: here,
            name: OsString::from("."),
            found: None,
        })
    }

    /// Where a link leads that may be followed.
    fn target(
        &mut self,
        here: &Directory,
        name: &OsString,
        link: &Found,
    ) -> Result<PathBuf, PathRefusal> {
        let path = here.path.join(name);
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(PathRefusal::io("follow", &path, Errno::LOOP.into()));
        }
        if !self.trust.owns(link.stat.st_uid) || self.is_replaceable(&here.stat) {
            return Err(PathRefusal::new(&path, &link.stat, PathFault::ForeignLink));
        }
        let text = fs::readlinkat(&link.fd, "", Vec::new())
            .map_err(|error| PathRefusal::io("read the link", &path, error.into()))?;
        Ok(PathBuf::from(OsString::from_vec(text.into_bytes())))
    }

    /// Another user may rename what lies in this directory.
    fn is_replaceable(&self, stat: &Stat) -> bool {
        let sticky = stat.st_mode & 0o1000 != 0;
        !self.trust.owns(stat.st_uid) || (stat.st_mode & 0o002 != 0 && !sticky)
    }

    /// Opens a directory of that name, never through a link; made when it is missing and wanted.
    fn step(&self, here: &Directory, name: &OsString) -> Result<Directory, PathRefusal> {
        let path = here.path.join(name);
        match (Found::open(here, name), self.make) {
            (Err(Errno::NOENT), Some(mode)) => self.make(here, name, mode),
            (Err(error), _) => Err(PathRefusal::io("open", &path, error.into())),
            (Ok(found), _) => found.directory(path),
        }
    }

    fn make(&self, here: &Directory, name: &OsString, mode: u32) -> Result<Directory, PathRefusal> {
        let path = here.path.join(name);
        let failed = |error: Errno| PathRefusal::io("make the directory", &path, error.into());
        let ours = match fs::mkdirat(here, name, Mode::from_raw_mode(mode)) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(error) => return Err(failed(error)),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = match fs::openat(here, name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::LOOP | Errno::NOTDIR) => {
                let stat = fs::statat(here, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
                return Err(PathRefusal::new(&path, &stat, PathFault::ForeignLink));
            }
            Err(error) => return Err(failed(error)),
        };
        let stat = stat_of(&fd, &path)?;
        if ours && stat.st_uid != geteuid().as_raw() {
            return Err(PathRefusal::new(&path, &stat, PathFault::ForeignDirectory));
        }
        if ours {
            // A parent with setgid or a default access list would open it to others.
            strip_acl(&fd).map_err(|error| PathRefusal::io("close", &path, error))?;
            if stat.st_gid != own_gid() {
                // Where this is not permitted, the group has at most what `mode` says.
                let own = Some(fs::Gid::from_raw_unchecked(own_gid()));
                let _not_permitted = fs::fchown(&fd, None, own);
            }
            let mode = Mode::from_raw_mode(stat.st_mode & mode);
            fs::fchmod(&fd, mode).map_err(failed)?;
        }
        let stat = stat_of(&fd, &path)?;
        Ok(Directory { fd, stat, path })
    }
}

fn start(path: &Path) -> Result<Directory, PathRefusal> {
    let from = match path.is_absolute() {
        true => "/",
        false => ".",
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = fs::openat(CWD, from, flags, Mode::empty())
        .map_err(|error| PathRefusal::io("open", Path::new(from), error.into()))?;
    let path = match from {
        "/" => PathBuf::from("/"),
        _ => PathBuf::new(),
    };
    let stat = stat_of(&fd, &path)?;
    Ok(Directory { fd, stat, path })
}

/// The names of a path in their order; `..` is one, `.` and the root are none.
fn names(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
    })
}

fn stat_of(fd: impl std::os::fd::AsFd, path: &Path) -> Result<Stat, PathRefusal> {
    fs::fstat(fd).map_err(|error| PathRefusal::io("look at", path, error.into()))
}
