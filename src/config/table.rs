//! Every setting there is: its key in the file, flag, variables, default, unit and meaning.
//!
//! Never reads anything. What stays true: loader, `--help` and docs/configuration.md are all made
//! from this one table, so a setting that is not here does not exist. A new block is a new
//! [`Section`] and its rows.

mod rows;

pub use rows::SETTINGS;

/// A block of the configuration file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    /// `vault { }`: where the issuer is.
    Vault,
    /// `auth "<method>" { }`: how to get a token.
    Auth,
    /// `certificate "<name>" { }`: what to ask for and where it goes; several are possible.
    Certificate,
    /// `log { }`: how to write log lines.
    Log,
    /// `http { }`: where health and metrics are served.
    Http,
    /// `status { }`: where `certagent status` and `certagent renew` find the agent.
    Status,
    /// `process { }`: what the process itself may do.
    Process,
    /// `probe { }` in a certificate's block: how to see which certificate the application serves.
    Probe,
    /// `reload { }` in a certificate's block: how to make the application load it.
    Reload,
    /// `stagger { }` in `reload`: the turns of the allocations of a group.
    Stagger,
    /// `rollback { }` in a certificate's block: back to the set before.
    Rollback,
}

impl Section {
    /// All blocks, in the order they are documented.
    pub const ALL: [Self; 11] = [
        Self::Certificate,
        Self::Probe,
        Self::Reload,
        Self::Stagger,
        Self::Rollback,
        Self::Vault,
        Self::Auth,
        Self::Log,
        Self::Http,
        Self::Status,
        Self::Process,
    ];

    /// The block's word in the file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Vault => "vault",
            Self::Auth => "auth",
            Self::Certificate => "certificate",
            Self::Log => "log",
            Self::Http => "http",
            Self::Status => "status",
            Self::Process => "process",
            Self::Probe => "probe",
            Self::Reload => "reload",
            Self::Stagger => "stagger",
            Self::Rollback => "rollback",
        }
    }

    /// The block it stands in; none for those of the file itself.
    #[must_use]
    pub fn parent(self) -> Option<Self> {
        match self {
            Self::Probe | Self::Reload | Self::Rollback => Some(Self::Certificate),
            Self::Stagger => Some(Self::Reload),
            Self::Vault
            | Self::Auth
            | Self::Certificate
            | Self::Log
            | Self::Http
            | Self::Status
            | Self::Process => None,
        }
    }

    /// Does every certificate have its own: the block itself, and what stands in it?
    #[must_use]
    pub fn of_certificate(self) -> bool {
        self == Self::Certificate || self.parent().is_some_and(Self::of_certificate)
    }

    /// All words from the file down to the block, as `certificate.probe`.
    #[must_use]
    pub fn path(self) -> String {
        match self.parent() {
            Some(parent) => format!("{}.{}", parent.path(), self.name()),
            None => self.name().to_owned(),
        }
    }

    /// The key that is written as the block's label, for blocks that have one.
    #[must_use]
    pub fn label(self) -> Option<&'static str> {
        match self {
            Self::Auth => Some("method"),
            Self::Certificate => Some("name"),
            Self::Vault
            | Self::Log
            | Self::Http
            | Self::Status
            | Self::Process
            | Self::Probe
            | Self::Reload
            | Self::Stagger
            | Self::Rollback => None,
        }
    }

    /// May the block occur more than once?
    #[must_use]
    pub fn repeats(self) -> bool {
        matches!(self, Self::Certificate)
    }

    /// Heading of its flags in `--help`.
    #[must_use]
    pub fn heading(self) -> &'static str {
        match self {
            Self::Vault => "Vault or OpenBao",
            Self::Auth => "Authentication",
            Self::Certificate => "Certificate",
            Self::Log => "Log",
            Self::Http => "Health and metrics",
            Self::Status => "Status socket",
            Self::Probe => "Probe of the application",
            Self::Reload => "Reload of the application",
            Self::Stagger => "Staggered reloads of the allocations of a group",
            Self::Rollback => "Rollback",
            Self::Process => "The process itself",
        }
    }

    /// Its settings, in order.
    pub fn settings(self) -> impl Iterator<Item = &'static Setting> {
        SETTINGS.iter().filter(move |one| one.section == self)
    }
}

