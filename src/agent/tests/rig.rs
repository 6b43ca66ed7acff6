//! One agent with a fake issuer, a stepped clock and a temporary directory.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use tempfile::TempDir;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    agent::{Agent, Application, wall},
    config::{CertConfig, Files},
    control::Force,
    exit::Exit,
    model::{
        issuance_limit::IssuanceLimit,
        request::{Mode, Request},
        schedule::{MinRemaining, RenewAt, RenewPolicy},
        time::Timestamp,
    },
    status::Status,
    testing::{
        ca::TestCa,
        clock::TestClock,
        issuer::{Answer, Call, FakeIssuer},
    },
};

/// The moment at which every test begins.
pub(super) const EPOCH: Timestamp = Timestamp::from_unix_secs(1_900_000_011);

pub(super) const DAY: Duration = Duration::from_secs(86_400);

pub(super) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(super) struct Rig {
    pub(super) clock: Arc<TestClock>,
    pub(super) ca: Arc<TestCa>,
    pub(super) issuer: Arc<FakeIssuer>,
    pub(super) configs: Vec<CertConfig>,
    pub(super) temp: TempDir,
    pub(super) running: Option<Running>,
    pub(super) watching: bool,
    pub(super) look: Duration,
    /// What uses the certificates, when it matters.
    pub(super) application: Option<Arc<dyn Application>>,
}

pub(super) struct Running {
    task: JoinSet<Exit>,
    shutdown: CancellationToken,
    pub(super) statuses: Vec<watch::Receiver<Status>>,
    pub(super) force: Force,
}

impl Rig {
    /// One certificate of ten days; the issuer works.
    pub(super) fn new() -> Self {
        let clock = Arc::new(TestClock::new(EPOCH));
        let ca = Arc::new(TestCa::new(EPOCH));
        let issuer = Arc::new(FakeIssuer::new(Arc::clone(&clock), good(&ca)));
        issuer.set_anchors(Ok(ca.issuers()));
        // memory, as a Nomad secrets directory: nothing waits for a disk
        let temp = tempfile::tempdir_in("/dev/shm")
            .or_else(|_| tempfile::tempdir())
            .unwrap();
        let configs = vec![config(&temp, "main")];
        Self {
            clock,
            ca,
            issuer,
            configs,
            temp,
            running: None,
            watching: false,
            look: wall::TICK,
            application: None,
        }
    }

    /// As [`Rig::new`], with another ttl, and a limit derived from it as the configuration does.
    pub(super) fn of_ttl(ttl: Duration) -> Self {
        let mut rig = Self::new();
        let config = &mut rig.configs[0];
        config.request.ttl = ttl;
        config.renew.max_issuances_per_hour = IssuanceLimit::Derived { ttl };
        rig
    }

    pub(super) fn start(&mut self) {
        assert!(self.running.is_none(), "it runs already");
        let issuer = Arc::clone(&self.issuer);
        let mut agent = Agent::new(self.configs.clone(), issuer, Arc::clone(&self.clock));
        agent = agent.checking_every(self.look);
        if let Some(application) = &self.application {
            agent = agent.with(Arc::clone(application));
        }
        agent.watching = self.watching;
        let shutdown = CancellationToken::new();
        let (statuses, force) = (agent.statuses(), agent.force());
        let mut task = JoinSet::new();
        task.spawn(agent.run(shutdown.clone()));
        self.running = Some(Running {
            task,
            shutdown,
            statuses,
            force,
        });
    }

    /// Asks it to end and says how it did; it must take less than a second.
    pub(super) async fn stop(&mut self) -> Exit {
        let mut running = self.running.take().expect("it runs");
        let asked = Instant::now();
        running.shutdown.cancel();
        // a call from here on panics, and a panic in a loop is not Exit::Done
        self.issuer.close();
        let exit = timeout(secs(60), running.task.join_next())
            .await
            .expect("it ends");
        assert!(
            asked.elapsed() < secs(1),
            "it took {:?} to end",
            asked.elapsed()
        );
        self.issuer.reopen();
        exit.unwrap().unwrap()
    }

