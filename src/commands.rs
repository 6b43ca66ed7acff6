//! One command, one file below; this one only dispatches.
//!
//! Never prints results to stderr nor messages to stdout. What stays true: a command returns an
//! [`Exit`] or an error; the error's text and exit code are decided here, once.

mod ask;
mod check_config;
mod completions;
#[cfg(feature = "dev")]
mod dev;
mod doctor;
mod exec;
mod explain;
mod fleet;
mod help;
mod inspect;
mod issue;
mod man;
mod probe;
mod renew;
mod run;
mod status;
mod version;
pub mod wait;

use std::{
    io::{self, Write as _},
    panic,
    process::ExitCode,
};

use crate::{
    cli::{Cli, Command},
    config::{self, Config, Environment, Flags, Problems},
    exit::Exit,
    model::failure::Failure,
    observe::log,
};

/// Runs one command to its end on a current-thread runtime; errors are printed on stderr.
#[must_use]
pub fn run(cli: Cli, environment: Environment) -> ExitCode {
    // the standard one would wait for whoever reads stderr
    panic::set_hook(Box::new(|panic| log::last_words(&format!("{panic}\n"))));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let result = match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(dispatch(cli.command, &environment));
            // A key that is still being made must not hold up the end.
            runtime.shutdown_background();
            result
        }
        Err(error) => Err(anyhow::Error::new(error).context("cannot start the runtime")),
    };
    let code = result.unwrap_or_else(|error| report(&error).into());
    log::finish();
    code
}

async fn dispatch(command: Command, environment: &Environment) -> anyhow::Result<ExitCode> {
    let exit = match command {
        Command::CheckConfig(args) => check_config::run(&args, environment),
        Command::Completions(args) => completions::run(&args),
        Command::Explain(args) => explain::run(&args, environment).await,
        Command::Help(args) => help::run(&args),
        Command::Inspect(args) => inspect::run(&args, environment),
        #[cfg(feature = "dev")]
        Command::Dev(args) => dev::run(&args, environment).await,
        Command::Doctor(args) => doctor::run(&args, environment).await,
        Command::Issue(args) => issue::run(&args, environment).await,
        Command::Fleet(args) => fleet::run(&args, environment).await,
        Command::Man(args) => man::run(&args),
        Command::Probe(args) => probe::run(&args, environment).await,
        Command::Renew(args) => renew::run(&args, environment).await,
        Command::Status(args) => status::run(&args, environment).await,
        Command::Run(args) => run::run(&args, environment).await,
        Command::Version(args) => version::run(&args),
        Command::Wait(args) => wait::run(&args, environment).await,
        // its code is that of the command it ran
        Command::Exec(args) => return exec::run(&args, environment).await,
    };
    exit.map(ExitCode::from)
}

/// The effective configuration, for a command that ends: notes are no log lines, and what it did it says itself.
///
/// # Errors
/// [`Problems`], all of them; the command ends with [`Exit::Usage`].
pub(crate) fn configured(flags: &Flags, environment: &Environment) -> anyhow::Result<Config> {
    let (mut config, notes) = config::load_noted(flags.file(environment), environment, flags)?;
    if config.log.level == tracing::Level::INFO {
        config.log.level = tracing::Level::WARN;
    }
    for note in notes {
        log::last_words(&format!("note: {note}\n"));
    }
    log::start(&config.log, environment);
    warn_of_plain_http(&config);
    Ok(config)
}

/// For what continues to run: logging starts, and `harden` is called before any thread is started.
pub(crate) fn configured_with(
    flags: &Flags,
    environment: &Environment,
    harden: impl FnOnce(&Config),
) -> anyhow::Result<Config> {
    let (config, notes) = config::load_noted(flags.file(environment), environment, flags)?;
    harden(&config);
    log::start(&config.log, environment);
    for note in notes {
        tracing::warn!("{note}");
    }
    warn_of_plain_http(&config);
    Ok(config)
}

fn warn_of_plain_http(config: &Config) {
    for address in config.vault.plain_addresses() {
        tracing::warn!(
            "{address} is another host without TLS: an attacker on the network can read the token \
             and the private key, or answer instead of Vault; allow_plain_http allows it"
        );
    }
}

/// Ends a command with an exit code of its own: what happened, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Stopped {
    pub(crate) exit: Exit,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Stopped {
    /// The command line or the environment is wrong.
    pub(crate) fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            exit: Exit::Usage,
            message: message.into(),
            hint: Some(hint.into()),
        }
    }
}

/// Writes a result to stdout. A reader that went away is not an error.
///
/// # Errors
/// Any other failure to write.
pub(crate) fn print(text: &str) -> io::Result<()> {
    print_on(text).map(drop)
}

/// As [`print`], for what is printed again and again: false when its reader went away.
///
/// # Errors
/// As [`print`].
pub(crate) fn print_on(text: &str) -> io::Result<bool> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        other => other.map(|()| true),
    }
}

/// Writes a result to stdout as one JSON object.
pub(crate) fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(value)?;
    Ok(print(&format!("{text}\n"))?)
}

/// Prints an error with its causes on stderr and says which exit code it means.
fn report(error: &anyhow::Error) -> Exit {
    let (text, exit) = explain(error);
    log::last_words(&text);
    exit
}

fn explain(error: &anyhow::Error) -> (String, Exit) {
    if let Some(problems) = error.downcast_ref::<Problems>() {
        let lines = problems.list().iter();
        let mut text: String = lines.map(|one| format!("error: {one}\n")).collect();
        text.push_str("hint: nothing was started; `certagent help settings` lists every setting\n");
        return (text, Exit::Usage);
    }
    let (hint, exit) = if let Some(stopped) = error.downcast_ref::<Stopped>() {
        (stopped.hint.as_deref(), stopped.exit)
    } else if let Some(failure) = error.downcast_ref::<Failure>() {
        // A failure's own text ends with its hint.
        (None, failure.class.into())
    } else {
        (None, Exit::Failure)
    };
    let hint = hint.map_or_else(String::new, |hint| format!("hint: {hint}\n"));
    (format!("error: {error:#}\n{hint}"), exit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::failure::FailureClass;

    #[test]
    fn a_failure_keeps_its_exit_code_under_more_context() {
        let failure = Failure {
            class: FailureClass::Denied,
            code: "permission-denied".to_owned(),
            message: "no".to_owned(),
            hint: None,
            retry_after: None,
        };
        let error = anyhow::Error::new(failure).context("cannot issue");
        assert_eq!(
            explain(&error),
            ("error: cannot issue: no\n".to_owned(), Exit::Denied)
        );
    }
}
