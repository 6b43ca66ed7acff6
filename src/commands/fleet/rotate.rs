//! `certagent fleet ca rotate`: a change of the CA from start to end, with the operator's token.
//!
//! Never remembers where it is: each turn reads it from the certificates and the mount, so it may be stopped
//! at any moment and called again. What stays true: a step is made only when the look right before it
//! showed that it harms no instance; each step does nothing the second time.

use std::{
    collections::BTreeSet,
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::{
    Again, Finder,
    ca::{LOOK_INTERVAL, Look, Site, listed, new_root},
};
use crate::{
    cli::{CaSelection, RotateArgs},
    commands::{Stopped, print},
    config::Environment,
    exit::Exit,
    fleet::catalogue::Catalogue,
    model::{
        fleet::{
            Row,
            ca::{Authority, Blocker, CaPhase, Change, Goal, Hindrance},
        },
        foreign::shortened,
    },
    terminal::{Screen, Style, harmless},
    vault::Vault,
};

/// Cells of the bar of progress.
const PROGRESS_CHARS: usize = 30;

/// Length of an allocation's id.
const ALLOCATION_CHARS: usize = 36;

/// One run.
struct Rotation<'a> {
    args: &'a RotateArgs,
    site: Site,
    screen: Screen,
    nomad: Option<Catalogue>,
    /// What comes and what goes, by id or fingerprint: the operator's choice, else what the first look has shown.
    to: Option<String>,
    from: Option<String>,
    is_named: bool,
    /// Agents that were asked for a renewal.
    asked: BTreeSet<String>,
    /// What is waited for, since when, and what was said of it.
    waiting: Option<(Goal, Instant)>,
    said: String,
    again: Again,
}

pub(super) async fn run(
    args: &RotateArgs,
    selection: &CaSelection,
    finder: Finder,
    environment: &Environment,
) -> anyhow::Result<Exit> {
    let (site, has_token) = Site::new(selection, finder, environment)?;
    if site.vault.is_none() {
        return Err(Stopped::usage("no Vault is named", "set VAULT_ADDR (or BAO_ADDR)").into());
    }
    if !has_token {
        return Err(Stopped::usage(
            "no token",
            "set VAULT_TOKEN, or log in: `bao login`, `vault login`",
        )
        .into());
    }
    let named = selection.to.is_some() || selection.from.is_some();
    if args.yes && !named {
        let hint = "a script says which root goes (--from FINGERPRINT) or which issuer comes (--to ID): called \
                    again after its end it must not begin another change";
        return Err(Stopped::usage("--yes needs --from or --to", hint).into());
    }
    if !args.yes && !io::stdin().is_terminal() {
        return Err(Stopped::usage(
            "there is no terminal to ask at",
            "use --yes with --from or --to",
        )
        .into());
    }
    let nomad = environment
        .contains_key("NOMAD_ADDR")
        .then(|| Catalogue::nomad(environment));
    let mut run = Rotation {
        args,
        site,
        screen: Screen::stdout(|name| environment.get(name).map(String::as_str)),
        nomad: nomad
            .transpose()
            .map_err(|why| Stopped::usage(why, "see certagent fleet --help"))?,
        to: selection.to.clone(),
        from: selection.from.clone(),
        is_named: false,
        asked: BTreeSet::new(),
        waiting: None,
        said: String::new(),
        again: Again::default(),
    };
    if args.abort {
        run.turn_round().await?;
    }
    while !run.step().await? {}
    Ok(Exit::Done)
}

