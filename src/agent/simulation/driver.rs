//! One run: starts agents, begins and ends faults, asks as a person does, and looks on.
//!
//! Never judges. What stays true: everything happens on one thread in paused time, so that a
//! schedule has one outcome.

use std::{sync::Arc, time::Duration};

use tempfile::TempDir;
use tokio::{
    sync::watch,
    task::{JoinSet, yield_now},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    faults::Fault,
    rules::after,
    schedule::{Event, LIVES_LONG, Schedule},
    setup,
    world::{EPOCH, Instance, World},
};
use crate::{
    agent::{Agent, Application},
    clock::Clock as _,
    config::CertConfig,
    control::Force,
    exit::Exit,
    model::time::Timestamp,
    publish::Witness,
    status::Status,
    testing::planted::{self, Planted},
};

/// What supervises the agent starts it again after this.
const RESTART: Duration = Duration::from_secs(5);
/// A new one-time credential is there so long after one was found used up.
const NEW_CREDENTIAL: Duration = Duration::from_secs(120);
/// A person's renewal has to be there within this.
const AT_ONCE: Duration = Duration::from_secs(10);
/// After the last fault everything is well within this, once nothing is excused any more.
const SETTLES: Duration = Duration::from_secs(1_800);

/// How a run went.
#[derive(Debug)]
pub(super) struct Run {
    /// The first rule that was broken.
    pub(super) broken: Option<String>,
    pub(super) trace: Vec<String>,
    /// Certificates that Vault made.
    pub(super) made: usize,
}

/// Runs a schedule to its end, or until a rule is broken.
pub(super) fn run(schedule: &Schedule, planted: Option<Planted>, traced: bool) -> Run {
    let _planted = planted::plant(planted);
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut simulation = Simulation::new(schedule, planted, traced);
        simulation.live().await;
        simulation.stop(0).await;
        simulation.stop(1).await;
        let mut state = simulation.world.state();
        Run {
            broken: state.broken.take(),
            trace: state.trace.take().unwrap_or_default(),
            made: state.made.len(),
        }
    })
}

/// What happens at a moment.
#[derive(Clone, Copy, Debug)]
enum Change {
    Begin(usize),
    End(usize),
    /// An agent is started in this seat.
    Start(usize),
    Ask(usize),
    Credential,
}

/// One process of the agent.
struct Process {
    instance: Arc<Instance>,
    task: JoinSet<Exit>,
    shutdown: CancellationToken,
    status: watch::Receiver<Status>,
    force: Force,
}

struct Simulation<'a> {
    schedule: &'a Schedule,
    world: Arc<World>,
    config: CertConfig,
    _temp: TempDir,
    tick: Duration,
    /// The agent, and a second one.
    seats: [Option<Process>; 2],
    started: u32,
    changes: Vec<(Timestamp, Change)>,
    /// The longest excuse of what stood in the way last.
    excuse: u32,
}

impl<'a> Simulation<'a> {
    fn new(schedule: &'a Schedule, planted: Option<Planted>, traced: bool) -> Self {
        let temp = tempfile::tempdir_in("/dev/shm")
            .or_else(|_| tempfile::tempdir())
            .unwrap();
        let config = setup::config(schedule, &temp, planted);
        let world = World::new(schedule, config.files.dir.clone(), traced);
        std::fs::create_dir_all(world.extra_ca().parent().unwrap()).unwrap();
        std::fs::write(world.extra_ca(), world.extra.pem()).unwrap();
        let mut changes = vec![(EPOCH, Change::Start(0))];
        for (index, event) in schedule.events.iter().enumerate() {
            let begin = EPOCH.plus(event.at);
            changes.push((begin, Change::Begin(index)));
            if !event.lasts.is_zero() {
                changes.push((begin.plus(event.lasts), Change::End(index)));
            }
        }
        Self {
            schedule,
            world,
            config,
            _temp: temp,
            tick: schedule.life / 40,
            seats: [None, None],
            started: 0,
            changes,
            excuse: 0,
        }
    }

    async fn live(&mut self) {
        let end = EPOCH.plus(self.schedule.life * LIVES_LONG as u32);
        self.pass_until(end).await;
        self.heal().await;
        if !self.settle(false).await {
            return;
        }
        let mut renewed = self.ask().await;
        if !renewed {
            // a person who reads that the credential is used up brings another one, and asks again
            let now = self.world.clock.now();
            self.pass_until(now.plus(NEW_CREDENTIAL).plus(self.tick))
                .await;
            renewed = self.ask().await;
        }
        // without a probe only a renewal makes good what the application ignored
        self.settle(renewed).await;
    }

