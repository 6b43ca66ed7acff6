//! `certagent renew`: asks the running agent for one issuance, and waits for what comes of it.
//!
//! Never talks to Vault itself. What stays true: 0 means that every certificate asked for is
//! new and published.

use anyhow::Context as _;
use tokio::time;

use super::{Stopped, ask};
use crate::{
    cli::{OutputFormat, RenewArgs},
    config::Environment,
    exit::Exit,
    model::{duration, failure::FailureClass},
    observe::report::Renewed,
    status::{FailureReport, RevocationReport},
    terminal::{Screen, harmless},
};

pub(super) async fn run(args: &RenewArgs, environment: &Environment) -> anyhow::Result<Exit> {
    let limit = duration::parse(&args.timeout).map_err(|error| {
        Stopped::usage(
            format!("--timeout: {error}"),
            "write durations as 30s, 5m or 1h",
        )
    })?;
    let socket = ask::socket(args.socket.as_deref(), environment)?;
    let name = args.name.as_deref().unwrap_or_default();
    if !name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    {
        let message = format!("{name:?} is no name of a certificate");
        return Err(Stopped::usage(message, "`certagent status` shows the names").into());
    }
    let mut path = match name {
        "" => "/renew".to_owned(),
        name => format!("/renew/{name}"),
    };
    if args.revoke_old {
        path.push_str("?revoke_old");
    } else if args.new_key {
        path.push_str("?new_key");
    }
    let asking = time::timeout(limit, ask::ask(&socket, "POST", &path));
    let screen = Screen::stderr(|name| environment.get(name).map(String::as_str));
    let answer = screen
        .wait_for("waiting for the new certificate", asking)
        .await;
    let Ok(answer) = answer else {
        return Err(Stopped {
            exit: Exit::TimedOut,
            message: format!("no answer within {}; the agent continues", args.timeout),
            hint: Some("check its log, or `certagent status`".to_owned()),
        }
        .into());
    };
    let answer = answer?;
    match answer.status {
        200 => renewed(&answer.body, args),
        404 => Err(Stopped::usage(
            format!("the agent has no certificate {name:?}"),
            hint(&answer.body),
        )
        .into()),
        status => Err(Stopped {
            exit: Exit::Failure,
            message: format!("the agent refused with {status}"),
            hint: Some(hint(&answer.body)),
        }
        .into()),
    }
}

fn hint(body: &str) -> String {
    let found = serde_json::from_str::<serde_json::Value>(body).unwrap_or_default();
    harmless(found["hint"].as_str().unwrap_or("check its log"))
}

/// One line for each, or the agent's own answer; the exit code of the first that brought nothing.
fn renewed(body: &str, args: &RenewArgs) -> anyhow::Result<Exit> {
    let renewed: Renewed = serde_json::from_str(body).context("the agent's answer is damaged")?;
    let (mut text, mut exit) = (String::new(), Exit::Done);
    for one in &renewed.certificates {
        let name = harmless(&one.name);
        let Some(failure) = &one.failure else {
            let serial = one.serial.as_deref().unwrap_or_default();
            text.push_str(&format!("{name}: renewed, serial {}\n", harmless(serial)));
            if args.revoke_old {
                let (said, came) = revoked(&name, &one.revoked);
                text.push_str(&said);
                exit = if exit == Exit::Done { came } else { exit };
            }
            continue;
        };
        let nothing = if args.revoke_old {
            ", and nothing revoked"
        } else {
            ""
        };
        text.push_str(&format!(
            "{name}: not renewed{nothing}: {}\n",
            said(failure)
        ));
        if exit == Exit::Done {
            exit = code(&failure.class);
        }
    }
    if args.output == OutputFormat::Json {
        let answer: serde_json::Value = serde_json::from_str(body)?;
        text = format!("{answer:#}\n");
    }
    super::print(&text)?;
    Ok(exit)
}

/// What came of the old certificates. One that is not revoked is printed, so that it can be by hand.
fn revoked(name: &str, all: &[RevocationReport]) -> (String, Exit) {
    if all.is_empty() {
        let text = "nothing was revoked: no valid certificate was published before";
        return (format!("{name}: {text}\n"), Exit::Failure);
    }
    let (mut text, mut exit) = (String::new(), Exit::Done);
    for one in all {
        let serial = harmless(&one.serial);
        let Some(failure) = &one.failure else {
            text.push_str(&format!("{name}: revoked, serial {serial}\n"));
            continue;
        };
        text.push_str(&format!(
            "{name}: NOT revoked, serial {serial}: {}\n\
             {name}: save the old certificate as old.pem and revoke it with a token that may: \
             bao write pki/revoke certificate=@old.pem\n",
            said(failure)
        ));
        // PEM as it is: its lines are needed
        let lines = one.certificate.lines().map(harmless);
        lines.for_each(|line| text.push_str(&format!("{line}\n")));
        if exit == Exit::Done {
            exit = code(&failure.class);
        }
    }
    (text, exit)
}

fn said(failure: &FailureReport) -> String {
    let hint = failure.hint.as_ref();
    let hint = hint.map_or_else(String::new, |hint| format!("; {}", harmless(hint)));
    format!("{}{hint}", harmless(&failure.message))
}

fn code(class: &str) -> Exit {
    let mut all = FailureClass::ALL.into_iter();
    let known = all.find(|one| one.name() == class);
    known.map_or(Exit::Failure, Exit::from)
}
