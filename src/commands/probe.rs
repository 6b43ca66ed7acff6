//! `certagent probe`: which certificate an application serves, against what is published, or alone.
//!
//! Never changes anything. What stays true: what was served is shown even when it does not count,
//! and "current" is said only when the peer proved the published certificate.

mod show;

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{Stopped, inspect};
use crate::{
    cli::{OutputFormat, ProbeArgs, StartTlsArg},
    clock::{Clock as _, SystemClock},
    config::{Environment, ProbeTarget, StartTls},
    disk,
    exit::Exit,
    model::{
        duration,
        served::{Accepted, ApplicationHealth, ChainTrust, Mismatch, Served, split_address},
    },
    probe::{Identity, ProbeFailure, probe},
    terminal::{Screen, Style, harmless},
};

pub(super) async fn run(args: &ProbeArgs, environment: &Environment) -> anyhow::Result<Exit> {
    let address = address(args, environment)?;
    let Some(published) = published(args, environment) else {
        return show::run(args, address, environment).await;
    };
    let identity = identity(&published, args.client_cert_dir.as_deref())?;
    let target = target(args, address, |address| identity.name_to_prove(address))?;
    let result = probe(&target, &identity).await;
    let verdict = result
        .as_ref()
        .map(|served| identity.serves_current(served));
    let exit = match &verdict {
        Ok(Ok(())) => result.as_ref().map_or(Exit::Done, |served| {
            show::exit(served, args.expires_in, SystemClock.now())
        }),
        Ok(Err(_)) => Exit::Refused,
        Err(failure) => exit_of(failure),
    };
    if args.output == OutputFormat::Json {
        let report = ProbeReport::of(&target, &identity, &result);
        super::print_json(&report)?;
        return Ok(exit);
    }
    match (&result, verdict) {
        (Ok(served), Ok(verdict)) => {
            let screen = Screen::stdout(|name| environment.get(name).map(String::as_str));
            let text = render(&target, &identity, served, verdict.as_ref().err(), screen);
            super::print(&text)?;
            Ok(exit)
        }
        (Err(failure), _) | (_, Err(failure)) => Err(Stopped {
            exit,
            message: failure.message.clone(),
            hint: Some(failure.hint.to_owned()),
        }
        .into()),
    }
}

fn exit_of(failure: &ProbeFailure) -> Exit {
    match failure.code {
        "probe-timeout" => Exit::TimedOut,
        _ => Exit::Failure,
    }
}

/// The certificate files to compare with; none where none are named and none are at the usual place.
fn published(args: &ProbeArgs, environment: &Environment) -> Option<PathBuf> {
    let named = args.dir.clone().or_else(|| args.client_cert_dir.clone());
    let usual = inspect::usual(environment);
    let configured = ["CERTAGENT_DIR", "NOMAD_SECRETS_DIR"]
        .iter()
        .any(|name| environment.get(*name).is_some_and(|dir| !dir.is_empty()));
    named.or_else(|| (configured || disk::look(&usual).is_ok()).then_some(usual))
}

fn address(args: &ProbeArgs, environment: &Environment) -> Result<String, Stopped> {
    let set = |name| environment.get(name).filter(|text| !text.is_empty());
    let address = args
        .address
        .as_ref()
        .or_else(|| set("CERTAGENT_PROBE_ADDRESS"))
        .or_else(|| set("NOMAD_ADDR_grpc"));
    let hint = "write HOST:PORT, such as 127.0.0.1:9095 or [::1]:9095";
    match address {
        Some(address) if split_address(address).is_some() => Ok(address.clone()),
        Some(address) => {
            let message = format!("{:?} is no address", harmless(address));
            Err(Stopped::usage(message, hint))
        }
        None => Err(Stopped::usage("no address to probe", hint)),
    }
}

