//! Every file in configs/ loads; docs/configuration.md and the code have the same keys.
