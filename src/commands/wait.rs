//! `certagent wait`: returns when the ready file says that a valid set is published.
//!
//! Never reads a key or a certificate. What stays true: it succeeds only on a ready file whose set has
//! not expired; on a time-out it says what it saw.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time;

use super::Stopped;
use crate::{
    cli::{OutputFormat, WaitArgs},
    clock::{Clock, SystemClock},
    config::Environment,
    exit::Exit,
    model::{duration, time::Timestamp},
    observe::log,
    publish::ready_file::ReadyFile,
};

/// How often the ready file is looked at. Looking works on every kind of mount, needs no watcher, and a
/// gate lives for seconds.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// What the last look at the ready file showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadyFileState {
    /// No file.
    Nothing,
    /// A file that is no ready file, and why.
    Damaged(String),
    /// A ready file of a certificate that has expired.
    Expired(Timestamp),
}

/// The deadline passed without a ready file of a valid set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotReady {
    /// The ready file's path.
    pub ready_file: PathBuf,
    /// How long was waited.
    pub waited: Duration,
    /// What the last look showed.
    pub seen: ReadyFileState,
}

impl NotReady {
    /// The exit code of the command.
    #[must_use]
    pub fn exit(&self) -> Exit {
        Exit::TimedOut
    }

    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self.seen {
            ReadyFileState::Nothing => {
                "check the log of the certagent task, and that both name the same ready file"
            }
            ReadyFileState::Damaged(_) => "only `certagent run` may write this file",
            ReadyFileState::Expired(_) => "check the log of the certagent task: it could not renew",
        }
    }
}

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, waited) = (self.ready_file.display(), self.waited.as_secs_f64());
        write!(f, "no certificate was ready after {waited} s: ")?;
        match &self.seen {
            ReadyFileState::Nothing => write!(f, "there is no ready file at {path}"),
            ReadyFileState::Damaged(reason) => write!(f, "{reason}"),
            ReadyFileState::Expired(end) => write!(
                f,
                "the ready file at {path} names a certificate that expired at {end}"
            ),
        }
    }
}

impl std::error::Error for NotReady {}

pub(super) async fn run(args: &WaitArgs, environment: &Environment) -> anyhow::Result<Exit> {
    let set = |name| environment.get(name).filter(|text| !text.is_empty());
    let from_nomad = || Some(Path::new(set("NOMAD_ALLOC_DIR")?).join("certagent/ready.json"));
    let ready_file = args
        .ready_file
        .clone()
        .or_else(|| set("CERTAGENT_READY_FILE").map(PathBuf::from))
        .or_else(from_nomad)
        .ok_or_else(|| {
            let hint = "give --ready-file, the file that `certagent run` writes";
            Stopped::usage("no ready file to wait for", hint)
        })?;
    let timeout = duration::parse(&args.timeout)
        .map_err(|error| Stopped::usage(format!("--timeout: {error}"), "write it as 4m or 90s"))?;
    match wait(&ready_file, timeout, &SystemClock, say).await {
        Ok(ready) => {
            if args.output == OutputFormat::Json {
                super::print_json(&ready)?;
            }
            Ok(Exit::Done)
        }
        Err(late) => Err(Stopped {
            exit: late.exit(),
            hint: Some(late.hint().to_owned()),
            message: late.to_string(),
        }
        .into()),
    }
}

/// On stderr: what is waited for belongs to no result.
fn say(path: &Path, seen: &ReadyFileState) {
    let what = match seen {
        ReadyFileState::Nothing => format!("waiting for the ready file {}", path.display()),
        ReadyFileState::Damaged(reason) => {
            format!("waiting for a ready file that can be read: {reason}")
        }
        ReadyFileState::Expired(end) => format!(
            "waiting for a renewal: the ready file {} names a certificate that expired at {end}",
            path.display()
        ),
    };
    log::last_words(&format!("{what}\n"));
}

/// Waits until the ready file names a certificate that has not expired; looks at least once. What it waits for
/// goes to `say`, at first and whenever it changes.
///
/// # Errors
/// [`NotReady`] when `timeout` has passed.
pub async fn wait(
    ready_file: &Path,
    timeout: Duration,
    clock: &dyn Clock,
    mut say: impl FnMut(&Path, &ReadyFileState),
) -> Result<ReadyFile, NotReady> {
    let deadline = time::Instant::now().checked_add(timeout);
    let mut said = None;
    loop {
        let seen = match look(ready_file, clock.now()) {
            Ok(ready) => return Ok(ready),
            Err(seen) => seen,
        };
        let left = deadline.map(|end| end.saturating_duration_since(time::Instant::now()));
        if left == Some(Duration::ZERO) {
            return Err(NotReady {
                ready_file: ready_file.to_owned(),
                waited: timeout,
                seen,
            });
        }
        if said.as_ref() != Some(&seen) {
            say(ready_file, &seen);
            said = Some(seen);
        }
        time::sleep(left.map_or(POLL_INTERVAL, |left| left.min(POLL_INTERVAL))).await;
    }
}

