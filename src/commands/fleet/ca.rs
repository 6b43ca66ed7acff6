//! `certagent fleet ca`: how far a change of the CA is, what keeps the next step back, and its commands.
//!
//! Never changes anything. What stays true: a goal is reached only when every instance was seen to have
//! reached it.

use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::{Finder, chosen, text};
use crate::{
    cli::{CaArgs, CaSelection, GoalArg, OutputFormat},
    commands::Stopped,
    config::{self, Auth, Environment},
    exit::Exit,
    fleet::Sweep,
    issuer::{Issuer as _, ListedIssuer, MountIssuers},
    model::{
        duration,
        fleet::ca::{Authority, Blocker, CaPhase, Change, Goal, change},
        leaf::{CertFacts, KeyAlgorithm},
        pem,
        secret::Secret,
        trust::Standing,
    },
    terminal::{Screen, Style, harmless},
    vault::Vault,
};

/// How often `--wait` looks.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// Blockers that are shown one by one.
const MAX_BLOCKERS: usize = 20;

impl From<GoalArg> for Goal {
    fn from(goal: GoalArg) -> Self {
        match goal {
            GoalArg::Trusted => Self::Trusted,
            GoalArg::Renewed => Self::Renewed,
            GoalArg::Removed => Self::Removed,
        }
    }
}

/// The fleet and, where it is known, the mount.
pub(super) struct Site {
    pub(super) finder: Finder,
    pub(super) vault: Option<Vault>,
    pub(super) mount: String,
    assume_loaded: bool,
    /// What the operator has chosen, as arguments of the next command.
    chosen: String,
}

/// Both at one moment.
pub(super) struct Look {
    pub(super) sweep: Sweep,
    pub(super) issuers: Vec<(Authority, CertFacts)>,
}

impl Site {
    /// Asks Vault when a variable names it, with the operator's token where there is one.
    pub(super) fn new(
        args: &CaSelection,
        finder: Finder,
        environment: &Environment,
    ) -> anyhow::Result<(Self, bool)> {
        let named = ["VAULT_ADDR", "BAO_ADDR"]
            .iter()
            .any(|name| environment.contains_key(*name));
        let (mut vault, mut has_token) = (None, false);
        if named {
            let (config, auth) = config::operator(environment)?;
            has_token = auth.is_some();
            // the issuers are read without one
            let auth = auth.unwrap_or_else(|| Auth::Token(Secret::new("none".to_owned())));
            vault = Some(Vault::new(&config, auth)?);
        }
        let mount = args.mount.trim_matches('/').to_owned();
        Ok((
            Self {
                chosen: [finder.chosen.clone(), chosen::change(args)].concat(),
                finder,
                vault,
                mount,
                assume_loaded: args.assume_loaded,
            },
            has_token,
        ))
    }

    pub(super) async fn look(&self, to: Option<&str>, from: Option<&str>) -> anyhow::Result<Look> {
        let mut sweep = self.finder.sweep().await?;
        let mounted = match &self.vault {
            Some(vault) => vault.issuers(&self.mount).await?,
            None => MountIssuers::default(),
        };
        let issuers = authorities(&mounted);
        let known: Vec<Authority> = issuers.iter().map(|(one, _)| one.clone()).collect();
        let found = change(&sweep.rows, &known, to, from)
            .map_err(|why| Stopped::usage(why, "see certagent fleet ca"))?;
        let is_guess = to.is_none() && from.is_none();
        let same = |new: &Authority| found.old.iter().any(|old| old.not_before == new.not_before);
        if is_guess && found.new.as_ref().is_some_and(same) {
            let text = "two CAs are of the same second: which one comes can't be seen";
            return Err(
                Stopped::usage(text, "name it with --to, or the other one with --from").into(),
            );
        }
        sweep.change = Change {
            assume_loaded: self.assume_loaded,
            ..found
        };
        Ok(Look { sweep, issuers })
    }
}

