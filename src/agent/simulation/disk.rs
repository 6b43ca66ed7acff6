//! The directory: its steps as a witness sees them, its faults, and a reader that trusts nothing.
//!
//! Never changes what the agent's own steps did, but for what a loss of power tears. What stays true:
//! a reader resolves `..data` once, as an application does that opens the directory.

use std::{fs, io, panic::resume_unwind, path::Path, sync::atomic::Ordering};

use rcgen::{KeyPair, PublicKeyData as _};

use super::{
    faults::Fault,
    world::{Instance, State, World},
};
use crate::publish::{Op, Step, Witness};

const NAMES: [&str; 3] = ["CA.pem", "cert.pem", "key.pem"];

/// Counts the steps of one process, and what of them is not on the disk yet.
#[derive(Debug, Default)]
pub(super) struct StepCounter {
    done: u32,
    fails_at: Option<u32>,
    /// Every second one after the step, the others before it.
    crashes_at: Option<(u32, bool)>,
    /// Written and not synced.
    unsynced: Vec<String>,
}

impl StepCounter {
    /// The step fails that comes after so many others; none does without a number.
    pub(super) fn fail_in(&mut self, steps: Option<u32>) {
        self.fails_at = steps.map(|steps| self.done + steps);
    }

    pub(super) fn is_to_fail(&self) -> bool {
        self.fails_at.is_some()
    }

    pub(super) fn crash_in(&mut self, steps: u32, torn: bool) {
        self.crashes_at = Some((self.done + steps, torn));
    }
}

/// The process ends here: by a panic that no hook hears of, so that nothing after it is done.
struct Crashed;

impl Witness for Instance {
    fn before(&self, step: Step<'_>) -> io::Result<()> {
        if self.is_gone() {
            resume_unwind(Box::new(Crashed));
        }
        let (done, crash, fails) = {
            let mut steps = self.steps.lock().unwrap();
            steps.done += 1;
            let done = steps.done;
            let fails = steps.fails_at.take_if(|at| *at <= done).is_some();
            (done, steps.crashes_at.filter(|(at, _)| *at <= done), fails)
        };
        if let Some((at, torn)) = crash
            && (at % 2 == 0 || at < done)
        {
            self.crash(step, torn);
        }
        let state = self.world.state();
        if state.is(Fault::ReadOnly).is_some() {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        let grows = matches!(step.op, Op::MakeDir | Op::Create | Op::Write | Op::Link);
        if grows && state.is(Fault::DiskFull).is_some() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if fails {
            return Err(io::Error::other("input/output error"));
        }
        Ok(())
    }

    fn after(&self, step: Step<'_>) -> io::Result<()> {
        let crash = {
            let mut steps = self.steps.lock().unwrap();
            match step.op {
                Op::Write => steps.unsynced.push(step.name.to_owned()),
                Op::Sync => steps.unsynced.retain(|name| name != step.name),
                _ => {}
            }
            steps.crashes_at.filter(|(at, _)| *at <= steps.done)
        };
        if matches!(step.op, Op::Rename | Op::Remove) {
            self.world.look();
        }
        if let Some((_, torn)) = crash {
            self.crash(step, torn);
        }
        Ok(())
    }
}

impl Instance {
    fn crash(&self, step: Step<'_>, torn: bool) -> ! {
        self.gone.store(true, Ordering::SeqCst);
        self.world.state().note(|| {
            let (op, name) = (step.op, step.name);
            format!("agent {} crashes at {op:?} of {name}", self.number)
        });
        if torn {
            for name in &self.steps.lock().unwrap().unsynced {
                self.world.tear(name);
            }
            self.world.look();
        }
        self.world.ended.notify_one();
        resume_unwind(Box::new(Crashed))
    }
}

impl World {
    /// Half of what was written under this name and not synced is there after a loss of power.
    fn tear(&self, name: &str) {
        let newest = names(&self.dir)
            .into_iter()
            .rfind(|name| name.starts_with("..gen-"));
        // where it was written, or where it was renamed to since: what lay there before is on the disk
        let places = [
            Some(self.dir.join("..new").join(name)),
            newest.map(|dir| self.dir.join(dir).join(name)),
            Some(self.dir.join(name)),
            Some(self.dir.join(name.trim_end_matches(".tmp"))),
        ];
        let mut places = places.into_iter().flatten();
        if let Some(path) = places.find(|path| path.is_file() && !path.is_symlink()) {
            let content = fs::read(&path).unwrap();
            fs::write(path, &content[..content.len() / 2]).unwrap();
        }
    }

