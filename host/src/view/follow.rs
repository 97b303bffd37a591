//! The thread that reads the log into the store and tells subscribers.

use std::{
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use super::{
    FOLLOWED, Limits, Status, View, ViewError,
    feed::Feed,
    live::Batch,
    lock,
    session::Partition,
    store::{Points, SignalHead, Store},
};
use crate::{
    log::{Bounds, Log, LogError, MessageRef, Messages, Offset, Reader, Start, Topic},
    market::{Side, Tick},
};

/// Bytes read and committed together: about 5,000 signals or 20,000 ticks.
const POLL_BYTES: usize = 4 << 20;

/// Also how long a stop may take to be seen.
const POLL_WAIT: Duration = Duration::from_millis(200);

/// Sessions are saved this often, together with the positions in `ticks`; a restart reads so many ticks again.
const SAVE_SESSIONS_EVERY: Duration = Duration::from_secs(2);

const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How far back in `ticks` a new store begins: a session is a day.
const NEW_STORE_READS_BACK_MS: i64 = 24 * 60 * 60 * 1_000;

/// How many messages of `bars` a new store looks through for each bar of an interval that it keeps: all intervals stand
/// in one topic, and those of an hour or a day lie far apart among those of a second. Most are passed over unread.
const BARS_LOOKED_THROUGH: u64 = 40;

/// Tells the follower to end.
#[derive(Default)]
pub(super) struct Stop {
    stopped: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    pub(super) fn stop(&self) {
        *lock(&self.stopped) = true;
        self.changed.notify_all();
    }

    fn is_stopped(&self) -> bool {
        *lock(&self.stopped)
    }

    fn wait(&self, timeout: Duration) {
        let stopped = lock(&self.stopped);
        // Whether it timed out or not, the caller asks again.
        drop(
            self.changed
                .wait_timeout_while(stopped, timeout, |stopped| !*stopped),
        );
    }
}

/// See the file's head.
pub(super) struct Follower {
    view: View,
    store: Option<Store>,
    limits: Limits,
    log: Arc<dyn Log>,
    now_ms: i64,
    partitions: u32,
}

/// Where a view goes on in the log.
struct Found {
    /// For each partition of each topic.
    starts: Vec<Start>,
    /// What there is of these now, in the same order.
    ends: Vec<Bounds>,
    /// From where on bars of a second are taken, by partition.
    seconds_from: Vec<Offset>,
}

/// The parts of a signal that are looked at; all else stays as it is.
#[derive(Deserialize)]
struct SignalParts<'a> {
    strategy: &'a str,
    symbol: &'a str,
    side: Side,
    strength: f64,
    timestamp: f64,
    offset: Offset,
    row: u32,
    n: u32,
}

#[derive(Deserialize)]
struct ValuesParts {
    timestamp: f64,
}

#[derive(Deserialize)]
struct BarParts {
    open_time: f64,
}

/// A tick as subscribers see it.
#[derive(Serialize)]
struct LiveTick<'a> {
    symbol: &'a str,
    #[serde(flatten)]
    numbers: TickNumbers,
}

#[derive(Clone, Copy, Serialize)]
struct TickNumbers {
    timestamp: f64,
    open: f64,
    high: f64,
    low: f64,
    close: f64,
    volume: f64,
    partition: u32,
    offset: Offset,
    row: u32,
}

impl Follower {
    pub(super) fn new(
        view: View,
        store: Store,
        limits: Limits,
        log: Arc<dyn Log>,
        now_ms: i64,
    ) -> Self {
        Self {
            view,
            store: Some(store),
            limits,
            partitions: log.partitions(),
            log,
            now_ms,
        }
    }

