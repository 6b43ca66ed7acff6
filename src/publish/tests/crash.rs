//! Every file-system step of every operation, once as the last one before a crash, once as the one
//! that fails.

use std::sync::Mutex;

use super::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Nothing happens any more from this step on: the process is gone.
    CrashBefore,
    /// The step is done, and nothing happens any more.
    CrashAfter,
    /// The step fails with "no space left", the process continues and cleans up.
    Full,
    /// This step and each one like it fail with "no space left", as on a disk that is really full.
    FullFromHere,
}

/// Injects one fault at the step with this number, and writes down what was done.
struct Injector {
    at: usize,
    fault: Fault,
    log: Mutex<Log>,
}

#[derive(Default)]
struct Log {
    count: usize,
    hit: bool,
    done: Vec<(Op, String)>,
}

impl Injector {
    fn new(at: usize, fault: Fault) -> Arc<Self> {
        Arc::new(Self {
            at,
            fault,
            log: Mutex::default(),
        })
    }

    fn hit(&self) -> bool {
        self.log.lock().unwrap().hit
    }
}

fn needs_space(op: Op) -> bool {
    matches!(op, Op::MakeDir | Op::Create | Op::Write | Op::Link)
}

impl Witness for Injector {
    fn before(&self, step: Step<'_>) -> io::Result<()> {
        let mut log = self.log.lock().unwrap();
        log.count += 1;
        let (here, past) = (log.count == self.at, log.count >= self.at);
        let fails = match self.fault {
            Fault::CrashBefore => past,
            Fault::CrashAfter => log.hit,
            Fault::Full => here,
            Fault::FullFromHere => past && needs_space(step.op),
        };
        log.hit |= fails;
        match (fails, self.fault) {
            (false, _) => Ok(()),
            (true, Fault::Full | Fault::FullFromHere) => Err(io::ErrorKind::StorageFull.into()),
            (true, _) => Err(io::Error::other("the process is gone")),
        }
    }

    fn after(&self, step: Step<'_>) -> io::Result<()> {
        let mut log = self.log.lock().unwrap();
        log.done.push((step.op, step.name.to_owned()));
        if self.fault == Fault::CrashAfter && log.count >= self.at {
            log.hit = true;
            return Err(io::Error::other("the process is gone"));
        }
        Ok(())
    }
}

/// One operation under test: what was there before, what is done, what may be live afterwards.
struct Scenario {
    name: &'static str,
    before: fn(&CertDir),
    act: fn(&CertDir) -> Result<(), PublishError>,
    old: Option<&'static str>,
    new: Option<&'static str>,
}

const SCENARIOS: [Scenario; 7] = [
    Scenario {
        name: "first publish",
        before: |_| {},
        act: |certs| certs.publish_texts(&set("new")).map(drop),
        old: None,
        new: Some("new"),
    },
    Scenario {
        name: "third publish",
        before: |certs| {
            certs.publish_texts(&set("older")).unwrap();
            certs.publish_texts(&set("old")).unwrap();
        },
        act: |certs| certs.publish_texts(&set("new")).map(drop),
        old: Some("old"),
        new: Some("new"),
    },
    Scenario {
        name: "publish past a staged set",
        before: |certs| {
            certs.publish_texts(&set("older")).unwrap();
            certs.publish_texts(&set("old")).unwrap();
            record(certs, &certs.stage_texts(&set("staged")).unwrap()).unwrap();
        },
        act: |certs| certs.publish_texts(&set("new")).map(drop),
        old: Some("old"),
        new: Some("new"),
    },
    Scenario {
        name: "stage",
        before: |certs| {
            certs.publish_texts(&set("old")).unwrap();
        },
        act: |certs| record(certs, &certs.stage_texts(&set("new"))?),
        old: Some("old"),
        new: None,
    },
    Scenario {
        name: "activate",
        before: |certs| {
            certs.publish_texts(&set("old")).unwrap();
            record(certs, &certs.stage_texts(&set("new")).unwrap()).unwrap();
        },
        act: |certs| {
            let staged = certs.load_record().staged.unwrap().generation;
            certs.activate(&staged.parse().unwrap()).map(drop)
        },
        old: Some("old"),
        new: Some("new"),
    },
    Scenario {
        name: "repair of content",
        before: |certs| {
            let dir = certs.publish_texts(&set("new")).unwrap().dir;
            std::fs::remove_file(dir.join("key.pem")).unwrap();
        },
        act: |certs| certs.repair_from(&set("new")).map(drop),
        old: None,
        new: Some("new"),
    },
    Scenario {
        name: "save state",
        before: |certs| {
            certs.publish_texts(&set("old")).unwrap();
        },
        act: |certs| certs.save_record(&Record::default()),
        old: Some("old"),
        new: None,
    },
];

