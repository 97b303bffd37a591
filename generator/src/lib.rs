//! Simulates a market, or replays a recorded one, and sends its records where they are wanted. The modules, from what
//! is known without a clock to what talks to the world:
//!
//! - [`symbol`], [`instant`], [`record`]: the words, and the JSON of the five kinds of record;
//! - [`grid`], [`walk`], [`market`]: when ticks are, what they say, and which other records lie beside them;
//! - [`feed`], [`replay`]: records in order, simulated or from a file;
//! - [`batch`], [`pace`]: records as bytes, and when they are due;
//! - [`target`] ([`target::http`], [`target::kafka`], standard output), [`listen`]: where they go;
//! - [`totals`], [`stop`], [`clock`], [`options`], [`run`]: one run from the command line to its report.
//!
//! All of it runs on one thread; librdkafka has its own.

pub mod batch;
pub mod clock;
pub mod feed;
pub mod grid;
pub mod instant;
pub mod listen;
pub mod market;
pub mod options;
pub mod pace;
pub mod record;
pub mod replay;
pub mod run;
pub mod stop;
pub mod symbol;
pub mod target;
pub mod totals;
pub mod walk;
