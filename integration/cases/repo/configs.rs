//! Every file in configs/ loads; docs/configuration.md and the code have the same keys.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use certagent::{
    config::{
        Environment, Flags, issuer_variables, load, load_all,
        table::{SETTINGS, Section, Setting},
    },
    exit::Exit,
};

use crate::rig;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn examples() -> Vec<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(root().join("configs"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "hcl"))
        .collect();
    found.sort();
    found
}

fn environment() -> Environment {
    Environment::from([("VAULT_TOKEN".to_owned(), "s.example".to_owned())])
}

#[test]
fn every_example_loads_and_has_comments() {
    let examples = examples();
    assert!(examples.len() >= 12, "{examples:?}");
    for path in examples {
        if let Err(problems) = load(Some(&path), &environment(), &Flags::default()) {
            panic!("{}:\n{problems}", path.display());
        }
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("# "), "{}", path.display());
    }
}

#[test]
fn one_example_is_for_every_component_and_each_auth_method_has_one() {
    let components = [
        "compactor",
        "ruler",
        "distributor",
        "ingester",
        "querier",
        "query-scheduler",
        "query-frontend",
        "index-gateway",
    ];
    let path = root().join("configs/loki.hcl");
    let text = fs::read_to_string(&path).unwrap();
    for component in components {
        assert!(text.contains(component), "{component}");
        let mut environment = environment();
        environment.insert("CERTAGENT_COMPONENT".to_owned(), component.to_owned());
        let config = load(Some(&path), &environment, &Flags::default()).unwrap();
        let names = &config.certificates[0].request.names;
        assert_eq!(
            names.common_name,
            format!("loki-{component}.service.consul")
        );
        assert!(!names.ips.is_empty());
    }
    let mut methods = BTreeSet::new();
    for path in examples() {
        let loaded = load_all(Some(&path), &environment(), &Flags::default()).unwrap();
        let row = loaded.table.iter().find(|row| row.key == "auth.method");
        methods.insert(row.unwrap().values[0].to_string());
    }
    let wanted = [
        "jwt",
        "token",
        "token_file",
        "approle",
        "cert",
        "kubernetes",
    ];
    assert_eq!(methods, wanted.map(str::to_owned).into());
}

#[test]
fn several_certificates_are_several() {
    let path = root().join("configs/several-certificates.hcl");
    let config = load(Some(&path), &environment(), &Flags::default()).unwrap();
    assert_eq!(config.certificates.len(), 3);
}

/// The tables of docs/configuration.md, made from the code.
fn tables() -> String {
    let mut text = String::new();
    for section in Section::ALL {
        let word = section.name();
        let head = match section.label() {
            Some(key) => format!("{word} \"<{key}>\" {{ }}"),
            None => format!("{word} {{ }}"),
        };
        let head = match section.parent() {
            Some(parent) => format!("{head}` in `{}", parent.path()),
            None => head,
        };
        let many = if section.repeats() {
            ", once or more"
        } else {
            ""
        };
        text.push_str(&format!("\n### `{head}`{many}\n\n"));
        text.push_str(
            "| Key | Flag | Variables | Value | Default | Meaning |\n|---|---|---|---|---|---|\n",
        );
        section.settings().for_each(|one| text.push_str(&row(one)));
    }
    text.push_str("\n### Variables of the Vault and OpenBao clients\n\n| Name | What becomes of it |\n|---|---|\n");
    for (name, what) in issuer_variables() {
        text.push_str(&format!("| `VAULT_{name}`, `BAO_{name}` | {what} |\n"));
    }
    text.push_str("\n### Exit codes\n\n| Code | Meaning |\n|---|---|\n");
    for exit in Exit::ALL {
        text.push_str(&format!("| {} | {} |\n", exit.code(), exit.meaning()));
    }
    text.push('\n');
    text
}

