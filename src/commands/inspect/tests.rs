//! What `inspect` says of good and of damaged sets.

use std::{os::unix::fs::symlink, time::Duration};

use super::*;
use crate::{
    model::{answer, request::Request, time::Timestamp},
    publish::file::replace,
    testing::ca::TestCa,
};

const NOW: Timestamp = Timestamp::from_unix_secs(1_795_514_400);

struct At(Timestamp);

impl Clock for At {
    fn now(&self) -> Timestamp {
        self.0
    }
}

/// A directory as `run` publishes it, with one set.
fn published(ca: &TestCa) -> tempfile::TempDir {
    let temp = tempfile::tempdir().unwrap();
    let bundle = answer::parse(&ca.answer(&Request::example(), NOW), None).unwrap();
    let gen_dir = temp.path().join("..gen-000000000000007");
    std::fs::create_dir(&gen_dir).unwrap();
    for (name, text) in [
        ("CA.pem", bundle.ca_pem()),
        ("cert.pem", bundle.cert_pem()),
        ("key.pem", bundle.key_pem().expose().to_owned()),
    ] {
        replace(&gen_dir.join(name), text.as_bytes(), 0o600).unwrap();
        symlink(format!("..data/{name}"), temp.path().join(name)).unwrap();
    }
    symlink("..gen-000000000000007", temp.path().join("..data")).unwrap();
    temp
}

fn inspected(path: &Path, days: u64) -> Inspection {
    let now = NOW.plus(Duration::from_secs(days * 86_400));
    inspect(path, &At(now)).unwrap()
}

#[test]
fn expires_in_has_an_exit_code_of_its_own_and_invalid_files_keep_theirs() {
    let ca = TestCa::new(NOW);
    let dir = published(&ca);
    let report = inspected(dir.path(), 0);
    let left = report.certificates.iter().map(|it| it.seconds_left).min();
    let left = Duration::from_secs(left.unwrap());
    let second = Duration::from_secs(1);
    assert_eq!(exit(&report, None), Exit::Done);
    assert_eq!(exit(&report, Some(left - second)), Exit::Done);
    assert_eq!(exit(&report, Some(left)), Exit::Failure);
    let expired = inspected(dir.path(), 4_000);
    assert_eq!(exit(&expired, Some(second)), Exit::Refused);
}

fn codes(report: &Inspection) -> Vec<&str> {
    report.problems.iter().map(|one| one.code).collect()
}

fn swap(dir: &Path, name: &str, text: &str) {
    replace(&dir.join("..data").join(name), text.as_bytes(), 0o600).unwrap();
}

#[test]
fn a_published_set_is_good_and_all_its_facts_are_shown() {
    let temp = published(&TestCa::new(NOW));
    let report = inspected(temp.path(), 3);
    assert_eq!(report.verdict, Verdict::Valid, "{report:?}");
    let text = text::render(&report, Screen::PLAIN);
    for part in [
        "generation 000000000000007",
        "CN=loki-ingester.service.consul",
        "loki.service.consul",
        "10.0.0.7",
        "spiffe://loki/ingester",
        "70 %, 7d",
        "CN=Test Intermediate (in cert.pem)",
        "CN=Test Root (in CA.pem",
        "ec-p256, belongs to the certificate",
        "server, client",
        "verdict     valid",
    ] {
        assert!(text.contains(part), "{part} is missing in:\n{text}");
    }
    assert!(!text.contains('\x1b') && !text.contains('█'));
}

#[test]
fn json_has_every_fact_and_no_key() {
    let temp = published(&TestCa::new(NOW));
    let report = inspected(temp.path(), 3);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["verdict"], "valid");
    assert_eq!(json["certificates"][0]["ips"][0], "10.0.0.7");
    assert_eq!(json["certificates"][0]["seconds_left"], 7 * 86_400);
    assert_eq!(json["key"]["fits"], true);
    let key = std::fs::read_to_string(temp.path().join("key.pem")).unwrap();
    let secret = key.lines().nth(1).unwrap();
    assert!(!json.to_string().contains(secret));
    assert!(!text::render(&report, Screen::PLAIN).contains(secret));
}

#[test]
fn each_damage_has_its_code() {
    let ca = TestCa::new(NOW);
    let other = published(&TestCa::new(NOW));
    let from_other = |name: &str| std::fs::read_to_string(other.path().join(name)).unwrap();
    for (name, text, code) in [
        ("key.pem", from_other("key.pem"), "key-mismatch"),
        ("CA.pem", from_other("CA.pem"), "chain-signature"),
        ("key.pem", String::new(), "key-file"),
        ("CA.pem", "junk\n".to_owned(), "ca-file"),
        ("cert.pem", from_other("key.pem"), "cert-file"),
    ] {
        let temp = published(&ca);
        swap(temp.path(), name, &text);
        let report = inspected(temp.path(), 0);
        assert_eq!(report.verdict, Verdict::Invalid, "{name}");
        assert!(
            codes(&report).contains(&code),
            "{name}: {:?}",
            report.problems
        );
    }
}

