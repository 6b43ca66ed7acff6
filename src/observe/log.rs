//! Sets up tracing: text for people, JSON for machines, always on stderr.
//!
//! Never prints a secret: the secret types cannot be formatted.
