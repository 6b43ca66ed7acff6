//! From everything that was written to what the program uses: the one crossing.
//!
//! Never stops at the first problem. What stays true: defaults are in the table or here, nowhere
//! else; whatever comes out needs no further check.

mod auth;
mod certificate;
mod probe;
mod reload;
mod seen;
mod vault;

pub(crate) use seen::status_socket;

use super::{
    Loaded,
    file::{Written, WrittenBlock},
    issuer_env,
    layers::{Gathered, Layers},
    problem::{Problems, Source},
    table::{SETTINGS, Section},
    types::{Auth, CertConfig, Config, LogFormat, LoggingConfig, VaultConfig},
    values::similar,
};

/// Reads every setting of every block.
pub(super) fn resolve(written: &Written, mut all: Gathered<'_>) -> Result<Loaded, Problems> {
    unknown_variables(&mut all);
    issuer_env::check(&mut all);
    let certificates = certificates(&mut all, written);
    let vault = vault::vault(&mut single(&mut all, written, Section::Vault));
    let auth = auth::auth(
        &mut single(&mut all, written, Section::Auth),
        vault
            .as_ref()
            .is_some_and(|vault| vault.tls.client_cert.is_some()),
    );
    let log = log(&mut single(&mut all, written, Section::Log));
    let http = seen::http(&mut single(&mut all, written, Section::Http));
    let status = seen::status(&mut single(&mut all, written, Section::Status));
    let hardening = hardening(&mut single(&mut all, written, Section::Process));
    match (vault, auth, log, hardening) {
        (Some(vault), Some(auth), Some(log), Some(hardening)) if all.problems.is_empty() => {
            Ok(Loaded {
                config: Config {
                    vault,
                    auth,
                    certificates,
                    log,
                    http,
                    status,
                    hardening,
                },
                table: all.table.unwrap_or_default(),
                notes: all.notes,
            })
        }
        _ => Err(all.problems.in_order()),
    }
}

/// `vault` alone, and the token of the operator: `VAULT_TOKEN`, else a file.
pub(super) fn operator(mut all: Gathered<'_>) -> Result<(VaultConfig, Option<Auth>), Problems> {
    issuer_env::check(&mut all);
    let vault = vault::vault(&mut single(&mut all, &Written::default(), Section::Vault));
    match vault {
        Some(vault) if all.problems.is_empty() => Ok((vault, auth::operator(all.environment))),
        _ => Err(all.problems.in_order()),
    }
}

fn single<'a, 'g>(
    all: &'a mut Gathered<'g>,
    written: &'a Written,
    section: Section,
) -> Layers<'a, 'g> {
    let block = written.blocks.iter().find(|one| one.section == section);
    Layers {
        all,
        section,
        block,
        certificate: None,
        outer: true,
    }
}

/// The certificates of the file, or the one that flags and variables describe.
fn certificates(all: &mut Gathered<'_>, written: &Written) -> Vec<CertConfig> {
    let of_file = |one: &&WrittenBlock| one.section == Section::Certificate;
    let mut blocks: Vec<_> = written.blocks.iter().filter(of_file).collect();
    if let Some(name) = all.flags.certificate(all.environment) {
        let names: Vec<_> = blocks
            .iter()
            .filter_map(|one| one.label.as_deref())
            .collect();
        if names.contains(&name) {
            blocks.retain(|one| one.label.as_deref() == Some(name));
        } else {
            let message = format!(
                "no certificate \"{name}\" in the file{}",
                similar(name, names)
            );
            let source = Source::Flag("--certificate".to_owned());
            all.problems.add(Some(source), "certificate", message);
        }
    }
    let several = blocks.len() > 1;
    if several {
        refuse_outer(all, blocks.len());
    }
    let blocks: Vec<_> = match blocks.as_slice() {
        [] => vec![None],
        some => some.iter().copied().map(Some).collect(),
    };
    let found: Vec<_> = blocks
        .into_iter()
        .filter_map(|block| certificate::certificate(all, block, several))
        .collect();
    certificate::distinct(all, &found);
    found
}

/// With several certificates a flag would have to mean all of them or none.
fn refuse_outer(all: &mut Gathered<'_>, count: usize) {
    for setting in SETTINGS.iter().filter(|one| one.section.of_certificate()) {
        let Some(value) = super::layers::outer(setting, all.environment, all.flags) else {
            continue;
        };
        // Facts of the node hold for every certificate.
        if setting.key == "node_ip" {
            continue;
        }
        let message = format!(
            "the file has {count} certificates, and this would mean only one; \
             write it into its block, or name one with --certificate"
        );
        all.problems
            .add(Some(value.source), &setting.path(), message);
    }
}

fn log(layers: &mut Layers<'_, '_>) -> Option<LoggingConfig> {
    let format = layers.read("format", |text| match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("not text or json".to_owned()),
    });
    let level = layers.read("level", |text| match text {
        "error" => Ok(tracing::Level::ERROR),
        "warn" => Ok(tracing::Level::WARN),
        "info" => Ok(tracing::Level::INFO),
        "debug" => Ok(tracing::Level::DEBUG),
        "trace" => Ok(tracing::Level::TRACE),
        _ => Err("not error, warn, info, debug or trace".to_owned()),
    });
    Some(LoggingConfig {
        format: format?,
        level: level?,
    })
}

fn hardening(layers: &mut Layers<'_, '_>) -> Option<bool> {
    layers.read("hardening", |text| match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("not on or off".to_owned()),
    })
}

/// Variables with our prefix that are no setting: of other commands, and of the application's.
const OTHER_VARIABLES: &[&str] = &[
    super::CONFIG_VARIABLE,
    super::CERTIFICATE_VARIABLE,
    // What a command of the application is given, beside the paths.
    "CERTAGENT_EVENT",
    "CERTAGENT_GENERATION",
    "CERTAGENT_SERIAL",
];

/// One of the four variables that `certagent exec` sets together, with the same suffix or none: a
/// certagent that its command calls finds them.
fn told_by_exec(name: &str, all: &super::Environment) -> bool {
    let of = |variable: &str| name.strip_prefix(variable);
    let suffix = super::EXEC_VARIABLES
        .iter()
        .find_map(|(variable, _)| of(variable));
    suffix.is_some_and(|suffix| {
        let mut four = super::EXEC_VARIABLES.iter();
        four.all(|(variable, _)| all.contains_key(&format!("{variable}{suffix}")))
    })
}

fn unknown_variables(all: &mut Gathered<'_>) {
    let known: Vec<_> = SETTINGS.iter().map(|one| one.variable()).collect();
    for name in all.environment.keys() {
        let Some(rest) = name.strip_prefix("CERTAGENT_") else {
            continue;
        };
        // Kubernetes sets these for a service called certagent.
        let kubernetes =
            rest.starts_with("SERVICE_") || rest == "PORT" || rest.starts_with("PORT_");
        let other = OTHER_VARIABLES.contains(&name.as_str());
        let exec = told_by_exec(name, all.environment);
        if kubernetes || other || exec || known.contains(name) {
            continue;
        }
        let near = similar(name, known.iter().map(String::as_str));
        let near = if near.starts_with("; did") {
            near
        } else {
            String::new()
        };
        let source = Some(Source::Variable(name.clone()));
        all.problems
            .add(source, "", format!("unknown variable{near}"));
    }
}
