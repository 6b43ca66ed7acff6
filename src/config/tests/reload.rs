//! `reload`, `stagger` and `rollback`.

use std::time::Duration;

use super::super::{App, Environment, Flags, ReloadConfig, ReloadStep};
use super::{env, least, load, refused, try_load};
use crate::{
    model::reload::{Action, SignalTarget},
    reload::loki::Version,
    reload::policy::policy,
};

fn reloaded(text: &str, environment: &Environment) -> ReloadConfig {
    let config = load(text, environment, &Flags::default());
    config.certificates[0].reload.clone().unwrap()
}

fn on_nomad() -> Environment {
    let mut environment = least();
    environment.extend(env(&[
        ("NOMAD_ALLOC_ID", "5e1f0d0a-0000-4000-8000-00000000000a"),
        ("NOMAD_ALLOC_INDEX", "2"),
        ("NOMAD_ADDR_http", "192.0.2.7:3100"),
    ]));
    environment
}

#[test]
fn auto_means_loki_on_nomad_and_nothing_elsewhere() {
    let loki = reloaded("", &on_nomad());
    assert_eq!((loki.app, loki.task.as_deref()), (App::Loki, Some("loki")));
    assert_eq!(loki.version_url.as_deref(), Some("http://192.0.2.7:3100"));
    assert_eq!(
        (&loki.on_cert_change, &loki.on_ca_change),
        (&vec![ReloadStep::Auto], &vec![ReloadStep::Auto])
    );
    assert_eq!(reloaded("", &least()).app, App::Generic);
    let config = load("", &on_nomad(), &Flags::default());
    let lists = |version| {
        let policy = policy(&config.certificates[0], version);
        (policy.leaf, policy.trust)
    };
    let restart = Action::NomadRestart {
        task: "loki".to_owned(),
    };
    let new = Version { major: 3, minor: 7 };
    assert_eq!(
        lists(Some(new)),
        (vec![Action::None], vec![restart.clone()])
    );
    assert_eq!(
        lists(None),
        (vec![Action::None, restart.clone()], vec![restart])
    );
    let config = load("", &least(), &Flags::default());
    let quiet = policy(&config.certificates[0], None);
    assert_eq!(
        (quiet.leaf, quiet.trust),
        (vec![Action::None], vec![Action::None])
    );
    assert!(!quiet.probed && quiet.rollback.is_none());
}

#[test]
fn every_step_has_what_it_needs() {
    let text = r#"certificate "x" {
 reload {
        on_cert_change = ["none", "nomad_signal", "nomad_restart", "signal", "exec", "http", "auto"]
        on_ca_change = ["signal"]
        app = "generic"
        task = "app"
        signal = "SIGUSR1"
        pid_file = "/run/app.pid"
        command = ["/bin/reload", "now"]
        env = ["A=b=c"]
        url = "http://localhost:1/x"
        method = "PUT"
        expect_status = [200, 204]
        verify_timeout = "30s"
    }
}"#;
    let found = reloaded(text, &least());
    assert_eq!(found.verify_timeout, Duration::from_secs(30));
    let names: Vec<_> = found
        .on_cert_change
        .iter()
        .map(|step| match step {
            ReloadStep::Auto => "auto",
            ReloadStep::Do(action) => action.name(),
        })
        .collect();
    assert_eq!(
        names,
        [
            "none",
            "nomad_signal",
            "nomad_restart",
            "signal",
            "exec",
            "http",
            "auto"
        ]
    );
    assert!(matches!(
        &found.on_ca_change[..],
        [ReloadStep::Do(Action::Signal {
            target: SignalTarget::PidFile(_),
            ..
        })]
    ));
    let ReloadStep::Do(Action::Exec {
        argv: command, env, ..
    }) = &found.on_cert_change[4]
    else {
        panic!("exec");
    };
    assert_eq!((command.len(), env["A"].as_str()), (2, "b=c"));
    let ReloadStep::Do(Action::Http { expect, .. }) = &found.on_cert_change[5] else {
        panic!("http");
    };
    assert_eq!(expect, &[200, 204]);
}

