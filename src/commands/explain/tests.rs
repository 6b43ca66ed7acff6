//! What `explain` says, against the scheduler.

use std::{path::PathBuf, time::Duration};

use super::*;
use crate::{
    config::Files,
    model::{
        answer,
        issuance_limit::{IssuanceLimit, Requests},
        record::Record,
        request::Request,
        schedule::{MinRemaining, RenewPolicy},
        verify,
    },
    publish::CertDir,
    testing::ca::TestCa,
};

const CAME: Timestamp = Timestamp::from_unix_millis(1_795_514_400_250);

fn config(dir: PathBuf) -> CertConfig {
    CertConfig {
        name: "loki".to_owned(),
        request: Request::example(),
        renew: RenewPolicy {
            at: RenewAt::Share(schedule::DEFAULT_SHARE),
            splay: Duration::from_secs(300),
            splay_seed: "alloc/loki".to_owned(),
            min_remaining: MinRemaining::Configured(Duration::from_secs(60)),
            max_issuances_per_hour: IssuanceLimit::Configured(10),
            startup_timeout: Duration::from_secs(300),
        },
        files: Files {
            dir,
            cert_perms: 0o644,
            key_perms: 0o600,
            uid: None,
            gid: None,
        },
        ready_file: None,
        extra_ca: None,
        trust: crate::model::trust::TrustPolicy::default(),
        ca_poll_interval: Duration::ZERO,
        ca_retention: Duration::ZERO,
        probe: None,
        reload: None,
        rollback: None,
    }
}

fn verified(config: &CertConfig) -> verify::Verified {
    let body = TestCa::new(CAME).answer(&config.request, CAME);
    let expect = verify::Expect::of(&config.request);
    verify::verify(answer::parse(&body, None).unwrap(), &expect, CAME).unwrap()
}

/// Publishes a set and its record as the agent does.
fn published(config: &CertConfig) -> verify::Verified {
    let set = verified(config);
    let dir = CertDir::open(&config.files).unwrap();
    let made = dir.publish(&set).unwrap();
    let state = Record {
        fingerprint: config.request.fingerprint(),
        generation: Some(made.generation.to_string()),
        obtained_at: Some(CAME),
        requests: Requests {
            counted: vec![CAME],
            ..Requests::default()
        },
        ..Record::default()
    };
    dir.save_record(&state).unwrap();
    set
}

fn not_seen() -> RunningAgent {
    RunningAgent::of(&Err("nobody was asked".to_owned()), "loki")
}

fn explained(config: &CertConfig, now: Timestamp) -> Explanation {
    explain(config, &agent::on_disk(config, now), not_seen(), now)
}

/// A running agent's answer, as JSON that `certagent status -o json` prints.
fn answered(failure: &str, next: Timestamp) -> RunningAgent {
    let next = serde_json::to_string(&Moment::from(next)).unwrap();
    let agent = format!(
        r#"{{"version": "1", "certificates": [{{"name": "loki", "next": {next}, "failure": {failure}}}]}}"#
    );
    RunningAgent::of(&Ok(serde_json::from_str(&agent).unwrap()), "loki")
}

#[test]
fn in_an_outage_the_next_step_is_the_running_agents() {
    let temp = tempfile::tempdir().unwrap();
    let config = config(temp.path().join("certs"));
    let due = schedule::due(published(&config).validity(), Some(CAME), &config.renew).at;
    let now = due.plus(Duration::from_secs(30));
    let retry = now.plus(Duration::from_secs(7));
    let failure = r#"{"class": "unavailable", "message": "503 sealed\u001b", "in_a_row": 13}"#;
    let facts = agent::on_disk(&config, now);
    let one = explain(&config, &facts, answered(failure, retry), now);
    assert_eq!((one.next.action, one.next.why), ("wait", "retry"));
    assert_eq!(one.next.until, Some(Moment::from(retry)));
    let text = text::render(&one, Screen::PLAIN);
    for part in [
        "failed in a row: 13",
        "503 sealed",
        "the retry plan for unavailable",
    ] {
        assert!(text.contains(part), "{part} is missing in:\n{text}");
    }
    assert!(!text.contains('\u{1b}'), "{text}");
    let late = explain(&config, &facts, answered(failure, retry), retry);
    assert_eq!((late.next.action, late.next.until), ("issue", None));
    let well = explain(&config, &facts, answered("null", retry), now);
    assert_eq!((well.next.action, well.next.why), ("issue", "due"));
    // an agent with other certificates says nothing of this one
    let other = RunningAgent::of(&Ok(ReportedAgent::default()), "loki");
    assert!(matches!(other, RunningAgent::NotSeen { .. }));
}