fn look(path: &Path, now: Timestamp) -> Result<ReadyFile, ReadyFileState> {
    let found =
        ReadyFile::read(path).map_err(|error| ReadyFileState::Damaged(error.to_string()))?;
    let ready_file = found.ok_or(ReadyFileState::Nothing)?;
    match ready_file.ends_at() {
        Some(end) if end > now => Ok(ready_file),
        Some(end) => Err(ReadyFileState::Expired(end)),
        None => Err(ReadyFileState::Damaged(format!(
            "the ready file {} has no usable not_after",
            path.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{disk::TrustedOwners, publish::file::replace};

    /// A wall clock that follows tokio's.
    struct Following(time::Instant);

    const START: Timestamp = Timestamp::from_unix_secs(1_795_514_400);

    impl Clock for Following {
        fn now(&self) -> Timestamp {
            START.plus(self.0.elapsed())
        }
    }

    fn ready_file(not_after: Timestamp) -> ReadyFile {
        ReadyFile {
            serial: "01".to_owned(),
            not_before: START.to_string(),
            not_after: not_after.to_string(),
            sha256: String::new(),
            generation: "000000000000001".to_owned(),
            names: Vec::new(),
            dir: PathBuf::from("/secrets/certs"),
        }
    }

    async fn outcome(path: &Path, timeout: u64) -> Result<ReadyFile, NotReady> {
        let clock = Following(time::Instant::now());
        wait(path, Duration::from_secs(timeout), &clock, |_, _| ()).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_valid_marker_ends_the_wait_at_once() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("ready.json");
        let valid = ready_file(START.plus(Duration::from_secs(60)));
        valid.write(&path, &TrustedOwners::OWN).unwrap();
        assert_eq!(outcome(&path, 0).await, Ok(valid));
    }

    #[tokio::test(start_paused = true)]
    async fn a_marker_that_comes_later_is_seen() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("certagent/ready.json");
        let valid = ready_file(START.plus(Duration::from_secs(600)));
        let (waited, ()) = tokio::join!(outcome(&path, 60), async {
            time::sleep(Duration::from_secs(30)).await;
            valid.write(&path, &TrustedOwners::OWN).unwrap();
        });
        assert_eq!(waited, Ok(valid));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_waited_for_is_said_at_first_and_when_it_changes() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("ready.json");
        let clock = Following(time::Instant::now());
        let mut said = Vec::new();
        let limit = Duration::from_secs(60);
        let waiting = wait(&path, limit, &clock, |_, seen| said.push(seen.clone()));
        let (waited, ()) = tokio::join!(waiting, async {
            time::sleep(Duration::from_secs(10)).await;
            ready_file(START).write(&path, &TrustedOwners::OWN).unwrap();
            time::sleep(Duration::from_secs(10)).await;
            let valid = ready_file(START.plus(Duration::from_secs(600)));
            valid.write(&path, &TrustedOwners::OWN).unwrap();
        });
        assert!(waited.is_ok());
        assert_eq!(
            said,
            [ReadyFileState::Nothing, ReadyFileState::Expired(START)]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_time_out_says_what_was_seen_and_has_code_7() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("ready.json");
        let nothing = outcome(&path, 1).await.unwrap_err();
        assert_eq!(nothing.exit(), Exit::TimedOut);
        assert!(nothing.to_string().contains("there is no ready file at"));
        replace(&path, b"{}", 0o644).unwrap();
        let damaged = outcome(&path, 1).await.unwrap_err();
        assert!(damaged.to_string().contains("can't be read"), "{damaged}");
        ready_file(START).write(&path, &TrustedOwners::OWN).unwrap();
        let ended = outcome(&path, 1).await.unwrap_err();
        assert_eq!(ended.seen, ReadyFileState::Expired(START));
        assert!(
            ended
                .to_string()
                .contains("expired at 2026-11-24T10:00:00Z")
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_marker_that_ends_during_the_wait_is_not_accepted_later() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("ready.json");
        ready_file(START.plus(Duration::from_secs(5)))
            .write(&path, &TrustedOwners::OWN)
            .unwrap();
        let clock = Following(time::Instant::now());
        time::advance(Duration::from_secs(6)).await;
        let late = wait(&path, Duration::ZERO, &clock, |_, _| ()).await;
        assert!(late.is_err());
    }
}
