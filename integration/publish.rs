//! Crash at every step, and a reader in another process in a hot loop.
