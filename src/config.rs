//! What certagent is configured to do: file, then environment, then flags, each stronger than the last.
//!
//! Reads the machine once, at the edge; below here everything is a value. Never connects anywhere.
//! What stays true: a [`Config`] that exists is complete and consistent, and every problem found on
//! the way to it is reported together with its key and its source.

mod file;
mod flags;
mod issuer_env;
mod layers;
mod problem;
mod resolve;
mod shown;
pub mod table;
mod types;
mod values;

use std::{collections::BTreeMap, env, path::Path};

pub use file::{Written, parse};
pub use flags::{CERTIFICATE_VARIABLE, CONFIG_VARIABLE, ExplainFlags, Flags, IssueFlags};
pub use issuer_env::issuer_variables;
pub use layers::Effective;
use layers::Gathered;
pub use problem::{Problem, Problems, Source};
pub(crate) use resolve::status_socket;
pub use shown::SettingText;
pub use types::{
    App, Auth, CertConfig, Config, CredentialPath, Files, Listen, LogFormat, LoggingConfig,
    MAX_SOCKET_PATH, ProbeConfig, ProbeTarget, Reader, ReloadConfig, ReloadStep, StartTls,
    StatusSocket, TlsConfig, VaultConfig,
};
pub(crate) use values::is_near;

use crate::disk;

/// Bytes of the largest configuration file.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// The environment, read once at the start of the process. It may hold tokens: never print it.
pub type Environment = BTreeMap<String, String>;

/// The variables by which a supervisor asks to be notified (sd_notify(3)); not for anybody else's eyes.
pub const NOTIFY_VARIABLES: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// What `certagent exec` tells its command: variable, and file below the directory. Of several
/// certificates, each has its name as a suffix.
pub const EXEC_VARIABLES: [(&str, &str); 4] = [
    ("CERTAGENT_DIR", ""),
    ("CERTAGENT_CA_FILE", "CA.pem"),
    ("CERTAGENT_CERT_FILE", "cert.pem"),
    ("CERTAGENT_KEY_FILE", "key.pem"),
];

/// A complete configuration, and where every part of it came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What the program uses.
    pub config: Config,
    /// Every setting with its value and source, secrets hidden; in the order of the table.
    pub table: Vec<Effective>,
    /// What was seen and has no effect, and why; worth a warning each.
    pub notes: Vec<String>,
}

/// Reads the process's environment. Variables that are not UTF-8 cannot name a setting and are
/// left out.
#[must_use]
pub fn environment() -> Environment {
    env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// The effective configuration.
///
/// # Errors
/// Every problem at once: unknown keys, bad values, what is missing, what contradicts.
pub fn load(
    file: Option<&Path>,
    environment: &Environment,
    flags: &Flags,
) -> Result<Config, Problems> {
    load_noted(file, environment, flags).map(|(config, _)| config)
}

/// As [`load`], with what was seen and has no effect, and why; worth a warning each.
///
/// # Errors
/// As [`load`].
pub fn load_noted(
    file: Option<&Path>,
    environment: &Environment,
    flags: &Flags,
) -> Result<(Config, Vec<String>), Problems> {
    let loaded = crossed(file, environment, flags, false)?;
    Ok((loaded.config, loaded.notes))
}

/// As [`load`], with the source of every value.
///
/// # Errors
/// As [`load`].
pub fn load_all(
    file: Option<&Path>,
    environment: &Environment,
    flags: &Flags,
) -> Result<Loaded, Problems> {
    crossed(file, environment, flags, true)
}

/// Where Vault is and who the operator is, by the environment of Vault's own command line; no setting of an
/// agent is needed.
///
/// # Errors
/// Every problem at once.
pub fn operator(environment: &Environment) -> Result<(VaultConfig, Option<Auth>), Problems> {
    resolve::operator(Gathered {
        environment,
        flags: &Flags::default(),
        problems: Problems::default(),
        table: None,
        notes: Vec::new(),
    })
}

/// `with_table`: a thousand certificates make a table of megabytes that only `check-config` reads.
fn crossed(
    file: Option<&Path>,
    environment: &Environment,
    flags: &Flags,
    with_table: bool,
) -> Result<Loaded, Problems> {
    let mut problems = Problems::default();
    let written = match file.map(|path| read(path, &mut problems)) {
        Some(Some(written)) => written,
        None => Written::default(),
        // Everything would seem to be missing.
        Some(None) => return Err(problems),
    };
    let table = with_table.then(Vec::new);
    resolve::resolve(
        &written,
        Gathered {
            environment,
            flags,
            problems,
            table,
            notes: Vec::new(),
        },
    )
}

fn read(path: &Path, problems: &mut Problems) -> Option<Written> {
    let origin = path.display().to_string();
    let found = disk::read(path, MAX_FILE_BYTES);
    let text = found.as_ref().map(|found| found.text());
    let wrong = match text {
        Ok(Some(text)) => return file::read(text, &origin, problems),
        Ok(None) => format!("cannot read {origin}: it is no UTF-8 text"),
        Err(refusal) => refusal.to_string(),
    };
    problems.add(None, "", wrong);
    None
}

#[cfg(test)]
mod tests;
