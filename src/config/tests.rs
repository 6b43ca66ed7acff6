//! The whole way from file, environment and flags to a configuration.

mod auth;
mod file;
mod issuer;
mod places;
mod reload;
mod secrets;
mod seen;

use super::{
    Config, Environment, Flags, Loaded, Problems, file::Written, layers::Gathered, parse,
    resolve::resolve,
};
use crate::model::schedule::MinRemaining;

/// An environment from pairs.
pub(super) fn env(pairs: &[(&str, &str)]) -> Environment {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// What a file's text, an environment and flags give; the file must parse.
pub(super) fn try_load(
    text: &str,
    environment: &Environment,
    flags: &Flags,
) -> Result<Loaded, Problems> {
    let written = parse(text, "test.hcl")?;
    resolve(
        &written,
        Gathered {
            environment,
            flags,
            problems: Problems::default(),
            table: Some(Vec::new()),
            notes: Vec::new(),
        },
    )
}

fn load(text: &str, environment: &Environment, flags: &Flags) -> Config {
    match try_load(text, environment, flags) {
        Ok(loaded) => loaded.config,
        Err(problems) => panic!("{problems}"),
    }
}

/// All problems, one line each.
fn refused(text: &str, environment: &Environment, flags: &Flags) -> String {
    match try_load(text, environment, flags) {
        Ok(loaded) => panic!("accepted: {:?}", loaded.config),
        Err(problems) => problems.to_string(),
    }
}

/// The least that is complete.
fn least() -> Environment {
    env(&[
        ("VAULT_TOKEN", "s.hunter2"),
        ("CERTAGENT_COMPONENT", "ingester"),
    ])
}

#[test]
fn on_nomad_no_file_is_needed() {
    let dir = tempfile::tempdir().unwrap();
    let secrets = dir.path().join("secrets");
    std::fs::create_dir(&secrets).unwrap();
    let jwt = secrets.join("nomad_certagent.jwt");
    drop(
        std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&jwt),
    );
    let environment = env(&[
        ("VAULT_ADDR", "https://vault.example:8200"),
        ("NOMAD_SECRETS_DIR", secrets.to_str().unwrap()),
        ("NOMAD_ALLOC_DIR", "/alloc"),
        ("NOMAD_ALLOC_ID", "5f2c"),
        ("NOMAD_GROUP_NAME", "ingester"),
        ("NOMAD_TASK_NAME", "certagent"),
        ("NOMAD_IP_http", "192.0.2.7"),
        ("NOMAD_IP_grpc", "192.0.2.8"),
        ("NOMAD_IP_gossip", "192.0.2.7"),
        ("CERTAGENT_NODE_IP", "2001:db8::7"),
    ]);
    let loaded = try_load("", &environment, &Flags::default()).unwrap();
    let one = &loaded.config.certificates[0];
    assert_eq!(one.name, "ingester");
    let names = &one.request.names;
    assert_eq!(names.common_name, "loki-ingester.service.consul");
    let ips: Vec<_> = names.ips.iter().map(ToString::to_string).collect();
    assert_eq!(ips, ["192.0.2.7", "192.0.2.8", "2001:db8::7"]);
    assert_eq!(one.files.dir, secrets.join("certs"));
    let ready_file = one.ready_file.as_ref().unwrap();
    assert_eq!(ready_file.to_str(), Some("/alloc/certagent/ready.json"));
    assert_eq!(one.renew.splay_seed, "5f2c/ingester");
    let auth = format!("{:?}", loaded.config.auth);
    assert!(
        auth.contains("jwt-nomad") && auth.contains("nomad_certagent.jwt"),
        "{auth}"
    );
    let row = |key: &str| loaded.table.iter().find(|row| row.key == key).unwrap();
    assert_eq!(
        row("certificate.ip_sans").source.to_string(),
        "from NOMAD_IP_grpc, NOMAD_IP_gossip"
    );
    assert_eq!(
        format!("{:?}", row("certificate.ip_sans").values),
        r#"["192.0.2.8", "192.0.2.7"]"#
    );
    assert!(loaded.notes.is_empty(), "{:?}", loaded.notes);
}

