//! When a certificate is due: share of real life minus a stable splay, and how that came about.
//!
//! Never reads a clock and never draws a random number: the splay is a hash, the same after a restart.
