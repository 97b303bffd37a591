//! Wigwag turns market ticks into trading signals with strategies that run as WebAssembly components.
//!
//! The modules in reading order; each knows only those above it (a test in `tests/tidy.rs` holds them to it):
//!
//! - [`market`]: records, ticks and symbols; how they are read and what makes one valid.
//! - [`signal`]: an opinion, its identity and its JSON.
//! - [`bars`]: ticks over closed intervals.
//! - [`plugin`]: a component: checked, compiled in a child process, run under limits.
//! - [`strategy`]: a plugin with parameters, symbols and an input.
//! - [`engine`]: (state, batch) → (state, outputs), and the loop that makes a step of it.
//! - [`log`]: the traits of the log and its two implementations.
//! - [`control`]: which plugins and strategies there are.
//! - [`ingest`]: validates records and appends them.
//! - [`view`]: the local store from which the API answers.
//! - [`http`]: the API.
//! - [`metrics`]: numbers for operators.
//! - [`config`]: what an operator can set.

pub mod bars;
pub mod config;
pub mod control;
pub mod engine;
pub mod http;
pub mod ingest;
pub mod log;
pub mod market;
pub mod metrics;
pub mod plugin;
pub mod signal;
pub mod strategy;
pub mod view;