    /// Follows until it is stopped. What goes wrong is shown by [`View::check`] and tried again.
    pub(super) fn run(mut self) {
        while let Err(error) = self.follow() {
            if lock(&self.view.0.status)
                .trouble
                .replace(error.to_string())
                .is_none()
            {
                tracing::error!(%error, "the view does not follow the log; it tries again");
            }
            self.view.0.stop.wait(RETRY_AFTER);
            if self.view.0.stop.is_stopped() {
                return;
            }
        }
    }

    fn follow(&mut self) -> Result<(), ViewError> {
        let mut store = match self.store.take() {
            Some(store) => store,
            None => {
                let store = Store::open(
                    self.view.0.readers.path(),
                    self.partitions,
                    self.view.0.index.clone(),
                )?;
                self.view.0.readers.reopen();
                store
            }
        };
        let Found {
            starts,
            ends,
            seconds_from,
        } = self.find_starts(&mut store)?;
        let mut reader = self.log.read(&starts)?;
        let positions = signal_positions(&starts);
        self.view.0.live.restart(store.signals_end(), positions);
        self.view.0.live.ring();
        lock(&self.view.0.status).trouble = None;
        let mut reading = Reading {
            view: &self.view,
            limits: self.limits,
            starts,
            ends: Some(ends),
            seconds_from,
            sessions_dirty: false,
            sessions_saved: Instant::now(),
            unreadable: 0,
            newest_ticks: HashMap::new(),
        };
        let mut messages = Messages::new();
        loop {
            messages.clear();
            match reader.poll(&mut messages, POLL_BYTES, POLL_WAIT) {
                Ok(()) => {}
                Err(error @ LogError::Unavailable { .. }) => {
                    lock(&self.view.0.status).trouble = Some(error.to_string());
                    // One that has lost the log may not find its way back: see ARCHITECTURE.md.
                    match self.another_reader(&reading, &*reader)? {
                        Some(another) => reader = another,
                        None => return Ok(()),
                    }
                    lock(&self.view.0.status).trouble = None;
                }
                Err(error) => return Err(error.into()),
            }
            let stopped = self.view.0.stop.is_stopped();
            let stored = reading.take(&mut store, &messages, &*reader, stopped);
            stored.map_err(|source| store.error(source))?;
            if stopped {
                return Ok(());
            }
        }
    }

