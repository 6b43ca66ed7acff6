//! What counts as the published certificate being served.

use super::*;

fn served() -> Served {
    Served {
        serial: "01:02".to_owned(),
        sha256: "aa".to_owned(),
        issuer: "CN=issuer".to_owned(),
        subject: "CN=a".to_owned(),
        not_before: Timestamp::from_unix_secs(1000),
        not_after: Timestamp::from_unix_secs(2000),
        trust: ChainTrust::Verified,
        accepted: Accepted::Yes { sent: true },
        health: Some(ApplicationHealth::Serving),
        version: None,
        alpn: None,
    }
}

fn wanted(sha256: &str, not_before: i64) -> Wanted<'_> {
    Wanted {
        serial: "03:04",
        sha256,
        not_before: Timestamp::from_unix_secs(not_before),
    }
}

fn code(served: &Served) -> Option<&'static str> {
    compare(served, &wanted("aa", 1000)).err().map(|no| no.code)
}

#[test]
fn only_the_same_proven_accepted_and_healthy_certificate_is_verified() {
    type Change = fn(&mut Served);
    let table: [(Change, Option<&str>); 12] = [
        (|_| {}, None),
        (|it| it.health = None, None),
        (|it| it.accepted = Accepted::NotAsked, None),
        (|it| it.accepted = Accepted::Yes { sent: false }, None),
        (|it| it.sha256 = "bb".to_owned(), Some("serves-other")),
        (
            |it| it.trust = ChainTrust::Refused("expired".to_owned()),
            Some("served-untrusted"),
        ),
        (
            |it| it.accepted = Accepted::Refused("unknown_ca".to_owned()),
            Some("client-refused"),
        ),
        (
            |it| it.accepted = Accepted::Silent,
            Some("client-unanswered"),
        ),
        (
            |it| it.health = Some(ApplicationHealth::NotServing),
            Some("not-healthy"),
        ),
        (
            |it| it.health = Some(ApplicationHealth::Other(0)),
            Some("not-healthy"),
        ),
        (
            |it| it.health = Some(ApplicationHealth::Status(12, String::new())),
            Some("not-healthy"),
        ),
        (
            |it| it.health = Some(ApplicationHealth::Broken("cut off".to_owned())),
            Some("not-healthy"),
        ),
    ];
    for (change, wanted) in table {
        let mut served = served();
        change(&mut served);
        assert_eq!(code(&served), wanted, "{served:?}");
        assert!(wanted.is_none_or(|code| CODES.contains(&code)));
    }
}

#[test]
fn an_old_certificate_is_named_before_anything_that_may_follow_from_it() {
    let old = Served {
        sha256: "bb".to_owned(),
        not_before: Timestamp::from_unix_secs(1),
        trust: ChainTrust::Refused("unknown issuer".to_owned()),
        ..served()
    };
    let no = compare(&old, &wanted("aa", 1000)).unwrap_err();
    assert_eq!(no.code, "serves-other");
    assert_eq!(
        no.message,
        "still serves 01:02 (valid until 1970-01-01T00:33:20Z), published is 03:04"
    );
}

#[test]
fn the_same_serial_of_another_issuer_is_not_the_same_certificate() {
    let mut other = wanted("bb", 1000);
    other.serial = "01:02";
    assert_eq!(compare(&served(), &other).unwrap_err().code, "serves-other");
}

#[test]
fn addresses_are_host_and_port() {
    assert_eq!(split_address("127.0.0.1:9095"), Some(("127.0.0.1", 9095)));
    assert_eq!(split_address("[::1]:9095"), Some(("::1", 9095)));
    assert_eq!(
        split_address("loki.service.consul:1"),
        Some(("loki.service.consul", 1))
    );
    for bad in [
        "",
        "a",
        "a:",
        ":1",
        "a:0",
        "a:65536",
        "::1:9095",
        "[::1]",
        "[a]:1",
        "https://a:1",
        "a b:1",
    ] {
        assert_eq!(split_address(bad), None, "{bad}");
    }
}

#[test]
fn the_host_is_proven_where_the_certificate_has_it() {
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    let dns = ["*.consul", "other.consul", "loki.consul"];
    let table = [
        ("10.0.0.7:1", "10.0.0.7"),
        ("[::ffff:10.0.0.7]:1", "::ffff:10.0.0.7"),
        ("127.0.0.1:1", "loki.consul"),
        ("Other.consul:1", "Other.consul"),
        ("localhost:1", "loki.consul"),
    ];
    for (address, name) in table {
        assert_eq!(name_to_prove(address, &dns, &[ip("10.0.0.7")]), name);
    }
    assert_eq!(name_to_prove("a:1", &["*.consul"], &[ip("::1")]), "::1");
    assert_eq!(name_to_prove("a:1", &[], &[]), "a");
}
