//! The loops that join the stages, one per certificate: look at the facts, decide, do, record.
//!
//! Never decides by itself: `model/decide.rs` does. What stays true: a failure never removes what
//! works; each certificate fails on its own; after the first success only a signal ends the process.

mod application;
mod context;
mod health_checker;
mod holdings;
mod log;
mod mount;
mod reloader;
mod renewer;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
mod wall;
mod wall_timer;

use std::{
    collections::BTreeMap,
    future::pending,
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, watch},
    task::{JoinSet, yield_now},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, error, info_span, warn};

pub use application::{Application, Doing, LocalApplication};

use self::{
    context::Context,
    health_checker::HealthChecker,
    holdings::{Distant, Shared},
    mount::{KnownCas, PolledMount},
    reloader::Reloader,
    renewer::Renewer,
};
use crate::{
    clock::Clock,
    config::CertConfig,
    control::{Force, Inputs},
    exit::Exit,
    issuance,
    issuer::{Issuer, SpendingRecord},
    model::{
        decide::Facts,
        failure::Failure,
        time::Timestamp,
        trust::{MountIssuer, TrustNote},
    },
    publish,
    status::Status,
    watch::{Changes, Watch},
};

/// How many orders one process has under way at once.
const MAX_CONCURRENT_ISSUANCES: usize = 64;

/// The issuer's session is looked after once the first certificate is there, and no later than this.
const SESSION_START_DELAY: Duration = Duration::from_secs(1);

/// The longest time between two checks of files that can't be watched.
const UNWATCHED_TICK: Duration = Duration::from_secs(5);

/// How long the loops may take to end. Longer than an order's grace, well under a second.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_millis(600);

/// Why the extra anchors of this certificate can't be read; nothing where they can, or none are set.
pub(crate) fn extra_ca_failure(config: &CertConfig) -> Option<Failure> {
    issuance::extras::read(config.extra_ca.as_ref()?).err()
}

/// The facts that a loop would start from now, read from the disk without changing anything there.
#[must_use]
pub fn on_disk(config: &CertConfig, now: Timestamp) -> Facts {
    let fingerprint = config.request.fingerprint();
    let holdings = holdings::Holdings::glance(config, &fingerprint, now);
    holdings.facts(None, false, &fingerprint, now)
}

/// Why the published files can't be used; nothing where they can, or where there are none.
#[must_use]
pub fn unusable(config: &CertConfig, now: Timestamp) -> Option<String> {
    let state = publish::record_in(&config.files.dir);
    let sets = publish::sets_in(&config.files.dir);
    let live = sets.iter().find(|set| set.live)?;
    holdings::refusal(live, &state, config, now).map(|refusal| refusal.to_string())
}

/// What would be said of the anchors that CA.pem would hold now; nothing where nothing is published.
pub(crate) fn trust_notes(
    config: &CertConfig,
    mount: Option<&[MountIssuer]>,
    now: Timestamp,
) -> Vec<TrustNote> {
    let holdings = holdings::Holdings::glance(config, &config.request.fingerprint(), now);
    let live = holdings.live().map(|held| &held.verified);
    live.map_or_else(Vec::new, |live| {
        holdings.trust(live, config, mount, now).notes
    })
}

/// All certificates of one process, ready to run.
pub struct Agent<I, C> {
    certificates: Vec<Certificate>,
    issuer: Arc<I>,
    clock: Arc<C>,
    application: Arc<dyn Application>,
    tick: Duration,
    watching: bool,
}

/// One certificate before its loop runs.
struct Certificate {
    config: Arc<CertConfig>,
    inputs: Arc<Inputs>,
    holdings: Shared,
    status: watch::Sender<Status>,
}

impl<I: Issuer + 'static, C: Clock + 'static> Agent<I, C> {
    /// Nothing is opened, read or asked before [`Agent::run`].
    #[must_use]
    pub fn new(certificates: Vec<CertConfig>, issuer: Arc<I>, clock: Arc<C>) -> Self {
        let certificates = certificates.into_iter().map(|config| {
            let mut status = Status::new(
                &config.name,
                config.renew.max_issuances_per_hour.per_hour(None),
            );
            status.app.probed = config.probe.is_some();
            Certificate {
                config: Arc::new(config),
                inputs: Arc::new(Inputs::default()),
                holdings: Shared::default(),
                status: watch::Sender::new(status),
            }
        });
        Self {
            certificates: certificates.collect(),
            issuer,
            clock,
            application: Arc::new(LocalApplication::plain()),
            tick: wall::TICK,
            watching: true,
        }
    }

