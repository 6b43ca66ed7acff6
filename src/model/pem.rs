//! Strict PEM (RFC 7468): text to blocks and back.
//!
//! Never skips over what it does not understand: junk between blocks is an error. What stays true:
//! what [`encode`] writes ends with a newline and parses back to the same bytes.