    /// Lets time pass, with everything that happens in it.
    async fn pass_until(&mut self, end: Timestamp) {
        while self.world.clock.now() < end && self.world.state().broken.is_none() {
            let now = self.world.clock.now();
            let next = self.changes.iter().map(|(at, _)| *at).min();
            let next = next.unwrap_or(end).min(end).min(now.plus(self.tick));
            let _sooner = timeout(now.until(next), self.world.ended.notified()).await;
            self.reap().await;
            while let Some(change) = self.next_change() {
                self.apply(change).await;
            }
            self.deliver();
            self.weigh();
            self.look_on();
        }
    }

    /// Whoever sees that a credential was used up brings another one after a while.
    fn deliver(&mut self) {
        let wanted = std::mem::take(&mut self.world.state().wants_credential);
        let is_delivery = |(_, change): &(Timestamp, Change)| matches!(change, Change::Credential);
        if wanted && !self.changes.iter().any(is_delivery) {
            self.later(NEW_CREDENTIAL, Change::Credential);
        }
    }

    /// The first change whose time has come.
    fn next_change(&mut self) -> Option<Change> {
        let now = self.world.clock.now();
        let due = self
            .changes
            .iter()
            .enumerate()
            .filter(|(_, (at, _))| *at <= now);
        let (index, _) = due.min_by_key(|(index, (at, _))| (*at, *index))?;
        Some(self.changes.remove(index).1)
    }

    async fn apply(&mut self, change: Change) {
        match change {
            Change::Start(seat) if self.seats[seat].is_none() => self.start(seat),
            Change::Start(_) => {}
            Change::Begin(index) => {
                let event = self.schedule.events[index].clone();
                self.world.state().note(|| event.to_string());
                self.begin(&event, index).await;
            }
            Change::End(index) => {
                let event = self.schedule.events[index].clone();
                self.end(&event).await;
            }
            Change::Ask(index) => {
                let Event { fault, number, .. } = self.schedule.events[index];
                if self.world.state().is(fault).is_some() {
                    self.request();
                    self.later(Duration::from_secs(number.into()), Change::Ask(index));
                }
            }
            Change::Credential => self.world.state().credential += 1,
        }
        self.weigh();
    }

    async fn begin(&mut self, event: &Event, index: usize) {
        let Event { fault, number, .. } = *event;
        if !event.lasts.is_zero() {
            self.world.state().active.push((fault, number));
        }
        match fault {
            Fault::SecondAgent if self.seats[1].is_none() => self.start(1),
            Fault::StepFails | Fault::Crash | Fault::PowerLoss => {
                if let Some(process) = &self.seats[0] {
                    let mut steps = process.instance.steps.lock().unwrap();
                    match fault {
                        Fault::StepFails => steps.fail_in(Some(number)),
                        _ => steps.crash_in(number, fault == Fault::PowerLoss),
                    }
                }
            }
            Fault::Killed => {
                self.kill(0).await;
                self.later(Duration::from_secs(number.into()), Change::Start(0));
            }
            Fault::Stopped => {
                self.stop(0).await;
                self.later(Duration::from_secs(number.into()), Change::Start(0));
            }
            Fault::NewIssuer => self.world.change_issuer(),
            Fault::CaEnds => {
                let mut state = self.world.state();
                state.ca_ends = Some(after(state.now, number * 60));
            }
            Fault::ExtraDamaged => std::fs::write(self.world.extra_ca(), "nothing").unwrap(),
            Fault::AppDown => self.world.state().app.serves = None,
            Fault::AppLoses => {
                let mut state = self.world.state();
                state.app.losses += 1;
                if state.app.serves.is_some() {
                    state.app.serves = state.app.first.clone();
                }
            }
            Fault::Renews => {
                self.ask().await;
            }
            Fault::Cron => self.later(Duration::ZERO, Change::Ask(index)),
            _ => self.damage(fault, number),
        }
    }

    fn damage(&self, fault: Fault, number: u32) {
        if !self.world.damage(fault, number) {
            return;
        }
        let mut state = self.world.state();
        let now = state.now;
        match fault {
            Fault::RecordDamaged | Fault::RecordRemoved => state.forgot_at = now,
            Fault::DirectoryRemoved => {
                state.forgot_at = now;
                state.evicted = true;
                state.damaged.get_or_insert(now);
            }
            _ => {
                state.damaged.get_or_insert(now);
            }
        }
        state.excused_until = state.excused_until.max(after(now, 40).plus(self.tick * 2));
        drop(state);
        self.world.look();
    }

