//! kill -9 of the agent between issue, publish, reload and proof.

use std::{fs, thread, time::Duration};

use rustix::process::Signal;

use super::rig::{Application, Bench, wait_until};
use crate::{
    apps::stubborn::Behaviour,
    rig::{PATIENCE, Process, wait_for},
};

/// The moment at which the agent is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// When it says this.
    Line(&'static str),
    /// When its hook says that it runs, or has run.
    Hook(&'static str),
    /// So many milliseconds after the wish for a renewal.
    After(u64),
}

/// A hook that leaves time to kill the agent before and after the application hears of it.
fn hook(place: &Application) -> String {
    let home = place.home().display();
    format!(
        "echo begins >>{home}/hook; /bin/sleep 0.1; \
         echo $CERTAGENT_SERIAL >>{home}/reloaded; kill -HUP $(/bin/cat {pid}); \
         echo ends >>{home}/hook; /bin/sleep 0.1",
        pid = place.pid_file().display(),
    )
}

fn reloaded(place: &Application) -> Vec<String> {
    let text = fs::read_to_string(place.home().join("reloaded")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn kill_9_at_each_step_loses_no_word_and_repeats_it_once_at_most() {
    let bench = Bench::new();
    let lines = [
        Moment::Line("requesting a certificate"),
        Moment::Line("published a certificate"),
        Moment::Hook("begins"),
        Moment::Hook("ends"),
        Moment::Line("reloaded the application by"),
        Moment::Line("verified: the application serves"),
    ];
    let spread = (0..24).map(|round| Moment::After(round * 17));
    let moments: Vec<Moment> = lines.into_iter().chain(lines).chain(spread).collect();
    // Ten manual renewals may follow each other at once in one directory.
    for moments in moments.chunks(9) {
        rounds(&bench, moments);
    }
}

/// An application of its own, and one kill after the other.
fn rounds(bench: &Bench, moments: &[Moment]) {
    let mut place = bench.place();
    place.step = "20s";
    place.settings = [
        "--on-cert-change",
        "exec",
        "--on-ca-change",
        "exec",
        "--log-level",
        "debug",
    ]
    .map(str::to_owned)
    .into();
    for argument in ["/bin/sh", "-c", &hook(&place)] {
        place
            .settings
            .extend(["--reload-command".to_owned(), argument.to_owned()]);
    }
    let mut agent = place.start();
    agent.wait_for_line("published a certificate", PATIENCE);
    let _app = place.start_app(Behaviour::default());
    agent.wait_for_line("verified: the application serves", PATIENCE);
    for moment in moments {
        agent = round(&place, agent, *moment);
    }
}

/// A renewal, the death of the agent in the middle of it, and another agent; which is returned.
fn round(place: &Application, mut agent: Process, moment: Moment) -> Process {
    agent.signal(Signal::KILL);
    agent.wait(PATIENCE);
    drop(fs::remove_file(place.home().join("hook")));
    let mut agent = place.start();
    agent.wait_for_line("using the certificate files on disk", PATIENCE);
    agent.signal(Signal::USR1);
    match moment {
        Moment::Line(text) => drop(agent.wait_for_line(text, PATIENCE)),
        Moment::Hook(word) => wait_for(word, PATIENCE, || {
            let hook = fs::read_to_string(place.home().join("hook")).ok()?;
            hook.contains(word).then_some(())
        }),
        Moment::After(millis) => thread::sleep(Duration::from_millis(millis)),
    }
    agent.signal(Signal::KILL);
    agent.wait(PATIENCE);

    let mut agent = place.start();
    agent.wait_for_line("using the certificate files on disk", PATIENCE);
    let serial = place.serial();
    wait_until(&agent, &format!("proof after {moment:?}"), |_| {
        let record = place.state()["reload"].clone();
        let verified = record["phase"]["name"] == "verified";
        verified && record["about"]["serial"] == serial.as_str()
    });
    place.assert_served();
    let times = reloaded(place).iter().filter(|one| **one == serial).count();
    assert!(times <= 2, "{moment:?}: told {times} times");
    agent
}
