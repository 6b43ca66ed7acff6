//! When to try again: one plan per failure class, planned backwards from notAfter.
//!
//! Never sleeps. What stays true: the number of attempts in any span is below a stated bound.