/// Trust and what is wanted come from `published`; what is shown comes from `mtls`.
pub(super) fn identity(published: &Path, mtls: Option<&Path>) -> Result<Identity, Stopped> {
    let base = live(published);
    let ca = inspect::text_of(&base.join("CA.pem"))?;
    let cert = inspect::text_of(&base.join("cert.pem"))?;
    let identity = match mtls {
        None => Identity::new(&ca, &cert, None),
        Some(dir) => {
            let own = if dir == published { base } else { live(dir) };
            let shown = inspect::text_of(&own.join("cert.pem"))?;
            let key = inspect::text_of(&own.join("key.pem"))?.into();
            Identity::new(&ca, &cert, None).and_then(|one| one.showing(&shown, &key))
        }
    };
    identity.map_err(|error| Stopped {
        exit: Exit::Refused,
        message: format!("the certificate files in {}: {error}", published.display()),
        hint: Some("`certagent inspect` says more about it".to_owned()),
    })
}

/// Resolved once: a publication in between must not give a mix of two sets.
fn live(dir: &Path) -> PathBuf {
    match disk::link_at(&dir.join("..data")) {
        Ok(target) => dir.join(target),
        Err(_) => dir.to_owned(),
    }
}

fn target(
    args: &ProbeArgs,
    address: String,
    name_to_prove: impl Fn(&str) -> String,
) -> Result<ProbeTarget, Stopped> {
    let timeout = duration::parse(&args.timeout)
        .map_err(|error| Stopped::usage(format!("--timeout: {error}"), "write it as 5s"))?;
    let mut alpn = args.alpn.clone();
    if args.grpc_health && alpn.is_empty() {
        alpn.push("h2".to_owned());
    }
    if args.grpc_health && !alpn.iter().any(|one| one == "h2") {
        return Err(Stopped::usage("gRPC needs h2", "add h2 to --alpn"));
    }
    if alpn.iter().any(|one| !(1..=255).contains(&one.len())) {
        let hint = "a protocol has a name of 1 to 255 bytes, such as h2";
        return Err(Stopped::usage("--alpn: not a list of protocols", hint));
    }
    let server_name = args.server_name.clone();
    Ok(ProbeTarget {
        server_name: server_name.unwrap_or_else(|| name_to_prove(&address)),
        address,
        alpn,
        mtls: args.client_cert_dir.is_some(),
        starttls: args.starttls.map(|one| match one {
            StartTlsArg::Postgres => StartTls::Postgres,
            StartTlsArg::Smtp => StartTls::Smtp,
        }),
        grpc_health: args.grpc_health,
        timeout,
    })
}

fn render(
    target: &ProbeTarget,
    identity: &Identity,
    served: &Served,
    mismatch: Option<&Mismatch>,
    screen: Screen,
) -> String {
    let mut text = format!(
        "{}  as {}\n",
        screen.paint(Style::Strong, &harmless(&target.address)),
        harmless(&target.server_name)
    );
    let trust = match &served.trust {
        ChainTrust::Verified => "verified against CA.pem; the application has the key".to_owned(),
        ChainTrust::Refused(why) => format!("refused: {}", harmless(why)),
    };
    let mut rows = vec![
        ("serves", served.serial.clone()),
        ("published", identity.wanted().serial.to_owned()),
        ("subject", harmless(&served.subject)),
        (
            "valid",
            format!("{} to {}", served.not_before, served.not_after),
        ),
        ("chain", trust),
    ];
    if served.trust == ChainTrust::Verified {
        rows.push(("client certificate", accepted(&served.accepted)));
    }
    if let Some(health) = &served.health {
        rows.push(("health", health_words(health)));
    }
    if let Some(version) = &served.version {
        let alpn = served.alpn.as_deref().map(harmless);
        let alpn = alpn.map_or_else(String::new, |alpn| format!(", {alpn}"));
        rows.push(("protocol", format!("{version}{alpn}")));
    }
    text.push_str(&screen.table(&rows));
    text.push_str(&match mismatch {
        None => format!(
            "{}: the application serves the published certificate\n",
            screen.paint(Style::Good, "current")
        ),
        Some(no) => format!(
            "{}: {}\nhint: {}\n",
            screen.paint(Style::Bad, no.code),
            harmless(&no.message),
            no.hint
        ),
    });
    text
}

