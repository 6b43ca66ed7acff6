//! What systemd is notified of, and when.

use super::*;
use crate::{
    model::{
        failure::{Failure, FailureClass, FailureRun},
        time::Timestamp,
    },
    status::Live,
};

const SOCKET: &str = "NOTIFY_SOCKET";

fn environment(pairs: &[(&str, &str)]) -> Environment {
    let pairs = pairs.iter().copied();
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn with_set(name: &str, generation: &str, ends: i64) -> Status {
    let mut status = Status::new(name, 10);
    status.live = Some(Live {
        generation: generation.to_owned(),
        issuer: String::new(),
        issuer_sha256: String::new(),
        anchor_sha256: String::new(),
        serial: "01".to_owned(),
        not_before: Timestamp::from_unix_secs(0),
        not_after: Timestamp::from_unix_secs(ends),
        obtained_at: None,
    });
    status
}

fn failing(mut status: Status) -> Status {
    let last = Failure {
        class: FailureClass::Denied,
        code: "permission-denied".to_owned(),
        message: "told by\nsomebody".to_owned(),
        hint: None,
        retry_after: None,
    };
    status.failure = Some(FailureRun::after(None, last, Timestamp::from_unix_secs(1)));
    status
}

#[test]
fn only_a_usable_socket_makes_a_supervisor() {
    let asked = |pairs: &[(&str, &str)]| Supervisor::from_environment(&environment(pairs));
    assert!(asked(&[]).is_none());
    assert!(asked(&[(SOCKET, "")]).is_none());
    assert!(asked(&[(SOCKET, "vsock:2:1")]).is_none());
    let long = format!("/{}", "x".repeat(200));
    assert!(asked(&[(SOCKET, &long)]).is_none());
    assert!(asked(&[(SOCKET, "/run/x")]).is_some());
    let address = asked(&[(SOCKET, "@/x/y")]).unwrap().address;
    assert_eq!(address.as_abstract_name(), Some(b"/x/y".as_slice()));
}

#[test]
fn the_watchdog_is_fed_only_when_it_is_ours() {
    let own = process::id().to_string();
    let watchdog = |pairs: &[(&str, &str)]| {
        let mut all = environment(pairs);
        all.insert(SOCKET.to_owned(), "/run/x".to_owned());
        Supervisor::from_environment(&all).unwrap().watchdog
    };
    let minute = Some(Duration::from_secs(60));
    assert_eq!(watchdog(&[]), None);
    assert_eq!(watchdog(&[("WATCHDOG_USEC", "60000000")]), minute);
    let usec = ("WATCHDOG_USEC", "60000000");
    assert_eq!(watchdog(&[usec, ("WATCHDOG_PID", &own)]), minute);
    assert_eq!(watchdog(&[usec, ("WATCHDOG_PID", "1")]), None);
    assert_eq!(watchdog(&[("WATCHDOG_USEC", "0")]), None);
    assert_eq!(watchdog(&[("WATCHDOG_USEC", "soon")]), None);
}

struct World {
    senders: Vec<watch::Sender<Status>>,
    statuses: Vec<watch::Receiver<Status>>,
    start: Start,
    reloaded: Told,
}

impl World {
    fn new(names: &[&str]) -> Self {
        let also = CancellationToken::new();
        also.cancel();
        let senders = names
            .iter()
            .map(|name| watch::Sender::new(Status::new(name, 10)));
        let senders: Vec<watch::Sender<Status>> = senders.collect();
        Self {
            statuses: senders.iter().map(watch::Sender::subscribe).collect(),
            senders,
            start: Start {
                also,
                deadline: Instant::now() + Duration::from_secs(300),
            },
            reloaded: Told::default(),
        }
    }

    /// The first word of each message.
    fn news(&mut self) -> Vec<String> {
        let news = self.reloaded.news(&self.statuses, &self.start).into_iter();
        let first = |text: String| text.split('=').next().unwrap_or_default().to_owned();
        news.map(first).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn ready_comes_once_and_each_new_generation_is_a_reload() {
    let mut world = World::new(&["a"]);
    assert_eq!(world.news(), ["STATUS"]);
    assert_eq!(world.news(), [""; 0]);
    world.senders[0].send_replace(with_set("a", "1", 100));
    assert_eq!(world.news(), ["READY"]);
    assert_eq!(world.news(), [""; 0]);
    world.senders[0].send_replace(failing(with_set("a", "1", 100)));
    assert_eq!(world.news(), ["STATUS"]);
    world.senders[0].send_replace(with_set("a", "2", 200));
    assert_eq!(world.news(), ["RELOADING", "READY"]);
}

#[tokio::test(start_paused = true)]
async fn ready_waits_for_every_set_but_not_beyond_the_deadline() {
    let mut world = World::new(&["a", "b"]);
    world.senders[0].send_replace(with_set("a", "1", 100));
    assert_eq!(world.news(), ["STATUS"]);
    tokio::time::advance(Duration::from_secs(301)).await;
    assert_eq!(world.news(), ["READY"]);

    let mut none = World::new(&["a", "b"]);
    tokio::time::advance(Duration::from_secs(301)).await;
    assert_eq!(none.news(), ["STATUS"]);
}

#[tokio::test(start_paused = true)]
async fn ready_waits_for_the_application_too() {
    let mut world = World::new(&["a"]);
    world.start.also = CancellationToken::new();
    world.senders[0].send_replace(with_set("a", "1", 100));
    assert_eq!(world.news(), ["STATUS"]);
    world.start.also.cancel();
    assert_eq!(world.news(), ["READY"]);
}

#[test]
fn the_status_line_names_the_first_end_and_what_fails() {
    let two = [
        failing(with_set("a", "1", 1_900_000_000)),
        with_set("b", "1", 1_800_000_000),
    ];
    let line = status_line::status(&two);
    assert_eq!(
        line,
        "2 of 2 published; first notAfter 2027-01-15T08:00:00Z (b); a failing (denied)"
    );
    let many: Vec<Status> = (0..9)
        .map(|n| failing(Status::new(&format!("c{n}"), 1)))
        .collect();
    let line = status_line::status(&many);
    assert!(
        line.ends_with("c2 failing (denied); 6 more failing"),
        "{line}"
    );
    assert!(!line.contains('\n'));
}
