//! Unix sockets that no other user can take or reach.
//!
//! Never replaces a socket that answers, nor a file that is none. What stays true: from the first
//! instant that a socket can be found at its path it has its mode.

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _, OwnedFd},
    path::{Path, PathBuf},
};

use axum::serve::Listener;
use rustix::{
    fs::{self, AtFlags, FileType, Mode, OFlags, Stat},
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType},
    process::geteuid,
};
use tokio::net::{UnixListener, UnixStream, unix::SocketAddr};
use tracing::warn;

use crate::disk::{self, Directory, Last, PathRefusal, TrustedOwners};

/// A socket is made in here, where only we can enter.
const BIND_DIR_NAME: &str = ".n";
const BIND_NAME: &str = "s";

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The directory is no good: it is another user's, others may write in it, or a link leads there.
    #[error("{0}; give the socket a directory of its own")]
    Dir(#[from] PathRefusal),
    /// A process answers at that path.
    #[error("another process answers at {}", .0.display())]
    Taken(PathBuf),
    /// Something else lies there.
    #[error("{} is no socket, so it is left alone", .0.display())]
    NoSocket(PathBuf),
    /// The system refused.
    #[error("cannot make the socket {}: {cause}", path.display())]
    System {
        /// The socket.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
}

/// A bound socket; its file goes with it.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    file: SocketFile,
}

/// Removes the file in the end, unless another socket has taken its place.
#[derive(Debug)]
pub(super) struct SocketFile {
    directory: Directory,
    name: String,
    inode: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let same = |(_, found): &(_, Stat)| (found.st_dev, found.st_ino) == self.inode;
        if self.directory.entry(&self.name).as_ref().is_some_and(same) {
            // One that stays is replaced at the next start.
            let _stays = fs::unlinkat(&self.directory, &self.name, AtFlags::empty());
        }
    }
}

impl Socket {
    /// Binds `path` with `mode`. Its directory is made (0700) or must be ours and closed to writers.
    /// A socket at which no process answers is replaced.
    ///
    /// # Errors
    /// See [`SocketError`]; nothing was changed then, except that the directory may be new.
    pub fn bind(path: &Path, mode: u32) -> Result<Self, SocketError> {
        let system = |cause| SocketError::System {
            path: path.to_owned(),
            cause,
        };
        let (dir, name) = disk::split(path)?;
        let directory = own_directory(dir)?.private()?;
        free(&directory, name, path)?;
        clear(&directory).map_err(system)?;
        let made = make(&directory, name, mode);
        let _left_behind = clear(&directory);
        let (listener, inode) = made.map_err(system)?;
        Ok(Self {
            listener,
            file: SocketFile {
                directory,
                name: name.to_owned(),
                inode,
            },
        })
    }

    pub(super) fn split(self) -> (UnixListener, SocketFile) {
        (self.listener, self.file)
    }
}

/// Its parents are for others too, as is the ready file's directory.
fn own_directory(dir: &Path) -> Result<Directory, PathRefusal> {
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Directory::make(parent, Last::Followed, 0o755, &TrustedOwners::OWN)?;
    }
    Directory::make(dir, Last::Real, 0o700, &TrustedOwners::OWN)
}

/// The name of an entry for calls that take only a path. It begins at the descriptor, so whoever
/// renames a directory above changes nothing; and it always fits into the 107 bytes of a socket.
fn through(directory: impl AsFd, name: &str) -> String {
    format!("/proc/self/fd/{}/{name}", directory.as_fd().as_raw_fd())
}

/// Nothing under that name, or a socket that was left behind.
fn free(directory: &Directory, name: &str, path: &Path) -> Result<(), SocketError> {
    let Some((kind, _)) = directory.entry(name) else {
        return Ok(());
    };
    if kind != FileType::Socket {
        return Err(SocketError::NoSocket(path.to_owned()));
    }
    match answers(directory, name) {
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(()),
        // One that does not take us now (its queue is full) is a process too.
        Ok(()) | Err(Errno::AGAIN) => Err(SocketError::Taken(path.to_owned())),
        Err(error) => Err(SocketError::System {
            path: path.to_owned(),
            cause: error.into(),
        }),
    }
}

/// Never waits: a stopped process with a full queue would hold us for ever.
fn answers(directory: &Directory, name: &str) -> Result<(), Errno> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    let address = SocketAddrUnix::new(through(directory, name))?;
    rustix::net::connect(&socket, &address)
}

