//! Everything the checks judge, gathered once: configuration, disk, issuer, Nomad, process, Loki.
//!
//! Never judges. What stays true: it reads and asks; the one thing it may cause is a certificate,
//! and only with [`Options::ask`].

use std::path::PathBuf;

use super::{
    Outcome,
    disk::{Look, Reader},
    files::DirFacts,
    issuer::{self, IssuerFacts},
    loki::LokiFacts,
    nomad::{self, NomadFacts},
    process::ProcessFacts,
    served::{self, Seen},
};
use crate::{
    agent,
    config::{CertConfig, Config, Environment, Problems},
    model::{decide, time::Timestamp},
};

/// What to look at besides the configuration.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Order one certificate for each block, for real, and throw it away.
    pub ask: bool,
    /// Loki's configuration, as it is given to Loki.
    pub loki_config: Option<PathBuf>,
    /// Who has to read the set.
    pub reader: Option<Reader>,
    /// The file with the id of the process that shall be signalled.
    pub pid_file: Option<PathBuf>,
    /// What it shall be sent, as `SIGHUP`.
    pub signal: Option<String>,
}

/// Everything that was found out.
#[derive(Debug)]
pub struct Facts {
    pub(super) now: Timestamp,
    pub(super) options: Options,
    /// What is wrong with the configuration; empty when there is one.
    pub(super) problems: Vec<String>,
    /// What was seen in it and has no effect.
    pub(super) notes: Vec<String>,
    pub(super) config: Option<Config>,
    pub(super) certificates: Vec<CertificateFacts>,
    pub(super) issuer: Option<IssuerFacts>,
    /// What the Task API said, or why it was not asked.
    pub(super) nomad: Result<NomadFacts, &'static str>,
    pub(super) processes: Vec<ProcessFacts>,
    pub(super) loki: Option<LokiFacts>,
    /// Nomad's shared directory, which everybody with `read-fs` can read.
    pub(super) alloc_dir: Option<PathBuf>,
    /// Sockets that are, or would be, connected to or listened on.
    pub(super) sockets: Vec<(String, PathBuf)>,
}

/// One certificate of the configuration.
#[derive(Debug)]
pub(super) struct CertificateFacts {
    pub(super) config: CertConfig,
    pub(super) dir: DirFacts,
    pub(super) ready_file: Option<(PathBuf, Look)>,
    /// What the agent would find.
    pub(super) next: decide::Facts,
    pub(super) served: Seen,
}

impl Facts {
    /// One outcome over all certificates.
    pub(super) fn each(&self, judge: impl Fn(&CertificateFacts) -> Outcome) -> Outcome {
        if self.certificates.is_empty() {
            return Outcome::skipped("there is no usable configuration");
        }
        Outcome::all(self.certificates.iter().map(judge))
    }

    /// What was learned of the issuer, or why nothing was.
    pub(super) fn issuer(&self) -> Result<&IssuerFacts, Outcome> {
        self.issuer
            .as_ref()
            .ok_or_else(|| Outcome::skipped("there is no usable configuration"))
    }
}

/// Looks at everything. Takes as long as the issuer, Nomad and the application take to answer, each
/// question at most a few seconds.
pub async fn gather(
    loaded: Result<(Config, Vec<String>), Problems>,
    environment: &Environment,
    options: Options,
    now: Timestamp,
) -> Facts {
    let (config, notes, problems) = match loaded {
        Ok((config, notes)) => (Some(config), notes, Vec::new()),
        Err(problems) => {
            let texts = problems.list().iter().map(ToString::to_string).collect();
            (None, Vec::new(), texts)
        }
    };
    let mut certificates = Vec::new();
    for certificate in config.iter().flat_map(|config| &config.certificates) {
        certificates.push(look_at(certificate, now).await);
    }
    let issuer = match &config {
        Some(config) => Some(issuer::ask(config, options.ask, now).await),
        None => None,
    };
    let variable = |name: &str| environment.get(name).filter(|text| !text.is_empty());
    let processes = ProcessFacts::look(
        options.pid_file.as_deref(),
        options.signal.as_deref(),
        config.as_ref(),
    );
    Facts {
        now,
        processes,
        problems,
        notes,
        certificates,
        issuer,
        nomad: nomad::ask(config.as_ref(), environment).await,
        loki: options.loki_config.as_deref().map(LokiFacts::read),
        alloc_dir: variable("NOMAD_ALLOC_DIR").map(PathBuf::from),
        sockets: sockets(config.as_ref(), environment),
        config,
        options,
    }
}

async fn look_at(config: &CertConfig, now: Timestamp) -> CertificateFacts {
    let ready_file = config.ready_file.as_ref().map(|path| {
        let directory = path.parent().map(PathBuf::from).unwrap_or_default();
        (path.clone(), Look::at(&directory))
    });
    CertificateFacts {
        dir: DirFacts::look(&config.files),
        ready_file,
        served: served::look(config).await,
        next: agent::on_disk(config, now),
        config: config.clone(),
    }
}

fn sockets(config: Option<&Config>, environment: &Environment) -> Vec<(String, PathBuf)> {
    let addresses = config.iter().flat_map(|config| &config.vault.addresses);
    let mut found: Vec<_> = addresses
        .filter_map(|address| {
            let path = address.strip_prefix("unix://")?;
            Some(("vault.address".to_owned(), PathBuf::from(path)))
        })
        .collect();
    found.extend(nomad::socket(environment).map(|path| ("Nomad's Task API".to_owned(), path)));
    found
}
