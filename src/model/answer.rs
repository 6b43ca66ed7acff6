//! The issuer's JSON body to a [`Bundle`](super::bundle::Bundle), or a coded problem.
//!
//! Never guesses: a field of the wrong type is refused, not converted. No text from the body that
//! could be a key reaches an error message.
