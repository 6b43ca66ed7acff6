//! `certagent fleet ca`: how far a change of the CA is, what keeps the next step back, and its commands.
//!
//! Never changes anything. What stays true: a goal is reached only when every instance was seen to have
//! reached it.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::{Again, Finder, chosen, text};
use crate::{
    cli::{CaArgs, CaSelection, GoalArg, OutputFormat},
    commands::{Stopped, print, print_json},
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
        time::Timestamp,
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
    let mut again = Again::default();
    loop {
        let look = match site.look(to, from).await {
            Ok(look) => again.seen(look),
            Err(error) if args.wait.is_some() => {
                again.failed(error)?;
                if Instant::now() >= until {
                    return Ok(Exit::TimedOut); // why was said
                }
                sleep(LOOK_INTERVAL).await;
                continue;
            }
            Err(error) => return Err(error),
        };
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
        match args.output {
            OutputFormat::Json => print_json(&CaReport::of(&look, &site, &blockers))?,
            OutputFormat::Text => print(&render(&look, &site, &blockers, screen))?,
        }
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
    if let Some(first) = next.first() {
        let when = match change.new {
            Some(_) => "next",
            None => {
                "no change is under way; one begins with `certagent fleet ca rotate`, or by hand with"
            }
        };
        let with_vault = if first.starts_with("bao ") {
            " (Vault: `vault` instead of `bao`)"
        } else {
            ""
        };
        out.push_str(&format!("{when}{with_vault}:\n  {}\n", next.join("\n  ")));
    }
    if site.vault.is_none() {
        out.push_str("set VAULT_ADDR (or BAO_ADDR) to see the issuers of the mount and the commands with their ids\n");
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

/// What to run next, by hand.
fn commands(look: &Look, site: &Site) -> Vec<String> {
    let (change, mount) = (&look.sweep.change, &site.mount);
    let Some(new) = &change.new else {
        return begin(look, mount);
    };
    let id = |one: &Authority| one.id.clone().unwrap_or_else(|| "<id>".to_owned());
    let chosen = &site.chosen;
    let wait = |goal: &str| format!("certagent fleet ca --wait {goal} --timeout 1h{chosen}");
    let default = format!("bao write {mount}/config/issuers default={}", id(new));
    let is_other_default = !new.is_default && new.id.is_some();
    match change.phase(&look.sweep.rows) {
        CaPhase::OneRoot | CaPhase::Done => Vec::new(),
        CaPhase::NotTrusted => vec![wait("trusted")],
        CaPhase::Trusted => vec![default],
        CaPhase::Mixed | CaPhase::Renewed if is_other_default => vec![default],
        CaPhase::Mixed => vec![wait("renewed")],
        CaPhase::Renewed => {
            let old = change.old.iter().filter(|one| one.id.is_some());
            old.map(|one| format!("bao delete {mount}/issuer/{}", id(one)))
                .chain([wait("removed")])
                .collect()
        }
    }
}

/// A root beside the one that issues.
fn begin(look: &Look, mount: &str) -> Vec<String> {
    let old = look
        .issuers
        .iter()
        .find(|(one, facts)| one.is_default && facts.self_signed);
    let made = old.map(|(_, facts)| {
        let fields: Vec<String> = new_root(facts, None, look.sweep.at)
            .iter()
            .map(|(key, value)| format!("{key}={}", chosen::quoted(&harmless(value))))
            .collect();
        format!(
            "bao write {mount}/root/generate/internal {}",
            fields.join(" ")
        )
    });
    made.into_iter().collect()
}

/// Characters of a common name (RFC 5280, appendix A.1: ub-common-name).
const MAX_NAME_CHARS: usize = 64;

/// Fields of a root like `old`. Vault takes its `issuer_name` once, so there is one at most. The common name
/// has the time in it: people and some verifiers take two roots of one name for the same.
pub(super) fn new_root(
    old: &CertFacts,
    common_name: Option<&str>,
    now: Timestamp,
) -> BTreeMap<&'static str, String> {
    let old_name = old.common_name.as_deref().unwrap_or("root");
    let base = match old_name.rsplit_once(' ') {
        Some((base, last)) if is_date(last.get(..10).unwrap_or(last)) => base,
        _ => old_name,
    };
    let now = now.to_string();
    let room = MAX_NAME_CHARS.saturating_sub(now.len() + 1);
    let base: String = base.chars().take(room).collect();
    let life = old.not_before.until(old.not_after).as_secs();
    // Vault sets the start back by half a minute: a life that is not whole hours would grow each time.
    let life = match life / 3_600 {
        0 => format!("{life}s"),
        hours => format!("{hours}h"),
    };
    let key_type = match old.key.algorithm {
        KeyAlgorithm::Rsa => "rsa",
        KeyAlgorithm::Ed25519 => "ed25519",
        KeyAlgorithm::Ec | KeyAlgorithm::Other => "ec",
    };
    let short = old.sha256.get(..8).unwrap_or_default();
    let mut fields = BTreeMap::from([
        (
            "common_name",
            common_name.map_or_else(|| format!("{base} {now}"), str::to_owned),
        ),
        ("issuer_name", format!("root-after-{short}")),
        ("key_type", key_type.to_owned()),
        ("ttl", life),
    ]);
    if matches!(old.key.algorithm, KeyAlgorithm::Ec | KeyAlgorithm::Rsa) {
        fields.insert("key_bits", old.key.bits.to_string());
    }
    fields
}

fn is_date(word: &str) -> bool {
    let is_right = |(at, byte): (usize, u8)| match at {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    };
    word.len() == 10 && word.bytes().enumerate().all(is_right)
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};

    use super::*;

    fn root(name: &str) -> CertFacts {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2027, 1, 1) + Duration::from_secs(30);
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        CertFacts::read(made.der()).unwrap()
    }

    #[test]
    fn each_new_root_has_a_name_of_its_own_and_the_life_of_the_old_one() {
        let at = |secs: i64| Timestamp::from_unix_secs(1_900_000_000 + secs);
        let named = |name: &str, secs| new_root(&root(name), None, at(secs))["common_name"].clone();
        let first = named("Loki CA", 0);
        assert_eq!(first, "Loki CA 2030-03-17T17:46:40Z");
        assert_eq!(named(&first, 1), "Loki CA 2030-03-17T17:46:41Z");
        assert_eq!(named("Loki CA 2030-03-17", 0), first, "of an older version");
        assert_eq!(named("Loki 2030", 0), "Loki 2030 2030-03-17T17:46:40Z");
        assert_eq!(named(&"ä".repeat(70), 0).chars().count(), MAX_NAME_CHARS);
        let fields = new_root(&root("x"), Some("mine"), at(0));
        assert_eq!(
            (&*fields["common_name"], &*fields["ttl"]),
            ("mine", "8760h")
        );
    }
}