#[test]
fn an_expired_certificate_is_named_as_such() {
    let temp = tempfile::tempdir().unwrap();
    let config = config(temp.path().join("certs"));
    let end = published(&config).validity().not_after;
    let one = explained(&config, end.plus(Duration::from_secs(1)));
    assert_eq!(
        (one.next.action, one.next.why),
        ("issue", "nothing_published")
    );
    let text = text::render(&one, Screen::PLAIN);
    assert!(
        text.contains("no usable certificate files: ") && text.contains(&end.to_string()),
        "{text}"
    );
    assert!(!text.contains("yet"), "{text}");
}

#[test]
fn it_equals_the_scheduler_to_the_millisecond() {
    let temp = tempfile::tempdir().unwrap();
    let config = config(temp.path().join("certs"));
    let set = published(&config);
    let due = schedule::due(set.validity(), Some(CAME), &config.renew);
    let now = CAME.plus(Duration::from_secs(60));
    let one = explained(&config, now);
    let renewal = one.renewal.clone().unwrap();
    assert_eq!(renewal.due, Moment::from(due.at));
    assert_eq!(renewal.lifetime_start_is, "obtained_at");
    assert_eq!(one.next.until, Some(Moment::from(due.at)));
    assert_eq!((one.next.action, one.next.why), ("wait", "due"));
    assert_eq!(
        (one.issuance_limit.used, one.request_matches),
        (1, Some(true))
    );
    // Every step from the inputs to the result can be followed.
    assert_eq!(
        renewal.due.unix_millis,
        renewal.due_before_splay.unix_millis - i64::try_from(renewal.splay.millis).unwrap()
    );
    let later = explained(&config, due.at);
    assert_eq!((later.next.action, later.next.why), ("issue", "due"));
}

#[test]
fn the_text_shows_every_input() {
    let temp = tempfile::tempdir().unwrap();
    let config = config(temp.path().join("certs"));
    published(&config);
    let one = explained(&config, CAME.plus(Duration::from_secs(60)));
    let text = text::render(&one, Screen::PLAIN);
    let renewal = one.renewal.unwrap();
    for part in [
        "loki  ",
        "66.7 % of the lifetime",
        "obtained      2026-11-24T10:00:00Z",
        "(obtained_at)",
        "of 5m (configured 5m), by a hash of alloc/loki",
        "1 of 10 an hour used",
        "same as for the published certificate",
        &format!("due           {}", renewal.due.time),
        &format!("wait until {}", renewal.due.time),
    ] {
        assert!(text.contains(part), "{part} is missing in:\n{text}");
    }
}

#[test]
fn another_request_and_an_empty_directory_are_issued_now() {
    let temp = tempfile::tempdir().unwrap();
    let mut config = config(temp.path().join("certs"));
    let none = explained(&config, CAME);
    assert_eq!(
        (none.next.action, none.next.why),
        ("issue", "nothing_published")
    );
    assert!(!config.files.dir.exists(), "explain made the directory");
    published(&config);
    config.request.names.ips.clear();
    let other = explained(&config, CAME);
    assert_eq!(
        (other.next.why, other.request_matches),
        ("request_changed", Some(false))
    );
}

#[test]
fn it_changes_nothing_on_disk() {
    let temp = tempfile::tempdir().unwrap();
    let config = config(temp.path().join("certs"));
    published(&config);
    let names = || {
        let entries = std::fs::read_dir(&config.files.dir).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    // A leftover that only the agent may clear.
    std::fs::create_dir(config.files.dir.join("..new")).unwrap();
    let before = names();
    explained(&config, CAME);
    assert_eq!(names(), before);
}

#[test]
fn a_lost_record_counts_from_not_before() {
    let temp = tempfile::tempdir().unwrap();
    let config = config(temp.path().join("certs"));
    published(&config);
    std::fs::remove_file(config.files.dir.join("..state.json")).unwrap();
    let one = explained(&config, CAME);
    assert_eq!(one.renewal.unwrap().lifetime_start_is, "not_before");
    assert_eq!(one.next.why, "request_changed");
}