/// Those of the mount's issuers that can sign.
fn authorities(mounted: &MountIssuers) -> Vec<(Authority, CertFacts)> {
    let read = |one: &ListedIssuer| {
        let ders = pem::certificates(&one.certificate).ok()?;
        CertFacts::read(ders.first()?).ok()
    };
    let known: Vec<CertFacts> = mounted.issuers.iter().filter_map(read).collect();
    let able = mounted
        .issuers
        .iter()
        .filter(|one| one.standing != Standing::Keyless);
    let each = able.filter_map(|one| {
        let facts = read(one)?;
        let is_default = mounted
            .default
            .as_ref()
            .is_some_and(|pem| pem.trim() == one.certificate.trim());
        Some((
            Authority::issuer(&facts, one.id.clone(), is_default, &known),
            facts,
        ))
    });
    each.collect()
}

pub(super) async fn run(
    args: &CaArgs,
    finder: Finder,
    environment: &Environment,
) -> anyhow::Result<Exit> {
    let (site, _) = Site::new(&args.selection, finder, environment)?;
    let screen = Screen::stdout(|name| environment.get(name).map(String::as_str));
    let (to, from) = (args.selection.to.as_deref(), args.selection.from.as_deref());
    let until = Instant::now() + args.timeout;
    loop {
        let look = site.look(to, from).await?;
        let (change, rows) = (&look.sweep.change, &look.sweep.rows);
        let goal = args.wait.map(Goal::from);
        let blockers = goal
            .or_else(|| change.phase(rows).goal())
            .map(|goal| change.blockers(goal, rows));
        let blockers = blockers.unwrap_or_default();
        let over = goal.is_none() || blockers.is_empty() || Instant::now() >= until;
        if !over {
            sleep(LOOK_INTERVAL.min(until - Instant::now())).await;
            continue;
        }
        super::super::print(&match args.output {
            OutputFormat::Json => format!(
                "{}\n",
                serde_json::to_string_pretty(&CaReport::of(&look, &site, &blockers))?
            ),
            OutputFormat::Text => render(&look, &site, &blockers, screen),
        })?;
        return match goal {
            Some(_) if !blockers.is_empty() => Ok(Exit::TimedOut),
            _ => Ok(Exit::Done),
        };
    }
}

#[derive(Serialize)]
struct CaReport<'a> {
    phase: CaPhase,
    words: &'static str,
    change: &'a Change,
    blockers: &'a [Blocker],
    commands: Vec<String>,
    refused: Vec<String>,
}

impl<'a> CaReport<'a> {
    fn of(look: &'a Look, site: &Site, blockers: &'a [Blocker]) -> Self {
        let (change, rows) = (&look.sweep.change, &look.sweep.rows);
        let phase = change.phase(rows);
        Self {
            phase,
            words: phase.words(),
            change,
            blockers,
            commands: commands(look, site),
            refused: change.refused(rows),
        }
    }
}

fn render(look: &Look, site: &Site, blockers: &[Blocker], screen: Screen) -> String {
    let (change, rows) = (&look.sweep.change, &look.sweep.rows);
    let mut out = text::matrix(&look.sweep, screen);
    out.push_str(&format!(
        "\nphase: {}\n",
        screen.paint(Style::Strong, change.phase(rows).words())
    ));
    for who in change.refused(rows) {
        let line = format!(
            "  {who}: its new certificate may be refused by instances that do not trust the new root"
        );
        out.push_str(&format!("{}\n", screen.paint(Style::Bad, &line)));
    }
    out.push_str(&listed(blockers, screen));
    let last = blockers.iter().filter_map(|one| one.until).max();
    if let Some(last) = last.filter(|_| blockers.iter().all(|one| one.until.is_some())) {
        let left = duration::brief(look.sweep.at.until(last));
        out.push_str(&format!(
            "by the renewal times this is over in {left}, at {last}\n"
        ));
    }
    let next = commands(look, site);
    if !next.is_empty() {
        out.push_str(&format!(
            "next (for Vault: vault instead of bao):\n  {}\n",
            next.join("\n  ")
        ));
    }
    if site.vault.is_none() {
        out.push_str("set VAULT_ADDR (or BAO_ADDR) to see the issuers of the mount, and their ids in these commands\n");
    }
    out
}

