//! What the user may type after `certagent fleet`.
//!
//! Never decides anything. What stays true: the same as of the whole command line.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{OutputFormat, help};

pub(crate) const DEFAULT_SERVICE: &str = "loki-certagent";
pub(crate) const DEFAULT_MOUNT: &str = "pki";

/// Where the agents are.
#[derive(Args, Clone, Debug)]
pub struct FindArgs {
    /// Agents by their health and metrics address, with commas between; without it Consul's catalogue is
    /// asked (CONSUL_HTTP_ADDR, CONSUL_HTTP_TOKEN, ...).
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', global = true)]
    pub target: Vec<String>,
    /// Ask Nomad's service discovery instead (NOMAD_ADDR, NOMAD_TOKEN, ...).
    #[arg(long, global = true, conflicts_with = "target")]
    pub nomad: bool,
    /// The service of the agents. Services that share the beginning of its name need an agent each.
    #[arg(
        long,
        value_name = "NAME",
        default_value = DEFAULT_SERVICE,
        global = true
    )]
    pub service: String,
    /// Only these components, with commas between.
    #[arg(long, value_name = "NAME", value_delimiter = ',', global = true)]
    pub component: Vec<String>,
}

/// Show every agent in one table, and how far a change of the CA is.
#[derive(Args, Clone, Debug)]
#[command(after_help = help::FLEET, args_conflicts_with_subcommands = false)]
pub struct FleetArgs {
    /// Where the agents are.
    #[command(flatten)]
    pub find: FindArgs,
    /// What to print.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: FleetFormat,
    /// Only rows in these states, with commas between.
    #[arg(long, value_name = "STATE", value_delimiter = ',',
        value_parser = crate::model::fleet::RowState::ALL.map(crate::model::fleet::RowState::name))]
    pub state: Vec<String>,
    /// Show it again every five seconds, until Ctrl-C.
    #[arg(long)]
    pub watch: bool,
    /// Look at each application too, with the certificate files in this directory.
    #[arg(long, value_name = "DIR")]
    pub probe: Option<PathBuf>,
    /// Serve it as a page at this address, with /fleet.json beside it.
    #[arg(long, value_name = "IP:PORT", conflicts_with = "watch")]
    pub listen: Option<std::net::SocketAddr>,
    /// Let --listen be reached from other hosts.
    #[arg(long, requires = "listen")]
    pub allow_remote: bool,
    /// More than the table.
    #[command(subcommand)]
    pub command: Option<FleetCommand>,
}

/// What `certagent fleet` prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum FleetFormat {
    /// A table for people.
    #[default]
    Table,
    /// The same, with whole texts, versions and addresses.
    Wide,
    /// One JSON object.
    Json,
}

/// Below `certagent fleet`.
#[derive(Clone, Debug, Subcommand)]
pub enum FleetCommand {
    /// Show how far a change of the CA is, and what to do next; changes nothing.
    Ca(CaArgs),
}

/// Which change of the CA.
#[derive(Args, Clone, Debug)]
pub struct CaSelection {
    /// PKI mount that issues.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_MOUNT, global = true)]
    pub mount: String,
    /// The CA that comes, by issuer id or fingerprint; by default the newest one.
    #[arg(long, value_name = "CA", global = true)]
    pub to: Option<String>,
    /// The CA that goes, by issuer id or fingerprint; by default every other one that is in use.
    #[arg(long, value_name = "CA", global = true)]
    pub from: Option<String>,
    /// Count an application without reload and probe as having loaded what is in its CA.pem.
    #[arg(long, global = true)]
    pub assume_loaded: bool,
}

/// Show how far a change of the CA is, and what to do next; changes nothing.
#[derive(Args, Clone, Debug)]
#[command(after_help = help::FLEET_CA)]
pub struct CaArgs {
    /// Which change.
    #[command(flatten)]
    pub selection: CaSelection,
    /// Wait until the new CA is trusted everywhere, every leaf is of it, or no instance trusts the old one.
    #[arg(long, value_enum, value_name = "GOAL")]
    pub wait: Option<GoalArg>,
    /// Stop waiting after this long.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = crate::model::duration::parse)]
    pub timeout: std::time::Duration,
    /// What to print.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: OutputFormat,
    /// Make the change.
    #[command(subcommand)]
    pub command: Option<CaCommand>,
}

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum GoalArg {
    /// Every instance trusts the new CA, on disk and in the running application.
    Trusted,
    /// Every leaf is signed by the new CA.
    Renewed,
    /// No instance trusts the old CA.
    Removed,
}

/// Below `certagent fleet ca`.
#[derive(Clone, Debug, Subcommand)]
pub enum CaCommand {
    /// Make the whole change, step by step, with your own token (VAULT_TOKEN, or the file of `vault login`).
    Rotate(RotateArgs),
}

/// Make the whole change, step by step, with your own token (VAULT_TOKEN, or the file of `vault login`).
#[derive(Args, Clone, Debug)]
#[command(after_help = help::FLEET_CA_ROTATE)]
pub struct RotateArgs {
    /// Do not ask before each step; needs --from or --to.
    #[arg(short, long)]
    pub yes: bool,
    /// Name of the new root; by default that of the old one with the present time.
    #[arg(long, value_name = "NAME")]
    pub common_name: Option<String>,
    /// Pause between two requests for a renewal, which are sent by Nomad when NOMAD_ADDR is set.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = crate::model::duration::parse)]
    pub pace: std::time::Duration,
    /// Stop when one wait takes longer than this.
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = crate::model::duration::parse)]
    pub timeout: std::time::Duration,
    /// Go back: the old CA issues again, and the new one goes.
    #[arg(long)]
    pub abort: bool,
}
