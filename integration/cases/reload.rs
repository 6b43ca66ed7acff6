//! Telling a real application: a real Nomad signals and restarts a task, refuses, and keeps a lock.

pub(crate) mod agent;

use std::{path::Path, time::Duration};

use certagent::{
    model::reload::Delivery,
    reload::nomad::{Lock, Nomad, NomadConfig, Taken},
};

use self::agent::{Allocation, NomadAgent, TASK};
use crate::rig::{PATIENCE, wait_for};

const LOCK: &str = "nomad/jobs/tell/lock";

fn nomad(allocation: &Allocation, change: impl FnOnce(&mut NomadConfig)) -> Nomad {
    let environment = [
        ("NOMAD_ALLOC_ID", allocation.id.clone()),
        ("NOMAD_NAMESPACE", "default".to_owned()),
        (
            "NOMAD_SECRETS_DIR",
            allocation.secrets.display().to_string(),
        ),
    ];
    let environment = environment.map(|(name, text)| (name.to_owned(), text));
    let mut config = NomadConfig::of(&environment.into(), Duration::from_secs(5)).unwrap();
    change(&mut config);
    Nomad::new(config).unwrap()
}

fn lines(path: &Path, wanted: &str) -> usize {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().filter(|line| *line == wanted).count()
}

fn until_lines(path: &Path, wanted: &str, count: usize) {
    wait_for(&format!("{count} times {wanted:?}"), PATIENCE, || {
        (lines(path, wanted) == count).then_some(())
    });
}

fn run<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

#[test]
#[ignore = "needs nomad"]
fn a_real_nomad_signals_restarts_refuses_and_locks() {
    let server = NomadAgent::start();
    let allocation = server.run_job();
    let api = nomad(&allocation, |_| {});
    let (task, usr1) = (TASK, "SIGUSR1".parse().unwrap());
    until_lines(&allocation.log, "start", 1);

    // Without a policy.
    let failure = run(api.signal(task, usr1)).unwrap_err();
    assert_eq!(failure.code, "nomad-denied", "{failure}");
    let failure = run(api.restart(task)).unwrap_err();
    assert_eq!(failure.code, "nomad-denied", "{failure}");
    let failure = run(api.acquire(LOCK, PATIENCE)).unwrap_err();
    assert_eq!(failure.code, "nomad-lock-denied", "{failure}");

    server.allow();
    assert_eq!(run(api.signal(task, usr1)), Ok(Delivery::Delivered));
    until_lines(&allocation.log, "usr1", 1);
    assert_eq!(run(api.restart(task)), Ok(Delivery::Delivered));
    until_lines(&allocation.log, "start", 2);

    // What does not run needs nothing; what does not exist is named.
    for reloaded in [run(api.signal("once", usr1)), run(api.restart("once"))] {
        assert_eq!(reloaded, Ok(Delivery::NotRunning));
    }
    for reloaded in [run(api.signal("nobody", usr1)), run(api.restart("nobody"))] {
        let failure = reloaded.unwrap_err();
        assert_eq!(failure.code, "nomad-task-unknown", "{failure}");
    }
    let other = nomad(&allocation, |config| {
        config.alloc_id = "11111111-2222-3333-4444-555555555555".to_owned();
    });
    let failure = run(other.restart(task)).unwrap_err();
    assert_eq!(failure.code, "nomad-alloc-unknown", "{failure}");
    assert_eq!(
        lines(&allocation.log, "start"),
        2,
        "nothing else was restarted"
    );

    refuses_bad_tokens(&server, &allocation);
    lock(&api);
    token_of_an_ended_allocation(&server, &allocation);
}

fn refuses_bad_tokens(server: &NomadAgent, allocation: &Allocation) {
    for (token, code) in [
        (
            "11111111-2222-3333-4444-555555555555",
            "nomad-token-unknown",
        ),
        ("eyJhbGciOiJSUzI1NiJ9.e30.c2ln", "nomad-token-unverified"),
    ] {
        let place = server.home.path().join("token");
        std::fs::write(&place, token).unwrap();
        let api = nomad(allocation, |config| config.token_file = Some(place));
        let failure = run(api.restart(TASK)).unwrap_err();
        assert_eq!(failure.code, code, "{failure}");
        assert!(!failure.to_string().contains(token), "{failure}");
    }
}

/// One at a time; and a holder that is gone blocks nobody for long.
fn lock(api: &Nomad) {
    let ttl = Duration::from_secs(10);
    let take = || run(api.acquire(LOCK, ttl)).unwrap();
    let mine = |taken: Taken| -> Lock {
        match taken {
            Taken::Mine(lock) => lock,
            Taken::Held => panic!("it was free"),
        }
    };
    let first = mine(take());
    assert_eq!(take(), Taken::Held);
    assert_eq!(run(api.renew(&first)), Ok(true));
    assert_eq!(run(api.release(first.clone())), Ok(()));
    let second = mine(take());
    assert_eq!(run(api.renew(&first)), Ok(false), "it is not ours any more");
    drop(second);
    assert_eq!(take(), Taken::Held);
    wait_for("the lock of a holder that is gone", ttl + PATIENCE, || {
        matches!(take(), Taken::Mine(_)).then_some(())
    });
}

/// Through NOMAD_ADDR, because the socket goes with the allocation.
fn token_of_an_ended_allocation(server: &NomadAgent, allocation: &Allocation) {
    let token = std::fs::read_to_string(allocation.secrets.join("nomad_token")).unwrap();
    let place = server.home.path().join("token");
    std::fs::write(&place, token.trim()).unwrap();
    let api = nomad(allocation, |config| {
        config.token_file = Some(place);
        config.socket = None;
        config.address = Some(server.address.clone());
    });
    assert_eq!(
        run(api.restart(TASK)),
        Ok(Delivery::Delivered),
        "by the address"
    );
    server.stop_job(&allocation.id);
    let failure = run(api.restart(TASK)).unwrap_err();
    // The Task API says 500 instead; its socket went with the allocation.
    assert_eq!(failure.code, "nomad-denied", "{failure}");
    assert!(failure.hint.contains("completed allocation"), "{failure}");
}
