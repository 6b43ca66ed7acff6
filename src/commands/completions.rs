//! `certagent completions`: the completion script of a shell, on stdout.
//!
//! Never installs it.

use crate::{
    cli::{self, CompletionsArgs},
    exit::Exit,
};

pub(super) fn run(args: &CompletionsArgs) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut cli::command(), "certagent", &mut script);
    super::print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}