    /// Takes it off the list of what is wrong; false where it was not on it.
    fn forget(&self, event: &Event) -> bool {
        let mut state = self.world.state();
        let active = state
            .active
            .iter()
            .position(|one| *one == (event.fault, event.number));
        let Some(index) = active else {
            return false;
        };
        state.active.remove(index);
        state.note(|| {
            let number = event.number.to_string();
            format!(
                "no longer: {}",
                event.fault.kind().text.replace("{}", &number)
            )
        });
        true
    }

    async fn end(&mut self, event: &Event) {
        if !self.forget(event) {
            return;
        }
        match event.fault {
            Fault::CaEnds => {
                self.world.state().ca_ends = None;
                self.world.change_issuer();
            }
            Fault::SecondAgent => self.stop(1).await,
            Fault::ExtraDamaged => {
                std::fs::write(self.world.extra_ca(), self.world.extra.pem()).unwrap()
            }
            Fault::AppDown => {
                self.world.state().app.losses += 1;
                self.world.load();
            }
            _ => {}
        }
    }

    fn later(&mut self, wait: Duration, change: Change) {
        self.changes
            .push((self.world.clock.now().plus(wait), change));
    }
}

/// Processes.
impl Simulation<'_> {
    fn start(&mut self, seat: usize) {
        self.started += 1;
        let instance = Instance::new(self.started, Arc::clone(&self.world));
        let mut agent = Agent::new(
            vec![self.config.clone()],
            Arc::clone(&instance),
            Arc::clone(&self.world.clock),
        );
        agent = agent
            .checking_every(self.tick)
            .with(Arc::clone(&instance) as Arc<dyn Application>);
        agent.watching = false;
        agent.witness(&(Arc::clone(&instance) as Arc<dyn Witness>));
        let (shutdown, mut task) = (CancellationToken::new(), JoinSet::new());
        let (status, force) = (agent.statuses().remove(0), agent.force());
        let (world, running) = (Arc::clone(&self.world), agent.run(shutdown.clone()));
        task.spawn(async move {
            let exit = running.await;
            world.ended.notify_one();
            exit
        });
        let mut state = self.world.state();
        state.note(|| format!("agent {} is started", instance.number));
        state.alive.insert(instance.number);
        drop(state);
        self.seats[seat] = Some(Process {
            instance,
            task,
            shutdown,
            status,
            force,
        });
    }

    /// Ends it as a kernel does: nothing more is done.
    async fn kill(&mut self, seat: usize) {
        let Some(mut process) = self.seats[seat].take() else {
            return;
        };
        let number = process.instance.number;
        process
            .instance
            .gone
            .store(true, std::sync::atomic::Ordering::SeqCst);
        process.task.shutdown().await;
        // the loops end when they are polled next
        for _ in 0..8 {
            yield_now().await;
        }
        let mut state = self.world.state();
        state.alive.remove(&number);
        state.note(|| format!("agent {number} is gone"));
    }

    /// Asks it to end.
    async fn stop(&mut self, seat: usize) {
        if let Some(process) = &mut self.seats[seat] {
            process.shutdown.cancel();
            let _late = timeout(Duration::from_secs(2), process.task.join_next()).await;
        }
        self.kill(seat).await;
    }

    /// What crashed or gave up is started again.
    async fn reap(&mut self) {
        for seat in 0..self.seats.len() {
            let ended = self.seats[seat].as_mut().is_some_and(|process| {
                process.instance.is_gone() || process.task.try_join_next().is_some()
            });
            if ended {
                self.kill(seat).await;
                if seat == 0 || self.world.state().is(Fault::SecondAgent).is_some() {
                    self.later(RESTART, Change::Start(seat));
                }
            }
        }
    }

    /// The agent that is at work.
    fn holder(&self) -> Option<&Process> {
        let mut processes = self.seats.iter().flatten();
        processes.find(|process| process.status.borrow().standby.is_none())
    }

    /// A person asks for a renewal and does not wait for it.
    fn request(&self) {
        let mut state = self.world.state();
        let now = state.now;
        state.asked.push(now);
        drop(state);
        if let Some(process) = self.holder() {
            process.force.all();
        }
    }

    /// A person asks for a renewal, and waits for the answer; true when it is there.
    async fn ask(&mut self) -> bool {
        let Some(process) = self.holder() else {
            return false;
        };
        let (mut status, instance) = (process.status.clone(), Arc::clone(&process.instance));
        let before = status
            .borrow()
            .manual_renewal
            .as_ref()
            .map_or(0, |last| last.number);
        self.request();
        let mut processes = self.seats.iter().flatten();
        let fails = processes.any(|process| process.instance.steps.lock().unwrap().is_to_fail());
        let (granted, slow) = {
            let state = self.world.state();
            let free = state.free_since.is_some_and(|since| since < state.now);
            let partly =
                state.is(Fault::OneNodeDown).is_some() || state.is(Fault::RateLimit).is_some();
            let asked = state
                .asked
                .iter()
                .filter(|at| at.until(state.now) < Duration::from_secs(600));
            let slow = Duration::from_secs(state.is(Fault::Slow).unwrap_or(0).into());
            (free && !partly && !fails && asked.count() < 9, slow)
        };
        let answered = |status: &Status| {
            status
                .manual_renewal
                .as_ref()
                .is_some_and(|last| last.number > before)
        };
        let wait = timeout(AT_ONCE + slow * 2, status.wait_for(answered));
        let answer = match wait.await {
            Ok(Ok(status)) => status.manual_renewal.clone().map(|last| last.outcome),
            // its process crashed at a step on the disk
            _ if instance.is_gone() => return false,
            _ => None,
        };
        let renewed = matches!(answer, Some(Ok(_)));
        let mut state = self.world.state();
        match answer {
            Some(Ok(_)) => state.note(|| "the renewal that a person asked for is there".to_owned()),
            _ if !granted => state.note(|| format!("a person gets no renewal: {answer:?}")),
            _ => state.breaks(|| {
                format!("a person gets no renewal, although nothing stands in the way: {answer:?}")
            }),
        }
        renewed
    }
}

