//! `certagent issue`: one certificate, outside the loop, to look at or to have.
//!
//! Never touches the agent's directories, ready files or records. What stays true: a private key leaves
//! only with `--output-dir` or `--output pem`; a dry run asks for no certificate.

mod dry;

use std::{path::Path, time::Duration};

use serde_json::{Value, json};
use tokio::time::timeout;

use super::inspect;
use crate::{
    cli::{IssueArgs, IssueFormat},
    clock::{Clock as _, SystemClock},
    config::{CertConfig, Config, Environment, Files},
    exit::Exit,
    issuance::{self, extras},
    issuer::{IssuanceRequest, Issuer as _, OrderedKey},
    model::{
        failure::Failure,
        origin::{ChosenOrigin, KeyOrigin},
        pem,
        verify::Verified,
    },
    publish::CertDir,
    terminal::{Screen, harmless},
    vault::{self, RequestPlan, Vault},
};

/// Stands in a shown request for the CSR.
const CSR: &str = "(made of a new key when it is sent)";

/// How long giving back the token may take.
const REVOKE_TIMEOUT: Duration = Duration::from_millis(500);

pub(super) async fn run(args: &IssueArgs, environment: &Environment) -> anyhow::Result<Exit> {
    let config = super::configured(&args.flags.0, environment)?;
    let vault = Vault::new(&config.vault, config.auth.clone())?;
    let screens = Screens::of(environment);
    let done = if args.dry_run {
        dry::run(&config, &vault, args.output, &screens).await
    } else {
        all(args, &config, &vault, &screens).await
    };
    let _too_slow = timeout(REVOKE_TIMEOUT, vault.close()).await;
    done
}

/// Where results and where progress goes.
struct Screens {
    out: Screen,
    err: Screen,
}

impl Screens {
    fn of(environment: &Environment) -> Self {
        let variable = |name: &str| environment.get(name).map(String::as_str);
        Self {
            out: Screen::stdout(variable),
            err: Screen::stderr(variable),
        }
    }
}

async fn all(
    args: &IssueArgs,
    config: &Config,
    vault: &Vault,
    screens: &Screens,
) -> anyhow::Result<Exit> {
    for certificate in &config.certificates {
        let first = ChosenOrigin::first(&certificate.request).origin;
        let path = first.path(&certificate.request);
        let message = format!("asking {path} for a certificate");
        let extra = certificate.extra_ca.as_deref().map(extras::read);
        let extra = extra.transpose()?.unwrap_or_default();
        let issuing = issuance::issue(certificate, vault, &extra, &SystemClock);
        let (issued, origin) = screens.err.wait_for(&message, issuing).await?;
        let now = SystemClock.now();
        let (issued, said) = issuance::trusted(&issued, certificate, vault, &extra, now).await;
        let plan = plan_of(certificate, origin);
        let at = match &args.output_dir {
            Some(dir) if config.certificates.len() > 1 => Some(dir.join(&certificate.name)),
            dir => dir.clone(),
        };
        let published = at
            .as_deref()
            .map(|dir| write(dir, certificate, &issued))
            .transpose()?;
        match args.output {
            IssueFormat::Text => super::print(&text(
                config,
                &plan,
                &issued,
                &said,
                published,
                screens.out,
            )?)?,
            IssueFormat::Json => {
                super::print_json(&as_json(config, &plan, &issued, &said, published)?)?
            }
            IssueFormat::Pem => super::print(&as_pem(&issued))?,
        }
    }
    Ok(Exit::Done)
}

/// What is sent for this certificate.
fn plan_of(certificate: &CertConfig, origin: KeyOrigin) -> RequestPlan {
    vault::plan(&IssuanceRequest {
        request: &certificate.request,
        key: match origin {
            KeyOrigin::Here(_) => OrderedKey::Csr(CSR),
            KeyOrigin::OfRole => OrderedKey::OfRole,
            KeyOrigin::Asked(kind) => OrderedKey::Asked(kind),
        },
    })
}

fn write(dir: &Path, certificate: &CertConfig, issued: &Verified) -> Result<String, Failure> {
    let files = Files {
        dir: dir.to_owned(),
        ..certificate.files.clone()
    };
    let _held = CertDir::hold(&files)?;
    CertDir::open(&files)?.publish(issued)?;
    Ok(dir.display().to_string())
}

fn text(
    config: &Config,
    plan: &RequestPlan,
    issued: &Verified,
    said: &[String],
    published: Option<String>,
    screen: Screen,
) -> anyhow::Result<String> {
    let mut text = screen.table(&dry::request_rows(config, plan));
    text.push('\n');
    text.push_str(&inspect::shown(
        "issued certificate".as_ref(),
        issued,
        screen,
    ));
    for warning in issued.warnings() {
        text.push_str(&format!("  warning in Vault's answer: {warning}\n"));
    }
    for warning in said {
        text.push_str(&format!("  warning: {}\n", harmless(warning)));
    }
    match published {
        Some(dir) => text.push_str(&format!("written to {dir}\n")),
        None => {
            text.push_str("nothing was written; --output-dir DIR keeps the certificate files\n")
        }
    }
    Ok(text)
}

fn as_json(
    config: &Config,
    plan: &RequestPlan,
    issued: &Verified,
    said: &[String],
    published: Option<String>,
) -> anyhow::Result<Value> {
    Ok(json!({
        "request": dry::request_json(config, plan),
        "report": inspect::as_json("issued certificate".as_ref(), issued)?,
        "cert_pem": issued.cert_pem(),
        "ca_pem": issued.ca_pem(),
        "warnings": issued.warnings(),
        "trust_warnings": said,
        "written_to": published,
    }))
}

/// Leaf, chain and key, then the anchors: what `openssl` and most servers read as one file.
fn as_pem(issued: &Verified) -> String {
    debug_assert!(issued.cert_pem().contains(pem::CERTIFICATE));
    format!(
        "{}{}{}",
        issued.cert_pem(),
        issued.key_pem().expose(),
        issued.ca_pem()
    )
}
