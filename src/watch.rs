//! notify on directories, debounced into events.
//!
//! Never looks at content. What stays true: a lost event costs at most one look interval.
