//! Settings as typed on the command line: one flag per row of the table, as written.
//!
//! Never checks a value and never holds a secret: secrets have no flag.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use clap::{
    Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, ValueHint,
    builder::{PathBufValueParser, PossibleValuesParser},
};

use super::{
    Environment,
    table::{Commands, SETTINGS, Setting, ValueKind},
};

/// Which file to read: variable for `--config`.
pub const CONFIG_VARIABLE: &str = "CERTAGENT_CONFIG";
/// Which certificate block to use: variable for `--certificate`.
pub const CERTIFICATE_VARIABLE: &str = "CERTAGENT_CERTIFICATE";

/// What the help of a command shows; `certagent help settings` shows all.
const OFTEN: &[&str] = &[
    "component",
    "common-name",
    "dns-sans",
    "ip-sans",
    "mount",
    "role",
    "mode",
    "ttl",
    "key-type",
    "dir",
    "vault-addr",
    "vault-ca-cert",
    "auth",
    "auth-role",
    "log-level",
];

/// Words of another program's command line: a value may begin with a hyphen.
const WORDS: &[&str] = &["reload-command"];

/// The flags that were given, and their values as typed.
#[derive(Clone, Default)]
pub struct Flags {
    given: BTreeMap<&'static str, Vec<String>>,
    config: Option<PathBuf>,
    certificate: Option<String>,
}

/// Their names only: a value may hold a secret.
impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.given.keys()).finish()
    }
}

impl Flags {
    /// What was given for a setting.
    #[must_use]
    pub fn of(&self, setting: &Setting) -> Option<&[String]> {
        self.given.get(setting.flag).map(Vec::as_slice)
    }

    /// The same flags with one more, named without dashes; unknown names are ignored.
    #[must_use]
    pub fn with(mut self, flag: &str, value: &str) -> Self {
        let known = SETTINGS
            .iter()
            .find(|one| one.flag == flag && !one.is_secret());
        if let Some(setting) = known {
            let values = self.given.entry(setting.flag).or_default();
            values.push(value.to_owned());
        }
        self
    }

    /// A command that exists for its help only: every setting.
    #[must_use]
    pub fn list() -> Command {
        let command = Command::new("settings").disable_help_flag(true);
        Self::augment_args(command)
            .about("Settings: a key in the file, a variable, a flag; each stronger than the one before")
            .after_help("Tokens and secret ids have no flag: docs/configuration.md")
            .help_template("{about-with-newline}\n{all-args}\n\n{after-help}")
            .max_term_width(100)
            .mut_args(|arg| arg.hide_short_help(false))
    }

    /// The file to read, from `--config` or its variable.
    #[must_use]
    pub fn file<'a>(&'a self, env: &'a Environment) -> Option<&'a Path> {
        let named = env.get(CONFIG_VARIABLE).filter(|path| !path.is_empty());
        self.config.as_deref().or_else(|| named.map(Path::new))
    }

    /// The only certificate block to use, when one was named.
    #[must_use]
    pub fn certificate<'a>(&'a self, env: &'a Environment) -> Option<&'a str> {
        let named = env
            .get(CERTIFICATE_VARIABLE)
            .filter(|name| !name.is_empty());
        self.certificate
            .as_deref()
            .or_else(|| named.map(String::as_str))
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for setting in SETTINGS.iter().filter(|one| !one.is_secret()) {
            // a command need not have all
            let given = matches.try_get_many::<String>(setting.flag);
            if let Ok(Some(values)) = given {
                self.given.insert(setting.flag, values.cloned().collect());
            }
        }
        self.config = matches.get_one::<PathBuf>("config").cloned();
        self.certificate = matches.get_one::<String>("certificate").cloned();
        Ok(())
    }
}

/// The flags that have an effect on one command.
macro_rules! flags_of {
    ($(#[$doc:meta])* $name:ident, $commands:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default)]
        pub struct $name(pub Flags);

        impl FromArgMatches for $name {
            fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
                Flags::from_arg_matches(matches).map(Self)
            }

            fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
                self.0.update_from_arg_matches(matches)
            }
        }

        impl Args for $name {
            fn augment_args(command: Command) -> Command {
                Flags::augment($commands, command)
            }

            fn augment_args_for_update(command: Command) -> Command {
                Self::augment_args(command)
            }
        }
    };
}

flags_of!(
    /// Those of `issue`.
    IssueFlags,
    Commands::Issue
);
flags_of!(
    /// Those of `explain`.
    ExplainFlags,
    Commands::Explain
);

impl Flags {
    fn augment(commands: Commands, command: Command) -> Command {
        let config = Arg::new("config")
            .short('c')
            .long("config")
            .value_name("FILE")
            .value_parser(PathBufValueParser::new())
            .help(format!("Configuration file (HCL) [env: {CONFIG_VARIABLE}]"));
        let certificate = Arg::new("certificate")
            .long("certificate")
            .value_name("NAME")
            .help(format!(
                "Use only this certificate of the file [env: {CERTIFICATE_VARIABLE}]"
            ));
        let plain = SETTINGS
            .iter()
            .filter(|one| !one.is_secret() && one.matters_to(commands));
        command
            .arg(config)
            .arg(certificate)
            .args(plain.map(argument))
    }
}

impl Args for Flags {
    fn augment_args(command: Command) -> Command {
        Self::augment(Commands::Agent, command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn argument(setting: &'static Setting) -> Arg {
    let arg = Arg::new(setting.flag)
        .long(setting.flag)
        .value_name(setting.kind.placeholder())
        .help(setting.line())
        .help_heading(setting.section.heading())
        .hide_short_help(!OFTEN.contains(&setting.flag))
        .value_hint(match setting.kind {
            ValueKind::Path => ValueHint::AnyPath,
            _ => ValueHint::Other,
        });
    match setting.kind {
        ValueKind::List => arg
            .action(ArgAction::Append)
            .allow_hyphen_values(WORDS.contains(&setting.flag)),
        ValueKind::Bool => arg
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true"),
        ValueKind::Choice(words) => arg
            .value_parser(PossibleValuesParser::new(words))
            .hide_possible_values(true),
        _ => arg,
    }
}
