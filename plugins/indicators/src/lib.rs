//! The mathematics of indicators, natively and in WebAssembly: prices in, values out, tick by tick.
//! Knows nothing of plugins, symbols, time or signals, does no I/O, and gives the same bits on every machine.
//!
//! One file an indicator, each in the same order: the type with its formula, seeding, warm-up, range and source;
//! `try_new`, which refuses a bad parameter by name; `update`, which takes what the indicator reads of a tick and gives the value once there is one;
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

mod adx;
mod atr;
mod bollinger;
mod ema;
mod macd;
mod obv;
mod rsi;
mod sma;
mod stochastic;
mod vwap;

mod cross;
mod fold;
mod period;
mod sum;
mod wilder;
mod window;

pub use adx::{Adx, AdxLines};
pub use atr::{Atr, FirstRange};
pub use bollinger::{Bands, Bollinger};
pub use cross::{Cross, Crossing};
pub use ema::{Ema, Seed};
pub use macd::{Align, Macd, MacdLines};
pub use obv::Obv;
pub use period::{MAX_PERIOD, PeriodError};
pub use rsi::{Rsi, Smoothing};
pub use sma::Sma;
pub use snapshot::{RestoreError, Snapshot};
pub use stochastic::{Stochastic, StochasticLines};
pub use vwap::Vwap;

/// What the expansion of [`snapshot!`] needs.
#[doc(hidden)]
pub mod private {
    pub use alloc::vec::Vec;
}
