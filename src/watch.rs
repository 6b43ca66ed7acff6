//! notify on directories, debounced into events.
//!
//! Never looks at content. What stays true: a lost event costs at most one look interval; while
//! nothing changes, nothing here wakes up. Opening and reading files is not a change.
//!
//! One watcher serves every directory of the process. A caller names a root (a certificate
//! directory, or the directory of a token file) and the directories that belong to it; a change in
//! any of them is reported as a change of the root.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use notify::{
    ErrorKind, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode},
};
use rustix::{
    fs::{CWD, Mode, OFlags},
    io::Errno,
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::Notify,
    time,
};

/// Says when a file system was mounted or taken away (proc_pid_mountinfo(5)): that hides a directory
/// or shows another one, which no watch on it reports.
const MOUNTS: &str = "/proc/self/mountinfo";
/// How long it must be quiet before a change is reported, so that one publication is one event.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// How long a change may wait at most, however busy the directory is.
const MAX_DEBOUNCE: Duration = Duration::from_millis(500);

/// The system refuses to watch; the caller falls back on looking at intervals.
#[derive(Clone, Debug, thiserror::Error)]
#[error("could not watch {}: {reason}", what(path.as_deref()))]
pub struct WatchError {
    /// The directory; none when watching as such is not possible.
    pub path: Option<PathBuf>,
    /// Why, in the system's words.
    pub reason: String,
    /// A limit of the system is used up; it does not pass by itself.
    pub exhausted: bool,
}

/// Watches directories for changes of their entries.
pub struct Watch {
    watcher: Mutex<RecommendedWatcher>,
    shared: Arc<Shared>,
}

/// The receiving end: what changed.
pub struct Changes {
    shared: Arc<Shared>,
    mounts: Mounts,
}

/// The list of mounts; where it can't be watched, a mount is noticed at the next look.
enum Mounts {
    /// Before the first wait: only then there is a runtime.
    Open(OwnedFd),
    Watched(AsyncFd<OwnedFd>),
    Unknown,
}

impl Mounts {
    fn open() -> Self {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        match rustix::fs::openat(CWD, MOUNTS, flags, Mode::empty()) {
            Ok(fd) => Self::Open(fd),
            Err(_) => Self::Unknown,
        }
    }

    #[expect(
        deprecated,
        reason = "its successor is unsafe code, which we forbid; the descriptor is owned here and stays open"
    )]
    fn watched(fd: &OwnedFd) -> Self {
        let watched = fd.try_clone();
        let watched = watched.and_then(|fd| AsyncFd::with_interest(fd, Interest::PRIORITY));
        watched.map_or(Self::Unknown, Self::Watched)
    }

    /// Returns when something was mounted or taken away. Cancel-safe.
    async fn changed(&mut self) {
        if let Self::Open(fd) = self {
            *self = Self::watched(fd);
        }
        if let Self::Watched(fd) = self
            && let Ok(mut guard) = fd.ready(Interest::PRIORITY).await
        {
            return guard.clear_ready();
        }
        std::future::pending().await
    }
}

#[derive(Default)]
struct Shared {
    inner: Mutex<Inner>,
    wake: Notify,
}

#[derive(Default)]
struct Inner {
    /// Watched directory to root.
    roots: BTreeMap<PathBuf, PathBuf>,
    /// Root to its watched directories: with a thousand roots no event may walk all of them.
    dirs: BTreeMap<PathBuf, Vec<PathBuf>>,
    /// Roots with a change that was not yet reported.
    changed: BTreeSet<PathBuf>,
    /// Counts changes, so that quiet differs from busy.
    seen: u64,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing in here can be left half-done by a panic.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, event: notify::Result<notify::Event>) {
        let mut inner = self.lock();
        let before = inner.seen;
        match event {
            Ok(event) if event.need_rescan() => inner.all(),
            Ok(event) if is_change(event.kind) => {
                for path in &event.paths {
                    inner.mark(path);
                }
            }
            Ok(_) => {}
            // The queue may have lost something: look everywhere.
            Err(_) => inner.all(),
        }
        if inner.seen != before {
            self.wake.notify_one();
        }
    }
}

impl Inner {
    fn mark(&mut self, path: &Path) {
        let parent = path.parent().and_then(|parent| self.roots.get(parent));
        let root = self.roots.get(path).or(parent).cloned();
        if let Some(root) = root {
            self.changed.insert(root);
            self.seen += 1;
        }
    }

