//! What a file may say, and the line of everything it may not.

use proptest::prelude::*;

use super::super::{Flags, parse};
use super::{env, least, load, refused, try_load};

const BAD: &str = r#"vault {
  address = ["https://v:8200"]
  adress  = "x"
  timeout = "10x"
}
log { level = "loud" }
tls {}
certificate "a" {
  ttl         = 3600
  ip_sans     = ["192.0.2.1",
    "1.2.3"]
  common_name = "loki-${x}.y"
  foo {}
  mount       = ["a", "b"]
  role        = upper("x")
}
auth "jwt" {
  path  = "/x"
  token = "abc"
}
certificate "a" {
  common_name = "b"
}
certificate {}
log {}
ttl = 5
"#;

#[test]
fn every_problem_of_a_file_comes_at_once_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bad.hcl");
    crate::publish::file::replace(&path, BAD.as_bytes(), 0o600).unwrap();
    let problems = super::super::load(Some(&path), &env(&[]), &Flags::default()).unwrap_err();
    let text = problems.to_string().replace(path.to_str().unwrap(), "f");
    let found: Vec<_> = text.lines().collect();
    let wanted = [
        "f:3: vault.adress: unknown key; did you mean address?",
        "f:4: vault.timeout: \"10x\": ",
        "f:6: log.level: \"loud\": ",
        "f:7: tls: unknown block",
        "f:10: certificate.ip_sans: \"1.2.3\": not an IP address",
        "f:12: certificate.common_name: contains an unresolved",
        "f:13: certificate.foo: unknown block",
        "f:14: certificate.mount: needs one value, not an array",
        "f:15: certificate.role: needs a plain value",
        "f:19: auth.token: a secret does not belong into this file",
        "f:21: certificate: \"a\" is already at f:8",
        "f:24: certificate: needs one label",
        "f:25: log: only one such block",
        "f:26: ttl: a key outside of a block",
    ];
    for start in wanted {
        assert!(
            found.iter().any(|line| line.starts_with(start)),
            "{start}\n{text}"
        );
    }
    // Nothing is said twice, and nothing that was written is called missing.
    assert!(
        !text.contains("no name to request: set component"),
        "{text}"
    );
}

#[test]
fn an_error_of_syntax_has_its_line_and_hides_nothing_behind_others() {
    let problems = parse("log {\n  level = \"info\"\n  x y\n}\n", "f").unwrap_err();
    let text = problems.to_string();
    assert!(text.starts_with("f:3: not valid HCL at column"), "{text}");
    assert_eq!(problems.list().len(), 1);
}

#[test]
fn a_file_that_is_not_there_is_the_only_problem() {
    let missing = std::path::Path::new("/nowhere/certagent.hcl");
    let problems = super::super::load(Some(missing), &env(&[]), &Flags::default()).unwrap_err();
    let text = problems.to_string();
    assert!(
        text.starts_with("could not read /nowhere/certagent.hcl: "),
        "{text}"
    );
    assert_eq!(text.lines().count(), 1);
}

#[test]
fn numbers_truths_and_heredocs_are_values() {
    let text = "
        vault {
          max_retries   = 7
          ca_cert_bytes = <<-EOF
            -----BEGIN CERTIFICATE-----
            AAAA
            EOF
        }
        certificate \"a\" {
          ttl       = 3600
          mode      = \"sign\"
          reuse_key = true
        }";
    let config = load(text, &least(), &Flags::default());
    assert_eq!(config.vault.max_retries, 7);
    let pem = config.vault.tls.ca_cert_bytes.unwrap();
    assert_eq!(pem, "-----BEGIN CERTIFICATE-----\nAAAA\n");
    let one = &config.certificates[0];
    assert_eq!(one.request.ttl.as_secs(), 3600);
    assert!(one.request.reuse_key);
}

#[test]
fn headers_are_an_object_of_texts() {
    let text = "vault {\n  headers = { X-A = \"b\", \"X-C\" = \"d: e\" }\n}";
    let config = load(text, &least(), &Flags::default());
    let headers: Vec<_> = config
        .vault
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.expose()))
        .collect();
    assert_eq!(headers, [("X-A", "b"), ("X-C", "d: e")]);
    let text = refused(
        "vault {\n\n  headers = [\"X-A\"]\n}",
        &least(),
        &Flags::default(),
    );
    assert!(
        text.starts_with("test.hcl:3: vault.headers: needs"),
        "{text}"
    );
}

proptest! {
    #[test]
    fn any_text_gives_an_answer(text in "(vault|auth|certificate|[a-z\"{}=\\[\\]$%<# \n.,0-9-]){0,60}") {
        let _ = parse(&text, "f");
    }
}

#[test]
fn a_probe_stands_in_its_certificate_and_takes_its_address_from_nomad() {
    let mut environment = least();
    environment.insert("NOMAD_ADDR_grpc".to_owned(), "10.0.0.7:9095".to_owned());
    environment.insert("NOMAD_IP_grpc".to_owned(), "10.0.0.7".to_owned());
    let none = load("", &environment, &Flags::default());
    assert_eq!(none.certificates[0].probe, None);
    let text = "certificate \"a\" {\n  probe {\n    interval = \"1m\"\n  }\n}\n";
    let config = load(text, &environment, &Flags::default());
    let probe = config.certificates[0].probe.clone().unwrap();
    assert_eq!(probe.interval, std::time::Duration::from_secs(60));
    assert_eq!(probe.target.address, "10.0.0.7:9095");
    assert_eq!(probe.target.server_name, "10.0.0.7");
    assert_eq!(probe.target.alpn, ["h2"]);
    assert!(probe.target.grpc_health && probe.target.mtls);
}

#[test]
fn a_wrong_probe_is_named_with_its_line() {
    let flags = Flags::default();
    let of = |inner: &str| {
        let text = format!("certificate \"a\" {{\n  probe {{\n    {inner}\n  }}\n}}\n");
        try_load(&text, &least(), &flags).unwrap_err().to_string()
    };
    assert!(of("").contains("certificate.probe.address: no address to probe"));
    assert!(
        of("address = \"a\"")
            .contains("test.hcl:3: certificate.probe.address: \"a\": not host:port")
    );
    assert!(of("adress = \"a:1\"").contains("unknown key; did you mean address?"));
    assert!(
        of("address = \"a:1\"\n grpc_health = true\n alpn = [\"http/1.1\"]")
            .contains("gRPC needs h2")
    );
    assert!(of("probe { }").contains("certificate.probe.probe: no block is known inside this one"));
    assert!(of("}\n  probe {\n").contains("the first is at test.hcl:2"));
    let top = refused("probe { }", &least(), &flags);
    assert!(top.contains("unknown block"), "{top}");
}

#[test]
fn a_byte_order_mark_before_a_configuration_means_nothing() {
    let text = "\u{feff}certificate \"a\" {\n  role = \"x\"\n}\n";
    assert!(parse(text, "f").is_ok());
    let inside = parse(&format!("# a\n{text}"), "f");
    assert!(inside.is_err(), "anywhere else it is a character too many");
}

#[test]
fn an_address_in_another_notation_is_named() {
    assert!(super::super::values::ip("fd00::1").is_ok());
    assert!(
        super::super::values::ip("[fd00::1]")
            .unwrap_err()
            .contains("without brackets")
    );
    assert!(
        super::super::values::ip("fe80::1%eth0")
            .unwrap_err()
            .contains("zone")
    );
    for junk in ["", "[]", "[x]", "x%y", "%", "1.2.3"] {
        assert_eq!(
            super::super::values::ip(junk).unwrap_err(),
            "not an IP address",
            "{junk}"
        );
    }
}