    /// Reads what is published, and judges it.
    pub(super) fn look(&self) {
        let set = self.read();
        self.state().judge_set(set);
    }

    /// The published texts: CA.pem, cert.pem, key.pem of one generation.
    fn read(&self) -> Option<[String; 3]> {
        let live = fs::read_link(self.dir.join("..data")).ok()?;
        let read = |name| fs::read_to_string(self.dir.join(&live).join(name)).ok();
        let [ca, cert, key] = NAMES.map(read);
        Some([ca?, cert?, key?])
    }

    /// What is in the directory and should not be.
    pub(super) fn litter(&self) -> Vec<String> {
        let (generations, mut others): (Vec<_>, Vec<_>) = names(&self.dir)
            .into_iter()
            .partition(|name| name.starts_with("..gen-"));
        others.retain(|name| {
            !NAMES.contains(&name.as_str())
                && !["..data", "..lock", "..state.json"].contains(&name.as_str())
        });
        others.extend(generations.into_iter().skip(3));
        others
    }

    /// Whether each outer name leads to the published file.
    pub(super) fn has_links(&self) -> bool {
        NAMES.iter().all(|name| {
            let target = fs::read_link(self.dir.join(name));
            target.is_ok_and(|target| target == Path::new("..data").join(name))
        })
    }

    /// Damages something of ours; false where there is nothing to damage.
    pub(super) fn damage(&self, fault: Fault, number: u32) -> bool {
        let dir = &self.dir;
        let live = dir.join("..data");
        let inner = |index: u32| live.join(NAMES[index as usize]);
        let done = match fault {
            Fault::FileRemoved => fs::remove_file(inner(number)),
            Fault::KeyReplaced => {
                fs::remove_file(inner(2)).and_then(|()| fs::write(inner(2), "-----BEGIN"))
            }
            Fault::GenerationRemoved => fs::canonicalize(&live).and_then(fs::remove_dir_all),
            Fault::DirectoryRemoved => fs::remove_dir_all(dir),
            Fault::LinkRemoved if number == 3 => fs::remove_file(&live),
            Fault::LinkRemoved => fs::remove_file(dir.join(NAMES[number as usize])),
            Fault::RecordDamaged => cut(&dir.join("..state.json"), number as usize),
            Fault::RecordRemoved => fs::remove_file(dir.join("..state.json")),
            Fault::ReadyRemoved => fs::remove_file(self.ready_file()),
            _ => return false,
        };
        done.is_ok()
    }

    pub(super) fn ready_file(&self) -> std::path::PathBuf {
        self.dir.with_file_name("ready.json")
    }

    pub(super) fn extra_ca(&self) -> std::path::PathBuf {
        self.dir.with_file_name("extra.pem")
    }
}

fn cut(path: &Path, at: usize) -> io::Result<()> {
    let mut content = fs::read(path)?;
    content.truncate(at);
    fs::remove_file(path)?;
    fs::write(path, content)
}

fn names(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

impl State {
    /// The public key of a private one.
    pub(super) fn public_key(&mut self, key: &str) -> Option<Vec<u8>> {
        if let Some(known) = self.public_keys.get(key) {
            return Some(known.clone());
        }
        let public = KeyPair::from_pem(key).ok()?.der_bytes().to_vec();
        self.public_keys.insert(key.to_owned(), public.clone());
        Some(public)
    }
}
