//! `certagent help`: the same texts as `--help`, and all settings in one list.
//!
//! Never repeats a text: each is made from the command line or the table of settings.

use super::{Stopped, print};
use crate::{
    cli::{self, HelpArgs},
    config::Flags,
    exit::Exit,
};

/// Not a command: every setting.
const SETTINGS: &str = "settings";

pub(super) fn run(args: &HelpArgs) -> anyhow::Result<Exit> {
    match args.topic.as_deref() {
        Some(SETTINGS) => print(&Flags::list().render_help().to_string())?,
        Some(topic) if cli::command().find_subcommand(topic).is_none() => {
            let hint =
                "`certagent help` lists the commands, `certagent help settings` all settings";
            return Err(Stopped::usage(format!("no command is called {topic:?}"), hint).into());
        }
        topic => {
            let words = ["certagent"].into_iter().chain(topic).chain(["--help"]);
            if let Err(help) = cli::parse(words) {
                // a closed pipe must not turn help into a failure
                let _ = help.print();
            }
        }
    }
    Ok(Exit::Done)
}
