//! What a plugin author writes against: one trait, [`Strategy`], and one macro, [`export!`]; or, where a strategy is no
//! more than what it keeps of a symbol, one declaration, [`strategy!`].
//!
//! ```
//! use wigwag_plugin::indicators::{Cross, Crossing, Sma};
//! use wigwag_plugin::{Column, Out, ParamError, Series, Strategy, Tick};
//!
//! wigwag_plugin::params! {
//!     pub struct Params {
//!         /// Ticks in the average.
//!         period: u32 = 20, 1..=10_000;
//!     }
//! }
//!
//! /// What is kept for one symbol.
//! #[derive(Clone)]
//! pub struct State { sma: Sma, cross: Cross }
//! wigwag_plugin::snapshot!(State { sma, cross });
//!
//! pub struct Breakout { fresh: State }
//!
//! impl Strategy for Breakout {
//!     const NAME: &'static str = "breakout";
//!     const VERSION: &'static str = env!("CARGO_PKG_VERSION");
//!     const HELP: &'static str = "Buys when the close rises above its average.";
//!     const COLUMNS: &'static [Column] = &[Column::Close];
//!     const SERIES: &'static [Series] = &[Series::over_price("sma", "The average.")];
//!     type Params = Params;
//!     type State = State;
//!
//!     fn new(params: Params) -> Result<Self, ParamError> {
//!         let sma = Sma::try_new(params.period).map_err(|error| ParamError::new("period", error))?;
//!         Ok(Self { fresh: State { sma, cross: Cross::new() } })
//!     }
//!     fn warm_up_ticks(&self) -> u32 { self.fresh.sma.warm_up_ticks() }
//!     fn state(&self) -> State { self.fresh.clone() }
//!
//!     fn on_tick(&mut self, state: &mut State, tick: &Tick<Self>, out: &mut Out<Self>) {
//!         let sma = state.sma.update(tick.close());
//!         out.values([sma]);
//!         if state.cross.update(sma.map(|sma| tick.close() - sma)) == Some(Crossing::Up) {
//!             out.buy(0.5, "close crossed above its average");
//!         }
//!     }
//! }
//! wigwag_plugin::export!(Breakout);
//!
//! // Tests run natively, without WebAssembly.
//! let mut trial = wigwag_plugin::testing::Trial::<Breakout>::new(&[("period", 3.into())]);
//! let output = trial.closes(&[10.0, 9.0, 8.0, 12.0]);
//! assert_eq!(output.signals.row, [3]);
//! assert_eq!(output.values[2], 9.0);
//! ```
//!
//! In a crate of `crate-type = ["cdylib", "rlib"]`, `cargo build --release --target wasm32-wasip2` makes a component
//! of it that the service takes. The SDK does columns, warm-up, values, snapshots and exports; the bindings stay hidden.
//! A panic ends the instance, and its message goes to the strategy's log.
//!
//! In reading order: [`Strategy`], then [`Tick`] and [`Out`], what `on_tick` reads and writes; [`params!`]; what the
//! [`Description`] says; [`Instance`], which runs a strategy natively and in the component alike; [`testing`].

#[cfg(target_family = "wasm")]
extern crate self as wigwag_plugin;

mod batch;
mod declare;
mod description;
mod instance;
mod log;
mod out;
mod params;
mod strategy;
mod tick;

pub mod testing;

#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub mod component;

pub use batch::{
    Batch, EconomicIndicator, Event, EventBody, MarketData, NewsSentiment, OrderBook, Symbol,
};
pub use description::{Column, Description, EventKind, Param, ParamKind, Placement, Series};
pub use instance::{Configuration, Instance};
pub use log::{Level, log};
pub use out::{Opinion, Out, Output, Side, Signal, Signals};
pub use params::{AnyBoolean, ParamError, ParamValue, Params, Rule};
pub use strategy::Strategy;
pub use tick::Tick;

pub use wigwag_indicators as indicators;
pub use wigwag_indicators::{RestoreError, Snapshot, snapshot};

/// Makes a component of a [`Strategy`]. Once in a crate; natively it does nothing.
#[macro_export]
macro_rules! export {
    ($strategy:ty) => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            struct Plugin;

            impl $crate::component::Plugin for Plugin {
                type Strategy = $strategy;

                fn with<T>(call: impl FnOnce(&mut $crate::component::Slot<$strategy>) -> T) -> T {
                    ::std::thread_local! {
                        static SLOT: ::core::cell::RefCell<$crate::component::Slot<$strategy>> =
                            const { ::core::cell::RefCell::new(None) };
                    }
                    SLOT.with_borrow_mut(call)
                }
            }

    $crate::component::export_plugin!(Plugin with_types_in $crate::component::bindings);
        };
    };
}

/// What the expansion of [`params!`] needs.
#[doc(hidden)]
pub mod private {
    pub use crate::params::Reader;
}