    /// Waits until the log is there again, and reads on from where the last reader was. None where a stop came first.
    fn another_reader(
        &self,
        reading: &Reading<'_>,
        last: &dyn Reader,
    ) -> Result<Option<Box<dyn Reader>>, ViewError> {
        let at = |start: &Start| Start {
            offset: last.position(start.topic, start.partition),
            ..*start
        };
        let starts: Vec<_> = reading.starts.iter().map(at).collect();
        loop {
            self.view.0.stop.wait(RETRY_AFTER);
            if self.view.0.stop.is_stopped() {
                return Ok(None);
            }
            if self.log.check().is_ok() {
                match self.log.read(&starts) {
                    Ok(reader) => return Ok(Some(reader)),
                    Err(LogError::Unavailable { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }

    /// Where to go on. A topic of which rows would be missing is begun anew.
    fn find_starts(&self, store: &mut Store) -> Result<Found, ViewError> {
        let (mut starts, mut all_bounds) = (Vec::new(), Vec::new());
        let mut seconds_from = vec![0; self.partitions as usize];
        for topic in FOLLOWED {
            let mut offsets = Vec::new();
            let mut anew = false;
            for partition in 0..self.partitions {
                let bounds = self.log.bounds(topic, partition)?;
                all_bounds.push(bounds);
                let oldest = self.oldest_wanted(topic, partition, bounds)?;
                let stored = store
                    .position(topic, partition)
                    .map_err(|e| store.error(e))?;
                match stored {
                    // What lies between is more than the table holds, or is gone; or it is another log.
                    Some((next, _)) if next < oldest || next > bounds.end => {
                        tracing::info!(%topic, partition, next, oldest, end = bounds.end, "the view begins this topic anew");
                        anew = true;
                        offsets.push(oldest);
                    }
                    Some((next, _)) => offsets.push(next),
                    None => {
                        anew = true;
                        offsets.push(oldest);
                    }
                }
            }
            if anew {
                offsets.clear();
                for (partition, bounds) in
                    (0..).zip(&all_bounds[all_bounds.len() - self.partitions as usize..])
                {
                    offsets.push(self.oldest_wanted(topic, partition, *bounds)?);
                }
                store.restart(topic, &offsets).map_err(|e| store.error(e))?;
                if topic == Topic::Bars {
                    let bounds = &all_bounds[all_bounds.len() - self.partitions as usize..];
                    let from = |of: &Bounds| of.end.saturating_sub(self.share(self.limits.bars));
                    seconds_from = bounds.iter().map(from).collect();
                }
            }
            if topic == Topic::Ticks {
                for (partition, sessions) in (0..).zip(&self.view.0.sessions) {
                    let saved = store.session(partition).map_err(|e| store.error(e))?;
                    *lock(sessions) = saved
                        .and_then(|bytes| Partition::from_bytes(&bytes))
                        .unwrap_or_default();
                }
            }
            starts.extend((0..).zip(offsets).map(|(partition, offset)| Start {
                topic,
                partition,
                offset,
            }));
        }
        Ok(Found {
            starts,
            ends: all_bounds,
            seconds_from,
        })
    }

    fn share(&self, rows: u64) -> u64 {
        rows / u64::from(self.partitions)
    }

    /// The offset from which a new store reads. Of rows, a fair share of each partition, so that the oldest that
    /// arrived are not the newest by time.
    fn oldest_wanted(
        &self,
        topic: Topic,
        partition: u32,
        bounds: Bounds,
    ) -> Result<Offset, LogError> {
        let share = |rows: u64| bounds.end.saturating_sub(self.share(rows));
        let oldest = match topic {
            Topic::Signals => share(self.limits.signals),
            Topic::Values => share(self.limits.values),
            Topic::Bars => share(self.limits.bars.saturating_mul(BARS_LOOKED_THROUGH)),
            _ => {
                let since_ms = self.now_ms - NEW_STORE_READS_BACK_MS;
                self.log.offset_at(topic, partition, since_ms)?
            }
        };
        Ok(oldest.max(bounds.start))
    }
}

/// The follower between two troubles.
struct Reading<'a> {
    view: &'a View,
    limits: Limits,
    /// The next offset of each partition of each topic.
    starts: Vec<Start>,
    /// What there was to read at first, in the order of `starts`; none once it was read.
    ends: Option<Vec<Bounds>>,
    /// By partition of `bars`: a store that begins anew takes no bar of a second before this offset.
    seconds_from: Vec<Offset>,
    sessions_dirty: bool,
    sessions_saved: Instant,
    unreadable: u64,
    /// The newest tick in this poll by symbol; filled only while somebody listens.
    newest_ticks: HashMap<String, TickNumbers>,
}

impl Reading<'_> {
    /// Stores what was read, tells subscribers, and moves the positions.
    fn take(
        &mut self,
        store: &mut Store,
        messages: &Messages,
        reader: &dyn Reader,
        stopped: bool,
    ) -> Result<(), rusqlite::Error> {
        let mut batch = Batch::begin(store.signals_end());
        let moved: Vec<Offset> = self
            .starts
            .iter()
            .map(|start| reader.position(start.topic, start.partition))
            .collect();
        let save_sessions = self.sessions_dirty
            && (stopped || self.sessions_saved.elapsed() >= SAVE_SESSIONS_EVERY);
        let rows_moved = (self.starts.iter().zip(&moved))
            .any(|(start, &next)| start.topic != Topic::Ticks && start.offset != next);
        // Before ticks are taken in: what is saved and the position up to which it was made belong together.
        if rows_moved || save_sessions {
            let started = Instant::now();
            store.begin()?;
            if save_sessions {
                self.save_sessions(store)?;
            }
            for message in messages.iter() {
                self.take_row(store, &mut batch, &message)?;
            }
            for (start, &next) in self.starts.iter().zip(&moved) {
                if start.topic != Topic::Ticks && start.offset != next {
                    store.save_position(start.topic, start.partition, next)?;
                }
            }
            store.commit(&self.limits)?;
            metrics::histogram!("wigwag_view_commit_seconds")
                .record(started.elapsed().as_secs_f64());
        }
        for message in messages.iter() {
            if message.topic == Topic::Ticks {
                self.take_ticks(&message);
            }
        }
        for topic in FOLLOWED {
            let read = messages.iter().filter(|message| message.topic == topic);
            metrics::counter!("wigwag_view_messages_total", "topic" => topic.name())
                .increment(read.count() as u64);
        }
        for (start, next) in self.starts.iter_mut().zip(moved) {
            start.offset = next;
        }
        self.tell(batch, messages);
        self.note_progress();
        Ok(())
    }

    fn take_row(
        &mut self,
        store: &mut Store,
        batch: &mut Batch,
        message: &MessageRef<'_>,
    ) -> Result<(), rusqlite::Error> {
        match message.topic {
            Topic::Signals => match serde_json::from_slice(message.value) {
                Ok(signal) => take_signal(store, batch, message, &signal)?,
                Err(error) => self.note_unreadable(message, &error),
            },
            Topic::Bars if self.is_outgrown(message) => {}
            Topic::Values | Topic::Bars => match read_point(message) {
                Ok((points, key, time)) => store.point(points, key, time, message.value)?,
                Err(error) => self.note_unreadable(message, &error),
            },
            _ => {}
        }
        Ok(())
    }

    /// Whether it is a bar of a second that would go again before the store has caught up.
    fn is_outgrown(&self, message: &MessageRef<'_>) -> bool {
        let from = self.seconds_from.get(message.partition as usize);
        from.is_some_and(|&from| message.offset < from) && message.key.ends_with(b"/1s")
    }

    fn take_ticks(&mut self, message: &MessageRef<'_>) {
        let Some(partition) = self.view.0.sessions.get(message.partition as usize) else {
            return;
        };
        self.sessions_dirty = true;
        let mut partition = lock(partition);
        if !self.view.0.live.has_tick_listeners() {
            partition.take(message, |_, _| {});
            return;
        }
        let newest_ticks = &mut self.newest_ticks;
        partition.take(message, |row, tick| {
            let numbers = TickNumbers::of(message, row, tick);
            *newest_ticks.entry_ref(&*tick.symbol).or_insert(numbers) = numbers;
        });
    }

    fn save_sessions(&mut self, store: &mut Store) -> Result<(), rusqlite::Error> {
        for (partition, sessions) in (0..).zip(&self.view.0.sessions) {
            let state = lock(sessions).to_bytes();
            store.save_session(partition, &state)?;
        }
        for start in self.starts.iter().filter(|s| s.topic == Topic::Ticks) {
            store.save_position(start.topic, start.partition, start.offset)?;
        }
        self.sessions_dirty = false;
        self.sessions_saved = Instant::now();
        Ok(())
    }

    fn tell(&mut self, batch: Batch, messages: &Messages) {
        let live = &self.view.0.live;
        live.publish(batch, &signal_positions(&self.starts));
        tell_points(&live.values, messages, Topic::Values, |key| {
            let (strategy, symbol) = key.split_once('/').unwrap_or((key, ""));
            (symbol, strategy)
        });
        tell_points(&live.bars, messages, Topic::Bars, |key| {
            let (symbol, _interval) = key.split_once('/').unwrap_or((key, ""));
            (symbol, "")
        });
        if !self.newest_ticks.is_empty() {
            let mut ticks = lock(&live.ticks);
            for (symbol, numbers) in self.newest_ticks.drain() {
                let tick = LiveTick {
                    symbol: &symbol,
                    numbers,
                };
                let json = serde_json::to_vec(&tick).expect("numbers and text are JSON");
                ticks.push(symbol.as_bytes(), json.into(), || (&symbol, ""));
            }
        }
        if !messages.is_empty() {
            live.ring();
        }
    }

    fn note_progress(&mut self) {
        let Some(ends) = &self.ends else { return };
        let behind = (self.starts.iter().zip(ends))
            .map(|(start, bounds)| bounds.end.saturating_sub(start.offset))
            .sum();
        if behind == 0 {
            self.ends = None;
        }
        let mut status = lock(&self.view.0.status);
        let Status {
            caught_up,
            behind: shown,
            ..
        } = &mut *status;
        *caught_up |= behind == 0;
        *shown = behind;
    }

    /// Another program wrote there; what it wrote is left out, and said once.
    fn note_unreadable(&mut self, message: &MessageRef<'_>, error: &dyn std::fmt::Display) {
        metrics::counter!("wigwag_view_unreadable_messages_total", "topic" => message.topic.name())
            .increment(1);
        if self.unreadable == 0 {
            let (topic, partition, offset) = (message.topic, message.partition, message.offset);
            tracing::error!(%topic, partition, offset, %error, "a message is not what the engine writes; it is left out, as are others like it");
        }
        self.unreadable += 1;
    }
}

/// Whose point a message of `values` or `bars` is, its key and its time.
fn read_point<'m>(
    message: &MessageRef<'m>,
) -> Result<(Points, &'m str, f64), Box<dyn std::error::Error>> {
    let key = std::str::from_utf8(message.key)?;
    if message.topic == Topic::Values {
        let values: ValuesParts = serde_json::from_slice(message.value)?;
        return Ok((Points::Values, key, values.timestamp));
    }
    let bar: BarParts = serde_json::from_slice(message.value)?;
    let (_, interval) = key.split_once('/').unwrap_or((key, ""));
    Ok((Points::Bars(interval.parse()?), key, bar.open_time))
}

fn take_signal(
    store: &mut Store,
    batch: &mut Batch,
    message: &MessageRef<'_>,
    signal: &SignalParts<'_>,
) -> Result<(), rusqlite::Error> {
    let head = SignalHead {
        time: signal.timestamp,
        strength: signal.strength,
        offset: signal.offset,
        position: message.offset,
        // The store numbers both.
        symbol: 0,
        strategy: 0,
        partition: message.partition,
        row: signal.row,
        n: signal.n,
        side: signal.side,
    };
    let names = store.signal(head, signal.symbol, signal.strategy, message.value)?;
    batch.push(
        message.partition,
        message.offset,
        names,
        signal.side,
        message.value,
    );
    Ok(())
}

/// Adds a topic's messages to its feed; `names` reads symbol and strategy from a key.
fn tell_points(
    feed: &Mutex<Feed>,
    messages: &Messages,
    topic: Topic,
    names: impl Fn(&str) -> (&str, &str),
) {
    let mut held = None;
    for message in messages.iter().filter(|m| m.topic == topic) {
        let feed = held.get_or_insert_with(|| lock(feed));
        feed.push(message.key, message.value.into(), || {
            names(std::str::from_utf8(message.key).unwrap_or_default())
        });
    }
}

fn signal_positions(starts: &[Start]) -> Vec<Offset> {
    let signals = starts.iter().filter(|start| start.topic == Topic::Signals);
    signals.map(|start| start.offset).collect()
}

impl TickNumbers {
    fn of(message: &MessageRef<'_>, row: u32, tick: &Tick<'_>) -> Self {
        Self {
            timestamp: tick.time,
            open: tick.open,
            high: tick.high,
            low: tick.low,
            close: tick.close,
            volume: tick.volume,
            partition: message.partition,
            offset: message.offset,
            row,
        }
    }
}
