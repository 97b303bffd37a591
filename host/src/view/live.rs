//! What was read last, in memory, for subscribers who keep up: the newest signals, values, bars and ticks, and a bell
//! that rings when there are more.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::watch;

use super::{feed::Feed, lock};
use crate::{log::Offset, market::Side};

/// Signals kept in memory. Older ones are fetched from the store.
const RECENT_BYTES: usize = 8 << 20;

/// See the file's head.
pub(super) struct Live {
    signals: Mutex<Recent>,
    pub(super) values: Mutex<Feed>,
    pub(super) bars: Mutex<Feed>,
    pub(super) ticks: Mutex<Feed>,
    /// Subscribers who want ticks; while there is none, no tick is written as JSON.
    pub(super) tick_listeners: AtomicUsize,
    bell: watch::Sender<()>,
}

struct Recent {
    batches: VecDeque<Arc<Batch>>,
    bytes: usize,
    state: State,
}

/// How far the store is, as told to subscribers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    /// Counts up whenever rows were lost: each subscriber then finds its place anew by its positions.
    pub(super) epoch: u64,
    /// `seq` of the next signal.
    pub(super) end: i64,
    /// Next offset of `signals` by partition.
    pub(super) positions: Vec<Offset>,
}

/// Signals that were committed together. `seq` rises by one from each to the next.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) first: i64,
    entries: Vec<Entry>,
    json: Vec<u8>,
}

struct Entry {
    partition: u32,
    position: Offset,
    symbol: Arc<str>,
    strategy: Arc<str>,
    side: Side,
    json_end: usize,
}

/// A signal as subscribers see it.
#[derive(Clone, Copy)]
pub(super) struct LiveSignal<'a> {
    pub(super) partition: u32,
    pub(super) position: Offset,
    pub(super) symbol: &'a str,
    pub(super) strategy: &'a str,
    pub(super) side: Side,
    pub(super) json: &'a [u8],
}

impl Live {
    pub(super) fn new(partitions: u32) -> Self {
        Self {
            signals: Mutex::new(Recent {
                batches: VecDeque::new(),
                bytes: 0,
                state: State {
                    epoch: 0,
                    end: 1,
                    positions: vec![0; partitions as usize],
                },
            }),
            values: Mutex::default(),
            bars: Mutex::default(),
            ticks: Mutex::default(),
            tick_listeners: AtomicUsize::new(0),
            bell: watch::Sender::new(()),
        }
    }

    pub(super) fn has_tick_listeners(&self) -> bool {
        self.tick_listeners.load(Ordering::Relaxed) > 0
    }

    /// A receiver that is told of all that comes after this call.
    pub(super) fn listen(&self) -> watch::Receiver<()> {
        self.bell.subscribe()
    }

    pub(super) fn ring(&self) {
        // Rings for those who listen later, too, and does not fail while nobody does.
        self.bell.send_replace(());
    }

    pub(super) fn state(&self) -> State {
        lock(&self.signals).state.clone()
    }

    /// Tells how far the store is after it was opened or a topic was begun anew.
    pub(super) fn restart(&self, end: i64, positions: Vec<Offset>) {
        let mut recent = lock(&self.signals);
        recent.batches.clear();
        recent.bytes = 0;
        recent.state = State {
            epoch: recent.state.epoch + 1,
            end,
            positions,
        };
    }

    /// Adds signals that were committed; `positions` are the store's.
    pub(super) fn publish(&self, batch: Batch, positions: &[Offset]) {
        let mut recent = lock(&self.signals);
        recent.state.positions.copy_from_slice(positions);
        if batch.entries.is_empty() {
            return;
        }
        recent.state.end = batch.end();
        recent.bytes += batch.json.len();
        recent.batches.push_back(Arc::new(batch));
        while recent.bytes > RECENT_BYTES && recent.batches.len() > 1 {
            if let Some(oldest) = recent.batches.pop_front() {
                recent.bytes -= oldest.json.len();
            }
        }
    }

    /// The batch that holds signal `seq`; none where it is no longer, or not yet, in memory.
    pub(super) fn batch(&self, seq: i64) -> Option<Arc<Batch>> {
        let recent = lock(&self.signals);
        let after = recent.batches.partition_point(|batch| batch.first <= seq);
        let batch = recent.batches.get(after.checked_sub(1)?)?;
        (seq < batch.end()).then(|| batch.clone())
    }
}

impl Batch {
    pub(super) fn begin(first: i64) -> Self {
        Self {
            first,
            ..Self::default()
        }
    }

    pub(super) fn push(
        &mut self,
        partition: u32,
        position: Offset,
        (symbol, strategy): (Arc<str>, Arc<str>),
        side: Side,
        json: &[u8],
    ) {
        self.json.extend_from_slice(json);
        self.entries.push(Entry {
            partition,
            position,
            symbol,
            strategy,
            side,
            json_end: self.json.len(),
        });
    }

    fn end(&self) -> i64 {
        self.first
            .saturating_add_unsigned(self.entries.len() as u64)
    }

    /// The signals from `seq` on.
    pub(super) fn signals_from(&self, seq: i64) -> impl Iterator<Item = LiveSignal<'_>> {
        let skipped = usize::try_from(seq - self.first).unwrap_or(0);
        let mut start = match skipped {
            0 => 0,
            n => self.entries[n - 1].json_end,
        };
        self.entries[skipped..].iter().map(move |entry| {
            let json = &self.json[start..entry.json_end];
            start = entry.json_end;
            LiveSignal {
                partition: entry.partition,
                position: entry.position,
                symbol: &entry.symbol,
                strategy: &entry.strategy,
                side: entry.side,
                json,
            }
        })
    }
}
