//! A probe without certificate files to compare with: what is served, and until when.
//!
//! Never says "current". What stays true: that a chain is not trusted by this system is shown and is no
//! failure, because a private CA never is.

use std::time::Duration;

use super::{ProbeReport, ServedLeaf, health_words, target};
use crate::{
    cli::{OutputFormat, ProbeArgs},
    clock::{Clock as _, SystemClock},
    commands::{Stopped, print, print_json},
    config::{Environment, ProbeTarget},
    exit::Exit,
    model::{
        duration,
        served::{ChainTrust, Served, split_address},
        time::Timestamp,
    },
    probe::{Trust, probe_by},
    terminal::{Screen, Style, harmless},
};

pub(super) async fn run(
    args: &ProbeArgs,
    address: String,
    environment: &Environment,
) -> anyhow::Result<Exit> {
    let host = |address: &str| {
        split_address(address).map_or_else(String::new, |(host, _)| host.to_owned())
    };
    let target = target(args, address, host)?;
    let trust = Trust::of_system().map_err(|error| {
        let hint = "install the system's CA certificates, or give --dir";
        Stopped::usage(error.to_string(), hint)
    })?;
    let served = probe_by(&target, &trust).await.map_err(|failure| Stopped {
        exit: super::exit_of(&failure),
        message: failure.message.clone(),
        hint: Some(failure.hint.to_owned()),
    })?;
    let now = SystemClock.now();
    if args.output == OutputFormat::Json {
        let report = report(&target, &served);
        print_json(&report)?;
    } else {
        let screen = Screen::stdout(|name| environment.get(name).map(String::as_str));
        print(&render(&target, &served, now, screen))?;
    }
    Ok(exit(&served, args.expires_in, now))
}

pub(super) fn exit(served: &Served, expires_in: Option<Duration>, now: Timestamp) -> Exit {
    let left = now.until(served.not_after);
    match expires_in {
        _ if left.is_zero() || served.not_before > now => Exit::Refused,
        Some(within) if left <= within => Exit::Failure,
        _ => Exit::Done,
    }
}

fn report(target: &ProbeTarget, served: &Served) -> ProbeReport {
    ProbeReport {
        address: target.address.clone(),
        server_name: target.server_name.clone(),
        serves_current: None,
        code: None,
        message: None,
        hint: None,
        published: None,
        served: Some(ServedLeaf::of(served)),
    }
}

fn render(target: &ProbeTarget, served: &Served, now: Timestamp, screen: Screen) -> String {
    let trust = match &served.trust {
        ChainTrust::Verified => "trusted by this system".to_owned(),
        ChainTrust::Refused(why) => format!("not trusted by this system: {}", harmless(why)),
    };
    let left = now.until(served.not_after);
    let left = match left.is_zero() {
        true => "expired".to_owned(),
        false => format!("{} left", duration::brief(left)),
    };
    let mut rows = vec![
        ("serial", served.serial.clone()),
        ("subject", harmless(&served.subject)),
        ("issuer", harmless(&served.issuer)),
        (
            "valid",
            format!("{} to {}, {left}", served.not_before, served.not_after),
        ),
        ("chain", trust),
    ];
    if let Some(health) = &served.health {
        rows.push(("health", health_words(health)));
    }
    rows.extend(served.version.clone().map(|version| ("protocol", version)));
    format!(
        "{}  as {}\n{}not compared: there are no certificate files here; --dir DIR compares\n",
        screen.paint(Style::Strong, &harmless(&target.address)),
        harmless(&target.server_name),
        screen.table(&rows),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::served::Accepted;

    #[test]
    fn a_certificate_that_expires_in_time_has_an_exit_code_of_its_own() {
        let now = Timestamp::from_unix_secs(1_900_000_000);
        let hours = |hours: u64| Duration::from_secs(hours * 3_600);
        let served = Served {
            serial: "01".to_owned(),
            sha256: String::new(),
            subject: "CN=a".to_owned(),
            issuer: "CN=b".to_owned(),
            not_before: now.minus(hours(1)),
            not_after: now.plus(hours(10)),
            trust: ChainTrust::Refused("unknown issuer".to_owned()),
            accepted: Accepted::NotAsked,
            health: None,
            version: None,
            alpn: None,
        };
        assert_eq!(exit(&served, None, now), Exit::Done);
        assert_eq!(exit(&served, Some(hours(9)), now), Exit::Done);
        assert_eq!(exit(&served, Some(hours(24)), now), Exit::Failure);
        assert_eq!(
            exit(&served, Some(hours(24)), now.plus(hours(10))),
            Exit::Refused
        );
        assert_eq!(exit(&served, None, now.minus(hours(2))), Exit::Refused);
    }
}