fn record(certs: &CertDir, id: &GenerationId) -> Result<(), PublishError> {
    let mut state = certs.load_record();
    state.staged = Some(crate::model::record::StagedRecord {
        generation: id.to_string(),
        fingerprint: String::new(),
        obtained_at: Timestamp::from_unix_millis(0),
    });
    certs.save_record(&state)
}

/// Runs a scenario with one fault; false when the step number lies behind its end.
fn survives(scenario: &Scenario, at: usize, fault: Fault) -> bool {
    let context = format!("{}, step {at}, {fault:?}", scenario.name);
    let temp = temp();
    let files = files(temp.path());
    (scenario.before)(&CertDir::open(&files).unwrap());
    let injector = Injector::new(at, fault);
    let seen: Arc<dyn Witness> = injector.clone();
    let certs = CertDir::open_witnessed(&files, Some(seen));
    let result = certs.and_then(|certs| (scenario.act)(&certs));

    let live = resolved(&files.dir);
    let allowed = [scenario.old.map(set), scenario.new.map(set)];
    assert!(allowed.contains(&live), "{context}: {live:?}");
    if result.is_ok() && scenario.new.is_some() {
        assert_eq!(live, scenario.new.map(set), "{context}");
    }
    if result.is_err() && fault == Fault::FullFromHere {
        clean(&files.dir, &context);
    }

    let certs = CertDir::open(&files).unwrap();
    assert_eq!(
        resolved(&files.dir),
        live,
        "{context}: open changed the live set"
    );
    clean(&files.dir, &context);
    certs.publish_texts(&set("next")).expect(&context);
    assert!(
        certs.drift_from(&set("next")).unwrap().is_none(),
        "{context}"
    );
    clean(&files.dir, &context);
    injector.hit()
}

/// Nothing but what belongs there.
fn clean(dir: &Path, context: &str) {
    let names = names(dir);
    let (generations, others): (Vec<_>, Vec<_>) =
        names.iter().partition(|name| name.starts_with("..gen-"));
    assert!(generations.len() <= MAX_GENERATIONS, "{context}: {names:?}");
    for name in others {
        let ours = ["..data", "..state.json", "CA.pem", "cert.pem", "key.pem"];
        assert!(ours.contains(&name.as_str()), "{context}: {names:?}");
    }
    assert_eq!(
        generations.len(),
        sets_in(dir).len().max(damaged(dir)),
        "{context}: {names:?}"
    );
}

/// Generations that a scenario itself damaged.
fn damaged(dir: &Path) -> usize {
    generation::generations(&Place::open_followed(dir).unwrap())
        .unwrap()
        .len()
        * usize::from(resolved(dir).is_none())
}

fn every_step(fault: Fault) -> usize {
    let mut steps = 0;
    for scenario in &SCENARIOS {
        let mut at = 1;
        while survives(scenario, at, fault) {
            at += 1;
        }
        assert!(at > 1, "{} has steps: {at}", scenario.name);
        steps += at - 1;
    }
    steps
}

#[test]
fn a_crash_before_any_step_leaves_the_old_or_the_new_set() {
    assert!(every_step(Fault::CrashBefore) > 100);
}

#[test]
fn a_crash_after_any_step_leaves_the_old_or_the_new_set() {
    assert!(every_step(Fault::CrashAfter) > 100);
}

#[test]
fn a_single_error_at_any_step_leaves_the_old_or_the_new_set() {
    assert!(every_step(Fault::Full) > 100);
}

#[test]
fn a_full_disk_leaves_the_old_set_and_nothing_half_done() {
    assert!(every_step(Fault::FullFromHere) > 50);
}

#[test]
fn everything_is_synced_before_the_one_visible_step() {
    let temp = temp();
    let files = files(temp.path());
    CertDir::open(&files).unwrap();
    let injector = Injector::new(usize::MAX, Fault::CrashBefore);
    let certs = CertDir::open_witnessed(&files, Some(injector.clone())).unwrap();
    certs.publish_texts(&set("a")).unwrap();
    let log = injector.log.lock().unwrap().done.clone();
    let log: Vec<_> = log.iter().map(|(op, name)| (*op, name.as_str())).collect();
    let place = |op, name| log.iter().position(|step| *step == (op, name)).unwrap();
    let visible = place(Op::Rename, "..data");
    for name in NAMES {
        let (own, write, sync) = (
            place(Op::SetMode, name),
            place(Op::Write, name),
            place(Op::Sync, name),
        );
        assert!(own < write && write < sync && sync < visible, "{log:?}");
    }
    let complete = visible - 3;
    assert!(matches!(log[complete], (Op::Rename, name) if name.starts_with("..gen-")));
    assert_eq!(log[complete - 1], (Op::Sync, "."));
    assert_eq!(log[complete + 1], (Op::Sync, "."));
    assert_eq!(log[visible + 1], (Op::Sync, "."));
}