    fn all(&mut self) {
        self.changed = self.roots.values().cloned().collect();
        self.seen += 1;
    }
}

/// Reading is not a change; the end of writing is.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}

impl Watch {
    /// Starts watching nothing yet.
    ///
    /// # Errors
    /// [`WatchError`] when the system has no watcher left for us.
    pub fn new() -> Result<(Self, Changes), WatchError> {
        let shared = Arc::new(Shared::default());
        let sink = Arc::clone(&shared);
        let watcher = notify::recommended_watcher(move |event| sink.take(event))
            .map_err(|error| refused(None, &error))?;
        let watch = Self {
            watcher: Mutex::new(watcher),
            shared: Arc::clone(&shared),
        };
        let mounts = Mounts::open();
        Ok((watch, Changes { shared, mounts }))
    }

    /// Watches one directory that is its own root.
    ///
    /// # Errors
    /// [`WatchError`] when it does not exist, or the limit of watches is reached.
    pub fn add(&self, dir: &Path) -> Result<(), WatchError> {
        self.follow(dir, std::slice::from_ref(&dir.to_owned()))
    }

    /// Watches exactly these directories for a root. Call it again after each publication, and after
    /// a directory was made anew: the watch is on the directory that was there, not on its name.
    ///
    /// # Errors
    /// [`WatchError`] of the first directory that could not be watched; the others are.
    pub fn follow(&self, root: &Path, dirs: &[PathBuf]) -> Result<(), WatchError> {
        let stale = {
            let mut inner = self.shared.lock();
            let mut stale = inner.dirs.remove(root).unwrap_or_default();
            stale.retain(|dir| !dirs.contains(dir));
            for dir in &stale {
                inner.roots.remove(dir);
            }
            for dir in dirs {
                inner.roots.insert(dir.clone(), root.to_owned());
            }
            if !dirs.is_empty() {
                inner.dirs.insert(root.to_owned(), dirs.to_vec());
            }
            stale
        };
        let mut watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner);
        for dir in &stale {
            // It may be gone already, and its watch with it.
            let _gone = watcher.unwatch(dir);
        }
        let mut first = Ok(());
        for dir in dirs {
            let result = watcher.watch(dir, RecursiveMode::NonRecursive);
            first = first.and_then(|()| result.map_err(|error| refused(Some(dir), &error)));
        }
        first
    }

    /// Watches nothing for this root any more.
    pub fn forget(&self, root: &Path) {
        let _nothing_to_watch = self.follow(root, &[]);
    }
}

impl Changes {
    /// Waits for a change, then until it is quiet (100 ms, at most 500 ms), and returns the roots
    /// with a change. Cancel-safe: what was not returned is returned by the next call.
    pub async fn next(&mut self) -> BTreeSet<PathBuf> {
        loop {
            let waiting = self.shared.wake.notified();
            if self.shared.lock().changed.is_empty() {
                tokio::select! {
                    () = waiting => {}
                    () = self.mounts.changed() => self.shared.lock().all(),
                }
                continue;
            }
            self.settle().await;
            return std::mem::take(&mut self.shared.lock().changed);
        }
    }

    async fn settle(&self) {
        let deadline = time::Instant::now() + MAX_DEBOUNCE;
        let mut seen = self.shared.lock().seen;
        loop {
            time::sleep(DEBOUNCE).await;
            let now = self.shared.lock().seen;
            if now == seen || time::Instant::now() >= deadline {
                return;
            }
            seen = now;
        }
    }
}

fn what(path: Option<&Path>) -> String {
    path.map_or_else(
        || "for changed files".to_owned(),
        |path| path.display().to_string(),
    )
}

fn refused(path: Option<&Path>, error: &notify::Error) -> WatchError {
    let limit = limit(error);
    let reason = limit.map_or_else(
        || error.to_string(),
        |limit| {
            format!(
                "{error}: this user's processes have used up {limit}; raise it with sysctl and \
                 restart certagent"
            )
        },
    );
    WatchError {
        path: path.map(Path::to_owned),
        reason,
        exhausted: limit.is_some(),
    }
}

