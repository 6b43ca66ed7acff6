//! What the user may type: clap types only; reads nothing from the machine.
//!
//! Never decides anything. What stays true: `--help` works on any machine, however broken; every
//! flag of a setting comes from the table in `config/table.rs`.

mod fleet;
mod help;
mod tips;

use std::{ffi::OsString, path::PathBuf};

use clap::{
    Arg, ArgAction, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum,
};

pub use fleet::{
    CaArgs, CaCommand, CaSelection, FindArgs, FleetArgs, FleetCommand, FleetFormat, GoalArg,
    RotateArgs,
};
pub(crate) use fleet::{DEFAULT_MOUNT, DEFAULT_SERVICE};

use crate::config::{self, ExplainFlags, Flags, IssueFlags};

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "certagent",
    version,
    about = help::ABOUT,
    after_help = help::exit_codes(),
    arg_required_else_help = true,
    disable_help_subcommand = true,
    disable_help_flag = true,
    max_term_width = 100
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The whole command line, with its commands in groups and one short form of help.
#[must_use]
pub fn command() -> clap::Command {
    let command = Cli::command();
    let template = format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n{}\nOptions:\n{{options}}{{after-help}}",
        help::groups(&command)
    );
    let help = Arg::new("help")
        .short('h')
        .long("help")
        .global(true)
        .action(ArgAction::HelpShort)
        .help("Print help");
    command.help_template(template).arg(help)
}

/// Reads a command line.
///
/// # Errors
/// What clap says: also help and the version that were asked for.
pub fn parse(
    arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
) -> Result<Cli, clap::Error> {
    let mut command = command();
    let matches = command.try_get_matches_from_mut(arguments);
    let matches = matches.map_err(tips::without_far)?;
    Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

/// What a command prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// A report for people.
    #[default]
    Text,
    /// One JSON object.
    Json,
}

/// One variant per subcommand; each is a file below `commands/`.
#[derive(Debug, Subcommand)]
// Each has a hundred flags: only those of the command that runs are made.
#[command(defer = true)]
pub enum Command {
    /// Check the configuration; print every effective setting with its source.
    CheckConfig(CheckConfigArgs),
    /// Demonstrate certagent on an embedded PKI, or serve that PKI alone.
    #[cfg(feature = "dev")]
    Dev(DevArgs),
    /// Find misconfigurations and name them; changes nothing.
    Doctor(DoctorArgs),
    /// Print the completion script of a shell.
    #[command(visible_alias = "completion")]
    Completions(CompletionsArgs),
    /// Get certificates, then run a command with them and renew them until it exits.
    Exec(ExecArgs),
    /// Print every input of the next renewal time.
    Explain(ExplainArgs),
    /// Show every agent in one table, and how far a change of the CA is.
    Fleet(FleetArgs),
    /// Print help for a command, or all settings (`help settings`).
    Help(HelpArgs),
    /// Show what is in a certificate directory or a PEM file, and whether it is valid.
    Inspect(InspectArgs),
    /// Request one certificate and show it; start no agent.
    Issue(IssueArgs),
    /// Print the manual page (troff), or write one page per command.
    Man(ManArgs),
    /// Show which certificate an application serves, and compare it with the published one.
    Probe(ProbeArgs),
    /// Get certificates, publish and renew them until stopped.
    Run(RunArgs),
    /// Make the running agent renew now, and wait for the new certificates.
    Renew(RenewArgs),
    /// Show what the running agent knows.
    Status(StatusArgs),
    /// Print version and commit.
    Version(VersionArgs),
    /// Block until a valid certificate is published (for a prestart task).
    Wait(WaitArgs),
}

/// Get certificates, publish and renew them until stopped.
#[derive(Args, Clone, Debug)]
#[command(after_help = help::RUN)]
pub struct RunArgs {
    /// Every setting.
    #[command(flatten)]
    pub flags: Flags,
}

/// Get certificates, then run a command with them and renew them until it exits.
#[derive(Args, Clone, Debug)]
#[command(after_help = help::EXEC)]
pub struct ExecArgs {
    /// Send SIGKILL if the command still runs this long after SIGTERM; 0 waits forever.
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    pub kill_after: String,
    /// Every setting.
    #[command(flatten)]
    pub flags: Flags,
    /// The program to run, looked up in PATH.
    #[arg(value_name = "CMD", last = true, required = true, num_args = 1.., allow_hyphen_values = true)]
    pub command: Vec<OsString>,
}

/// Request one certificate and show it; start no agent.
#[derive(Args, Clone, Debug)]
#[command(after_help = help::ISSUE)]
pub struct IssueArgs {
    /// Write the certificate files into this directory, instead of only reporting them.
    #[arg(long, value_name = "DIR")]
    pub output_dir: Option<PathBuf>,
    /// What to print.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: IssueFormat,
    /// Show the request and what would be refused; request no certificate.
    #[arg(long)]
    pub dry_run: bool,
    /// The settings that have an effect here.
    #[command(flatten)]
    pub flags: IssueFlags,
}