/// What a value looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// Any text.
    Text,
    /// A path; relative ones count from the working directory.
    Path,
    /// Several texts: an array in the file, commas or repeated flags elsewhere.
    List,
    /// Header names and values: an object in the file, JSON in a variable.
    Headers,
    /// A length of time: `90s`, `1h30m`, `10d`; a bare number counts seconds.
    Duration,
    /// A whole number.
    Count,
    /// `true` or `false`; a flag alone means true.
    Bool,
    /// File mode in octal: `0640`.
    Mode,
    /// One of these words.
    Choice(&'static [&'static str]),
}

impl ValueKind {
    /// Stands for the value in `--help`.
    #[must_use]
    pub fn placeholder(self) -> &'static str {
        match self {
            Self::Text => "TEXT",
            Self::Path => "PATH",
            Self::List => "LIST",
            Self::Headers => "HEADERS",
            Self::Duration => "DURATION",
            Self::Count => "NUMBER",
            Self::Bool => "BOOL",
            Self::Mode => "MODE",
            Self::Choice(_) => "WORD",
        }
    }

    /// Type and unit in words, for the documentation.
    #[must_use]
    pub fn words(self) -> String {
        match self {
            Self::Text => "text".to_owned(),
            Self::Path => "path".to_owned(),
            Self::List => "list of texts".to_owned(),
            Self::Headers => "object of texts".to_owned(),
            Self::Duration => "duration".to_owned(),
            Self::Count => "whole number".to_owned(),
            Self::Bool => "true or false".to_owned(),
            Self::Mode => "octal mode".to_owned(),
            Self::Choice(words) => format!("one of {}", words.join(", ")),
        }
    }
}

/// What holds when nothing is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// This value, read like a written one.
    Value(&'static str),
    /// Worked out from other facts; the words say how.
    Derived(&'static str),
    /// Nothing: the feature is off, or its part of the request is empty.
    Nothing,
}

impl Fallback {
    /// As documented.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Value(text) | Self::Derived(text) => text,
            Self::Nothing => "none",
        }
    }
}

/// What of a value may be shown, to whom it may concern: the operator, who reads logs too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// All, as it holds no secret; one that does is refused.
    Text,
    /// A URL without user, query and fragment.
    Url,
    /// `NAME=value`: the name.
    Names,
    /// A program and arguments: the program.
    Program,
    /// Nothing: it is a secret.
    Nothing,
}

/// Which commands a setting has an effect on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commands {
    /// All that know the whole agent: `run`, `exec`, `doctor`, `check-config`.
    Agent,
    /// `issue`.
    Issue,
    /// `explain`.
    Explain,
}

/// Settings of a certificate that matter only to who renews, which `issue` does not.
const RENEWING: &[&str] = &[
    "name",
    "reuse_key",
    "renew_at",
    "splay",
    "splay_seed",
    "max_issuances_per_hour",
    "startup_timeout",
    "dir",
    "ready_file",
    "ca_poll_interval",
    "ca_retention",
];

/// Settings of a certificate that change no renewal time.
const PUBLISHING: &[&str] = &[
    "reuse_key",
    "startup_timeout",
    "cert_perms",
    "key_perms",
    "uid",
    "gid",
    "ready_file",
    "extra_ca",
    "trust",
    "trust_issuers",
    "distrust",
    "ca_poll_interval",
    "ca_retention",
];

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The block it belongs to.
    pub section: Section,
    /// Key inside the block; for [`Section::label`] the label.
    pub key: &'static str,
    /// Long flag without dashes; the variable's name comes from it.
    pub flag: &'static str,
    /// What a value looks like.
    pub kind: ValueKind,
    /// What holds when nothing is written.
    pub fallback: Fallback,
    /// Variables of the Vault and OpenBao clients that also set it, without `BAO_` or `VAULT_`;
    /// the first one that is set wins. Weaker than our own variable.
    pub issuer: &'static [&'static str],
    /// How it is shown. Secrets have no flag and no key: argument lists are public and files get
    /// committed.
    pub shown: Shown,
    /// One line for people: lower case, no full stop.
    pub help: &'static str,
}