/// The limit that an error means (inotify(7), "/proc interfaces").
fn limit(error: &notify::Error) -> Option<&'static str> {
    match &error.kind {
        ErrorKind::MaxFilesWatch => Some("fs.inotify.max_user_watches"),
        ErrorKind::Io(source) => match Errno::from_io_error(source)? {
            // also the process's own limit of open files, which is reached much later
            Errno::MFILE => Some("fs.inotify.max_user_instances"),
            Errno::NOSPC => Some("fs.inotify.max_user_watches"),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_of_inotify_that_is_used_up_is_named() {
        let io = |errno: Errno| notify::Error::io(errno.into());
        let reason = |error| refused(Some(Path::new("/certs")), &error).reason;
        assert!(reason(io(Errno::MFILE)).contains("fs.inotify.max_user_instances"));
        assert!(reason(io(Errno::NOSPC)).contains("fs.inotify.max_user_watches"));
        let full = notify::Error::new(ErrorKind::MaxFilesWatch);
        assert!(reason(full).contains("fs.inotify.max_user_watches"));
        assert!(!reason(io(Errno::NOENT)).contains("fs.inotify"));
    }
    use crate::publish::file::replace;

    const TIMEOUT: Duration = Duration::from_secs(2);

    async fn next(changes: &mut Changes) -> Option<BTreeSet<PathBuf>> {
        time::timeout(TIMEOUT, changes.next()).await.ok()
    }

    #[tokio::test]
    async fn a_change_in_any_directory_of_a_root_is_one_event_of_the_root() {
        let temp = tempfile::tempdir().unwrap();
        let (root, inner) = (temp.path().join("certs"), temp.path().join("certs/gen"));
        std::fs::create_dir_all(&inner).unwrap();
        let (watch, mut changes) = Watch::new().unwrap();
        watch.follow(&root, &[root.clone(), inner.clone()]).unwrap();
        for turn in 0..20 {
            replace(&inner.join(format!("f{turn}")), b"x", 0o600).unwrap();
        }
        assert_eq!(next(&mut changes).await, Some(BTreeSet::from([root])));
        let more = time::timeout(DEBOUNCE * 3, changes.next()).await;
        assert!(more.is_err(), "one burst is one event: {more:?}");
    }

    #[tokio::test]
    async fn reading_is_no_change_and_chmod_is() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("f");
        replace(&file, b"x", 0o600).unwrap();
        let (watch, mut changes) = Watch::new().unwrap();
        watch.add(temp.path()).unwrap();
        std::fs::read(&file).unwrap();
        let more = time::timeout(DEBOUNCE * 3, changes.next()).await;
        assert!(more.is_err(), "{more:?}");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o640);
        std::fs::set_permissions(&file, mode).unwrap();
        assert!(next(&mut changes).await.is_some());
    }

    #[tokio::test]
    async fn one_watcher_serves_a_thousand_directories_and_forgets() {
        let temp = tempfile::tempdir().unwrap();
        let (watch, mut changes) = Watch::new().unwrap();
        let dirs: Vec<_> = (0..1000).map(|n| temp.path().join(n.to_string())).collect();
        for dir in &dirs {
            std::fs::create_dir(dir).unwrap();
            watch.add(dir).unwrap();
        }
        let changed = BTreeSet::from([dirs[3].clone(), dirs[977].clone()]);
        for dir in &changed {
            replace(&dir.join("f"), b"x", 0o600).unwrap();
        }
        assert_eq!(next(&mut changes).await, Some(changed));
        watch.forget(&dirs[3]);
        replace(&dirs[3].join("f"), b"y", 0o600).unwrap();
        replace(&dirs[4].join("f"), b"y", 0o600).unwrap();
        let only = BTreeSet::from([dirs[4].clone()]);
        assert_eq!(next(&mut changes).await, Some(only));
    }

    #[tokio::test]
    async fn a_directory_made_anew_is_reported_gone_and_can_be_followed_again() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("certs");
        std::fs::create_dir(&dir).unwrap();
        let (watch, mut changes) = Watch::new().unwrap();
        watch.add(&dir).unwrap();
        std::fs::remove_dir(&dir).unwrap();
        assert!(next(&mut changes).await.is_some());
        assert!(watch.add(&dir).is_err(), "it is not there");
        std::fs::create_dir(&dir).unwrap();
        watch.add(&dir).unwrap();
        replace(&dir.join("f"), b"x", 0o600).unwrap();
        assert!(next(&mut changes).await.is_some());
    }
}