/// What `certagent issue` prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum IssueFormat {
    /// A report for people.
    #[default]
    Text,
    /// One JSON object.
    Json,
    /// Certificate, chain, private key and anchors as PEM.
    Pem,
}

/// Block until a valid certificate is published (for a prestart task).
#[derive(Args, Clone, Debug)]
#[command(after_help = help::WAIT)]
pub struct WaitArgs {
    /// Ready file that `certagent run` writes; by default CERTAGENT_READY_FILE, else
    /// certagent/ready.json in NOMAD_ALLOC_DIR.
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
    /// Give up after this long, as `4m`; 0 checks once.
    #[arg(long, value_name = "DURATION", default_value = "4m")]
    pub timeout: String,
    /// What to print; JSON is the content of the ready file, text is nothing.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: OutputFormat,
}

/// Show what the running agent knows.
#[derive(Args, Clone, Debug)]
#[command(after_help = help::STATUS)]
pub struct StatusArgs {
    /// Status socket of the agent; by default CERTAGENT_STATUS_SOCKET, else
    /// certagent/run/status.sock in NOMAD_ALLOC_DIR, or certagent/status.sock in XDG_RUNTIME_DIR.
    #[arg(long, value_name = "FILE")]
    pub socket: Option<PathBuf>,
    /// What to print; JSON with --watch is one object a line.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: OutputFormat,
    /// Show it again every second, until Ctrl-C.
    #[arg(long)]
    pub watch: bool,
}

/// Make the running agent renew now, and wait for the new certificates.
#[derive(Args, Clone, Debug)]
#[command(after_help = help::RENEW)]
pub struct RenewArgs {
    /// Only this certificate; without it, all.
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// With a new private key, also where reuse_key is set.
    #[arg(long)]
    pub new_key: bool,
    /// With a new private key, and revoke the old certificate once the new one is published: for a key
    /// that others may know.
    #[arg(long)]
    pub revoke_old: bool,
    /// Status socket of the agent; by default CERTAGENT_STATUS_SOCKET, else
    /// certagent/run/status.sock in NOMAD_ALLOC_DIR, or certagent/status.sock in XDG_RUNTIME_DIR.
    #[arg(long, value_name = "FILE")]
    pub socket: Option<PathBuf>,
    /// Stop waiting for the answer after this long; the agent continues.
    #[arg(long, value_name = "DURATION", default_value = "2m")]
    pub timeout: String,
    /// What to print.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: OutputFormat,
}

/// Show what is in a certificate directory or a PEM file, and whether it is valid.
#[derive(Args, Clone, Debug)]
#[command(after_help = help::INSPECT)]
pub struct InspectArgs {
    /// Directory with certificate files, or one PEM file; by default CERTAGENT_DIR, else certs in
    /// NOMAD_SECRETS_DIR, else secrets/certs.
    #[arg(value_name = "DIR|FILE")]
    pub path: Option<PathBuf>,
    /// Exit with 1 when a certificate of the chain expires within this time, as 24h.
    #[arg(long, value_name = "DURATION", value_parser = crate::model::duration::parse)]
    pub expires_in: Option<std::time::Duration>,
    /// What to print.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: OutputFormat,
}

/// Show which certificate an application serves, and compare it with the published one.
#[derive(Args, Clone, Debug)]
#[command(after_help = help::PROBE)]
pub struct ProbeArgs {
    /// Where the application listens; by default CERTAGENT_PROBE_ADDRESS, else
    /// NOMAD_ADDR_grpc.
    #[arg(value_name = "HOST:PORT")]
    pub address: Option<String>,
    /// Directory with the published certificate files; by default that of --client-cert-dir, else
    /// CERTAGENT_DIR, else certs in NOMAD_SECRETS_DIR, else secrets/certs. Without any, what is
    /// served is shown and compared with nothing.
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Directory with the client certificate to send when the application asks for one.
    #[arg(long, value_name = "DIR")]
    pub client_cert_dir: Option<PathBuf>,
    /// Name or IP address to prove; by default the host where the published certificate has it,
    /// else its first DNS name.
    #[arg(long, value_name = "NAME")]
    pub server_name: Option<String>,
    /// Application protocols to offer, with commas between; h2 by itself with --grpc-health.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub alpn: Vec<String>,
    /// How the connection becomes TLS, where it does not begin as such.
    #[arg(long, value_enum)]
    pub starttls: Option<StartTlsArg>,
    /// Exit with 1 when what is served expires within this time, as 24h.
    #[arg(long, value_name = "DURATION", value_parser = crate::model::duration::parse)]
    pub expires_in: Option<std::time::Duration>,
    /// Also call grpc.health.v1.Health/Check.
    #[arg(long, conflicts_with = "starttls")]
    pub grpc_health: bool,
    /// Limit for the whole probe.
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    pub timeout: String,
    /// What to print.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: OutputFormat,
}

