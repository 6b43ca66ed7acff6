//! A command that accepts a setting uses it.
//!
//! What stays true: a row that is added to the table of settings is looked for among each command's flags,
//! and one of a certificate has to change what `issue` or `explain` comes to. What stands in the
//! blocks `vault` and `auth` goes into the one client that all commands share.

use std::{collections::BTreeSet, fs, os::unix::fs::MetadataExt as _, path::Path};

use certagent::{
    cli,
    config::table::{Commands, SETTINGS, Section, Setting},
    model::{leaf::CertFacts, pem},
};
use serde_json::{Value, json};

use crate::rig::{OpenBao, PATIENCE, Place, Process, certagent, wait_for};

const COMMANDS: [(&str, Commands); 6] = [
    ("run", Commands::Agent),
    ("exec", Commands::Agent),
    ("doctor", Commands::Agent),
    ("check-config", Commands::Agent),
    ("issue", Commands::Issue),
    ("explain", Commands::Explain),
];

#[test]
fn a_flag_is_accepted_where_it_has_an_effect_and_nowhere_else() {
    let mut all = cli::command();
    all.build();
    for (command, commands) in COMMANDS {
        let known = all.find_subcommand(command).unwrap();
        for setting in SETTINGS.iter().filter(|one| !one.is_secret()) {
            let mut arguments = known.get_arguments();
            let accepted = arguments.any(|one| one.get_long() == Some(setting.flag));
            let matters = setting.matters_to(commands);
            assert_eq!(accepted, matters, "{command} --{}", setting.flag);
        }
    }
    for arguments in [
        ["issue", "--splay", "5m"],
        ["explain", "--vault-timeout", "5s"],
    ] {
        let output = certagent(arguments.as_slice()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(arguments[1]), "{said}");
    }
}

/// A value of each setting of a certificate that no other setting implies.
fn values(place: &Place, server: &OpenBao) -> Vec<(&'static str, String)> {
    let root = json!({ "common_name": "second", "issuer_name": "second", "key_type": "ec", "ttl": "8760h" });
    let second = server.write("pki/root/generate/internal", &root)["data"]["certificate"].clone();
    let extra = place.path("extra.pem");
    fs::write(&extra, second.as_str().unwrap()).unwrap();
    [
        ("name", "other"),
        ("component", "querier"),
        ("common_name", "loki-other.service.consul"),
        ("dns_sans", "more.service.consul"),
        ("ip_sans", "192.0.2.7"),
        ("node_ip", "192.0.2.8"),
        ("uri_sans", "spiffe://there/is"),
        ("mount", "none"),
        ("role", "none"),
        ("mode", "issue"),
        ("ttl", "90m"),
        ("key_type", "ec-p384"),
        ("issuer_sha256", &"ab".repeat(32)),
        ("min_remaining", "20h"),
        ("cert_perms", "0640"),
        ("key_perms", "0640"),
        ("uid", "1234"),
        ("gid", "1234"),
        ("extra_ca", &extra.display().to_string()),
        ("trust", "chain"),
        ("trust_issuers", "none"),
        ("distrust", "second"),
        ("reuse_key", "true"),
        ("renew_at", "1/2"),
        ("splay", "1s"),
        ("splay_seed", "seed"),
        ("max_issuances_per_hour", "17"),
        ("dir", &place.path("elsewhere").display().to_string()),
    ]
    .map(|(key, value)| (key, value.to_owned()))
    .into()
}

/// Each setting of a certificate that this command accepts changes the outcome.
fn each_changes(
    commands: Commands,
    values: &[(&str, String)],
    outcome: impl Fn(&[String]) -> Value,
) {
    let common = ["--component", "ingester", "--mode", "sign", "--ttl", "10h"].map(str::to_owned);
    let plain = outcome(&common);
    assert_eq!(plain["exit"], 0, "{plain}");
    assert_eq!(plain, outcome(&common), "two runs differ by themselves");
    let accepted = |one: &&Setting| {
        one.section == Section::Certificate && !one.is_secret() && one.matters_to(commands)
    };
    let mut unused = BTreeSet::new();
    for setting in SETTINGS.iter().filter(accepted) {
        let given = values.iter().find(|(key, _)| *key == setting.key);
        let (_, value) = given.unwrap_or_else(|| panic!("no value of {}", setting.key));
        let flag = format!("--{}", setting.flag);
        let mut arguments: Vec<String> = common.to_vec();
        if let Some(at) = arguments.iter().position(|one| *one == flag) {
            arguments.drain(at..at + 2);
        }
        arguments.push(format!("{flag}={value}"));
        if outcome(&arguments) == plain {
            unused.insert(setting.key);
        }
    }
    assert!(unused.is_empty(), "accepted and not used: {unused:?}");
}

/// All of a certificate that does not change from one to the next.
fn issued(place: &Place, arguments: &[String]) -> Value {
    let dir = place.path("issued");
    let _absent = fs::remove_dir_all(&dir);
    let mut command = place.certagent(&["issue", "-o", "json", "--output-dir"]);
    let output = command.arg(&dir).args(arguments).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let found: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| json!(said));
    let anchors = found["ca_pem"]
        .as_str()
        .map(|pem| pem::certificates(pem).unwrap().len());
    let key = found["cert_pem"].as_str().map(|pem| {
        let leaf = &pem::certificates(pem).unwrap()[0];
        format!("{:?}", CertFacts::read(leaf).unwrap().key.kind())
    });
    let facts = |name: &str| {
        let meta = fs::metadata(dir.join(name)).ok()?;
        Some((meta.mode() & 0o777, meta.uid(), meta.gid()))
    };
    json!({
        "exit": output.status.code(),
        "request": found["request"],
        "key": key,
        "anchors": anchors,
        "warnings": found["trust_warnings"],
        "files": [facts("cert.pem"), facts("key.pem")],
    })
}

#[test]
#[ignore = "needs openbao, root"]
fn issue_uses_each_setting_that_it_accepts() {
    let server = OpenBao::ready();
    let place = Place::at(&server);
    let values = values(&place, &server);
    each_changes(Commands::Issue, &values, |arguments| {
        issued(&place, arguments)
    });
}

fn explained(place: &Place, certs: &Path, arguments: &[String]) -> Value {
    let mut command = place.certagent(&["explain", "-o", "json"]);
    if !arguments.iter().any(|one| one.starts_with("--dir")) {
        command.arg("--dir").arg(certs);
    }
    let output = command.args(arguments).output().unwrap();
    let mut found: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    if let Some(one) = found.pointer_mut("/certificates/0") {
        one["now"] = Value::Null;
    }
    json!({ "exit": output.status.code(), "found": found })
}

#[test]
#[ignore = "needs openbao"]
fn explain_uses_each_setting_that_it_accepts() {
    let server = OpenBao::ready();
    let place = Place::at(&server);
    let values = values(&place, &server);
    let certs = place.certs();
    let mut agent = place.certagent(&["run", "--component", "ingester", "--mode", "sign"]);
    agent.args(["--ttl", "10h", "--dir"]).arg(&certs);
    let agent = Process::start(&mut agent);
    wait_for("published files", PATIENCE, || {
        certs.join("cert.pem").exists().then_some(())
    });
    drop(agent);
    each_changes(Commands::Explain, &values, |arguments| {
        explained(&place, &certs, arguments)
    });
}