fn accepted(accepted: &Accepted) -> String {
    match accepted {
        Accepted::NotAsked => "not requested".to_owned(),
        Accepted::Yes { sent: true } => "accepted".to_owned(),
        Accepted::Yes { sent: false } => "requested, and accepted without one".to_owned(),
        Accepted::Refused(why) => format!("refused: {}", harmless(why)),
        Accepted::Silent => "requested, and no answer".to_owned(),
    }
}

fn health_words(health: &ApplicationHealth) -> String {
    match health {
        ApplicationHealth::Serving => "serving".to_owned(),
        ApplicationHealth::NotServing => "not serving".to_owned(),
        ApplicationHealth::Other(number) => format!("status {number}"),
        ApplicationHealth::Status(code, message) => {
            format!("gRPC status {code} {}", harmless(message))
        }
        ApplicationHealth::Broken(why) => harmless(why),
    }
}

/// For `--output json`.
#[derive(Serialize)]
struct ProbeReport {
    address: String,
    server_name: String,
    /// Unknown where there is nothing published to compare with.
    serves_current: Option<bool>,
    /// Why not: a stable code, the words, and what to do.
    code: Option<&'static str>,
    message: Option<String>,
    hint: Option<&'static str>,
    published: Option<LeafId>,
    served: Option<ServedLeaf>,
}

#[derive(Serialize)]
struct LeafId {
    serial: String,
    sha256: String,
}

#[derive(Serialize)]
struct ServedLeaf {
    #[serde(flatten)]
    leaf: LeafId,
    subject: String,
    issuer: String,
    not_before: String,
    not_after: String,
    verified: bool,
    /// `not-requested`, `yes`, `without`, `refused` or `silent`; none when the chain was refused.
    client_certificate: Option<&'static str>,
    /// `serving`, `not-serving`, `other`, `error` or `broken`; none when not asked.
    health: Option<&'static str>,
    version: Option<String>,
    alpn: Option<String>,
}

impl ProbeReport {
    fn of(
        target: &ProbeTarget,
        identity: &Identity,
        result: &Result<Served, ProbeFailure>,
    ) -> Self {
        let wanted = identity.wanted();
        let why = match result {
            Ok(served) => identity
                .serves_current(served)
                .err()
                .map(|no| (no.code, no.message, no.hint)),
            Err(failure) => Some((failure.code, failure.message.clone(), failure.hint)),
        };
        let serves_current = Some(why.is_none());
        let (code, message, hint) = match why {
            Some((code, message, hint)) => (Some(code), Some(message), Some(hint)),
            None => (None, None, None),
        };
        Self {
            address: target.address.clone(),
            server_name: target.server_name.clone(),
            serves_current,
            code,
            message,
            hint,
            published: Some(LeafId {
                serial: wanted.serial.to_owned(),
                sha256: wanted.sha256.to_owned(),
            }),
            served: result.as_ref().ok().map(ServedLeaf::of),
        }
    }
}

impl ServedLeaf {
    fn of(served: &Served) -> Self {
        let verified = served.trust == ChainTrust::Verified;
        let client = match &served.accepted {
            Accepted::NotAsked => "not-requested",
            Accepted::Yes { sent: true } => "yes",
            Accepted::Yes { sent: false } => "without",
            Accepted::Refused(_) => "refused",
            Accepted::Silent => "silent",
        };
        let health = |health: &ApplicationHealth| match health {
            ApplicationHealth::Serving => "serving",
            ApplicationHealth::NotServing => "not-serving",
            ApplicationHealth::Other(_) => "other",
            ApplicationHealth::Status(..) => "error",
            ApplicationHealth::Broken(_) => "broken",
        };
        Self {
            leaf: LeafId {
                serial: served.serial.clone(),
                sha256: served.sha256.clone(),
            },
            subject: served.subject.clone(),
            issuer: served.issuer.clone(),
            not_before: served.not_before.to_string(),
            not_after: served.not_after.to_string(),
            verified,
            client_certificate: verified.then_some(client),
            health: served.health.as_ref().map(health),
            version: served.version.clone(),
            alpn: served.alpn.clone(),
        }
    }
}