#[test]
fn a_value_that_nobody_filled_in_is_refused_wherever_it_stands() {
    let with = |name: &str, value: &str| {
        let mut environment = least();
        environment.insert(name.to_owned(), value.to_owned());
        environment
    };
    let hole = "${attr.unique.network.ip-address}";
    let none = Flags::default();
    for name in [
        "CERTAGENT_NODE_IP",
        "CERTAGENT_IP_SANS",
        "VAULT_ADDR",
        "NOMAD_IP_grpc",
    ] {
        let text = refused("", &with(name, hole), &none);
        assert!(
            text.contains("contains an unresolved `${`") && text.contains(name),
            "{text}"
        );
    }
    let text = refused(
        "",
        &least(),
        &none.clone().with("dir", "${NOMAD_SECRETS_DIR}/x"),
    );
    assert!(
        text.starts_with("--dir: certificate.dir: contains an unresolved"),
        "{text}"
    );
    // Escaped in the file, it comes out of the parser as text.
    let text = refused("certificate \"a\" {\n  dir = \"$${X}\"\n}", &least(), &none);
    assert!(
        text.starts_with("test.hcl:2: certificate.dir: contains an unresolved"),
        "{text}"
    );
    let text = refused("certificate \"a\" {\n  dir = \"${X}\"\n}", &least(), &none);
    assert!(
        text.starts_with("test.hcl:2: certificate.dir: contains an unresolved"),
        "{text}"
    );
}

#[test]
fn nothing_in_the_table_nor_the_problems_shows_a_secret() {
    let mut environment = least();
    environment.insert(
        "VAULT_HEADERS".to_owned(),
        r#"{"X-A": "hunter2"}"#.to_owned(),
    );
    let loaded = try_load("", &environment, &Flags::default()).unwrap();
    assert!(!format!("{loaded:?}").contains("hunter2"));
    let bad = [
        ("VAULT_TOKEN", "hunter2\nhunter2"),
        ("VAULT_HEADERS", "hunter2"),
        ("VAULT_HEADERS", "{\"X-A\": \"hunter2\\n\"}"),
    ];
    for (name, value) in bad {
        let mut environment = least();
        environment.insert(name.to_owned(), value.to_owned());
        let text = refused("", &environment, &Flags::default());
        assert!(text.contains(name) && !text.contains("hunter2"), "{text}");
    }
}

#[test]
fn a_misspelt_variable_is_refused_and_a_foreign_one_is_not() {
    let mut environment = least();
    for name in [
        "CERTAGENT_PORT_8080_TCP",
        "CERTAGENT_SERVICE_HOST",
        // of `certagent exec`, whose command may call certagent
        "CERTAGENT_DIR_B",
        "CERTAGENT_CA_FILE_B",
        "CERTAGENT_CERT_FILE_B",
        "CERTAGENT_KEY_FILE_B",
    ] {
        environment.insert(name.to_owned(), "x".to_owned());
    }
    load("", &environment, &Flags::default());
    environment.remove("CERTAGENT_CA_FILE_B");
    let text = refused("", &environment, &Flags::default());
    assert!(text.starts_with("CERTAGENT_CERT_FILE_B: "), "{text}");
    environment.retain(|name, _| !name.ends_with("_B"));
    environment.insert("CERTAGENT_TLL".to_owned(), "1h".to_owned());
    assert_eq!(
        refused("", &environment, &Flags::default()),
        "CERTAGENT_TLL: unknown variable; did you mean CERTAGENT_TTL?"
    );
    // The test suite's are not known here: its tests start certagent without them.
    environment.remove("CERTAGENT_TLL");
    environment.insert("CERTAGENT_NOMAD".to_owned(), "/usr/bin/nomad".to_owned());
    let text = refused("", &environment, &Flags::default());
    assert!(
        text.starts_with("CERTAGENT_NOMAD: unknown variable"),
        "{text}"
    );
}

