//! The API over real HTTP, on the real embedded log, view, ingest and control. No engine runs: what it would write to the
//! log is written by the tests, so that they know each message.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[allow(unreachable_pub, reason = "shared with other test binaries")]
#[path = "../support/mod.rs"]
mod support;

mod access;
mod bodies;
mod dashboard;
mod deploy;
mod document;
mod operations;
mod server;
mod signals;
mod sockets;
mod streams;
mod symbols;
