//! How many issuances an hour may have, whatever the issuer answers.
//!
//! Never forgets early: an issuance counts for a full hour, also over restarts and clock steps.