#[test]
fn several_certificates_have_places_of_their_own() {
    let text = "
        certificate \"a\" { component = \"a\" }
        certificate \"b\" { component = \"b\" }";
    let mut environment = env(&[("VAULT_TOKEN", "x"), ("NOMAD_ALLOC_DIR", "/alloc")]);
    let config = load(text, &environment, &Flags::default());
    let dirs: Vec<_> = config
        .certificates
        .iter()
        .map(|one| &one.files.dir)
        .collect();
    assert_eq!(
        dirs,
        [
            std::path::Path::new("secrets/certs-a"),
            std::path::Path::new("secrets/certs-b")
        ]
    );
    assert_ne!(
        config.certificates[0].ready_file,
        config.certificates[1].ready_file
    );

    // One of them is chosen, and flags mean that one.
    let flags = Flags::default().with("ttl", "1h");
    environment.insert("CERTAGENT_CERTIFICATE".to_owned(), "b".to_owned());
    let config = load(text, &environment, &flags);
    assert_eq!(config.certificates.len(), 1);
    assert_eq!(config.certificates[0].name, "b");
    assert_eq!(config.certificates[0].request.ttl.as_secs(), 3600);
    environment.insert("CERTAGENT_CERTIFICATE".to_owned(), "c".to_owned());
    assert!(refused(text, &environment, &flags).contains("no certificate \"c\""));

    // Without a choice a flag would be ambiguous.
    environment.remove("CERTAGENT_CERTIFICATE");
    assert!(
        refused(text, &environment, &flags).starts_with("--ttl: certificate.ttl: the file has 2")
    );
}

#[test]
fn two_certificates_in_one_directory_are_refused() {
    let text = "
        certificate \"a\" {
          component = \"a\"
          dir       = \"x/./certs\"
        }
        certificate \"b\" {
          component = \"b\"
          dir       = \"x//certs/\"
        }";
    let text = refused(text, &env(&[("VAULT_TOKEN", "x")]), &Flags::default());
    assert!(
        text.contains("a and b would overwrite each other"),
        "{text}"
    );
}

#[test]
fn contradictions_are_refused() {
    let base = "component = \"a\"";
    let cases = [
        (
            "reuse_key = true",
            "reuse_key: a key that Vault makes is a new one each time",
        ),
        ("ttl = \"1500ms\"", "Vault counts whole seconds"),
        ("ttl = \"0s\"", "needs at least 1s"),
        (
            "ttl = \"1h\"\n min_remaining = \"1h\"",
            "not less than the ttl",
        ),
        ("key_perms = \"0644\"", "must not be readable by every user"),
        (
            "common_name = \"a b\"",
            "it is no host name and there is no other name",
        ),
        (
            "common_name = \"\"",
            "it is no host name and there is no other name",
        ),
        ("common_name = \" a\"", "without blanks around it"),
        ("common_name = \"ä\"", "plain ASCII"),
    ];
    for (line, wanted) in cases {
        let text = format!("certificate \"a\" {{\n {base}\n {line}\n}}");
        let found = refused(&text, &env(&[("VAULT_TOKEN", "x")]), &Flags::default());
        assert!(found.contains(wanted), "{line}: {found}");
        assert!(found.starts_with("test.hcl:"), "{found}");
    }
}

#[test]
fn the_defaults_depend_on_the_ttl_where_the_table_says_so() {
    let of = |ttl: &str| {
        let flags = Flags::default().with("ttl", ttl);
        let one = load("", &least(), &flags).certificates.remove(0);
        (
            one.renew.max_issuances_per_hour.per_hour(None),
            match one.renew.min_remaining {
                MinRemaining::Derived(most) => most.as_millis(),
                MinRemaining::Configured(_) => panic!("nobody wrote it"),
            },
        )
    };
    assert_eq!(of("10d"), (10, 300_000));
    assert_eq!(of("1h"), (10, 180_000));
    assert_eq!(of("5m"), (48, 15_000));
    assert_eq!(of("5s"), (2880, 250));
    assert_eq!(of("1s"), (3600, 50));
}

#[test]
fn a_written_file_parses_to_nothing_else() {
    assert_eq!(parse("", "x"), Ok(Written::default()));
}
