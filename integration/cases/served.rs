//! The built agent and an application that reloads badly: in the end it serves what is published, or
//! the agent says loudly that it does not.
//!
//! The application is `apps::stubborn`, the issuer the embedded PKI.

mod killed;
mod rig;

use std::{thread, time::Duration};

use rustix::process::Signal;

use self::rig::{Bench, wait_until};
use crate::{apps::stubborn::Behaviour, rig::PATIENCE};

/// Every step of a list has this long.
const STEP: &str = "1s";

#[test]
fn an_application_that_ignores_k_signals_ends_verified_or_in_a_loud_failure() {
    let bench = Bench::new();
    thread::scope(|scope| {
        for ignore in 0..=5 {
            let bench = &bench;
            scope.spawn(move || ignoring(bench, ignore));
        }
    });
}

/// Four signals, one a second: after three ignored ones the last is heard.
fn ignoring(bench: &Bench, ignore: u32) {
    let mut place = bench.place();
    place.settings = ["--on-cert-change", "signal,signal,signal,signal"]
        .map(str::to_owned)
        .into();
    let mut agent = place.start();
    agent.wait_for_line("published a certificate", PATIENCE);
    let behaviour = Behaviour {
        ignore,
        mtls: true,
        ..Behaviour::default()
    };
    let app = place.start_app(behaviour);
    wait_until(&agent, "first proof", |log| rig::verified(log) == 1);
    let old = place.serial();
    agent.signal(Signal::USR1);
    // four seconds, and what a busy machine needs
    wait_until(&agent, "an end", |log| {
        rig::verified(log) == 2 || log.contains("ALERT")
    });
    let (log, new) = (agent.stderr(), place.serial());
    assert_ne!(old, new);
    if ignore < 4 {
        assert!(!log.contains("ALERT"), "{ignore}: {log}");
        place.assert_served();
        let reloaded = log.matches("reloaded the application by").count();
        assert_eq!(reloaded, ignore as usize + 1, "{log}");
        return;
    }
    assert_eq!(rig::verified(&log), 1, "a silent success: {log}");
    let alarm = log.lines().find(|line| line.contains("ALERT")).unwrap();
    assert!(alarm.contains(&old) && alarm.contains(&new), "{alarm}");
    assert!(alarm.contains("restart the application"), "{alarm}");
    // somebody does what the alarm asks for
    for _ in 4..=ignore {
        app.process.signal(Signal::HUP);
        thread::sleep(Duration::from_millis(50));
    }
    wait_until(&agent, "the late proof", |log| rig::verified(log) == 2);
    place.assert_served();
}

#[test]
fn an_application_that_dies_of_the_new_set_gets_the_old_one_back() {
    let bench = Bench::new();
    let mut place = bench.place();
    place.settings = ["--on-cert-change", "signal", "--on-ca-change", "signal"]
        .map(str::to_owned)
        .into();
    let mut agent = place.start();
    agent.wait_for_line("published a certificate", PATIENCE);
    let mut app = place.start_app(Behaviour {
        dies: true,
        ..Behaviour::default()
    });
    wait_until(&agent, "first proof", |log| rig::verified(log) == 1);
    let old = place.serial();
    agent.signal(Signal::USR1);
    app.process.wait(PATIENCE);
    let line = agent.wait_for_line("are published again", PATIENCE);
    assert_eq!(place.serial(), old);
    assert!(
        line.contains(&old) && line.contains("no process listens"),
        "{line}"
    );
    let broken = place.state()["quarantined"][0]["serial"].clone();
    assert!(line.contains(broken.as_str().unwrap()), "{line}");
    // whoever supervises it starts it again
    let _app = place.start_app(Behaviour::default());
    wait_until(&agent, "the old set's proof", |log| rig::verified(log) == 2);
    place.assert_served();

    // nothing is asked for by itself, also not after a restart
    let orders = |place: &rig::Application| place.state()["issuances"].as_array().unwrap().len();
    let before = orders(&place);
    agent.signal(Signal::KILL);
    agent.wait(PATIENCE);
    let mut agent = place.start();
    agent.wait_for_line("using the certificate files on disk", PATIENCE);
    thread::sleep(Duration::from_secs(2));
    assert_eq!((place.serial(), orders(&place)), (old.clone(), before));
    place.assert_served();
    // a person may
    agent.signal(Signal::USR1);
    wait_until(&agent, "the wished one", |log| rig::verified(log) == 1);
    assert_ne!(place.serial(), old);
    place.assert_served();
}

#[test]
fn an_application_that_falls_back_to_old_files_is_reloaded_again() {
    let bench = Bench::new();
    let mut place = bench.place();
    place.settings = ["--on-cert-change", "signal"].map(str::to_owned).into();
    let mut agent = place.start();
    agent.wait_for_line("published a certificate", PATIENCE);
    let app = place.start_app(Behaviour::default());
    wait_until(&agent, "first proof", |log| rig::verified(log) == 1);
    agent.signal(Signal::USR1);
    wait_until(&agent, "second proof", |log| rig::verified(log) == 2);
    place.assert_served();
    app.process.signal(Signal::USR1);
    agent.wait_for_line("it is reloaded again", PATIENCE);
    wait_until(&agent, "third proof", |log| rig::verified(log) == 3);
    place.assert_served();
}

#[test]
fn an_application_that_serves_another_certificate_is_an_alarm() {
    let bench = Bench::new();
    let mut place = bench.place();
    place.settings = ["--on-cert-change", "signal"].map(str::to_owned).into();
    let other = place.home().join("other");
    crate::apps::Authority::new().publish(&other, None);
    let _app = place.start_app_on(&other, Behaviour::default());
    let mut agent = place.start();
    let line = agent.wait_for_line("ALERT", PATIENCE);
    assert!(line.contains(&place.serial()), "{line}");
    assert_eq!(rig::verified(&agent.stderr()), 0);
}
