//! Whether anything changed since a comparison that found nothing wrong, without opening a file.
//!
//! An open would wake our own watcher, and reading a thousand sets at each look is work for nothing.
//! Never says what changed. What stays true: a change of content, mode, owner or name changes the
//! inode's change time, which no process can set; a comparison is trusted only when the same state was
//! compared again so much later that the clock of those times had moved on.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    path::Path,
    time::Duration,
};

use rustix::fs::{lstat, readlink, stat};
use tokio::time::Instant;

use super::{
    Rendered,
    generation::{DATA, NAMES},
};

/// Change times move on in steps of some milliseconds.
const MIN_FILE_AGE: Duration = Duration::from_millis(80);

/// What the directory looks like from outside, and what it was compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Glance {
    /// Device, inode, mode, owner, group, size, seconds and nanoseconds of the last change.
    inodes: Vec<Option<[u64; 8]>>,
    links: Vec<Option<Vec<u8>>>,
    set: u64,
}

impl Glance {
    pub(super) fn take(dir: &Path, set: &Rendered) -> Self {
        let live = dir.join(DATA);
        let outer = NAMES.iter().map(|name| dir.join(name));
        let outer: Vec<_> = outer.chain([live.clone()]).collect();
        let inner = NAMES.iter().map(|name| live.join(name));
        let inodes = std::iter::once(lstat(dir))
            .chain(outer.iter().map(lstat))
            .chain([stat(&live)])
            .chain(inner.map(lstat));
        let links = outer.iter().map(|name| readlink(name, Vec::new()).ok());
        Self {
            inodes: inodes
                .map(|found| found.ok().map(|it| facts(&it)))
                .collect(),
            links: links
                .map(|link| link.map(|text| text.to_bytes().to_vec()))
                .collect(),
            set: digest(set),
        }
    }
}

fn facts(found: &rustix::fs::Stat) -> [u64; 8] {
    [
        found.st_dev,
        found.st_ino,
        found.st_mode.into(),
        found.st_uid.into(),
        found.st_gid.into(),
        found.st_size.cast_unsigned(),
        found.st_ctime.cast_unsigned(),
        found.st_ctime_nsec,
    ]
}

/// No attack is expected here: it only tells our own sets apart.
fn digest(set: &Rendered) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&set.ca, &set.cert, set.key.expose()).hash(&mut hasher);
    hasher.finish()
}

/// The newest state that was found good.
#[derive(Debug, Default)]
pub(super) struct LastGood {
    good: Option<(Glance, Instant)>,
    settled: bool,
}

impl LastGood {
    /// True when nothing can be wrong, because nothing changed.
    pub(super) fn is_known(&self, glance: &Glance) -> bool {
        self.settled && self.good.as_ref().is_some_and(|(good, _)| good == glance)
    }

    /// Notes a comparison; the glance was taken before it.
    pub(super) fn compared(&mut self, glance: Glance, is_good: bool, now: Instant) {
        match &self.good {
            Some((good, since)) if is_good && *good == glance => {
                self.settled = now.duration_since(*since) >= MIN_FILE_AGE;
            }
            _ => {
                self.settled = false;
                self.good = is_good.then_some((glance, now));
            }
        }
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "damages files in place, and waits for change times to move on"
)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;
    use crate::model::secret::Secret;

    fn set(key: &str) -> Rendered {
        Rendered {
            ca: "ca".to_owned(),
            cert: "cert".to_owned(),
            key: Secret::from(key.to_owned()),
        }
    }

    #[test]
    fn every_kind_of_change_is_seen_and_reading_is_none() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path();
        let live = dir.join("..gen-1");
        std::fs::create_dir(&live).unwrap();
        symlink("..gen-1", dir.join(DATA)).unwrap();
        for name in NAMES {
            std::fs::write(live.join(name), "content").unwrap();
            symlink(format!("{DATA}/{name}"), dir.join(name)).unwrap();
        }
        let take = || Glance::take(dir, &set("key"));
        let key = live.join("key.pem");
        let mode =
            |mode| std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
        let mut last = take();
        std::fs::read(&key).unwrap();
        assert_eq!(take(), last);
        assert_ne!(Glance::take(dir, &set("other")), last);
        let changes: [(&str, &dyn Fn()); 6] = [
            ("same length", &|| std::fs::write(&key, "CONTENT").unwrap()),
            ("mode", &|| mode(0o640)),
            ("mode and back", &|| {
                mode(0o600);
                mode(0o640);
            }),
            ("link", &|| {
                std::fs::remove_file(dir.join("CA.pem")).unwrap();
                symlink("elsewhere", dir.join("CA.pem")).unwrap();
            }),
            ("removed", &|| std::fs::remove_file(&key).unwrap()),
            ("no generation", &|| {
                std::fs::remove_file(dir.join(DATA)).unwrap()
            }),
        ];
        for (what, change) in changes {
            std::thread::sleep(MIN_FILE_AGE);
            change();
            let now = take();
            assert_ne!(now, last, "{what}");
            last = now;
        }
    }

    #[test]
    fn only_a_state_that_was_compared_twice_with_time_between_is_known() {
        let temp = tempfile::tempdir().unwrap();
        let take = || Glance::take(temp.path(), &set("key"));
        let start = Instant::now();
        let mut seen = LastGood::default();
        seen.compared(take(), true, start);
        assert!(!seen.is_known(&take()));
        seen.compared(take(), true, start + MIN_FILE_AGE / 2);
        assert!(!seen.is_known(&take()));
        seen.compared(take(), true, start + MIN_FILE_AGE);
        assert!(seen.is_known(&take()));
        seen.compared(take(), false, start + MIN_FILE_AGE * 2);
        assert!(!seen.is_known(&take()));
    }
}
