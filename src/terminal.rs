//! Colour, bars, tables and the spinner: how results look on a terminal and in a pipe.
//!
//! Never decides what to say. What stays true: without a terminal, or with NO_COLOR, plain text.
