//! `certagent fleet`: every agent in one table, on the terminal or as a page.
//!
//! Never changes anything (`fleet ca rotate` does, and asks). What stays true: 0 means that every row
//! is ready; what could not be asked is a row, never left out.

mod ca;
mod chosen;
mod rotate;
mod text;

use std::{sync::Arc, time::Duration};

use tokio::{net::TcpListener, sync::watch, time::sleep};

use super::{Stopped, print, probe};
use crate::{
    cli::{CaCommand, FindArgs, FleetArgs, FleetCommand, FleetFormat},
    clock::{Clock as _, SystemClock},
    config::Environment,
    exit::Exit,
    fleet::{
        FleetReport, Place, Sweep,
        catalogue::{Catalogue, listed},
        fetch::Fetcher,
        page,
    },
    model::{
        failure::Failure,
        fleet::{Row, all_well, ca::change},
    },
    observe::log,
    terminal::{CLEAR_SCREEN, Screen},
};

/// How often `--watch` and `--listen` look.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);

pub(super) async fn run(args: &FleetArgs, environment: &Environment) -> anyhow::Result<Exit> {
    if let Some(FleetCommand::Ca(ca)) = &args.command {
        let finder = Finder::new(&args.find, environment)?;
        return match &ca.command {
            None => ca::run(ca, finder, environment).await,
            Some(CaCommand::Rotate(rotate)) => {
                rotate::run(rotate, &ca.selection, finder, environment).await
            }
        };
    }
    let mut finder = Finder::new(&args.find, environment)?;
    if let Some(dir) = &args.probe {
        finder.fetcher =
            Fetcher::new(Some(probe::identity(dir, Some(dir))?)).map_err(anyhow::Error::msg)?;
    }
    if let Some(address) = args.listen {
        if !address.ip().is_loopback() && !args.allow_remote {
            let text = format!(
                "{address} can be reached from outside, and the page has no access control"
            );
            return Err(Stopped::usage(text, "use 127.0.0.1, or --allow-remote").into());
        }
        let listener = TcpListener::bind(address).await;
        let listener =
            listener.map_err(|error| anyhow::anyhow!("cannot listen at {address}: {error}"))?;
        print(&format!(
            "the fleet is at http://{}\n",
            listener.local_addr()?
        ))?;
        return listen(listener, finder).await;
    }
    show(args, &finder, environment).await
}

/// Once, or again and again.
async fn show(
    args: &FleetArgs,
    finder: &Finder,
    environment: &Environment,
) -> anyhow::Result<Exit> {
    let screen = Screen::stdout(|name| environment.get(name).map(String::as_str));
    let mut again = Again::default();
    loop {
        let looking = finder.sweep();
        let sweep = screen.wait_for("asking the agents", looking).await;
        let sweep = match sweep.map_err(anyhow::Error::from) {
            Ok(sweep) => again.seen(sweep),
            Err(error) => {
                again.failed(error)?;
                sleep(SWEEP_INTERVAL).await;
                continue;
            }
        };
        let well = all_well(&sweep.rows);
        let wanted = |row: &Row| {
            args.state.is_empty() || args.state.iter().any(|one| one == row.state.name())
        };
        let shown = Sweep {
            rows: sweep
                .rows
                .iter()
                .filter(|row| wanted(row))
                .cloned()
                .collect(),
            ..sweep
        };
        let report = FleetReport::from(&shown);
        let read = super::print_on(&match args.output {
            FleetFormat::Json if args.watch => format!("{}\n", serde_json::to_string(&report)?),
            FleetFormat::Json => format!("{}\n", serde_json::to_string_pretty(&report)?),
            format => {
                let table = text::table(&shown, format == FleetFormat::Wide, screen);
                let clear = args.watch && screen.is_terminal();
                format!("{}{table}", if clear { CLEAR_SCREEN } else { "" })
            }
        })?;
        if !args.watch || !read {
            return Ok(if well { Exit::Done } else { Exit::Failure });
        }
        sleep(SWEEP_INTERVAL).await;
    }
}

/// Serves the newest sweep until a signal ends the process.
async fn listen(listener: TcpListener, finder: Finder) -> anyhow::Result<Exit> {
    let (sender, newest) = watch::channel(None);
    let looking = async {
        loop {
            let found = finder.sweep().await;
            sender.send_replace(Some(found.map(Arc::new).map_err(|stopped| stopped.message)));
            sleep(SWEEP_INTERVAL).await;
        }
    };
    tokio::select! {
        () = page::serve(listener, newest) => Ok(Exit::Failure),
        exit = looking => exit,
    }
}

/// What a failed look means where many follow each other. The first one has to succeed; later a catalogue or a
/// Vault that is away for a moment ends nothing.
#[derive(Default)]
struct Again {
    is_seen: bool,
    said: String,
}

impl Again {
    fn seen<T>(&mut self, what: T) -> T {
        self.is_seen = true;
        self.said.clear();
        what
    }

    /// Says it, once.
    fn failed(&mut self, error: anyhow::Error) -> anyhow::Result<()> {
        let may_pass = match (
            error.downcast_ref::<Stopped>(),
            error.downcast_ref::<Failure>(),
        ) {
            (Some(stopped), _) => stopped.exit == Exit::Failure,
            (_, Some(failure)) => failure.class.is_absence(),
            _ => false,
        };
        if !self.is_seen || !may_pass {
            return Err(error);
        }
        let text = format!("trying again: {error:#}\n");
        if text != self.said {
            log::last_words(&text);
            self.said = text;
        }
        Ok(())
    }
}

/// Finds the agents and asks them.
pub(super) struct Finder {
    source: Source,
    fetcher: Fetcher,
    components: Vec<String>,
    /// The arguments that choose the same agents once more.
    chosen: String,
}

enum Source {
    Listed(Vec<Place>),
    Catalogue(Box<Catalogue>, String),
}

impl Finder {
    fn new(args: &FindArgs, environment: &Environment) -> anyhow::Result<Self> {
        let usage = |why| Stopped::usage(why, "see certagent fleet --help");
        let source = if !args.target.is_empty() {
            Source::Listed(listed(&args.target).map_err(usage)?)
        } else {
            let found = if args.nomad {
                Catalogue::nomad(environment)
            } else {
                Catalogue::consul(environment)
            };
            Source::Catalogue(Box::new(found.map_err(usage)?), args.service.clone())
        };
        let fetcher = Fetcher::new(None).map_err(anyhow::Error::msg)?;
        Ok(Self {
            source,
            fetcher,
            components: args.component.clone(),
            chosen: chosen::agents(args),
        })
    }

    /// Everything that can be seen now, of the wanted components.
    pub(super) async fn sweep(&self) -> Result<Sweep, Stopped> {
        let failed = |message| Stopped {
            exit: Exit::Failure,
            message,
            hint: None,
        };
        let places = match &self.source {
            Source::Listed(places) => places.clone(),
            Source::Catalogue(catalogue, service) => {
                catalogue.places(service).await.map_err(failed)?
            }
        };
        let at = SystemClock.now();
        let mut rows = self.fetcher.rows(&places, at).await;
        // What was not seen has no component yet, and might be the one that is wanted.
        rows.retain(|row| {
            self.components.is_empty()
                || row.leaf.is_none()
                || self.components.contains(&row.who.component)
        });
        if rows.is_empty() {
            return Err(failed(format!(
                "no instance has the component {}",
                self.components.join(" or ")
            )));
        }
        let change = change(&rows, &[], None, None).map_err(failed)?;
        Ok(Sweep { at, rows, change })
    }
}