    /// How the application is reached; without it only by what needs no Nomad.
    #[must_use]
    pub fn with(mut self, application: Arc<dyn Application>) -> Self {
        self.application = application;
        self
    }

    /// Another interval of checks than the usual one.
    #[cfg(test)]
    fn checking_every(mut self, tick: Duration) -> Self {
        self.tick = tick;
        self
    }

    /// Who sees, and may fail, every step on the disk.
    #[cfg(test)]
    fn witness(&self, witness: &Arc<dyn publish::Witness>) {
        for certificate in &self.certificates {
            certificate.holdings.lock().witness = Some(Arc::clone(witness));
        }
    }

    /// What each loop knows, in the order of the configuration.
    #[must_use]
    pub fn statuses(&self) -> Vec<watch::Receiver<Status>> {
        let statuses = self.certificates.iter();
        statuses
            .map(|certificate| certificate.status.subscribe())
            .collect()
    }

    /// The way to ask for renewals that are not due.
    #[must_use]
    pub fn force(&self) -> Force {
        let certificates = self.certificates.iter();
        certificates
            .map(|one| (one.config.name.clone(), Arc::clone(&one.inputs)))
            .collect()
    }

    /// Runs until `shutdown`, or until every certificate has failed its first start. Returns within
    /// a second of `shutdown`; nothing is asked of the issuer afterwards. Files stay.
    pub async fn run(self, shutdown: CancellationToken) -> Exit {
        let statuses = self.statuses();
        let deadline = self.startup_timeout();
        let cancel = shutdown.child_token();
        let mut tasks = self.start(cancel.clone());
        let exit = tokio::select! {
            // first: the loops end by it too, and that is no bug then
            biased;
            () = shutdown.cancelled() => Exit::Done,
            exit = failed_at_start(statuses, deadline) => exit,
            () = ended(&mut tasks) => Exit::Failure,
        };
        cancel.cancel();
        let drained = timeout(SHUTDOWN_TIMEOUT, async {
            while tasks.join_next().await.is_some() {}
        })
        .await;
        if drained.is_err() {
            warn!("a loop did not stop in time and is aborted");
            tasks.abort_all();
        }
        exit
    }
}

impl<I: Issuer + 'static, C: Clock + 'static> Agent<I, C> {
    /// When the first start counts as failed, if it were to begin now: the longest of all.
    #[must_use]
    pub fn startup_timeout(&self) -> Instant {
        let deadlines = self.certificates.iter();
        let longest = deadlines
            .map(|certificate| certificate.config.renew.startup_timeout)
            .max();
        // a deadline that no clock can hold is none: a century
        let century = Duration::from_secs(100 * 365 * 86_400);
        Instant::now() + longest.unwrap_or_default().min(century)
    }

    /// Builds what the loops share, and starts them.
    fn start(self, cancel: CancellationToken) -> JoinSet<()> {
        let watching = self.watching.then(Watch::new).transpose();
        let (watch, changes) = match watching.map(Option::unzip) {
            Ok((watch, changes)) => (Ok(watch), changes),
            Err(refused) => {
                warn!("{refused}; changed files are noticed within {UNWATCHED_TICK:?}");
                (Err(refused), None)
            }
        };
        // with the system's clock the kernel wakes all loops at once; a test's clock is slept by
        let (ticker, ticks) = self.clock.is_system().then(|| watch::channel(())).unzip();
        let context = Arc::new(Context {
            issuer: self.issuer,
            clock: self.clock,
            application: self.application,
            tick: self.tick,
            ticks,
            gate: Semaphore::new(MAX_CONCURRENT_ISSUANCES),
            health_checker: HealthChecker::default(),
            watch,
            repair_awaited: AtomicBool::new(false),
            rested: CancellationToken::new(),
            cancel,
        });
        context
            .issuer
            .record_spending(spending_record(&self.certificates));
        let mut tasks = JoinSet::new();
        if let Some(ticker) = ticker {
            let shared = Arc::clone(&context);
            tasks.spawn(async move {
                let ticking = wall::tick(&*shared.clock, shared.tick, ticker);
                let _ = shared.cancel.run_until_cancelled(ticking).await; // it never ends by itself
            });
        }
        let mounts = poll_mounts(&self.certificates, &context, &mut tasks);
        let shared = Arc::clone(&context);
        tasks.spawn(async move {
            let tending = async {
                let _ = timeout(SESSION_START_DELAY, shared.rested.cancelled()).await; // late is soon enough
                shared.issuer.tend().await;
            };
            let _ = shared.cancel.run_until_cancelled(tending).await; // it never ends by itself
        });
        if let Some(changes) = changes {
            let roots = self.certificates.iter().map(|certificate| {
                let root = certificate.config.files.dir.clone();
                (root, Arc::clone(&certificate.inputs))
            });
            tasks.spawn(route(changes, roots.collect(), context.cancel.clone()));
        }
        for certificate in self.certificates {
            let span = info_span!("agent", certificate = %certificate.config.name);
            let mount = mounts.get(&mount_key(&certificate.config)).cloned();
            let reloader = Reloader::new(&certificate, Arc::clone(&context));
            tasks.spawn(reloader.run().instrument(span.clone()));
            let renewer = Renewer::new(certificate, Arc::clone(&context), mount);
            tasks.spawn(renewer.run().instrument(span));
        }
        tasks
    }
}

