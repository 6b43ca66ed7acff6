//! Gathers once what the checks judge.
//!
//! Never judges. What stays true: it reads and asks; the one thing it may cause is a certificate,
//! and only with [`Options::test_issue`].

use std::path::PathBuf;

use super::{
    consul,
    disk::DirStat,
    facts::{CertificateFacts, DirFacts, DoctorFacts, Options, ProcessFacts},
    issuer, nomad, served,
};
use crate::{
    agent,
    config::{CertConfig, Config, Environment, Problems},
    model::time::Timestamp,
};

/// Looks at everything. Takes as long as the issuer, Nomad and the application take to answer, each
/// question at most a few seconds.
pub async fn gather(
    loaded: Result<(Config, Vec<String>), Problems>,
    environment: &Environment,
    options: Options,
    now: Timestamp,
) -> DoctorFacts {
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
        Some(config) => Some(issuer::ask(config, options.test_issue, now).await),
        None => None,
    };
    let variable = |name: &str| environment.get(name).filter(|text| !text.is_empty());
    let processes = ProcessFacts::look(
        options.pid_file.as_deref(),
        options.signal.as_deref(),
        config.as_ref(),
    );
    DoctorFacts {
        now,
        processes,
        problems,
        notes,
        certificates,
        issuer,
        nomad: nomad::ask(config.as_ref(), environment).await,
        consul: consul::ask(config.as_ref(), environment).await,
        alloc_dir: variable("NOMAD_ALLOC_DIR").map(PathBuf::from),
        sockets: sockets(config.as_ref(), environment),
        config,
        options,
    }
}

async fn look_at(config: &CertConfig, now: Timestamp) -> CertificateFacts {
    let ready_file = config.ready_file.as_ref().map(|path| {
        let directory = path.parent().map(PathBuf::from).unwrap_or_default();
        (path.clone(), DirStat::at(&directory))
    });
    CertificateFacts {
        extra_ca: agent::extra_ca_failure(config).map(|failure| failure.message),
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
