//! `certagent version`: which program this is.
//!
//! Never asks git: whoever builds a package says the commit by CERTAGENT_COMMIT.

use serde_json::json;

use super::print;
use crate::{
    cli::{OutputFormat, VersionArgs},
    exit::Exit,
};

/// The commit that it was built from.
const COMMIT: Option<&str> = match option_env!("CERTAGENT_COMMIT") {
    Some(commit) if !commit.is_empty() => Some(commit),
    _ => None,
};

pub(super) fn run(args: &VersionArgs) -> anyhow::Result<Exit> {
    let version = env!("CARGO_PKG_VERSION");
    let dev = cfg!(feature = "dev");
    print(&match args.output {
        OutputFormat::Text => {
            let commit = COMMIT.unwrap_or("unknown (CERTAGENT_COMMIT was not set at build time)");
            let dev = if dev { "yes" } else { "no" };
            format!("certagent {version}\ncommit: {commit}\ndemo (certagent dev): {dev}\n")
        }
        OutputFormat::Json => {
            format!(
                "{:#}\n",
                json!({ "version": version, "commit": COMMIT.unwrap_or("unknown"), "dev": dev })
            )
        }
    })?;
    Ok(Exit::Done)
}
