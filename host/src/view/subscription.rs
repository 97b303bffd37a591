//! A subscriber's way through the signals, each exactly once, and through the newest values, bars and ticks.
//!
//! A subscription is a place and nothing else. Signals come from memory while the subscriber keeps up and from the
//! store when it lags, so a slow one loses none; what tells whether it has seen a signal is its position in the log
//! alone, which is the same on every replica. Values, bars and ticks are news: a slow subscriber gets the newest of
//! each (strategy, symbol), (symbol, interval) or symbol, once, and goes on from there. Ticks that were read together are conflated likewise.

use std::sync::{Arc, Mutex, atomic::Ordering};

use tokio::{sync::watch, task::spawn_blocking};

use super::{
    Positions, View, ViewError,
    feed::{Feed, Item, Place},
    live::LiveSignal,
    lock,
    query::StreamedRow,
};
use crate::{log::Offset, market::Side};

/// What a subscriber wants to see.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only of this symbol.
    pub symbol: Option<String>,
    /// Signals and values only of this strategy.
    pub strategy: Option<String>,
    /// Signals only of this side.
    pub side: Option<Side>,
}

/// Which kinds of events a subscriber wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds {
    /// Signals.
    pub signals: bool,
    /// Indicator values.
    pub values: bool,
    /// Closed bars.
    pub bars: bool,
    /// Ticks.
    pub ticks: bool,
}

