//! What surrounds the agents: Vault's CA and its books, the application, the directory, the faults.
//!
//! Never judges (`rules.rs`). What stays true: everything that chance decided is in the schedule.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;

use super::{disk::StepCounter, faults::Fault, schedule::Schedule};
use crate::{
    clock::Clock as _,
    issuer::SpendingRecord,
    model::{duration, leaf::CertFacts, time::Timestamp},
    testing::{
        ca::{Authority, TestCa},
        clock::TestClock,
    },
};

/// The moment at which every run begins.
pub(super) const EPOCH: Timestamp = Timestamp::from_unix_secs(1_900_000_011);

/// One certificate that Vault made.
#[derive(Clone, Debug)]
pub(super) struct Made {
    /// They are counted from 1.
    pub(super) number: u32,
    /// Whether the agent may publish it.
    pub(super) good: bool,
    pub(super) public_key: Vec<u8>,
    /// PEM of the anchor that its chain ends in.
    pub(super) root: String,
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
}

/// What came of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answered {
    Made(u32),
    Refusable,
    Failed,
}

/// One request as Vault saw it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) at: Timestamp,
    pub(super) instance: u32,
    pub(super) answered: Answered,
    /// More than half of the published certificate's life was left.
    pub(super) early: bool,
}

/// The application.
#[derive(Debug, Default)]
pub(super) struct SimulatedApp {
    pub(super) serves: Option<CertFacts>,
    pub(super) first: Option<CertFacts>,
    /// How often it lost what it served.
    pub(super) losses: u32,
    /// Reloads that reached it, by generation, losses before, and action.
    pub(super) told: BTreeMap<(String, u32, &'static str), u32>,
}

/// Everything that changes.
pub(super) struct State {
    pub(super) now: Timestamp,
    pub(super) life: Duration,
    pub(super) active: Vec<(Fault, u32)>,
    pub(super) ca: Arc<TestCa>,
    pub(super) ca_ends: Option<Timestamp>,
    pub(super) anchors: Vec<String>,
    /// By the PEM text of the leaf.
    pub(super) made: HashMap<String, Made>,
    /// Public keys of the private keys that were seen.
    pub(super) public_keys: HashMap<String, Vec<u8>>,
    pub(super) calls: Vec<Call>,
    pub(super) published: Option<Made>,
    /// CA.pem as it was published last.
    pub(super) published_ca: String,
    /// When each set was published.
    pub(super) publications: Vec<(Timestamp, u32)>,
    /// When persons and scripts asked for a renewal.
    pub(super) asked: Vec<Timestamp>,
    pub(super) app: SimulatedApp,
    /// Since when files of ours are not as the agent left them.
    pub(super) damaged: Option<Timestamp>,
    /// The record was damaged at this moment: what it counted is forgotten.
    pub(super) forgot_at: Timestamp,
    /// Since when nothing stands in the way; none while something does.
    pub(super) free_since: Option<Timestamp>,
    pub(super) excused_until: Timestamp,
    /// Processes that run.
    pub(super) alive: BTreeSet<u32>,
    /// The directory was removed with its lock: for a moment two may hold it.
    pub(super) evicted: bool,
    /// The login that lies ready, and those that were used up.
    pub(super) credential: u32,
    /// An agent found it used up, and no other one was delivered yet.
    pub(super) wants_credential: bool,
    pub(super) spent: BTreeSet<u32>,
    /// The first rule that was broken.
    pub(super) broken: Option<String>,
    pub(super) trace: Option<Vec<String>>,
}

impl State {
    /// The number of a fault, while it lasts.
    pub(super) fn is(&self, fault: Fault) -> Option<u32> {
        let found = self.active.iter().find(|(one, _)| *one == fault);
        found.map(|(_, number)| *number)
    }

    /// Writes down what happened, when it will be read.
    pub(super) fn note(&mut self, what: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{}: {}", since_start(now), what()));
        }
    }

    /// A rule was broken; the first one counts.
    pub(super) fn breaks(&mut self, what: impl FnOnce() -> String) {
        if self.broken.is_none() {
            let text = format!("{}: {}", since_start(self.now), what());
            self.note(|| format!("BROKEN: {text}"));
            self.broken = Some(text);
        }
    }
}

/// As the times of a schedule.
pub(super) fn since_start(at: Timestamp) -> String {
    duration::print(EPOCH.until(at))
}

/// What all instances share.
pub(super) struct World {
    pub(super) clock: Arc<TestClock>,
    pub(super) dir: PathBuf,
    /// A process crashed, or stopped by itself.
    pub(super) ended: Notify,
    pub(super) logs_in_once: bool,
    pub(super) extra: Authority,
    state: Mutex<State>,
}

impl World {
    pub(super) fn new(schedule: &Schedule, dir: PathBuf, traced: bool) -> Arc<Self> {
        let ca = Arc::new(TestCa::new(EPOCH));
        Arc::new(Self {
            clock: Arc::new(TestClock::new(EPOCH)),
            dir,
            ended: Notify::new(),
            logs_in_once: schedule.logs_in_once(),
            extra: Authority::root("Extra Root", EPOCH),
            state: Mutex::new(State {
                now: EPOCH,
                life: schedule.life,
                active: Vec::new(),
                anchors: ca.issuers(),
                ca,
                ca_ends: None,
                made: HashMap::new(),
                public_keys: HashMap::new(),
                calls: Vec::new(),
                published: None,
                published_ca: String::new(),
                publications: Vec::new(),
                asked: Vec::new(),
                app: SimulatedApp::default(),
                damaged: None,
                forgot_at: EPOCH,
                free_since: Some(EPOCH),
                excused_until: EPOCH.plus(Duration::from_secs(30)),
                alive: BTreeSet::new(),
                evicted: false,
                credential: 1,
                wants_credential: false,
                spent: BTreeSet::new(),
                broken: None,
                trace: traced.then(Vec::new),
            }),
        })
    }

    /// Another CA issues from now on; the old ones stay in the mount.
    pub(super) fn change_issuer(&self) {
        let mut state = self.state();
        let ca = Arc::new(TestCa::new(state.now));
        let mut anchors = ca.issuers();
        anchors.append(&mut state.anchors);
        state.anchors = anchors;
        state.ca = ca;
    }

    /// Everything that changes, with the present moment in it. A crash may have come while it was held.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.now = self.clock.now();
        state
    }
}

/// One process of the agent, as its surroundings see it.
pub(super) struct Instance {
    pub(super) number: u32,
    pub(super) world: Arc<World>,
    /// The process is gone: nothing of it reaches anything any more.
    pub(super) gone: AtomicBool,
    pub(super) steps: Mutex<StepCounter>,
    pub(super) login: Mutex<Login>,
}

/// The login of one process.
#[derive(Clone, Default)]
pub(super) struct Login {
    /// The credential that it was made with.
    pub(super) used: Option<u32>,
    /// What the record says was used up by ourselves.
    pub(super) recalled: Option<String>,
    pub(super) record: Option<SpendingRecord>,
}

impl Instance {
    pub(super) fn new(number: u32, world: Arc<World>) -> Arc<Self> {
        Arc::new(Self {
            number,
            world,
            gone: AtomicBool::new(false),
            steps: Mutex::default(),
            login: Mutex::default(),
        })
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::SeqCst)
    }

    /// Nothing that a process asks for is done, or comes back, after its end.
    pub(super) async fn while_alive(&self) {
        if self.is_gone() {
            std::future::pending::<()>().await;
        }
    }
}
