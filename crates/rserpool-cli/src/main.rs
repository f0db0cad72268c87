//! The `rserpool` command.
#![forbid(unsafe_code)]
fn main() {}
