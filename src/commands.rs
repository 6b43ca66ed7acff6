//! One command, one file below; this one only dispatches.
//!
//! Never prints results to stderr nor messages to stdout.

pub mod wait;
