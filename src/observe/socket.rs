//! Unix sockets that nobody else can take or reach, and listeners that a slow peer can't fill.
//!
//! Never replaces a socket that answers, nor a file that is none. What stays true: from the first
//! instant that a socket can be found at its path it has its mode.

use std::{
    fs::{self, DirBuilder, Permissions},
    io::{self, ErrorKind},
    os::unix::{
        fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
        net::UnixStream as StdStream,
    },
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::serve::Listener;
use rustix::process::geteuid;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{UnixListener, UnixStream, unix::SocketAddr},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Sleep, sleep},
};
use tracing::warn;

/// Connections of one server at once; more wait in the kernel.
const AT_ONCE: usize = 32;

/// A socket is made in here, under a short name: the path must fit into 107 bytes.
const WORKSHOP: &str = ".n";

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The directory is no good.
    #[error("the directory {} {why}", dir.display())]
    Dir {
        /// The directory.
        dir: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
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
    path: PathBuf,
    inode: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let same = fs::symlink_metadata(&self.path)
            .is_ok_and(|found| (found.dev(), found.ino()) == self.inode);
        if same {
            // One that stays is replaced at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Socket {
    /// Binds `path` with `mode`. Its directory is made (0700) or must be ours and closed to writers.
    /// A socket that nobody answers at is replaced.
    ///
    /// # Errors
    /// See [`SocketError`]; nothing was changed then, except that the directory may be new.
    pub fn bind(path: &Path, mode: u32) -> Result<Self, SocketError> {
        let system = |cause| SocketError::System {
            path: path.to_owned(),
            cause,
        };
        let dir = match path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        };
        own_directory(dir).map_err(system)?;
        checked(dir).map_err(|why| SocketError::Dir {
            dir: dir.to_owned(),
            why,
        })?;
        free(path)?;
        let workshop = dir.join(WORKSHOP);
        let made = make(&workshop, path, mode);
        let _ = clear(&workshop);
        let (listener, inode) = made.map_err(system)?;
        Ok(Self {
            listener,
            file: SocketFile {
                path: path.to_owned(),
                inode,
            },
        })
    }

    pub(super) fn split(self) -> (UnixListener, SocketFile) {
        (self.listener, self.file)
    }
}

/// Its parents are for others too, as is the ready marker's directory.
fn own_directory(dir: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    if let Some(parent) = dir.parent() {
        builder.recursive(true).mode(0o755).create(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

fn checked(dir: &Path) -> Result<(), &'static str> {
    let found = fs::symlink_metadata(dir).map_err(|_| "cannot be looked at")?;
    if !found.is_dir() {
        return Err("is none (a link is not followed)");
    }
    if found.uid() != geteuid().as_raw() {
        return Err("belongs to somebody else");
    }
    if found.mode() & 0o022 != 0 {
        return Err("can be written by others; give the socket a directory of its own");
    }
    Ok(())
}

/// Nothing at `path`, or a socket that was left behind.
fn free(path: &Path) -> Result<(), SocketError> {
    let Ok(found) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !found.file_type().is_socket() {
        return Err(SocketError::NoSocket(path.to_owned()));
    }
    match StdStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
        Err(cause) if cause.kind() != ErrorKind::WouldBlock => Err(SocketError::System {
            path: path.to_owned(),
            cause,
        }),
        _ => Err(SocketError::Taken(path.to_owned())),
    }
}

/// Binds inside a directory that only we can enter, and moves the socket to its place when it has
/// its mode: a socket can be connected to before chmod, and umask is the whole process's.
fn make(workshop: &Path, path: &Path, mode: u32) -> io::Result<(UnixListener, (u64, u64))> {
    clear(workshop)?;
    DirBuilder::new().mode(0o700).create(workshop)?;
    let raw = workshop.join("s");
    let listener = UnixListener::bind(&raw)?;
    fs::set_permissions(&raw, Permissions::from_mode(mode))?;
    let made = fs::symlink_metadata(&raw)?;
    fs::rename(&raw, path)?;
    Ok((listener, (made.dev(), made.ino())))
}

fn clear(workshop: &Path) -> io::Result<()> {
    for gone in [
        fs::remove_file(workshop.join("s")),
        fs::remove_dir(workshop),
    ] {
        match gone {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
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
                    "somebody else connected to the status socket and was turned away"
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

/// A listener with a limited number of connections, each perhaps with a limited life.
pub(super) struct Limited<L> {
    inner: L,
    permits: Arc<Semaphore>,
    life: Option<Duration>,
}

impl<L> Limited<L> {
    pub(super) fn new(inner: L, life: Option<Duration>) -> Self {
        Self {
            inner,
            permits: Arc::new(Semaphore::new(AT_ONCE)),
            life,
        }
    }
}

impl<L: Listener> Listener for Limited<L> {
    type Io = Connection<L::Io>;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        // Never closed, so there always is one in the end.
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok();
        let (stream, address) = self.inner.accept().await;
        let connection = Connection {
            stream,
            _permit: permit,
            ends: self.life.map(|life| Box::pin(sleep(life))),
        };
        (connection, address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.inner.local_addr()
    }
}

/// One connection; reading fails once its time is over.
pub(super) struct Connection<S> {
    stream: S,
    _permit: Option<OwnedSemaphorePermit>,
    ends: Option<Pin<Box<Sleep>>>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(ends) = &mut self.ends
            && ends.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Err(ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
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

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_says_nothing_ends_and_frees_its_place() {
        use tokio::io::AsyncReadExt as _;
        let (here, _there) = tokio::io::duplex(8);
        let mut connection = Connection {
            stream: here,
            _permit: None,
            ends: Some(Box::pin(sleep(Duration::from_secs(10)))),
        };
        let error = connection.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }
}
