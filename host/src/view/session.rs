//! The summary of each symbol's session, from its ticks in the order of the log, under the engine's own rule for
//! late ticks and repeats. A session is a day of the ticks' own time, UTC.

use serde::{Deserialize, Serialize};

use crate::{
    engine::order::{Admit, Order, Symbols},
    log::MessageRef,
    market::{Limits, Record, Tick, read_record},
};

const DAY_S: f64 = 86_400.0;

/// One symbol's session so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Session {
    /// What is traded.
    pub symbol: String,
    /// Start of the session (midnight UTC of the newest tick's day), seconds since the epoch.
    pub session_start: f64,
    /// Time of the newest tick, seconds since the epoch.
    pub timestamp: f64,
    /// Open of the session's first tick.
    pub open: f64,
    /// Highest high.
    pub high: f64,
    /// Lowest low.
    pub low: f64,
    /// Close of the newest tick.
    pub last: f64,
    /// `last - open`.
    pub change: f64,
    /// `change` in percent of `open`.
    pub change_percent: f64,
    /// Sum of the ticks' volumes.
    pub volume: f64,
    /// Mean of the ticks' (high + low + close) / 3, weighted by volume; null while the volume is 0.
    pub vwap: Option<f64>,
    /// Ticks that counted.
    pub ticks: u64,
    /// Ticks dropped as late.
    pub late: u64,
    /// Ticks dropped as equal to their predecessor.
    pub repeats: u64,
}

/// A symbol's sums.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Sums {
    day: f64,
    time: f64,
    open: f64,
    high: f64,
    low: f64,
    last: f64,
    volume: f64,
    price_volume: f64,
    ticks: u64,
    late: u64,
    repeats: u64,
}

/// What is known of the symbols of one partition, and what is needed to judge its next message.
#[derive(Default)]
pub(super) struct Partition {
    symbols: Symbols,
    order: Order,
    sums: Vec<Sums>,
}

/// [`Partition`] as it is stored.
#[derive(Serialize, Deserialize)]
struct Stored {
    names: Vec<Box<str>>,
    order: Order,
    sums: Vec<Sums>,
}

impl Partition {
    /// Takes in a message of `ticks`; `counted` is told each tick that counts, and the record's number in the message.
    pub(super) fn take(
        &mut self,
        message: &MessageRef<'_>,
        mut counted: impl FnMut(u32, &Tick<'_>),
    ) {
        if !self.order.admit_message(message.headers) {
            return;
        }
        let limits = Limits::none();
        let mut row = 0;
        for line in message.value.split(|&b| b == b'\n') {
            if line.is_empty() {
                continue;
            }
            if let Ok(Record::Tick(tick)) = read_record(line, &limits) {
                self.tick(row, &tick, &mut counted);
            }
            row += 1;
        }
    }

    fn tick(&mut self, row: u32, tick: &Tick<'_>, counted: &mut impl FnMut(u32, &Tick<'_>)) {
        let number = self.symbols.number(&tick.symbol);
        let admitted = self.order.admit(number, tick);
        let sums = self.sums.get_mut(number as usize);
        match (admitted, sums) {
            (Admit::New { .. }, Some(sums)) => {
                sums.add(tick);
                counted(row, tick);
            }
            // Symbols are numbered by first appearance, so this one is the next.
            (Admit::New { .. }, None) => {
                self.sums.push(Sums::first(tick));
                counted(row, tick);
            }
            (Admit::Late, Some(sums)) => sums.late += 1,
            (Admit::Repeat, Some(sums)) => sums.repeats += 1,
            // A symbol's first tick has no predecessor and so is neither.
            (Admit::Late | Admit::Repeat, None) => {}
        }
    }

    pub(super) fn session(&self, symbol: &str) -> Option<Session> {
        let number = self.symbols.find(symbol)?;
        Some(self.sums.get(number as usize)?.session(symbol))
    }

    pub(super) fn sessions(&self) -> impl Iterator<Item = Session> {
        (self.symbols.names().iter().zip(&self.sums)).map(|(name, sums)| sums.session(name))
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let stored = Stored {
            names: self.symbols.names().to_vec(),
            order: self.order.clone(),
            sums: self.sums.clone(),
        };
        postcard::to_stdvec(&stored).expect("writing to memory does not fail")
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let Stored { names, order, sums } = postcard::from_bytes(bytes).ok()?;
        (names.len() == sums.len()).then(|| Self {
            symbols: names.into(),
            order,
            sums,
        })
    }
}

impl Sums {
    fn first(tick: &Tick<'_>) -> Self {
        let mut sums = Self {
            day: (tick.time / DAY_S).floor(),
            time: tick.time,
            open: tick.open,
            high: tick.high,
            low: tick.low,
            last: tick.close,
            volume: 0.0,
            price_volume: 0.0,
            ticks: 0,
            late: 0,
            repeats: 0,
        };
        sums.count(tick);
        sums
    }

