//! Reads and writes the durable record `..state.json`, atomically.
//!
//! Never fails the agent: an unreadable record is reported and replaced.
