//! `certagent issue --dry-run`: the exact request, and what would be refused.
//!
//! Never asks for a certificate. It may log in to ask what the token may do and what the role
//! allows; where that is forbidden or Vault is unavailable it says so and continues.

use serde_json::{Value, json};

use super::{Screens, plan_of};
use crate::{
    cli::IssueFormat,
    commands::{print, print_json},
    config::{CertConfig, Config},
    exit::Exit,
    model::{
        failure::{Failure, FailureClass},
        origin::{ChosenOrigin, KeyOrigin},
        role,
    },
    terminal::{Screen, Style, harmless},
    vault::{RequestPlan, Vault, permits},
};

/// What would come of a request.
struct Outlook {
    /// Where its key would be made.
    origin: KeyOrigin,
    /// Reasons for which it would be refused.
    refused: Vec<String>,
    /// What is odd, or could not be found out.
    notes: Vec<String>,
    /// Why nothing could be asked.
    unchecked: Option<Failure>,
}

pub(super) async fn run(
    config: &Config,
    vault: &Vault,
    format: IssueFormat,
    screens: &Screens,
) -> anyhow::Result<Exit> {
    let mut exit = Exit::Done;
    for certificate in &config.certificates {
        let message = format!("asking what is allowed for {}", certificate.name);
        let outlook = screens
            .err
            .wait_for(&message, look(certificate, vault))
            .await;
        let plan = plan_of(certificate, outlook.origin);
        if !outlook.refused.is_empty() {
            exit = Exit::Denied;
        } else if let Some(failure) = &outlook.unchecked {
            exit = failure.class.into();
        }
        match format {
            IssueFormat::Text => print(&text(config, &plan, &outlook, screens.out)?)?,
            IssueFormat::Json | IssueFormat::Pem => print_json(&json!({
                "request": request_json(config, &plan),
                "would_be_refused": outlook.refused,
                "notes": outlook.notes,
                "not_checked": outlook.unchecked.as_ref().map(ToString::to_string),
            }))?,
        }
    }
    Ok(exit)
}

async fn look(certificate: &CertConfig, vault: &Vault) -> Outlook {
    let request = &certificate.request;
    let mut outlook = Outlook {
        origin: ChosenOrigin::first(request).origin,
        refused: Vec::new(),
        notes: Vec::new(),
        unchecked: vault.token().await.err(),
    };
    if outlook.unchecked.is_some() {
        return outlook;
    }
    let first = outlook.origin.path(request);
    let (origin, may) = vault.permitted(request).await;
    if origin != outlook.origin {
        outlook.notes.push(format!(
            "the token may not `update` {first}, so Vault makes the private key (mode {})",
            request.mode
        ));
        outlook.origin = origin;
    }
    match may {
        Ok(may) if permits(&may) => {}
        Ok(may) => outlook.refused.push(format!(
            "the token may not `update` {first} (it may: {}); its policy needs `path \"{first}\" {{ \
             capabilities = [\"update\"] }}`",
            may.join(", "),
        )),
        Err(failure) => outlook
            .notes
            .push(format!("what the token may do is not known: {failure}")),
    }
    match vault.role(&request.mount, &request.role).await {
        Ok(facts) => {
            for (misfit, reason) in role::judge(&facts, request, outlook.origin) {
                if misfit.refuses() {
                    outlook.refused.push(reason);
                } else {
                    outlook.notes.push(reason);
                }
            }
        }
        Err(failure) if failure.class == FailureClass::Misconfigured => {
            outlook.refused.push(absent(&failure, certificate));
        }
        Err(failure) => outlook.notes.push(format!(
            "what role {} allows is not known, as its reading is often denied: {failure}",
            request.role
        )),
    }
    outlook
}

/// Vault says nothing but 404 where a role is not there.
fn absent(failure: &Failure, certificate: &CertConfig) -> String {
    let request = &certificate.request;
    match failure.code.as_str() {
        "empty-list" => format!(
            "the mount {} has no role {}; make it, or name another one (--role)",
            request.mount, request.role
        ),
        _ => failure.to_string(),
    }
}

fn text(
    config: &Config,
    plan: &RequestPlan,
    outlook: &Outlook,
    screen: Screen,
) -> anyhow::Result<String> {
    let mut text = screen.table(&request_rows(config, plan));
    for reason in &outlook.refused {
        let mark = screen.paint(Style::Bad, "would be refused");
        text.push_str(&format!("{mark}: {}\n", harmless(reason)));
    }
    for note in &outlook.notes {
        let mark = screen.paint(Style::Warning, "note");
        text.push_str(&format!("{mark}: {}\n", harmless(note)));
    }
    if let Some(failure) = &outlook.unchecked {
        let mark = screen.paint(Style::Bad, "not checked");
        text.push_str(&format!("{mark}: {}\n", harmless(&failure.to_string())));
    } else if outlook.refused.is_empty() {
        text.push_str("nothing was found that would be refused; no certificate was requested\n");
    }
    Ok(text)
}

/// The request as rows of a table. It holds no secret: the token is not part of it.
pub(super) fn request_rows(config: &Config, plan: &RequestPlan) -> Vec<(&'static str, String)> {
    let body = serde_json::to_string_pretty(&plan.body).unwrap_or_default();
    vec![
        ("address", config.vault.addresses.join(", ")),
        (
            "namespace",
            config
                .vault
                .namespace
                .clone()
                .unwrap_or_else(|| "none".to_owned()),
        ),
        ("request", format!("POST /v1/{}", plan.path)),
        ("body", body),
    ]
}

/// The request as JSON.
pub(super) fn request_json(config: &Config, plan: &RequestPlan) -> Value {
    json!({
        "addresses": config.vault.addresses,
        "namespace": config.vault.namespace,
        "method": "POST",
        "path": format!("/v1/{}", plan.path),
        "body": plan.body,
    })
}