fn row(one: &Setting) -> String {
    let flag = one
        .long()
        .map_or_else(|| "none".to_owned(), |flag| format!("`{flag}`"));
    let variables = one
        .variables()
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>();
    let key = match (one.is_secret(), one.section.label()) {
        (_, Some(label)) if label == one.key => format!("label (`{}`)", one.key),
        (true, _) if one.key != "headers" => "none".to_owned(),
        _ => format!("`{}`", one.key),
    };
    format!(
        "| {key} | {flag} | {} | {} | {} | {} |\n",
        variables.join(", "),
        one.kind.words(),
        one.fallback.words().replace('<', "&lt;"),
        one.help.replace('<', "&lt;"),
    )
}

#[test]
fn the_documented_tables_are_those_of_the_code() {
    const BEGIN: &str = "<!-- made from src/config/table; CERTAGENT_TEST_BLESS=1 cargo test configs:: rewrites it -->\n";
    const END: &str = "<!-- end -->\n";
    let path = root().join("docs/configuration.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the first mark");
    let (found, after) = rest.split_once(END).expect("the last mark");
    let wanted = tables();
    if std::env::var_os("CERTAGENT_TEST_BLESS").is_some() {
        fs::write(&path, format!("{before}{BEGIN}{wanted}{END}{after}")).unwrap();
        return;
    }
    for (found, wanted) in found.lines().zip(wanted.lines()) {
        assert_eq!(found, wanted, "docs/configuration.md is behind the code");
    }
    assert_eq!(found, wanted, "docs/configuration.md is behind the code");
}

#[test]
fn help_names_every_flag_with_its_default_and_variables() {
    let output = rig::certagent(["help", "settings"]).output().unwrap();
    // Lines are wrapped at blanks.
    let text = String::from_utf8(output.stdout).unwrap();
    let help = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let flags: BTreeSet<_> = text
        .lines()
        .filter_map(|line| line.trim_start().split_once("--"))
        .filter(|(before, _)| before.is_empty() || before.ends_with(", "))
        .filter_map(|(_, flag)| flag.split([' ', '[', '=']).next())
        .map(str::to_owned)
        .collect();
    let own = ["config", "certificate"].map(str::to_owned);
    let table = SETTINGS
        .iter()
        .filter(|one| !one.is_secret())
        .map(|one| one.flag.to_owned());
    assert_eq!(flags, table.chain(own).collect());
    for one in SETTINGS.iter().filter(|one| !one.is_secret()) {
        assert!(help.contains(&one.line()), "{}", one.line());
    }
}

#[test]
fn every_variable_in_the_readme_and_the_jobs_exists() {
    let known: BTreeSet<_> = SETTINGS.iter().flat_map(Setting::variables).collect();
    let job = fs::read_to_string(root().join("nomad/loki.nomad.hcl")).unwrap();
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let mut seen = 0;
    for line in job.lines().chain(readme.lines()) {
        let name = line.split_whitespace().next().unwrap_or_default();
        let assigned = line.split_whitespace().nth(1) == Some("=");
        if name.starts_with("CERTAGENT_") && assigned {
            assert!(known.contains(name), "{name} is no setting");
            seen += 1;
        }
    }
    assert!(seen >= 6, "only {seen} found");
}

/// Without it P-256 costs twice the time, and nothing but a benchmark shows it.
#[test]
fn the_release_profile_keeps_the_assembly_of_the_crypto_library() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let section = "\n[profile.release.package.aws-lc-sys]\nopt-level = 3\n";
    assert!(manifest.contains(section));
}

/// Without it the first key of each process waits for 31 ms of jitter, in the image as well.
#[test]
fn random_numbers_are_seeded_by_the_kernel_in_every_build() {
    assert_eq!(option_env!("AWS_LC_SYS_NO_JITTER_ENTROPY"), Some("1"));
    let read = |file: &str| fs::read_to_string(root().join(file)).unwrap();
    assert!(read(".dockerignore").contains("\n!.cargo\n"));
    assert!(read("Dockerfile").contains("\nCOPY .cargo .cargo\n"));
}
