//! The non-secret ready marker that `certagent wait` looks at.
//!
//! Never holds key material. What stays true: it exists only while a valid set is published.
