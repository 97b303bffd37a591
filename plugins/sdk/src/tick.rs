//! A tick as a strategy sees it. Holds the columns to what the strategy declared, when compiling.

use std::marker::PhantomData;

use crate::{Batch, Column, Strategy, Symbol};

/// Open, high, low, close and volume of one symbol at one instant.
///
/// A column that [`Strategy::COLUMNS`] does not name cannot be read:
///
/// ```compile_fail
/// # use wigwag_plugin::*;
/// # wigwag_plugin::params! { struct Params {} }
/// # struct Loud;
/// # impl Strategy for Loud {
/// #     const NAME: &'static str = "loud";
/// #     const VERSION: &'static str = "1.0.0";
/// #     const HELP: &'static str = "";
/// #     const SERIES: &'static [Series] = &[];
/// #     type Params = Params;
/// #     type State = ();
/// #     fn new(_: Params) -> Result<Self, ParamError> { Ok(Self) }
/// #     fn warm_up_ticks(&self) -> u32 { 1 }
/// #     fn state(&self) {}
/// const COLUMNS: &'static [Column] = &[Column::Close];
///
/// fn on_tick(&mut self, _: &mut (), tick: &Tick<Self>, out: &mut Out<Self>) {
///     if tick.volume() > 1e6 { // error: the strategy reads the volume, but its COLUMNS do not name it
///         out.buy(1.0, "a loud tick");
///     }
/// }
/// # }
/// # wigwag_plugin::testing::Trial::<Loud>::new(&[]).closes(&[1.0]);
/// ```
pub struct Tick<S> {
    symbol: Symbol,
    time: f64,
    open: f64,
    high: f64,
    low: f64,
    close: f64,
    volume: f64,
    strategy: PhantomData<S>,
}

impl<S: Strategy> Tick<S> {
    /// The symbol.
    #[inline]
    pub fn symbol(&self) -> Symbol {
        self.symbol
    }
}

macro_rules! columns {
    ($($(#[$doc:meta])* $field:ident $column:ident $missing:literal;)*) => {
        impl<S: Strategy> Tick<S> {
            $(
                $(#[$doc])*
                #[inline]
                pub fn $field(&self) -> f64 {
                    const { assert!(Column::$column.is_in(S::COLUMNS), $missing) }
                    self.$field
                }
            )*
        }

        /// The columns of a batch, each as long as it has rows, or empty where the strategy does not read it.
        pub(crate) struct Columns<'a> {
            symbol: &'a [u32],
            $($field: &'a [f64],)*
        }

        impl<'a> Columns<'a> {
            /// # Panics
            ///
            /// Where a column that the strategy reads has not one entry a row.
            pub(crate) fn of<S: Strategy>(batch: &'a Batch) -> Self {
                let rows = batch.symbol.len();
                let column = |name: &str, read: bool, column: &'a [f64]| {
                    let rows = if read { rows } else { 0 };
                    let entries = column.len();
                    column.get(..rows).unwrap_or_else(|| panic!("column {name} has {entries} entries for {rows} rows"))
                };
                Self {
                    symbol: &batch.symbol,
                    $($field: column(stringify!($field), Column::$column.is_in(S::COLUMNS), &batch.$field),)*
                }
            }

            #[inline]
            pub(crate) fn tick<S: Strategy>(&self, row: usize) -> Tick<S> {
                Tick {
                    symbol: Symbol(self.symbol[row]),
                    $($field: if const { Column::$column.is_in(S::COLUMNS) } { self.$field[row] } else { 0.0 },)*
                    strategy: PhantomData,
                }
            }
        }
    };
}

columns! {
    /// Seconds since the epoch.
    time Time "the strategy reads the time, but its COLUMNS do not name it";
    /// The opening price.
    open Open "the strategy reads the open, but its COLUMNS do not name it";
    /// The highest price.
    high High "the strategy reads the high, but its COLUMNS do not name it";
    /// The lowest price.
    low Low "the strategy reads the low, but its COLUMNS do not name it";
    /// The closing price.
    close Close "the strategy reads the close, but its COLUMNS do not name it";
    /// The volume.
    volume Volume "the strategy reads the volume, but its COLUMNS do not name it";
}