/// What keeps a step back, one line each.
pub(super) fn listed(blockers: &[Blocker], screen: Screen) -> String {
    let mut out = String::new();
    for one in blockers.iter().take(MAX_BLOCKERS) {
        out.push_str(&format!(
            "  {}\n",
            screen.paint(Style::Warning, &one.to_string())
        ));
    }
    if blockers.len() > MAX_BLOCKERS {
        out.push_str(&format!("  and {} more\n", blockers.len() - MAX_BLOCKERS));
    }
    out
}

/// What to run next, by hand, for OpenBao and for Vault.
fn commands(look: &Look, site: &Site) -> Vec<String> {
    let (change, mount) = (&look.sweep.change, &site.mount);
    let both = |text: String| vec![format!("bao {text}")];
    let id = |one: &Authority| one.id.clone().unwrap_or_else(|| "<id>".to_owned());
    let wait = |goal: &str| {
        vec![format!(
            "certagent fleet ca --wait {goal} --timeout 1h{}",
            site.chosen
        )]
    };
    let default = || {
        change
            .new
            .as_ref()
            .map(|new| both(format!("write {mount}/config/issuers default={}", id(new))))
    };
    let is_default = change.new.as_ref().is_some_and(|new| new.is_default);
    match change.phase(&look.sweep.rows) {
        CaPhase::OneRoot => {
            let fields = look
                .issuers
                .iter()
                .find(|(one, facts)| one.is_default && facts.self_signed);
            let fields = fields.map(|(_, facts)| {
                new_root(
                    facts,
                    None,
                    look.sweep.at.to_string().get(..10).unwrap_or(""),
                )
            });
            let fields = fields
                .as_ref()
                .and_then(|fields| fields.as_object())
                .into_iter()
                .flatten();
            let fields: Vec<String> = fields
                .map(|(key, value)| {
                    format!(
                        "{key}='{}'",
                        harmless(value.as_str().unwrap_or(&value.to_string())).replace('\'', "")
                    )
                })
                .collect();
            if fields.is_empty() {
                Vec::new()
            } else {
                both(format!(
                    "write {mount}/root/generate/internal {}",
                    fields.join(" ")
                ))
            }
        }
        CaPhase::NotTrusted => wait("trusted"),
        CaPhase::Trusted => default().unwrap_or_default(),
        CaPhase::Mixed if !is_default && site.vault.is_some() => default().unwrap_or_default(),
        CaPhase::Mixed => wait("renewed"),
        CaPhase::Renewed => {
            let old = change.old.iter().filter(|one| one.id.is_some());
            let mut all: Vec<String> = old
                .flat_map(|one| both(format!("delete {mount}/issuer/{}", id(one))))
                .collect();
            all.extend(wait("removed"));
            all
        }
        CaPhase::Done => Vec::new(),
    }
}

/// A root like `old`, named after it so that there is one at most.
pub(super) fn new_root(
    old: &CertFacts,
    common_name: Option<&str>,
    today: &str,
) -> serde_json::Value {
    let name = old.common_name.clone().unwrap_or_else(|| "root".to_owned());
    let is_date = |word: &str| {
        word.len() == 10
            && word
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'-')
    };
    let base = name
        .rsplit_once(' ')
        .filter(|(_, last)| is_date(last))
        .map_or(name.as_str(), |(base, _)| base);
    let mut fields = serde_json::json!({
        "common_name": common_name.map_or_else(|| format!("{base} {today}"), str::to_owned),
        "issuer_name": format!("root-after-{}", old.sha256.get(..8).unwrap_or_default()),
        "key_type": match old.key.algorithm {
            KeyAlgorithm::Rsa => "rsa",
            KeyAlgorithm::Ed25519 => "ed25519",
            KeyAlgorithm::Ec | KeyAlgorithm::Other => "ec",
        },
        "ttl": format!("{}s", old.not_before.until(old.not_after).as_secs()),
    });
    if matches!(old.key.algorithm, KeyAlgorithm::Ec | KeyAlgorithm::Rsa) {
        fields["key_bits"] = old.key.bits.into();
    }
    fields
}
