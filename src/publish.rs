//! A `Verified` set to disk as one crash-consistent generation, read back, repaired.
//!
//! Never decides what is good: it takes only `Verified`. What stays true: a reader that resolves
//! `..data` once sees one whole set, whatever crashes when.

pub mod generation;
pub mod marker;
pub mod state;
