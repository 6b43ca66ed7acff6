//! What the user may type: clap types only; reads nothing from the machine.
//!
//! Never decides anything. What stays true: `--help` works on any machine, however broken.
