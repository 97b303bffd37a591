//! The trait that a plugin is.

use crate::{
    Column, Event, EventKind, Out, ParamError, Params, RestoreError, Series, Snapshot, Symbol, Tick,
};

/// A plugin: what it is, what it keeps for each symbol, and what it makes of a tick.
///
/// The same ticks must give the same signals on every machine and after any snapshot: everything that a later tick
/// depends on lies in [`State`](Self::State), or in the shared state that [`snapshot_shared`](Self::snapshot_shared)
/// writes. [`testing::conformance`](crate::testing::conformance) checks that.
pub trait Strategy: Sized + 'static {
    /// 1 to 64 characters from `a-z 0-9 -`, starting with a letter.
    const NAME: &'static str;
    /// Semantic version of the plugin, mostly `env!("CARGO_PKG_VERSION")`.
    const VERSION: &'static str;
    /// One line.
    const HELP: &'static str;
    /// The columns that [`on_tick`](Self::on_tick) reads. To read another does not compile.
    const COLUMNS: &'static [Column];
    /// The events, beside ticks, that [`on_event`](Self::on_event) takes.
    const EVENTS: &'static [EventKind] = &[];
    /// The numbers that a tick gives, in the order in which [`Out::values`] takes them.
    const SERIES: &'static [Series];

    /// The parameters, declared with [`params!`](crate::params!).
    type Params: Params;
    /// What is kept for one symbol; see [`snapshot!`](crate::snapshot!).
    type State: Snapshot;

    /// A strategy with these parameters, each of which is within its own range.
    ///
    /// # Errors
    ///
    /// Where parameters do not go together, or a computation that they set up refuses them.
    fn new(params: Self::Params) -> Result<Self, ParamError>;

    /// Ticks of a symbol before its first value, that one included; 1 where the first tick has one.
    fn warm_up_ticks(&self) -> u32;

    /// The state of a symbol that was never seen.
    fn state(&self) -> Self::State;

    /// Takes the next tick of a symbol.
    ///
    /// Worth an `#[inline(always)]`: in a component each call counts fuel and looks at the epoch, which took a fifth off
    /// the built-in plugins' time when it went.
    fn on_tick(&mut self, state: &mut Self::State, tick: &Tick<Self>, out: &mut Out<'_, Self>);

    /// Takes something that is not a tick; `state` is that of its symbol, none for an economic indicator.
    fn on_event(&mut self, state: Option<&mut Self::State>, event: &Event) {
        let _ = (state, event);
    }

    /// Learns a symbol's name, before its first tick or event.
    fn define_symbol(&mut self, symbol: Symbol, name: &str) {
        let _ = (symbol, name);
    }

    /// Appends the state that belongs to no symbol; nothing where there is none.
    fn snapshot_shared(&self, bytes: &mut Vec<u8>) {
        let _ = bytes;
    }

    /// Puts back what [`snapshot_shared`](Self::snapshot_shared) gave, and moves `bytes` past it.
    ///
    /// # Errors
    ///
    /// Where the bytes end early or say what cannot be.
    fn restore_shared(&mut self, bytes: &mut &[u8]) -> Result<(), RestoreError> {
        let _ = bytes;
        Ok(())
    }
}
