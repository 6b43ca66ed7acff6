//! The embedded PKI: an in-process server on loopback that speaks Vault's HTTP API as far as the
//! agent uses it, for newcomers and tests.
//!
//! Never listens beyond loopback, never persists anything.
