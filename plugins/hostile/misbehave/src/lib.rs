//! A plugin for tests: behaves until a close equals `at`, and then does what `how` says. Its signals tell what
//! state it has: one at each tenth tick of a symbol, with the number of ticks seen, and a strength that falls with each
//! economic indicator seen, which belongs to no symbol.

use std::{
    hash::{BuildHasher, RandomState},
    net::TcpStream,
    time::{Duration, SystemTime},
};

use wigwag_plugin::{
    Column, Event, EventKind, Out, ParamError, RestoreError, Series, Snapshot, Strategy, Tick,
};

/// What it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Nothing of the kind.
    Behave,
    /// Panics.
    Panic,
    /// Never ends.
    Loop,
    /// Allocates for ever.
    Memory,
    /// Calls itself for ever.
    Recursion,
    /// Signals with a strength of 7.
    Strength,
    /// Signals with a strength that is not a number.
    NotANumber,
    /// Puts out an infinite value.
    Infinite,
    /// Signals a thousand times.
    Flood,
    /// Gives a reason of a megabyte.
    Reason,
    /// Says what time it is.
    Clock,
    /// Says a random number.
    Random,
    /// Says how many variables and arguments there are.
    Environment,
    /// Sleeps for a minute.
    Sleep,
    /// Reads a file.
    File,
    /// Opens a connection.
    Network,
    /// Starts a thread.
    Thread,
    /// Takes a hundred thousand steps for each tick, always, and is none the worse for it.
    Dear,
}

wigwag_plugin::params! {
    /// The parameters.
    #[derive(Debug, Clone, Copy)]
    pub struct Params {
        /// What it does.
        pub how: How = How::Behave, [
            ("behave", How::Behave), ("panic", How::Panic), ("loop", How::Loop), ("memory", How::Memory),
            ("recursion", How::Recursion), ("strength", How::Strength), ("not-a-number", How::NotANumber),
            ("infinite", How::Infinite), ("flood", How::Flood), ("reason", How::Reason), ("dear", How::Dear),
            ("clock", How::Clock), ("random", How::Random), ("environment", How::Environment), ("sleep", How::Sleep),
            ("file", How::File), ("network", How::Network), ("thread", How::Thread),
        ];
        /// At which close.
        pub at: f64 = 666.0, 0.0..=1e9;
    }
}

/// Ticks of one symbol.
#[derive(Debug, Clone, Copy, Default)]
pub struct State {
    ticks: u32,
}
wigwag_plugin::snapshot!(State { ticks });

/// The strategy.
#[derive(Debug)]
pub struct Misbehave {
    params: Params,
    indicators: u32,
}

impl Strategy for Misbehave {
    const NAME: &'static str = "misbehave";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const HELP: &'static str = "Misbehaves in a given way at a given close.";
    const COLUMNS: &'static [Column] = &[Column::Close];
    const EVENTS: &'static [EventKind] = &[EventKind::EconomicIndicator];
    const SERIES: &'static [Series] = &[Series::own_pane("ticks", "Ticks seen of the symbol.")];
    type Params = Params;
    type State = State;

    fn new(params: Params) -> Result<Self, ParamError> {
        Ok(Self {
            params,
            indicators: 0,
        })
    }

    fn warm_up_ticks(&self) -> u32 {
        1
    }

    fn state(&self) -> State {
        State::default()
    }

    fn on_tick(&mut self, state: &mut State, tick: &Tick<Self>, out: &mut Out<'_, Self>) {
        state.ticks += 1;
        out.values([Some(f64::from(state.ticks))]);
        if self.params.how == How::Dear {
            std::hint::black_box((0..100_000_u64).fold(0, |sum, n| std::hint::black_box(sum ^ n)));
        }
        if tick.close() == self.params.at {
            misbehave(self.params.how, out);
        }
        if state.ticks.is_multiple_of(10) {
            out.buy(1.0 / f64::from(2 + self.indicators), "another ten ticks");
        }
    }

    fn on_event(&mut self, _: Option<&mut State>, _: &Event) {
        self.indicators += 1;
    }

    fn snapshot_shared(&self, bytes: &mut Vec<u8>) {
        self.indicators.snapshot(bytes);
    }

    fn restore_shared(&mut self, bytes: &mut &[u8]) -> Result<(), RestoreError> {
        self.indicators.restore(bytes)
    }
}

fn misbehave(how: How, out: &mut Out<'_, Misbehave>) {
    match how {
        How::Behave | How::Dear => {}
        How::Panic => panic!("the close is {how:?}"),
        How::Loop => loop {
            std::hint::black_box(());
        },
        How::Memory => {
            // Without writing to it, which would cost more fuel than there is.
            let mut kept: Vec<Vec<u8>> = Vec::new();
            loop {
                kept.push(std::hint::black_box(Vec::with_capacity(1 << 20)));
            }
        }
        How::Recursion => {
            std::hint::black_box(deeper(0));
        }
        How::Strength => out.buy(7.0, "too strong"),
        How::NotANumber => out.buy(f64::NAN, "no number"),
        How::Infinite => out.values([Some(f64::INFINITY)]),
        How::Flood => (0..1000).for_each(|_| out.sell(0.1, "again")),
        How::Reason => out.buy(0.1, "long ".repeat(200_000)),
        How::Clock => {
            #[expect(
                clippy::disallowed_methods,
                reason = "it asks for what it must not get"
            )]
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            let seconds = since.expect("not before the epoch").as_secs();
            out.buy(0.1, format!("it is {seconds} s since the epoch"));
        }
        How::Random => {
            let number = RandomState::new().hash_one(0);
            out.buy(0.1, format!("it is {number}"));
        }
        How::Environment => {
            let (variables, arguments) = (std::env::vars().count(), std::env::args().count());
            out.buy(
                0.1,
                format!("{variables} variables and {arguments} arguments"),
            );
        }
        How::Sleep => std::thread::sleep(Duration::from_secs(60)),
        How::File => drop(std::fs::read("/etc/passwd").expect("a file")),
        How::Network => drop(TcpStream::connect("127.0.0.1:80").expect("a connection")),
        How::Thread => drop(std::thread::spawn(|| ())),
    }
}

#[expect(unconditional_recursion, reason = "that is the point")]
fn deeper(depth: u64) -> u64 {
    std::hint::black_box(deeper(std::hint::black_box(depth + 1)) + 1)
}

wigwag_plugin::export!(Misbehave);