#[test]
fn age_is_a_warning_and_the_end_is_bad() {
    let temp = published(&TestCa::new(NOW));
    assert_eq!(inspected(temp.path(), 8).verdict, Verdict::Valid);
    let old = inspect(temp.path(), &At(NOW.plus(Duration::from_secs(800_000)))).unwrap();
    assert_eq!(old.verdict, Verdict::Warning);
    assert!(old.warnings[0].contains("less than a tenth"), "{old:?}");
    let ended = inspected(temp.path(), 10);
    assert_eq!(
        (ended.verdict, codes(&ended)),
        (Verdict::Invalid, vec!["expired"])
    );
}

#[test]
fn the_agents_record_is_shown_for_its_own_generation_only() {
    let temp = published(&TestCa::new(NOW));
    let state = |generation: &str| {
        let text = format!(
            r#"{{"generation":"{generation}","obtained_at":{},"due_at":{}}}"#,
            NOW.unix_millis(),
            NOW.unix_millis() + 576_000_000
        );
        replace(&temp.path().join("..state.json"), text.as_bytes(), 0o600).unwrap();
    };
    state("000000000000007");
    let report = inspected(temp.path(), 3);
    assert_eq!(report.due_at.as_deref(), Some("2026-12-01T02:00:00Z"));
    assert_eq!(report.obtained_at, Some(NOW.to_string()));
    assert!(inspected(temp.path(), 7).warnings[0].contains("was due"));
    state("000000000000006");
    assert_eq!(inspected(temp.path(), 7).due_at, None);
}

#[test]
fn single_files_are_read_too() {
    let temp = published(&TestCa::new(NOW));
    let cert = inspected(&temp.path().join("cert.pem"), 0);
    assert_eq!((cert.verdict, cert.certificates.len()), (Verdict::Valid, 2));
    let key = inspected(&temp.path().join("key.pem"), 0);
    assert_eq!(key.verdict, Verdict::Valid);
    assert_eq!(key.key.as_ref().unwrap().fits, None);
    assert!(text::render(&key, Screen::PLAIN).contains("ec-p256"));
    let der = temp.path().join("root.der");
    replace(&der, &TestCa::new(NOW).root.der, 0o600).unwrap();
    assert_eq!(inspected(&der, 0).certificates[0].subject, "CN=Test Root");
    replace(&der, b"\xff\xfe", 0o600).unwrap();
    assert_eq!(codes(&inspected(&der, 0)), ["cert-file"]);
}

#[test]
fn a_missing_set_says_what_and_what_to_do() {
    let temp = tempfile::tempdir().unwrap();
    for path in [temp.path().to_owned(), temp.path().join("nothing")] {
        let error = inspect(&path, &At(NOW)).unwrap_err();
        let stopped = error.downcast_ref::<Stopped>().unwrap();
        assert_eq!(stopped.exit, Exit::Failure);
        assert!(stopped.message.contains("cannot read") && stopped.hint.is_some());
    }
}

#[test]
fn the_usual_directory_follows_the_environment() {
    let with = |pairs: &[(&str, &str)]| {
        let environment = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        usual(&environment.collect())
    };
    assert_eq!(with(&[]), Path::new("secrets/certs"));
    assert_eq!(with(&[("NOMAD_SECRETS_DIR", "/s")]), Path::new("/s/certs"));
    assert_eq!(
        with(&[("NOMAD_SECRETS_DIR", "/s"), ("CERTAGENT_DIR", "/d")]),
        Path::new("/d")
    );
}

/// Forms that nginx, PostgreSQL and Loki read: RFC 7468 permits text outside of blocks.
#[test]
fn a_set_in_any_form_that_servers_read_is_good() {
    let temp = published(&TestCa::new(NOW));
    let read = |name: &str| std::fs::read_to_string(temp.path().join(name)).unwrap();
    let [ca, cert, key] = ["CA.pem", "cert.pem", "key.pem"].map(read);
    let params = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
    let bag = "Bag Attributes\n    friendlyName: loki\nKey Attributes: <No Attributes>\n";
    let forms = [
        ("CA.pem", format!("# our root\n{ca}")),
        ("CA.pem", format!("\u{feff}# our root\n{ca}")),
        (
            "cert.pem",
            cert.replace("-----BEGIN", "subject=a\n-----BEGIN"),
        ),
        ("cert.pem", format!("{params}{cert}")),
        ("key.pem", format!("{params}{key}")),
        ("key.pem", format!("{bag}{key}")),
        ("key.pem", format!("{cert}{key}")),
    ];
    for (name, text) in forms {
        let before = read(name);
        swap(temp.path(), name, &text);
        let report = inspected(temp.path(), 3);
        assert_eq!(report.verdict, Verdict::Valid, "{name}: {report:?}");
        swap(temp.path(), name, &before);
    }
}

#[test]
fn what_a_server_does_not_read_is_named() {
    let temp = published(&TestCa::new(NOW));
    let ca = std::fs::read_to_string(temp.path().join("CA.pem")).unwrap();
    for (text, part) in [
        (format!("\u{feff}{ca}"), "byte order mark"),
        (ca.replace("CERT", "TRUSTED CERT"), "`TRUSTED CERTIFICATE`"),
        (ca.replace("-----BEGIN", "  -----BEGIN"), "indented"),
    ] {
        swap(temp.path(), "CA.pem", &text);
        let report = inspected(temp.path(), 3);
        assert_eq!(codes(&report), ["ca-file"], "{report:?}");
        assert!(report.problems[0].message.contains(part), "{report:?}");
        assert!(
            report.problems[0].message.starts_with("CA.pem: "),
            "{report:?}"
        );
    }
}
