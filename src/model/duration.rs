//! Durations as Vault and Go write them (`10d`, `1.5h`, `90s`), read and printed.
//!
//! Never rounds to zero: what is under a unit the caller needs is refused by the caller.
