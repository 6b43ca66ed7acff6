//! Every exit code of certagent: its number and its meaning.
//!
//! Never decides which one applies; a command returns one. What stays true: a number, once
//! released, keeps its meaning.

use std::process::ExitCode;

use crate::model::failure::FailureClass;

/// What a command came to, as the calling shell or Nomad sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Failed for a reason that has no code of its own.
    Failure = 1,
    /// The command line or the configuration is wrong; nothing was started.
    Usage = 2,
    /// Vault (or OpenBao) could not be reached, or is sealed or busy.
    VaultUnavailable = 3,
    /// Vault refused: bad credentials, no permission, or the role does not allow the request.
    Denied = 4,
    /// Vault's answer was refused by certagent's own checks.
    Refused = 5,
    /// The certificate files could not be written.
    CannotPublish = 6,
    /// A deadline passed while waiting.
    TimedOut = 7,
}

impl Exit {
    /// All codes, in the order of their numbers: for `--help` and the documentation.
    pub const ALL: [Self; 8] = [
        Self::Done,
        Self::Failure,
        Self::Usage,
        Self::VaultUnavailable,
        Self::Denied,
        Self::Refused,
        Self::CannotPublish,
        Self::TimedOut,
    ];

    /// The number handed to the operating system.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }

    /// What it means, in a few words.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failure => "failure without a code of its own",
            Self::Usage => "usage or configuration",
            Self::VaultUnavailable => "Vault unreachable, sealed or busy",
            Self::Denied => "denied by Vault",
            Self::Refused => "refused by verification",
            Self::CannotPublish => "cannot write the certificate files",
            Self::TimedOut => "timed out waiting",
        }
    }
}

/// The code of a command that exited on a failure of this class.
impl From<FailureClass> for Exit {
    fn from(class: FailureClass) -> Self {
        match class {
            FailureClass::Transport | FailureClass::Throttled | FailureClass::Unavailable => {
                Self::VaultUnavailable
            }
            FailureClass::Denied | FailureClass::Misconfigured => Self::Denied,
            FailureClass::BadAnswer => Self::Refused,
            FailureClass::Local => Self::CannotPublish,
            FailureClass::IssuanceLimit => Self::Failure,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_numbered_in_order_without_gaps() {
        for (number, exit) in Exit::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(exit.code()), number);
        }
    }
}
