//! `certagent man`: the manual page as troff, on stdout or as one file per command.
//!
//! Never makes a directory.

use anyhow::Context as _;

use crate::{
    cli::{self, ManArgs},
    exit::Exit,
};

pub(super) fn run(args: &ManArgs) -> anyhow::Result<Exit> {
    let command = cli::command();
    if let Some(dir) = &args.output_dir {
        clap_mangen::generate_to(command, dir)
            .with_context(|| format!("cannot write manual pages into {}", dir.display()))?;
        return Ok(Exit::Done);
    }
    let mut text = Vec::new();
    clap_mangen::Man::new(command).render(&mut text)?;
    super::print(&String::from_utf8_lossy(&text))?;
    Ok(Exit::Done)
}