/// What a subscriber is told. The bytes are JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// As it stands in `signals`.
    Signal(&'a [u8]),
    /// As it stands in `values`.
    Value(&'a [u8]),
    /// As it stands in `bars`.
    Bar(&'a [u8]),
    /// `{symbol, timestamp, open, high, low, close, volume, partition, offset, row}`.
    Tick(&'a [u8]),
    /// Signals of a partition that the subscriber has not seen, and that the view no longer has.
    Gap {
        /// Partition of `signals`.
        partition: u32,
        /// The position that the subscriber had.
        from: Offset,
        /// The position from which it goes on.
        to: Offset,
    },
}

/// See the file's head. Dropping it ends it.
pub struct Subscription {
    view: View,
    filter: Arc<Filter>,
    kinds: Kinds,
    /// None until the view has begun to follow the log; the subscriber then starts at its end.
    positions: Option<Positions>,
    /// Of [`super::live::State`]; 0 before the place was found.
    epoch: u64,
    seq: i64,
    values: Place,
    bars: Place,
    ticks: Place,
    bell: watch::Receiver<()>,
}

impl View {
    /// Subscribes, from `positions` on or from now.
    #[must_use]
    pub fn subscribe(
        &self,
        filter: Filter,
        kinds: Kinds,
        positions: Option<Positions>,
    ) -> Subscription {
        if kinds.ticks {
            self.0.live.tick_listeners.fetch_add(1, Ordering::Relaxed);
        }
        let state = self.0.live.state();
        let started = state.epoch > 0;
        let from_now = positions.is_none() && started;
        Subscription {
            filter: Arc::new(filter),
            kinds,
            epoch: if from_now { state.epoch } else { 0 },
            seq: state.end,
            positions: positions.or_else(|| started.then_some(Positions(state.positions))),
            values: lock(&self.0.live.values).end(),
            bars: lock(&self.0.live.bars).end(),
            ticks: lock(&self.0.live.ticks).end(),
            bell: self.0.live.listen(),
            view: self.clone(),
        }
    }
}

impl Subscription {
    /// How far the subscriber has come in `signals`; none while the view has not begun to follow the log.
    #[must_use]
    pub const fn positions(&self) -> Option<&Positions> {
        self.positions.as_ref()
    }

    /// Hands what is there to `sink`, about `max_bytes` of each kind; with each signal the positions after it. Calls it
    /// not at all where nothing is there. Safe to cancel; what was handed over is not handed over again.
    ///
    /// # Errors
    /// Where the store cannot be read; it may be called again.
    pub async fn take(
        &mut self,
        max_bytes: usize,
        mut sink: impl FnMut(Event<'_>, Option<&Positions>),
    ) -> Result<(), ViewError> {
        self.bell.mark_unchanged();
        let mut more = false;
        if self.kinds.signals {
            more |= self.take_signals(max_bytes, &mut sink).await?;
        }
        let live = &self.view.0.live;
        let filter = &self.filter;
        let mut items = Vec::new();
        if self.kinds.values {
            let wanted = |item: &Item| filter.wants(&item.symbol, Some(&item.strategy), None);
            more |= take_items(
                &live.values,
                &mut self.values,
                wanted,
                max_bytes,
                &mut items,
            );
            for json in items.drain(..) {
                sink(Event::Value(&json), None);
            }
        }
        if self.kinds.bars {
            let wanted = |item: &Item| filter.wants(&item.symbol, None, None);
            more |= take_items(&live.bars, &mut self.bars, wanted, max_bytes, &mut items);
            for json in items.drain(..) {
                sink(Event::Bar(&json), None);
            }
        }
        if self.kinds.ticks {
            let wanted = |item: &Item| filter.wants(&item.symbol, None, None);
            more |= take_items(&live.ticks, &mut self.ticks, wanted, max_bytes, &mut items);
            for json in items.drain(..) {
                sink(Event::Tick(&json), None);
            }
        }
        if more {
            self.bell.mark_changed();
        }
        Ok(())
    }

    /// Waits until there may be something to take.
    pub async fn changed(&mut self) {
        if self.bell.changed().await.is_err() {
            // The view is held by this subscription, and the bell by the view.
            std::future::pending::<()>().await;
        }
    }

    /// True where there may be more.
    async fn take_signals(
        &mut self,
        max_bytes: usize,
        sink: &mut impl FnMut(Event<'_>, Option<&Positions>),
    ) -> Result<bool, ViewError> {
        let state = self.view.0.live.state();
        if state.epoch == 0 {
            return Ok(false);
        }
        if self.epoch != state.epoch {
            match &self.positions {
                Some(_) => self.find_place(sink).await?,
                None => self.seq = state.end,
            }
            self.epoch = state.epoch;
        }
        let positions = self
            .positions
            .get_or_insert_with(|| Positions(state.positions.clone()));
        let mut bytes = 0;
        while self.seq < state.end && bytes < max_bytes {
            if let Some(batch) = self.view.0.live.batch(self.seq) {
                for signal in batch.signals_from(self.seq) {
                    if bytes >= max_bytes {
                        break;
                    }
                    self.seq += 1;
                    if positions.pass(signal.partition, signal.position)
                        && self.filter.wants_signal(&signal)
                    {
                        bytes += signal.json.len();
                        sink(Event::Signal(signal.json), Some(positions));
                    }
                }
            } else {
                let (view, filter) = (self.view.clone(), self.filter.clone());
                let (from, seen) = (self.seq, positions.clone());
                let (rows, next) = blocking(move || {
                    view.streamed_rows(from, state.end, max_bytes, |signal| {
                        seen.is_new(signal.partition, signal.position)
                            && filter.wants_signal(signal)
                    })
                })
                .await?;
                for StreamedRow {
                    partition,
                    position,
                    json,
                } in rows
                {
                    if positions.pass(partition, position)
                        && let Some(json) = json
                    {
                        bytes += json.len();
                        sink(Event::Signal(&json), Some(positions));
                    }
                }
                self.seq = next;
            }
        }
        if self.seq == state.end {
            for (seen, &read) in positions.0.iter_mut().zip(&state.positions) {
                *seen = (*seen).max(read);
            }
        }
        Ok(self.seq < state.end)
    }

    async fn find_place(
        &mut self,
        sink: &mut impl FnMut(Event<'_>, Option<&Positions>),
    ) -> Result<(), ViewError> {
        let Some(positions) = &mut self.positions else {
            return Ok(());
        };
        let (view, wanted) = (self.view.clone(), positions.0.clone());
        let (seq, floors) = blocking(move || Ok(view.resumption(&wanted))).await?;
        self.seq = seq;
        for (partition, floor) in (0..).zip(floors) {
            let from = positions.0[partition];
            if from < floor {
                positions.0[partition] = floor;
                let gap = Event::Gap {
                    partition: u32::try_from(partition).unwrap_or(u32::MAX),
                    from,
                    to: floor,
                };
                sink(gap, Some(positions));
            }
        }
        Ok(())
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if self.kinds.ticks {
            let listeners = &self.view.0.live.tick_listeners;
            listeners.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Positions {
    fn is_new(&self, partition: u32, position: Offset) -> bool {
        self.0
            .get(partition as usize)
            .is_some_and(|&next| position >= next)
    }

    /// Moves beyond a signal; false where it lies behind already.
    fn pass(&mut self, partition: u32, position: Offset) -> bool {
        let new = self.is_new(partition, position);
        if new {
            self.0[partition as usize] = position + 1;
        }
        new
    }
}

impl Filter {
    fn wants_signal(&self, signal: &LiveSignal<'_>) -> bool {
        self.wants(signal.symbol, Some(signal.strategy), Some(signal.side))
    }

    /// What is none is not asked for.
    fn wants(&self, symbol: &str, strategy: Option<&str>, side: Option<Side>) -> bool {
        fn fits<T: PartialEq>(wanted: Option<T>, is: Option<T>) -> bool {
            wanted.is_none() || is.is_none() || wanted == is
        }
        fits(self.symbol.as_deref(), Some(symbol))
            && fits(self.strategy.as_deref(), strategy)
            && fits(self.side, side)
    }
}

fn take_items(
    feed: &Mutex<Feed>,
    place: &mut Place,
    wanted: impl Fn(&Item) -> bool,
    max_bytes: usize,
    into: &mut Vec<Arc<[u8]>>,
) -> bool {
    let mut more = true;
    while more && into.iter().map(|json| json.len()).sum::<usize>() < max_bytes {
        more = lock(feed).take(place, &wanted, into);
    }
    more
}

async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, ViewError> + Send + 'static,
) -> Result<T, ViewError> {
    match spawn_blocking(read).await {
        Ok(answer) => answer,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime ends, and this task with it.
            Err(_) => std::future::pending().await,
        },
    }
}