/// Into the record of every certificate: one of them is enough, since each is read at a start.
fn spending_record(certificates: &[Certificate]) -> SpendingRecord {
    let all: Vec<_> = certificates
        .iter()
        .map(|one| one.holdings.distant())
        .collect();
    Arc::new(move |fingerprint| {
        let there = all.iter().filter_map(Distant::reach);
        let written: Vec<_> = there
            .map(|one| one.lock().record_spending(fingerprint))
            .collect();
        match written.iter().any(Result::is_ok) {
            true => Ok(()),
            false => written.into_iter().collect(),
        }
    })
}

/// One poll per mount and interval, whatever the number of certificates.
fn poll_mounts<I: Issuer + 'static, C: Clock + 'static>(
    certificates: &[Certificate],
    context: &Arc<Context<I, C>>,
    tasks: &mut JoinSet<()>,
) -> BTreeMap<MountKey, watch::Receiver<KnownCas>> {
    let mut mounts = BTreeMap::new();
    for Certificate { config, .. } in certificates {
        if config.ca_poll_interval.is_zero() {
            continue;
        }
        mounts.entry(mount_key(config)).or_insert_with(|| {
            let (known, receiver) = watch::channel(None);
            let mount = PolledMount {
                path: config.request.mount.clone(),
                every: config.ca_poll_interval,
                seed: config.renew.splay_seed.clone(),
            };
            let span = info_span!("mount", path = %mount.path);
            let context = Arc::clone(context);
            let poll = async move {
                // the orders leave first
                yield_now().await;
                mount::poll(mount, context, known).await;
            };
            tasks.spawn(poll.instrument(span));
            receiver
        });
    }
    mounts
}

type MountKey = (String, Duration);

fn mount_key(config: &CertConfig) -> MountKey {
    (config.request.mount.clone(), config.ca_poll_interval)
}

/// Tells each loop about changes in its directory.
async fn route(
    mut changes: Changes,
    roots: BTreeMap<PathBuf, Arc<Inputs>>,
    cancel: CancellationToken,
) {
    while let Some(changed) = cancel.run_until_cancelled(changes.next()).await {
        for root in changed {
            if let Some(inputs) = roots.get(&root) {
                inputs.disturb();
            }
        }
    }
}

/// Returns when a task exited although it was not cancelled, which is a bug; else never.
async fn ended(tasks: &mut JoinSet<()>) {
    match tasks.join_next().await {
        Some(Err(error)) => error!(
            "BUG: a loop panicked: {error}; the process exits, the \
                                    certificate files stay"
        ),
        Some(Ok(())) => error!(
            "BUG: a loop stopped by itself; the process exits, the certificate \
                                files stay"
        ),
        None => pending().await,
    }
}

/// Returns when, after the first deadline, every certificate has failed and none has anything
/// published or staged: with the code of the first one's failure. Never once one has succeeded.
async fn failed_at_start(mut statuses: Vec<watch::Receiver<Status>>, deadline: Instant) -> Exit {
    sleep_until(deadline).await;
    let mut exit = None;
    for status in &mut statuses {
        let settled = status.wait_for(Status::settled).await;
        match settled.ok().and_then(|status| status.failed_with()) {
            Some(class) => exit = exit.or_else(|| Some(class.into())),
            None => return pending().await,
        }
    }
    match exit {
        Some(exit) => {
            error!("no certificate within startup_timeout; giving up");
            exit
        }
        None => pending().await,
    }
}