/// Binds inside a directory that only we can enter, and moves the socket to its place when it has
/// its mode: a socket can be connected to before chmod, and umask is the whole process's. Every
/// step is beneath a descriptor, and the mode is set through one.
fn make(directory: &Directory, name: &str, mode: u32) -> io::Result<(UnixListener, (u64, u64))> {
    fs::mkdirat(directory, BIND_DIR_NAME, Mode::RWXU)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let workshop = fs::openat(directory, BIND_DIR_NAME, flags, Mode::empty())?;
    let listener = bind(&workshop)?;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let raw = fs::openat(&workshop, BIND_NAME, flags, Mode::empty())?;
    let made = fs::fstat(&raw)?;
    if FileType::from_raw_mode(made.st_mode) != FileType::Socket {
        return Err(io::Error::other("it was exchanged while it was made"));
    }
    disk::set_mode_of(&raw, mode)?;
    fs::renameat(&workshop, BIND_NAME, directory, name)?;
    Ok((listener, (made.st_dev, made.st_ino)))
}

#[expect(clippy::disallowed_methods, reason = "the path begins at a descriptor")]
fn bind(workshop: &OwnedFd) -> io::Result<UnixListener> {
    UnixListener::bind(through(workshop, BIND_NAME))
}

fn clear(directory: &Directory) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let workshop = match fs::openat(directory, BIND_DIR_NAME, flags, Mode::empty()) {
        Ok(workshop) => workshop,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    match fs::unlinkat(&workshop, BIND_NAME, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(fs::unlinkat(directory, BIND_DIR_NAME, AtFlags::REMOVEDIR)?)
}

/// Lets in only connections of our own user and of root.
pub(super) struct OwnUser(pub(super) UnixListener);

impl Listener for OwnUser {
    type Io = UnixStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = Listener::accept(&mut self.0).await;
            match stream.peer_cred() {
                Ok(peer) if trusted(peer.uid()) => return (stream, address),
                Ok(peer) => warn!(
                    uid = peer.uid(),
                    "a process of another user connected to the status socket and was refused"
                ),
                Err(error) => warn!("a peer of the status socket can't be known: {error}"),
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

fn trusted(uid: u32) -> bool {
    uid == 0 || uid == geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, Permissions},
        os::unix::{
            fs::{MetadataExt as _, PermissionsExt as _},
            net::UnixStream as StdStream,
        },
    };

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & 0o777
    }

    #[tokio::test]
    async fn a_socket_is_closed_to_others_in_a_directory_of_its_own_and_leaves_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("certagent/run/status.sock");
        let socket = Socket::bind(&path, 0o600).unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        assert_eq!(mode(&temp.path().join("certagent")), 0o755);
        StdStream::connect(&path).unwrap();
        drop(socket);
        let left = fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(left, 0);
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_one_that_answers_is_not() {
        let temp = tempfile::tempdir().unwrap();
        fs::set_permissions(temp.path(), Permissions::from_mode(0o700)).unwrap();
        let path = temp.path().join("status.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "left behind, as after kill -9");
        let first = Socket::bind(&path, 0o600).unwrap();
        let taken = Socket::bind(&path, 0o600);
        assert!(matches!(taken, Err(SocketError::Taken(_))), "{taken:?}");
        StdStream::connect(&path).unwrap();
        drop(first);
        crate::publish::file::replace(&path, b"mine", 0o600).unwrap();
        let other = Socket::bind(&path, 0o600);
        assert!(matches!(other, Err(SocketError::NoSocket(_))), "{other:?}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }

    #[tokio::test]
    async fn a_directory_that_others_can_write_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let open = temp.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
        std::os::unix::fs::symlink(temp.path(), temp.path().join("link")).unwrap();
        for dir in ["open", "link"] {
            let refused = Socket::bind(&temp.path().join(dir).join("status.sock"), 0o600);
            assert!(
                matches!(refused, Err(SocketError::Dir { .. })),
                "{refused:?}"
            );
        }
        assert_eq!(fs::read_dir(&open).unwrap().count(), 0);
    }

    #[test]
    fn only_our_own_user_and_root_are_trusted() {
        let own = geteuid().as_raw();
        assert!(trusted(own) && trusted(0));
        assert!(!trusted(own + 1));
    }
}