    /// Waits until it ends by itself.
    pub(super) async fn ended(&mut self) -> Exit {
        let mut running = self.running.take().expect("it runs");
        running.task.join_next().await.unwrap().unwrap()
    }

    pub(super) fn status_of(&self, index: usize) -> Status {
        self.running.as_ref().expect("it runs").statuses[index]
            .borrow()
            .clone()
    }

    pub(super) fn status(&self) -> Status {
        self.status_of(0)
    }

    /// Waits, at most `limit` of paused time, until the first certificate's status is as wished.
    pub(super) async fn until(
        &mut self,
        limit: Duration,
        wished: impl FnMut(&Status) -> bool,
    ) -> Status {
        let running = self.running.as_mut().expect("it runs");
        let status = timeout(limit, running.statuses[0].wait_for(wished)).await;
        status.expect("it gets there in time").unwrap().clone()
    }

    pub(super) async fn until_live(&mut self) -> Status {
        self.until(secs(60), |status| status.live.is_some()).await
    }

    pub(super) fn dir(&self) -> PathBuf {
        self.configs[0].files.dir.clone()
    }

    /// The published texts: CA.pem, cert.pem, key.pem.
    pub(super) fn files(&self) -> [String; 3] {
        ["CA.pem", "cert.pem", "key.pem"]
            .map(|name| std::fs::read_to_string(self.dir().join(name)).unwrap())
    }

    /// Everything in the directory but the record: names to content or link target.
    pub(super) fn tree(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut tree = BTreeMap::new();
        walk(&self.dir(), &mut tree);
        tree
    }
}

fn walk(dir: &std::path::Path, tree: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let kind = path.symlink_metadata().unwrap().file_type();
        if path.ends_with("..state.json") {
            continue;
        } else if kind.is_symlink() {
            let target = std::fs::read_link(&path).unwrap();
            tree.insert(path, target.into_os_string().into_encoded_bytes());
        } else if kind.is_dir() {
            walk(&path, tree);
        } else {
            let content = std::fs::read(&path).unwrap();
            tree.insert(path, content);
        }
    }
}

/// The script of an issuer that does its work.
pub(super) fn good(ca: &Arc<TestCa>) -> impl FnMut(&Call) -> Answer + Send + 'static {
    let ca = Arc::clone(ca);
    move |call| Ok(answer(&ca, call))
}

pub(super) fn answer(ca: &TestCa, call: &Call) -> Vec<u8> {
    match (&call.csr, call.request.mode) {
        (Some(csr), Mode::Sign | Mode::Auto) => ca.sign_answer(&call.request, csr, call.at),
        (None, Mode::Issue | Mode::Auto) => ca.answer(&call.request, call.at),
        (csr, mode) => panic!("mode {mode} with the CSR {csr:?}"),
    }
}

pub(in crate::agent) fn config(temp: &TempDir, name: &str) -> CertConfig {
    let request = Request::example();
    CertConfig {
        name: name.to_owned(),
        renew: RenewPolicy {
            at: RenewAt::Share(2.0 / 3.0),
            splay: secs(300),
            splay_seed: format!("5a0e6f2c/{name}"),
            min_remaining: MinRemaining::Configured(secs(1)),
            max_issuances_per_hour: IssuanceLimit::Derived { ttl: request.ttl },
            startup_timeout: secs(600),
        },
        request,
        files: Files {
            dir: temp.path().join(name).join("certs"),
            cert_perms: 0o644,
            key_perms: 0o600,
            uid: None,
            gid: None,
        },
        ready_file: Some(temp.path().join(name).join("ready.json")),
        extra_ca: None,
        trust: crate::model::trust::TrustPolicy::default(),
        ca_poll_interval: secs(600),
        ca_retention: 3 * DAY,
        probe: None,
        reload: None,
        rollback: None,
    }
}
