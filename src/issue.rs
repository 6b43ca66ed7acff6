//! Keys and CSRs (rcgen): what sign mode needs before the issuer is asked.
//!
//! Never sends a key anywhere.
