//! Wigwag turns market ticks into trading signals with strategies that run as WebAssembly components.
//!
//! The modules in reading order; each knows only those above it (a test in `tests/tidy.rs` holds them to it):
//!
//! - [`log`]: the traits of the log and its two implementations.
//! - [`market`]: records, ticks and symbols; how they are read and what makes one valid.
//! - [`bars`]: ticks over closed intervals.
//! - [`signal`]: an opinion, its identity and its JSON.
//! - [`plugin`]: a component: checked, compiled in a child process, run under limits.
//! - [`strategy`]: a plugin with parameters, symbols and an input.
//! - [`change`]: what ran from which offset on.
//! - [`control`]: which plugins and strategies there are.
//! - [`engine`]: (state, batch) → (state, outputs), and the loop that makes a step of it.
//! - [`offline`]: the same engine over a file.
//! - [`verify`]: the same engine over the past, and whether it gives the signals that are stored.
//! - [`ingest`]: validates records and appends them.
//! - [`view`]: the local store from which the API answers.
//! - [`notify`]: webhooks, and who is told of signals.
//! - [`http`]: the API.
//! - [`metrics`]: numbers for operators.
//! - [`config`]: what an operator can set.
//! - [`serve`]: all of it as one service.
//! - [`author`]: what an author of plugins does, from an empty folder to live signals.

pub mod author;
pub mod bars;
pub mod change;
pub mod config;
pub mod control;
pub mod engine;
pub mod http;
pub mod ingest;
pub mod log;
pub mod market;
pub mod metrics;
pub mod notify;
pub mod offline;
pub mod plugin;
pub mod serve;
pub mod signal;
pub mod strategy;
pub mod verify;
pub mod view;
