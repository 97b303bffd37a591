//! A whole strategy in one declaration, for those whose state is all that they know: sugar over
//! [`Strategy`](crate::Strategy), which it implements, and which takes over where events, symbols or a shared state come in.

/// Declares a strategy: its parameters, the series that it puts out, what it keeps for a symbol, and what it makes of a
/// tick. Name and version are those of the crate, the help is the comment, and [`export!`](crate::export!) is included.
///
/// The names in parentheses are those by which the blocks call what they get. `Params` and `State` are declared beside
/// the strategy, as by [`params!`](crate::params!) and [`snapshot!`](crate::snapshot!).
///
/// ```
/// use wigwag_plugin::indicators::{Cross, Crossing, Sma};
///
/// wigwag_plugin::strategy! {
///     /// Signals where the close crosses its average.
///     pub struct Average reads [Close];
///     params(params) {
///         /// Ticks in the average.
///         period: u32 = 20, 1..=10_000;
///     }
///     series {
///         /// The average.
///         sma: over_price;
///     }
///     state {
///         sma: Sma = Sma::try_new(params.period).map_err(wigwag_plugin::ParamError::of("period"))?;
///         cross: Cross = Cross::new();
///     }
///     warm_up_ticks(state) { state.sma.warm_up_ticks() }
///     on_tick(state, tick, out) {
///         let sma = state.sma.update(tick.close());
///         out.values([sma]);
///         match state.cross.update(sma.map(|sma| tick.close() - sma)) {
///             Some(Crossing::Up) => out.buy(0.5, "close crossed above its average"),
///             Some(Crossing::Down) => out.sell(0.5, "close crossed below its average"),
///             None => {}
///         }
///     }
/// }
///
/// wigwag_plugin::testing::conformance::<Average>(&[]);
/// ```
#[macro_export]
macro_rules! strategy {
    (
        $(#[doc = $help:literal])+
        $vis:vis struct $strategy:ident reads [$($column:ident),* $(,)?];
        params($params:ident) { $($param:tt)* }
        series { $($(#[doc = $series_help:literal])+ $series:ident: $placement:ident;)* }
        state { $($field:ident: $type:ty = $fresh:expr;)* }
        warm_up_ticks($configured:ident) $warm_up_ticks:block
        on_tick($state:ident, $tick:ident, $out:ident) $on_tick:block
    ) => {
        $crate::params! {
            /// The parameters.
            #[derive(Debug, Clone)]
            pub struct Params { $($param)* }
        }

        /// What is kept for one symbol.
        #[derive(Debug, Clone)]
        pub struct State { $($field: $type,)* }
        $crate::snapshot!(State { $($field),* });

        $(#[doc = $help])+
        #[derive(Debug)]
        $vis struct $strategy { fresh: State }

        impl $crate::Strategy for $strategy {
            const NAME: &'static str = ::core::env!("CARGO_PKG_NAME");
            const VERSION: &'static str = ::core::env!("CARGO_PKG_VERSION");
            const HELP: &'static str = ::core::concat!($($help),+).trim_ascii();
            const COLUMNS: &'static [$crate::Column] = &[$($crate::Column::$column),*];
            const SERIES: &'static [$crate::Series] = &[
                $($crate::Series::$placement(::core::stringify!($series), ::core::concat!($($series_help),+).trim_ascii())),*
            ];
            type Params = Params;
            type State = State;

            fn new($params: Params) -> ::core::result::Result<Self, $crate::ParamError> {
                // A strategy without parameters does not look at them.
                let _ = &$params;
                ::core::result::Result::Ok(Self { fresh: State { $($field: $fresh),* } })
            }

            fn warm_up_ticks(&self) -> u32 {
                let $configured = &self.fresh;
                let _ = $configured;
                $warm_up_ticks
            }

            fn state(&self) -> State {
                ::core::clone::Clone::clone(&self.fresh)
            }

            #[inline(always)]
            fn on_tick(&mut self, $state: &mut State, $tick: &$crate::Tick<Self>, $out: &mut $crate::Out<'_, Self>) {
                $on_tick
            }
        }
        $crate::export!($strategy);
    };
}
