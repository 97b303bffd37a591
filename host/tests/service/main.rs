//! The whole service as its users meet it: the real program, real HTTP, the embedded log. What a route answers in
//! detail, and what the engine does in detail, is checked elsewhere.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod indicators;
mod kills;
mod market;
mod plugins;
#[path = "../support/service.rs"]
mod process;
mod records;
mod starts;
mod streams;
#[allow(unreachable_pub, reason = "shared with other test binaries")]
#[path = "../support/mod.rs"]
mod support;
mod tokens;

/// Time of the first tick, in the past of any clock.
const START: f64 = 1_700_000_000.0;