impl Rotation<'_> {
    /// Back: what came goes, what went comes.
    async fn turn_round(&mut self) -> anyhow::Result<()> {
        let change = self.look().await?.sweep.change;
        let stopped = |why: &str| Stopped {
            exit: Exit::Failure,
            message: format!("the change cannot be taken back: {why}"),
            hint: None,
        };
        let new = change.new.ok_or_else(|| stopped("none is under way"))?;
        let old = change
            .old
            .iter()
            .filter(|one| one.id.is_some())
            .max_by_key(|one| one.not_before);
        let old = old.ok_or_else(|| stopped("the old root is no issuer of the mount any more"))?;
        self.to = Some(old.sha256.clone());
        self.from = Some(new.sha256);
        Ok(print("going back: what came goes, and what went comes\n")?)
    }

    /// Says once which CA comes and which goes, and keeps to these.
    fn name(&mut self, new: &Authority, old: &[Authority]) -> anyhow::Result<()> {
        if self.is_named {
            return Ok(());
        }
        if let [_, _, ..] = old {
            let names: Vec<String> = old.iter().map(shown).collect();
            let text = format!("more than one CA could go: {}", names.join(", "));
            return Err(Stopped::usage(text, "name it with --from").into());
        }
        print(&format!("new: {}\n", shown(new)))?;
        self.to = Some(new.sha256.clone());
        if let Some(old) = old.first() {
            print(&format!("old: {}\n", shown(old)))?;
            self.from = Some(old.sha256.clone());
        }
        self.is_named = true;
        Ok(())
    }

    async fn look(&self) -> anyhow::Result<Look> {
        self.site
            .look(self.to.as_deref(), self.from.as_deref())
            .await
    }

    /// One look, and what follows from it; true at the end.
    async fn step(&mut self) -> anyhow::Result<bool> {
        let look = match self.look().await {
            Ok(look) => self.again.seen(look),
            Err(error) => {
                if self
                    .waiting
                    .is_none_or(|(_, began)| began.elapsed() >= self.args.timeout)
                {
                    return Err(error);
                }
                self.again.failed(error)?;
                sleep(LOOK_INTERVAL).await;
                return Ok(false);
            }
        };
        let (change, rows) = (&look.sweep.change, &look.sweep.rows);
        let phase = change.phase(rows);
        let Some(new) = &change.new else {
            self.make_root(&look).await?;
            return Ok(false);
        };
        self.name(new, &change.old)?;
        self.end_of_wait(change, rows)?;
        let issuing = change
            .old
            .iter()
            .filter(|old| old.id.is_some())
            .collect::<Vec<_>>();
        match phase {
            CaPhase::Done => {
                print(&format!(
                    "{}: every instance trusts {} and no old one\n",
                    self.good("done"),
                    shown(new)
                ))?;
                return Ok(true);
            }
            CaPhase::Trusted => self.make_default(new).await?,
            CaPhase::Mixed if !new.is_default => self.make_default(new).await?,
            CaPhase::Renewed if !issuing.is_empty() => self.remove(new, &issuing).await?,
            CaPhase::OneRoot | CaPhase::NotTrusted => {
                self.wait(Goal::Trusted, change, rows).await?
            }
            CaPhase::Mixed => {
                self.ask_renewal(change, rows).await?;
                self.wait(Goal::Renewed, change, rows).await?;
            }
            CaPhase::Renewed => self.wait(Goal::Removed, change, rows).await?,
        }
        Ok(false)
    }

    fn good(&self, text: &str) -> String {
        self.screen.paint(Style::Good, text)
    }

    fn vault(&self) -> anyhow::Result<&Vault> {
        self.site
            .vault
            .as_ref()
            .ok_or_else(|| anyhow::anyhow!("no Vault is named"))
    }

    /// A question before a step; an answer that is not yes ends the run, and nothing has happened.
    fn confirm(&self, what: &str) -> anyhow::Result<()> {
        print(&format!(
            "{}: {what}\n",
            self.screen.paint(Style::Strong, "next")
        ))?;
        if self.args.yes {
            return Ok(());
        }
        print("do it? [y/N] ")?;
        io::stdout().flush()?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        if matches!(answer.trim(), "y" | "Y" | "yes") {
            return Ok(());
        }
        let hint = Some("call it again to continue from here; --abort goes back".to_owned());
        Err(Stopped {
            exit: Exit::Failure,
            message: "stopped before that step".to_owned(),
            hint,
        }
        .into())
    }

    async fn make_root(&self, look: &Look) -> anyhow::Result<()> {
        let old = look
            .issuers
            .iter()
            .find(|(one, _)| one.is_default)
            .map(|(_, facts)| facts);
        let Some(old) = old.filter(|facts| facts.self_signed) else {
            let text =
                "the default issuer of the mount is no root: a new one has to be signed elsewhere";
            return Err(Stopped::usage(text, "make it, and name it with --to ID").into());
        };
        let (vault, mount) = (self.vault()?, &self.site.mount);
        if vault.default_follows(mount).await? {
            let hint =
                format!("write {mount}/config/issuers default_follows_latest_issuer=false first");
            let text = "a new issuer would become the default one at once, before it is trusted";
            return Err(Stopped::usage(text, hint).into());
        }
        let name = self.args.common_name.as_deref();
        let mut others = look.issuers.iter().map(|(_, facts)| facts);
        if name.is_some() && others.any(|one| one.common_name.as_deref() == name) {
            let text = "the mount has a CA with that --common-name: two of one name are confused";
            return Err(Stopped::usage(text, "choose another name").into());
        }
        let fields = new_root(old, name, look.sweep.at);
        let shown: Vec<String> = fields
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        self.confirm(&format!(
            "make a root beside {}: {}",
            harmless(&old.subject),
            harmless(&shown.join(", "))
        ))?;
        let made = vault.make_root(mount, &serde_json::json!(fields)).await;
        // Another run may have made it in this moment: the name is the same.
        match (made, self.look().await?.sweep.change.new) {
            (Err(failure), None) => Err(failure.into()),
            _ => Ok(()),
        }
    }

    async fn make_default(&self, new: &Authority) -> anyhow::Result<()> {
        let id = self.id(new)?;
        self.confirm(&format!(
            "make {} the default issuer: every instance trusts it",
            shown(new)
        ))?;
        Ok(self.vault()?.make_default(&self.site.mount, id).await?)
    }

    async fn remove(&self, new: &Authority, old: &[&Authority]) -> anyhow::Result<()> {
        if !new.is_default {
            return self.make_default(new).await;
        }
        let names: Vec<String> = old.iter().map(|one| shown(one)).collect();
        self.confirm(&format!(
            "remove {} from the mount: no certificate of it is in use; its key stays",
            names.join(", ")
        ))?;
        for one in old {
            self.vault()?
                .remove_issuer(&self.site.mount, self.id(one)?)
                .await?;
        }
        Ok(())
    }

    fn id<'a>(&self, one: &'a Authority) -> Result<&'a str, Stopped> {
        one.id.as_deref().ok_or_else(|| {
            Stopped::usage(
                format!("{} is no issuer of {}", shown(one), self.site.mount),
                "see --mount and --to",
            )
        })
    }

    /// Asks one more agent for a renewal, where Nomad can pass it on; else each renews at its own time.
    async fn ask_renewal(&mut self, change: &Change, rows: &[Row]) -> anyhow::Result<()> {
        let Some(nomad) = &self.nomad else {
            return Ok(());
        };
        let is_old = |row: &&Row| {
            change
                .blockers(Goal::Renewed, std::slice::from_ref(*row))
                .iter()
                .any(|one| one.hindrance == Hindrance::OldLeaf)
        };
        let mut left = rows.iter().filter(is_old).filter(|row| {
            row.who.instance.len() == ALLOCATION_CHARS
                && !row.task.is_empty()
                && !self.asked.contains(&row.who.instance)
        });
        if let Some(row) = left.next() {
            if let Err(why) = nomad.signal_renewal(&row.who.instance, &row.task).await {
                print(&format!(
                    "{}: not asked for a renewal: {why}\n",
                    row.who.label()
                ))?;
                self.said.clear();
            }
            self.asked.insert(row.who.instance.clone());
        }
        Ok(())
    }

    /// Shows how far it is, and waits a moment; gives up when the time is over.
    async fn wait(&mut self, goal: Goal, change: &Change, rows: &[Row]) -> anyhow::Result<()> {
        let blockers = change.blockers(goal, rows);
        let began = match self.waiting {
            Some((same, began)) if same == goal => began,
            _ => Instant::now(),
        };
        self.waiting = Some((goal, began));
        self.show(goal, &blockers, rows.len())?;
        if began.elapsed() >= self.args.timeout {
            let hint = "nothing that would hurt was done; put it right, and call it again (--abort goes back)";
            return Err(Stopped {
                exit: Exit::TimedOut,
                message: format!(
                    "stopped, still {}:\n{}",
                    words(goal),
                    listed(&blockers, Screen::PLAIN).trim_end()
                ),
                hint: Some(hint.to_owned()),
            }
            .into());
        }
        let pause = if goal == Goal::Renewed && self.nomad.is_some() {
            self.args.pace
        } else {
            LOOK_INTERVAL
        };
        sleep(pause.max(Duration::from_millis(100))).await;
        Ok(())
    }

    /// The whole bar, when what was waited for is there.
    fn end_of_wait(&mut self, change: &Change, rows: &[Row]) -> io::Result<()> {
        let Some((goal, _)) = self.waiting else {
            return Ok(());
        };
        if change.blockers(goal, rows).is_empty() {
            self.show(goal, &[], rows.len())?;
            self.waiting = None;
        }
        Ok(())
    }

    /// A bar and the first blocker; on a terminal they take the place of the last ones.
    fn show(&mut self, goal: Goal, blockers: &[Blocker], all: usize) -> io::Result<()> {
        let done = all.saturating_sub(blockers.len());
        let part = done as f64 / all.max(1) as f64;
        let bar = self.screen.cells(part, PROGRESS_CHARS, Style::Good);
        let mut text = format!("{} {bar} {done} of {all}\n", words(goal));
        if let Some(first) = blockers.first() {
            // a line that the terminal breaks could not be taken back
            let room = self.screen.columns().unwrap_or(usize::MAX);
            let first = shortened(&first.to_string(), room.saturating_sub(6));
            text.push_str(&format!("  {first}\n"));
        }
        if text == self.said {
            return Ok(());
        }
        let is_next = self.screen.is_terminal() && self.said.starts_with(words(goal));
        let up = if is_next {
            self.said.lines().count()
        } else {
            0
        };
        let back = if up > 0 {
            format!("\x1b[{up}A\x1b[J")
        } else {
            String::new()
        };
        print(&format!("{back}{text}"))?;
        self.said = text;
        Ok(())
    }
}

fn words(goal: Goal) -> &'static str {
    match goal {
        Goal::Trusted => "waiting until the new root is trusted",
        Goal::Renewed => "waiting until the leaves are new",
        Goal::Removed => "waiting until the old root is out",
    }
}

fn shown(one: &Authority) -> String {
    let short = one.sha256.get(..8).unwrap_or_default();
    match one.subject.as_str() {
        "" => short.to_owned(),
        subject => format!("{} ({short})", harmless(subject)),
    }
}
