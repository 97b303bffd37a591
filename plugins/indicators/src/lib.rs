//! The mathematics of indicators, natively and in WebAssembly: closes in, values out, tick by tick.
//! Knows nothing of plugins, symbols, time or signals, does no I/O, and gives the same bits on every machine.
//!
//! One file an indicator, each in the same order: the type with its formula, seeding, warm-up, range and source;
//! `try_new`, which refuses a bad parameter by name; `update`, which takes a close and gives the value once there is one;
//! and [`Snapshot`], so that a stream cut anywhere goes on bit for bit.
//!
//! Inputs are finite: whoever reads ticks refuses not-a-number and infinities before they come here.

#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

#[cfg(test)]
#[macro_use]
mod conformance;
#[macro_use]
mod snapshot;

mod ema;
mod rsi;
mod sma;

mod cross;
mod period;
mod window;

pub use cross::{Cross, Crossing};
pub use ema::{Ema, Seed};
pub use period::{MAX_PERIOD, PeriodError};
pub use rsi::{Rsi, Smoothing};
pub use sma::Sma;
pub use snapshot::{RestoreError, Snapshot};

/// What the expansion of [`snapshot!`] needs.
#[doc(hidden)]
pub mod private {
    pub use alloc::vec::Vec;
}