/// Looking on.
impl Simulation<'_> {
    /// Notes since when nothing stands in the way.
    fn weigh(&mut self) {
        let mut state = self.world.state();
        let now = state.now;
        let excuses = state.active.iter().map(|(fault, _)| fault.kind().excuses);
        let mut excuse = excuses.max().unwrap_or(0);
        if self.seats.iter().all(Option::is_none) {
            excuse = excuse.max(30);
        }
        if self.world.logs_in_once && state.spent.contains(&state.credential) {
            let mut processes = self.seats.iter().flatten();
            if processes.any(|process| process.instance.login.lock().unwrap().used.is_none()) {
                excuse = excuse.max(140);
            }
        }
        if excuse > 0 {
            self.excuse = self.excuse.max(excuse);
            state.free_since = None;
        } else if state.free_since.is_none() {
            state.free_since = Some(now);
            let until = after(now, self.excuse).plus(self.tick * 2);
            state.excused_until = state.excused_until.max(until);
        } else if now > state.excused_until {
            self.excuse = 0;
        }
    }

    fn look_on(&self) {
        if self.world.state().damaged.is_some() && self.world.is_whole() {
            self.world.state().damaged = None;
        }
        let mut state = self.world.state();
        state.judge_time();
        if state.published.is_some()
            && state.app.serves.is_none()
            && state.is(Fault::AppDown).is_none()
        {
            drop(state);
            // as a task of Nomad, which starts it until it finds certificate files
            self.world.load();
        }
    }

    /// The last fault is over.
    async fn heal(&mut self) {
        self.changes
            .retain(|(_, change)| matches!(change, Change::Start(_) | Change::Credential));
        for event in self.schedule.events.clone() {
            self.end(&event).await;
        }
        for process in self.seats.iter().flatten() {
            process.instance.steps.lock().unwrap().fail_in(None);
        }
        self.world
            .state()
            .note(|| "everything is healed".to_owned());
        self.weigh();
    }

    /// Waits until everything is well; in the end also what the application serves.
    async fn settle(&mut self, reloaded: bool) -> bool {
        let deadline = self
            .world
            .clock
            .now()
            .max(self.world.state().excused_until)
            .plus(SETTLES);
        loop {
            if self.world.state().broken.is_some() {
                return false;
            }
            let status = self.holder().map(|process| process.status.borrow().clone());
            let unwell = match status {
                Some(status) => {
                    self.world
                        .unwell(&status, self.schedule.has_extra_anchors(), reloaded)
                }
                None => Some("no agent runs".to_owned()),
            };
            let now = self.world.clock.now();
            match unwell {
                None => return true,
                Some(why) if now >= deadline => {
                    self.world
                        .state()
                        .breaks(|| format!("long after the last fault not all is well: {why}"));
                    return false;
                }
                Some(_) => self.pass_until(now.plus(self.tick)).await,
            }
        }
    }
}