impl Setting {
    /// Full key, as `certificate.ttl`.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}.{}", self.section.path(), self.key)
    }

    /// Our own variable, as `CERTAGENT_TTL`.
    #[must_use]
    pub fn variable(&self) -> String {
        format!(
            "CERTAGENT_{}",
            self.flag.replace('-', "_").to_ascii_uppercase()
        )
    }

    /// Has it an effect there?
    #[must_use]
    pub fn matters_to(&self, commands: Commands) -> bool {
        match commands {
            Commands::Agent => true,
            Commands::Issue => match self.section {
                Section::Vault | Section::Auth | Section::Log => true,
                Section::Certificate => !RENEWING.contains(&self.key),
                _ => false,
            },
            Commands::Explain => match self.section {
                Section::Certificate => !PUBLISHING.contains(&self.key),
                section => section == Section::Status,
            },
        }
    }

    /// Is it never shown at all?
    #[must_use]
    pub fn is_secret(&self) -> bool {
        self.shown == Shown::Nothing
    }

    /// The flag with its dashes, when the setting may be a flag.
    #[must_use]
    pub fn long(&self) -> Option<String> {
        (!self.is_secret()).then(|| format!("--{}", self.flag))
    }

    /// All variables that set it, the strongest first; of the issuer's clients only the `VAULT_`
    /// form, for which `BAO_` may stand.
    #[must_use]
    pub fn variables(&self) -> Vec<String> {
        let clients = self.issuer.iter().map(|name| format!("VAULT_{name}"));
        std::iter::once(self.variable()).chain(clients).collect()
    }

    /// The line shown by `--help`: meaning, words, default, variables.
    #[must_use]
    pub fn line(&self) -> String {
        let mut rest = self.help.chars();
        let first = rest.next().map(|letter| letter.to_ascii_uppercase());
        let mut line: String = first.into_iter().chain(rest).collect();
        if let ValueKind::Choice(words) = self.kind {
            line.push_str(&format!(" [possible: {}]", words.join(", ")));
        }
        let (default, variables) = (self.fallback.words(), self.variables().join(", "));
        line.push_str(&format!(" [default: {default}] [env: {variables}]"));
        line
    }
}

/// The row of `section.key`.
#[must_use]
pub fn find(section: Section, key: &str) -> Option<&'static Setting> {
    section.settings().find(|one| one.key == key)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_settings_share_a_key_or_a_flag() {
        let keys: BTreeSet<_> = SETTINGS.iter().map(Setting::path).collect();
        let flags: BTreeSet<_> = SETTINGS.iter().map(|one| one.flag).collect();
        assert_eq!((keys.len(), flags.len()), (SETTINGS.len(), SETTINGS.len()));
    }

    #[test]
    fn no_variable_of_the_issuers_clients_sets_two_settings() {
        let all: Vec<_> = SETTINGS.iter().flat_map(|one| one.issuer).collect();
        let distinct: BTreeSet<_> = all.iter().collect();
        assert_eq!(all.len(), distinct.len());
    }

    #[test]
    fn every_help_line_is_lower_case_without_full_stop() {
        for one in SETTINGS {
            assert!(!one.help.ends_with('.'), "{}", one.path());
            let mut words = one.help.chars();
            let first = words.next().unwrap();
            let shouted = words.next().is_some_and(char::is_uppercase);
            assert!(first.is_lowercase() || shouted, "{}", one.path());
        }
    }
}
