//! Tells a demonstration line by line: requests as the PKI saw them, sets as the agent published
//! them.
//!
//! Never shows a secret: a request is method, path and status.

use std::time::Duration;

use certagent_dev::RequestLog;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{super::print, Limits, stage::Stage};
use crate::{
    clock::{Clock as _, SystemClock},
    model::{duration::brief, time::Timestamp},
    status::Status,
    terminal::{Screen, Style},
};

/// What is said at the end.
pub(super) struct Summary {
    pub(super) text: String,
}

/// The teller.
pub(super) struct Show {
    screen: Screen,
    requests: RequestLog,
    status: watch::Receiver<Status>,
    began: Instant,
    /// Requests shown so far.
    reloaded: u64,
    /// The status shown last.
    last: Option<Status>,
    logins: u64,
    issued: u64,
}

/// What is said at the start.
pub(super) fn opening(screen: Screen, url: &str, stage: &Stage, ttl: Duration) -> String {
    let certs = stage.certs();
    format!(
        "{}\n{}\n",
        screen.paint(
            Style::Strong,
            "certagent renews one certificate from an embedded PKI; Ctrl-C stops it"
        ),
        screen.table(&[
            (
                "Vault",
                format!("{url} (embedded, in memory, loopback only)")
            ),
            (
                "certificate",
                format!(
                    "loki-demo.service.consul, 127.0.0.1, lifetime {}",
                    brief(ttl)
                )
            ),
            (
                "files",
                format!(
                    "{}\nlook from another terminal: certagent inspect {}",
                    certs.display(),
                    certs.display()
                )
            ),
        ])
    )
}

impl Show {
    pub(super) fn new(
        screen: Screen,
        requests: RequestLog,
        status: watch::Receiver<Status>,
    ) -> Self {
        Self {
            screen,
            requests,
            status,
            began: Instant::now(),
            reloaded: 0,
            last: None,
            logins: 0,
            issued: 0,
        }
    }

    /// Tells until `stop`, until the limits are reached, or until the agent ends.
    pub(super) async fn tell(
        &mut self,
        limits: &Limits,
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        let until = limits.time.map(|time| self.began + time);
        loop {
            self.requests()?;
            self.published()?;
            let published = self.status.borrow().counts.published;
            if limits.renewals.is_some_and(|wanted| published > wanted) {
                return Ok(());
            }
            let seen = self.requests.clone();
            let over = async {
                match until {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = over => return Ok(()),
                () = seen.more_than(self.reloaded) => {}
                changed = self.status.changed() => if changed.is_err() {
                    return Ok(());
                },
            }
        }
    }

    fn line(&self, style: Style, verb: &str, text: &str) -> std::io::Result<()> {
        let at = format!("{:6.1}s", self.began.elapsed().as_secs_f64());
        print(&format!(
            "{}  {}  {text}\n",
            self.screen.paint(Style::Faint, &at),
            self.screen.paint(style, &format!("{verb:8}"))
        ))
    }

    /// The requests since the last look.
    fn requests(&mut self) -> std::io::Result<()> {
        for line in self.requests.since(&mut self.reloaded) {
            let (request, status) = line.rsplit_once(' ').unwrap_or((line.as_str(), ""));
            let path = request.rsplit_once(' ').map_or(request, |(_, path)| path);
            let good = status.starts_with('2');
            let verb = match path {
                path if path.ends_with("/login") => "login",
                path if path.contains("/issue/") || path.contains("/sign/") => "issue",
                path if path.ends_with("renew-self") => "token",
                path if path.ends_with("revoke-self") => "logout",
                _ => continue,
            };
            self.logins += u64::from(good && verb == "login");
            self.issued += u64::from(good && verb == "issue");
            let style = if good { Style::Faint } else { Style::Bad };
            self.line(style, verb, &format!("{path} -> {status}"))?;
        }
        Ok(())
    }

    /// What changed in the agent since the last look.
    fn published(&mut self) -> std::io::Result<()> {
        let now = self.status.borrow_and_update().clone();
        let before = self.last.replace(now.clone());
        let counts = before
            .as_ref()
            .map(|status| status.counts)
            .unwrap_or_default();
        // Failures are logged on stderr, by the agent's own log.
        if now.counts.repairs > counts.repairs {
            self.line(Style::Good, "repaired", "the files are as published again")?;
        }
        if now.counts.published > counts.published
            && let Some(live) = &now.live
        {
            let verb = if counts.published == 0 {
                "publish"
            } else {
                "renew"
            };
            let moment = SystemClock.now();
            let due = now.due.map(|due| moment.until(due));
            let due = due.map(|left| format!("; renewal in {}", brief(left)));
            self.line(
                Style::Good,
                verb,
                &format!(
                    "serial {}, valid for {}{}",
                    short(&live.serial),
                    brief(rounded(moment, live.not_after)),
                    due.unwrap_or_default()
                ),
            )?;
        }
        Ok(())
    }

    /// What happened, in a few lines.
    pub(super) fn summary(&mut self, stage: &Stage) -> Summary {
        // The last requests, such as giving back the token.
        let _ = self.requests();
        let counts = self.status.borrow().counts;
        let files = match stage.is_temporary() {
            true => "removed, as the directory was temporary (--dir keeps it)".to_owned(),
            false => stage.certs().display().to_string(),
        };
        let rows = [
            ("ran for", brief(self.began.elapsed())),
            ("logins", self.logins.to_string()),
            ("issued", self.issued.to_string()),
            ("published", counts.published.to_string()),
            ("renewals", counts.published.saturating_sub(1).to_string()),
            ("repairs", counts.repairs.to_string()),
            ("failures", counts.failures.to_string()),
            ("files", files),
        ];
        Summary {
            text: format!("\n{}", self.screen.table(&rows)),
        }
    }
}

fn rounded(from: Timestamp, to: Timestamp) -> Duration {
    Duration::from_secs((from.until(to).as_millis() as u64).div_ceil(1000))
}

/// The first bytes of a serial number.
fn short(serial: &str) -> &str {
    serial.get(..11).unwrap_or(serial)
}