#[test]
fn what_is_missing_or_wrong_is_named_with_its_place() {
    for (inside, wanted) in [
        (
            r#"on_cert_change = ["nomad_restart"]"#,
            "certificate.reload.task: on_cert_change contains nomad_restart, which needs it",
        ),
        (
            r#"on_ca_change = ["nomad_signal"]"#,
            "certificate.reload.signal: on_ca_change contains nomad_signal",
        ),
        (
            r#"on_cert_change = ["exec"]"#,
            "certificate.reload.command: on_cert_change contains exec",
        ),
        (
            r#"on_cert_change = ["http"]"#,
            "certificate.reload.url: on_cert_change contains http",
        ),
        (
            r#"on_cert_change = []"#,
            "certificate.reload.on_cert_change: needs at least one action",
        ),
        (r#"on_cert_change = ["restart"]"#, "not one of auto, none"),
        (r#"signal = "HUP""#, "write SIGHUP"),
        (r#"signal = "sighup""#, "write SIGHUP"),
        (r#"url = "http://10.0.0.1/""#, "only http:// on loopback"),
        (r#"url = "https://127.0.0.1/""#, "not a URL such as"),
        (r#"expect_status = [7]"#, "not a status"),
        (r#"env = ["A"]"#, "not NAME=value"),
        (r#"lock = "a b""#, "not the path of a Nomad variable"),
        ("pid = 1\npid_file = \"x\"", "exclude each other"),
        (r#"version_url = "https://x""#, "not http://host:port"),
        (
            r#"stagger { window = "1m" }"#,
            "certificate.reload.stagger.count: turns need",
        ),
        (r#"stagger { count = 0 }"#, "needs at least 1"),
        (
            r#"stagger { count = 3 }"#,
            "certificate.reload.stagger.index: turns need",
        ),
    ] {
        let text =
            format!("certificate \"x\" {{\nreload {{\n app = \"generic\"\n{inside}\n }}\n}}");
        let problems = refused(&text, &least(), &Flags::default());
        assert!(problems.contains(wanted), "{inside}: {problems}");
    }
    let text = "certificate \"x\" {\nrollback { enabled = true }\n}";
    let problems = refused(text, &least(), &Flags::default());
    assert!(
        problems.contains("certificate.rollback.enabled: needs a probe"),
        "{problems}"
    );
}

#[test]
fn turns_take_the_index_from_nomad_and_the_count_from_the_file() {
    let text = "certificate \"x\" {\nreload {\nstagger { count = 3 }\n}\n}";
    let stagger = reloaded(text, &on_nomad()).stagger.unwrap();
    assert_eq!(
        (stagger.count, stagger.index, stagger.window.as_secs()),
        (3, 2, 600)
    );
    assert_eq!(reloaded("", &on_nomad()).stagger, None);
}

#[test]
fn going_back_comes_with_a_probe_and_keeps_a_tenth_of_the_ttl() {
    let rollback = |text: &str| {
        let config = load(text, &least(), &Flags::default());
        config.certificates[0].rollback
    };
    let probe = r#"probe { address = "127.0.0.1:1" }"#;
    let text = |more: &str| format!("certificate \"x\" {{\n{probe}\n{more}\n}}");
    assert_eq!(rollback(&text("")), Some(Duration::from_secs(86_400)));
    assert_eq!(
        rollback(&text("rollback { min_previous_validity = \"1h\" }")),
        Some(Duration::from_secs(3600))
    );
    assert_eq!(rollback(&text("rollback { enabled = false }")), None);
    assert_eq!(rollback("certificate \"x\" {\n}"), None);
}

#[test]
fn a_hangup_for_loki_and_a_list_that_hides_its_rest_are_noted() {
    for (inside, part) in [
        (
            "app = \"loki\"\non_cert_change = [\"nomad_signal\"]\nsignal = \"SIGHUP\"",
            "SIGHUP kills Loki",
        ),
        (
            "on_ca_change = [\"none\", \"nomad_restart\"]\ntask = \"app\"",
            "begins with none",
        ),
    ] {
        let text = format!("certificate \"x\" {{\nreload {{\n{inside}\n}}\n}}");
        let notes = try_load(&text, &least(), &Flags::default()).unwrap().notes;
        assert!(notes.iter().any(|note| note.contains(part)), "{notes:?}");
    }
    let quiet = "certificate \"x\" {\nreload {\napp = \"loki\"\nsignal = \"SIGHUP\"\n}\n}";
    let notes = try_load(quiet, &least(), &Flags::default()).unwrap().notes;
    assert!(
        !notes.iter().any(|note| note.contains("SIGHUP")),
        "nothing sends it"
    );
}
