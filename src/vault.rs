//! The only module that names vaultrs: requests out, classed failures and raw answers back.
//!
//! Never follows a redirect to another host, never obeys proxy variables, never prints a foreign type
//! with Debug. What stays true: every request has a time limit.