    /// A tick of a later day begins a session; one of an earlier day, which came a little late, changes nothing.
    fn add(&mut self, tick: &Tick<'_>) {
        let day = (tick.time / DAY_S).floor();
        if day > self.day {
            *self = Self::first(tick);
        } else if day == self.day {
            self.high = self.high.max(tick.high);
            self.low = self.low.min(tick.low);
            if tick.time >= self.time {
                self.time = tick.time;
                self.last = tick.close;
            }
            self.count(tick);
        }
    }

    fn count(&mut self, tick: &Tick<'_>) {
        self.volume += tick.volume;
        self.price_volume += (tick.high + tick.low + tick.close) / 3.0 * tick.volume;
        self.ticks += 1;
    }

    fn session(&self, symbol: &str) -> Session {
        let change = self.last - self.open;
        Session {
            symbol: symbol.to_owned(),
            session_start: self.day * DAY_S,
            timestamp: self.time,
            open: self.open,
            high: self.high,
            low: self.low,
            last: self.last,
            change,
            change_percent: change / self.open * 100.0,
            volume: self.volume,
            vwap: (self.volume > 0.0).then(|| self.price_volume / self.volume),
            ticks: self.ticks,
            late: self.late,
            repeats: self.repeats,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Messages, Topic};

    fn take(partition: &mut Partition, headers: &[(&str, &[u8])], ticks: &[(f64, f64, f64)]) {
        let mut value = Vec::new();
        for &(time, close, volume) in ticks {
            let tick = Tick {
                symbol: "A".into(),
                time,
                open: close - 1.0,
                high: close + 3.0,
                low: close - 3.0,
                close,
                volume,
            };
            Record::Tick(tick).write_json(&mut value);
            value.push(b'\n');
        }
        let mut messages = Messages::new();
        messages.push(Topic::Ticks, 0, 0, 0, b"A", &value, headers.iter().copied());
        partition.take(&messages.iter().next().unwrap(), |_, _| {});
    }

    #[test]
    fn a_session_sums_its_ticks_and_ends_at_midnight() {
        let mut partition = Partition::default();
        take(
            &mut partition,
            &[],
            &[(10.0, 100.0, 2.0), (11.0, 110.0, 6.0)],
        );
        let session = partition.session("A").unwrap();
        assert_eq!(
            session,
            Session {
                symbol: "A".into(),
                session_start: 0.0,
                timestamp: 11.0,
                open: 99.0,
                high: 113.0,
                low: 97.0,
                last: 110.0,
                change: 11.0,
                change_percent: 11.0 / 99.0 * 100.0,
                volume: 8.0,
                vwap: Some(107.5),
                ticks: 2,
                late: 0,
                repeats: 0,
            }
        );
        take(
            &mut partition,
            &[],
            &[(86_400.0, 50.0, 0.0), (86_399.0, 70.0, 1.0)],
        );
        let session = partition.session("A").unwrap();
        assert_eq!((session.session_start, session.open), (86_400.0, 49.0));
        assert_eq!((session.ticks, session.vwap), (1, None));
    }

    #[test]
    fn late_ticks_repeats_and_messages_sent_again_do_not_count_twice() {
        let mut partition = Partition::default();
        let sent: [(&str, &[u8]); 3] = [("Producer-Id", b"p"), ("Sequence", b"1"), ("Part", b"0")];
        take(&mut partition, &sent, &[(100.0, 10.0, 1.0)]);
        take(&mut partition, &sent, &[(101.0, 11.0, 1.0)]);
        take(
            &mut partition,
            &[],
            &[(100.0, 10.0, 1.0), (89.0, 9.0, 1.0), (95.0, 12.0, 1.0)],
        );
        let session = partition.session("A").unwrap();
        assert_eq!((session.ticks, session.late, session.repeats), (2, 1, 1));
        assert_eq!((session.last, session.high), (10.0, 15.0), "newest by time");
    }

    #[test]
    fn a_stored_partition_goes_on_as_if_it_had_not_been_stored() {
        let mut partition = Partition::default();
        take(&mut partition, &[], &[(100.0, 10.0, 1.0)]);
        let mut restored = Partition::from_bytes(&partition.to_bytes()).unwrap();
        for p in [&mut partition, &mut restored] {
            take(
                p,
                &[],
                &[(100.0, 10.0, 1.0), (89.0, 9.0, 1.0), (101.0, 12.0, 1.0)],
            );
        }
        assert_eq!(partition.session("A"), restored.session("A"));
        assert_eq!(partition.session("A").unwrap().repeats, 1);
    }
}
