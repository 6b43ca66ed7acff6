//! What certagent was told to do: file, then environment, then flags, each stronger than the last.
//!
//! Reads the machine once, at the edge; below here everything is a value. Never connects anywhere.
//! What stays true: a [`Config`] that exists is complete and consistent, and every problem found on
//! the way to it is reported together with its key and its source.

mod types;

pub use types::{
    Auth, CertConfig, Config, Files, LogFormat, LoggingConfig, RenewAt, RenewPolicy, TlsConfig,
    VaultConfig,
};
