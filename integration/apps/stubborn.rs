//! A TLS server that reloads as badly as applications do: it ignores signals, dies of them, falls
//! back to old files, serves another certificate.
//!
//! It is this test binary again: the test `child` does nothing unless [`DIR`] is set. With ALPN h2 it
//! is a gRPC server with a health service, else it waits for the end of each connection.

use std::{path::Path, process::Command, time::Duration};

use certagent::probe::Identity;

use super::{look, target};
use crate::rig::{PATIENCE, Process, wait_for};

/// Directory with the set that it serves.
const DIR: &str = "CERTAGENT_TEST_STUBBORN_DIR";
/// `host:port` to listen on.
const ADDRESS: &str = "CERTAGENT_TEST_STUBBORN_ADDRESS";
/// How many SIGHUPs it ignores before one makes it reload.
const IGNORE: &str = "CERTAGENT_TEST_STUBBORN_IGNORE";
/// Flags, with commas between: `dies`, `deaf`, `mtls`, `sick`.
const TRAITS: &str = "CERTAGENT_TEST_STUBBORN_TRAITS";

/// How it behaves. SIGHUP is the signal to reload; SIGUSR1 puts it back to the set of its start, as
/// a restart on old files would.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Behaviour {
    /// How many SIGHUPs it ignores before one makes it reload.
    pub(crate) ignore: u32,
    /// A SIGHUP that it does not ignore ends it with code 3.
    pub(crate) dies: bool,
    /// It catches no signal: the next one kills it.
    pub(crate) deaf: bool,
    /// It wants a client certificate of its CA.pem.
    pub(crate) mtls: bool,
    /// Its health service says NOT_SERVING.
    pub(crate) sick: bool,
}

/// A running one.
pub(crate) struct Stubborn {
    pub(crate) process: Process,
    /// `127.0.0.1:port`
    pub(crate) address: String,
}

impl Stubborn {
    /// Starts one on a free port.
    pub(crate) fn start(dir: &Path, behaviour: Behaviour) -> Self {
        Self::start_on(dir, behaviour, "127.0.0.1:0")
    }

    /// Starts one on that address: again, after its end.
    pub(crate) fn start_on(dir: &Path, behaviour: Behaviour, address: &str) -> Self {
        let mut process = Process::start(&mut Self::command(dir, behaviour, address));
        let line = process.wait_for_line("stubborn: listening on ", PATIENCE);
        let (_, address) = line.rsplit_once(' ').unwrap();
        let address = address.to_owned();
        Self { process, address }
    }

    /// The command that starts one, for a parent that is not the test.
    pub(crate) fn command(dir: &Path, behaviour: Behaviour, address: &str) -> Command {
        let traits = [
            (behaviour.dies, "dies"),
            (behaviour.deaf, "deaf"),
            (behaviour.mtls, "mtls"),
            (behaviour.sick, "sick"),
        ];
        let traits = traits.iter().filter_map(|(on, word)| on.then_some(*word));
        // Under nohup an ignored SIGHUP would be inherited, and a deaf server would live on.
        let mut command = Command::new("env");
        command
            .arg("--default-signal=HUP")
            .arg(std::env::current_exe().unwrap())
            .args(["apps::stubborn::child", "--exact", "--nocapture"])
            .env(DIR, dir)
            .env(ADDRESS, address)
            .env(IGNORE, behaviour.ignore.to_string())
            .env(TRAITS, traits.collect::<Vec<_>>().join(","));
        command
    }
}

#[test]
fn child() {
    if let Some(dir) = std::env::var_os(DIR) {
        let traits = std::env::var(TRAITS).unwrap_or_default();
        let has = |word| traits.split(',').any(|one| one == word);
        let behaviour = Behaviour {
            ignore: std::env::var(IGNORE).unwrap().parse().unwrap(),
            dies: has("dies"),
            deaf: has("deaf"),
            mtls: has("mtls"),
            sick: has("sick"),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let address = std::env::var(ADDRESS).unwrap();
        runtime.block_on(server::run(Path::new(&dir), behaviour, &address));
    }
}

mod server;

#[test]
fn after_k_ignored_signals_the_next_one_is_verified_and_none_before() {
    let home = tempfile::tempdir().unwrap();
    let authority = super::Authority::new();
    for ignore in 0..=5 {
        let dir = home.path().join(ignore.to_string());
        let old = authority.publish(&dir, None);
        let behaviour = Behaviour {
            ignore,
            mtls: true,
            ..Behaviour::default()
        };
        let mut app = Stubborn::start(&dir, behaviour);
        let target = target(&app.address);
        assert_eq!(look(&target, &old).1, Ok(()));
        let new = authority.publish(&dir, None);
        for told in 1..=ignore {
            app.process.signal(rustix::process::Signal::HUP);
            let said = format!("stubborn: ignored {told}");
            app.process.wait_for_line(&said, PATIENCE);
            assert_eq!(
                look(&target, &new).1,
                Err("serves-other"),
                "{ignore} {told}"
            );
        }
        app.process.signal(rustix::process::Signal::HUP);
        verified(&app.address, &new);
    }
}

/// Waits until that certificate is served.
fn verified(address: &str, identity: &Identity) {
    wait_for("the new certificate", Duration::from_secs(30), || {
        look(&target(address), identity).1.ok()
    });
}

#[test]
fn a_server_that_falls_back_dies_or_serves_another_is_seen_as_such() {
    use rustix::process::Signal;
    let home = tempfile::tempdir().unwrap();
    let authority = super::Authority::new();
    let dir = home.path().join("certs");
    authority.publish(&dir, None);
    let app = Stubborn::start(&dir, Behaviour::default());
    let new = authority.publish(&dir, None);
    app.process.signal(Signal::HUP);
    verified(&app.address, &new);
    app.process.signal(Signal::USR1);
    wait_for("the old certificate", PATIENCE, || {
        (look(&target(&app.address), &new).1 == Err("serves-other")).then_some(())
    });

    for behaviour in [
        Behaviour {
            dies: true,
            ..Behaviour::default()
        },
        Behaviour {
            deaf: true,
            ..Behaviour::default()
        },
    ] {
        let mut app = Stubborn::start(&dir, behaviour);
        app.process.signal(Signal::HUP);
        app.process.wait(PATIENCE);
        assert_eq!(look(&target(&app.address), &new).1, Err("probe-refused"));
        let again = Stubborn::start_on(&dir, Behaviour::default(), &app.address);
        verified(&again.address, &new);
    }

    let other = home.path().join("other");
    super::Authority::new().publish(&other, None);
    let app = Stubborn::start(&other, Behaviour::default());
    let (served, verdict) = look(&target(&app.address), &new);
    assert!(matches!(verdict, Err("serves-other")));
    let trust = served.unwrap().trust;
    assert!(matches!(
        trust,
        certagent::model::served::ChainTrust::Refused(_)
    ));
}
