//! Values of settings: what is taken, and what is said of what is not.

use super::*;

#[test]
fn renewal_point_takes_shares_and_durations() {
    let share = |text| match renew_at(text) {
        Ok(RenewAt::Share(share)) => share,
        other => panic!("{text}: {other:?}"),
    };
    assert!((share("2/3") - 2.0 / 3.0).abs() < 1e-9);
    assert!((share("66%") - 0.66).abs() < 1e-9);
    assert!((share("0.5") - 0.5).abs() < 1e-9);
    assert_eq!(
        renew_at("24h"),
        Ok(RenewAt::Before(Duration::from_secs(86_400)))
    );
    for bad in [
        "1", "0", "99%", "1/0", "2/3/4", "x", "", "NaN", "-1/-2", "0s",
    ] {
        assert!(renew_at(bad).is_err(), "{bad}");
    }
}

#[test]
fn addresses_keep_their_prefix_and_lose_the_last_slash() {
    let good = [
        ("https://vault.example:8200/", "https://vault.example:8200"),
        ("http://[::1]:8200", "http://[::1]:8200"),
        ("https://proxy/team/vault/", "https://proxy/team/vault"),
        ("unix:///run/vault.sock", "unix:///run/vault.sock"),
        ("HTTPS://vault.example:8200", "https://vault.example:8200"),
    ];
    for (text, wanted) in good {
        assert_eq!(address(text).as_deref(), Ok(wanted));
    }
    let bad = [
        "",
        "vault:8200",
        "ftp://vault",
        "https://",
        "https://user:pw@vault",
        "https://vault:99999",
        "https://vault:",
        "https://va ult",
        "unix://run/vault.sock",
        "https://vault?x=1",
    ];
    for text in bad {
        assert!(address(text).is_err(), "{text}");
    }
}

#[test]
fn a_server_proves_a_name_or_an_address() {
    assert_eq!(server_name("vault.example").as_deref(), Ok("vault.example"));
    assert_eq!(server_name("127.0.0.1").as_deref(), Ok("127.0.0.1"));
    assert_eq!(server_name("::0001").as_deref(), Ok("::1"));
    for bad in ["", "*.example", "a b", "vault:8200"] {
        assert!(server_name(bad).is_err(), "{bad}");
    }
}

#[test]
fn modes_are_octal_and_keys_are_closed() {
    assert_eq!(mode("0640"), Ok(0o640));
    assert_eq!(mode("644"), Ok(0o644));
    assert_eq!(key_perms("0600"), Ok(0o600));
    for bad in ["0755", "0244", "1640", "rw", "", "0800"] {
        assert!(mode(bad).is_err(), "{bad}");
    }
    assert!(key_perms("0644").is_err());
}

#[test]
fn rates_have_a_burst() {
    assert_eq!(rate("10"), Ok((10.0, 10)));
    assert_eq!(rate("0.5"), Ok((0.5, 1)));
    assert_eq!(rate("10:20"), Ok((10.0, 20)));
    for bad in ["0", "-1", "x", "10:", "10:0", "inf", "NaN"] {
        assert!(rate(bad).is_err(), "{bad}");
    }
}

#[test]
fn names_are_checked_before_the_issuer_does() {
    assert_eq!(
        dns_name("Loki.Service.Consul").as_deref(),
        Ok("loki.service.consul")
    );
    assert!(dns_name("*.consul").is_ok());
    for bad in ["", ".", "a..b", "-a.b", "a b", "a.*.b", "ä.de"] {
        assert!(dns_name(bad).is_err(), "{bad}");
    }
    assert!(common_name(&format!("{}.consul", "a".repeat(60))).is_err());
    assert!(uri("spiffe://example/loki").is_ok());
    assert!(uri("no uri").is_err());
    for bad in ["..", "a/../b", "a//b", "", "/", "a?b", "a b"] {
        assert!(api_path(bad).is_err(), "{bad}");
    }
    assert_eq!(api_path("/team/pki/").as_deref(), Ok("team/pki"));
    assert!(api_name("a/b").is_err());
}

#[test]
fn header_values_are_not_in_messages() {
    let (name, value) = header("X-A: b: c").unwrap();
    assert_eq!((name.as_str(), value.expose()), ("X-A", "b: c"));
    assert!(!header("X A: hunter2").unwrap_err().contains("hunter2"));
    assert!(!header("{\"X\": \"hunter2").unwrap_err().contains("hunter2"));
}

#[test]
fn a_near_miss_is_named_and_a_far_one_gets_the_list() {
    assert_eq!(similar("tll", ["ttl", "mount"]), "; did you mean ttl?");
    assert_eq!(similar("zzz", ["ttl", "mount"]), "; known are mount, ttl");
}
