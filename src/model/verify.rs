//! The only door to publication: `Bundle` and expectation to `Verified`, or every problem found.
//!
//! Never reads a clock. What stays true: a `Verified` was built here and nowhere else.
