//! Everything the checks judge: configuration, disk, issuer, Nomad, process, application.
//!
//! Types alone: `gather` fills them, the checks judge them.

use std::{collections::BTreeMap, path::PathBuf};

use serde_json::Value;

use super::{
    CheckOutcome,
    credential::Credential,
    disk::{DirStat, Owned},
};
use crate::{
    config::{CertConfig, Config, Reader},
    disk::PathRefusal,
    issuer::MountIssuers,
    model::{
        decide,
        failure::Failure,
        origin::KeyOrigin,
        reload::{ReloadFailure, SignalName},
        served::Mismatch,
        time::Timestamp,
    },
    probe::ProbeFailure,
    vault::{Health, Signer, TokenFacts},
};

/// What to look at besides the configuration.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Order one certificate for each block, for real, and throw it away.
    pub test_issue: bool,
    /// Who has to read the set.
    pub as_user: Option<Reader>,
    /// The file with the id of the process that shall be signalled.
    pub pid_file: Option<PathBuf>,
    /// What it shall be sent, as `SIGHUP`.
    pub signal: Option<String>,
}

/// Everything that was found out.
#[derive(Debug)]
pub struct DoctorFacts {
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
    pub(super) consul: ConsulFacts,
    pub(super) processes: Vec<ProcessFacts>,
    /// Nomad's shared directory, which every user with `read-fs` can read.
    pub(super) alloc_dir: Option<PathBuf>,
    /// Sockets that are, or would be, connected to or listened on.
    pub(super) sockets: Vec<(String, PathBuf)>,
}

/// One certificate of the configuration.
#[derive(Debug)]
pub(super) struct CertificateFacts {
    pub(super) config: CertConfig,
    pub(super) dir: DirFacts,
    pub(super) ready_file: Option<(PathBuf, DirStat)>,
    /// What the agent would find.
    pub(super) next: decide::Facts,
    pub(super) served: ProbeOutcome,
    /// Why the file of extra anchors can't be used.
    pub(super) extra_ca: Option<String>,
}

impl DoctorFacts {
    /// One outcome over all certificates.
    pub(super) fn each(&self, judge: impl Fn(&CertificateFacts) -> CheckOutcome) -> CheckOutcome {
        if self.certificates.is_empty() {
            return CheckOutcome::skipped("there is no usable configuration");
        }
        CheckOutcome::all(self.certificates.iter().map(judge))
    }

    /// What was learned of the issuer, or why nothing was.
    pub(super) fn issuer(&self) -> Result<&IssuerFacts, CheckOutcome> {
        self.issuer
            .as_ref()
            .ok_or_else(|| CheckOutcome::skipped("there is no usable configuration"))
    }
}

/// A certificate directory and the live files in it.
#[derive(Debug)]
pub(super) struct DirFacts {
    pub(super) look: DirStat,
    pub(super) refusal: Option<PathRefusal>,
    /// Mode and owner of the live CA.pem, cert.pem and key.pem, as far as they are there.
    pub(super) live: Vec<(&'static str, Owned)>,
    /// Ids of the complete sets.
    pub(super) complete: Vec<String>,
}

/// Health, and how far the clock is ahead of ours, in milliseconds.
pub(super) type HealthAnswer = Result<(Health, Option<i64>), Failure>;

/// What was learned of the issuer.
#[derive(Debug)]
pub(super) struct IssuerFacts {
    /// Each listed address with its answer.
    pub(super) addresses: Vec<(String, HealthAnswer)>,
    pub(super) credential: Option<Credential>,
    /// The login; the token's facts where it may be looked up.
    pub(super) login: Asked<Asked<TokenFacts>>,
    /// By what is asked for: mount, role and mode.
    pub(super) mounts: BTreeMap<String, MountFacts>,
    /// By certificate, with `--test-issue`: the order's or the verification's failure.
    pub(super) orders: BTreeMap<String, Result<(), Failure>>,
}

/// What was learned of one mount and role.
#[derive(Debug)]
pub(super) struct MountFacts {
    /// Where the token lets the key be made; the mode's first choice where that is not known.
    pub(super) origin: KeyOrigin,
    pub(super) issuers: Asked<MountIssuers>,
    pub(super) may: Asked<Vec<String>>,
    pub(super) role: Asked<Value>,
    pub(super) signer: Asked<Signer>,
}

/// An answer, a refusal, or a question that was not asked.
#[derive(Debug)]
pub(super) enum Asked<T> {
    Had(T),
    Refused(Failure),
    Not(String),
}

impl<T> From<Result<T, Failure>> for Asked<T> {
    fn from(result: Result<T, Failure>) -> Self {
        match result {
            Ok(answer) => Self::Had(answer),
            Err(failure) => Self::Refused(failure),
        }
    }
}

/// What the Task API said.
#[derive(Debug)]
pub(super) struct NomadFacts {
    /// None when the answer was the one that a permitted caller gets.
    pub(super) refusal: Option<ReloadFailure>,
}

/// What was found of Consul, or why it was not asked.
#[derive(Debug)]
pub(super) struct ConsulFacts {
    /// The agent's address and whether it takes connections.
    pub(super) agent: Result<(String, Result<(), String>), &'static str>,
    /// Whether names under `.consul` resolve here.
    pub(super) names: Result<Result<(), String>, &'static str>,
}

/// A process that is reloaded by a signal: where it is named, and what it is.
#[derive(Debug)]
pub(super) struct ProcessFacts {
    pub(super) pid_file: PathBuf,
    pub(super) signal: Result<SignalName, String>,
    pub(super) found: Result<Process, String>,
}

/// What `/proc` says of a process.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: u32,
    /// `comm` of /proc: the first 15 bytes of the program's name.
    pub(super) name: String,
    /// `SigCgt` of /proc: bit n-1 is signal n.
    pub(super) caught: u64,
}

/// What one look at the application came to.
#[derive(Debug)]
pub(super) enum ProbeOutcome {
    NoProbe,
    /// There is no set to compare with.
    NoSet(String),
    Nothing(ProbeFailure),
    Other(Mismatch),
    Ours,
}