/// A protocol whose connections become TLS on request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StartTlsArg {
    /// PostgreSQL's SSLRequest.
    Postgres,
    /// SMTP's STARTTLS.
    Smtp,
}

/// Print every input of the next renewal time.
#[derive(Args, Clone, Debug)]
#[command(after_help = help::EXPLAIN)]
pub struct ExplainArgs {
    /// What to print.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: OutputFormat,
    /// The settings that have an effect here.
    #[command(flatten)]
    pub flags: ExplainFlags,
}

/// Check the configuration; print every effective setting with its source.
#[derive(Args, Clone, Debug)]
#[command(after_help = help::CHECK_CONFIG)]
pub struct CheckConfigArgs {
    /// What to print.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: OutputFormat,
    /// Every setting.
    #[command(flatten)]
    pub flags: Flags,
}

/// Demonstrate certagent on an embedded PKI, or serve that PKI alone.
#[cfg(feature = "dev")]
#[derive(Args, Clone, Debug)]
#[command(after_help = help::DEV)]
pub struct DevArgs {
    /// Only serve the embedded PKI; start no agent.
    #[arg(long)]
    pub pki_only: bool,
    /// Where the embedded PKI listens; loopback only, port 0 takes a free one.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:0")]
    pub listen: std::net::SocketAddr,
    /// Lifetime of the certificates of the demonstration.
    #[arg(long, value_name = "DURATION", default_value = "15s")]
    pub ttl: String,
    /// Where the demonstration writes; a new temporary directory when absent.
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Stop after this long, as `1m`; without it, Ctrl-C stops it.
    #[arg(long = "for", value_name = "DURATION")]
    pub time: Option<String>,
    /// Stop after this many renewals.
    #[arg(long, value_name = "COUNT", conflicts_with = "pki_only")]
    pub renewals: Option<u64>,
}

/// Find misconfigurations and name them; changes nothing.
#[derive(Args, Clone, Debug)]
#[command(after_help = help::DOCTOR)]
pub struct DoctorArgs {
    /// What to print.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: OutputFormat,
    /// Show the checks that are ok and those that could not be made, too.
    #[arg(short, long)]
    pub verbose: bool,
    /// Request one real certificate for each block, and discard it.
    #[arg(long)]
    pub test_issue: bool,
    /// User that has to read the certificate files, in numbers, as 10001:10001.
    #[arg(long, value_name = "UID[:GID]")]
    pub as_user: Option<config::Reader>,
    /// File with the id of the process that a reload would signal.
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// The signal that a reload would send; SIGHUP when absent. It is not sent.
    #[arg(long, value_name = "NAME", requires = "pid_file")]
    pub signal: Option<String>,
    /// Every setting.
    #[command(flatten)]
    pub flags: Flags,
}

/// Print the completion script of a shell.
#[derive(Args, Clone, Debug)]
#[command(after_help = help::COMPLETIONS)]
pub struct CompletionsArgs {
    /// The shell.
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// Print the manual page (troff), or write one page per command.
#[derive(Args, Clone, Debug)]
#[command(after_help = help::MAN)]
pub struct ManArgs {
    /// Write certagent.1 and one page per command into this existing directory.
    #[arg(long, value_name = "DIR")]
    pub output_dir: Option<PathBuf>,
}

/// Print help for a command, or all settings (`help settings`).
#[derive(Args, Clone, Debug)]
#[command(after_help = help::HELP)]
pub struct HelpArgs {
    /// A command, or `settings`; without it, the list of commands.
    #[arg(value_name = "COMMAND")]
    pub topic: Option<String>,
}

/// Print version and commit.
#[derive(Args, Clone, Debug)]
#[command(after_help = help::VERSION)]
pub struct VersionArgs {
    /// What to print.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: OutputFormat,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn every_command_stands_in_one_group() {
        let command = command();
        for known in command.get_subcommands() {
            let groups = help::GROUPS.iter();
            let found = groups.filter(|(_, names)| names.contains(&known.get_name()));
            assert_eq!(found.count(), 1, "{}: add it to GROUPS", known.get_name());
        }
    }

    #[test]
    fn no_flag_takes_a_secret() {
        let mut all = command();
        all.build();
        let mut seen = 0;
        for command in all.get_subcommands() {
            for arg in command.get_arguments() {
                seen += 1;
                let name = arg.get_long().unwrap_or_default();
                let secret = [
                    "auth-token",
                    "token",
                    "auth-secret-id",
                    "secret-id",
                    "vault-headers",
                ];
                assert!(!secret.contains(&name), "{} --{name}", command.get_name());
            }
        }
        assert!(seen > 100, "only {seen} flags: were they made?");
    }
}
