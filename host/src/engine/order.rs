//! Order and repeats, one rule in one place: the order in the log is the order; a late tick, a repeat, and a
//! message that its producer had sent before are dropped. Whoever reads `ticks` decides by this, so that every
//! replay decides the same.

use std::hash::BuildHasher as _;

use hashbrown::{DefaultHashBuilder, HashTable};
use serde::{Deserialize, Serialize};

use crate::{log::Headers, market::Tick};

/// A tick older than the newest of its symbol by more than this is late, in seconds of the ticks' own time.
pub const MAX_LATENESS_S: f64 = 10.0;

/// Where there are too many producers, those that sent nothing for this long are forgotten first, in seconds of the ticks' own
/// time. Below that number none is: one body of a history spans years, and must be known when it comes again.
const PRODUCER_FORGOTTEN_AFTER_S: f64 = 7.0 * 24.0 * 3600.0;

/// Producers remembered in one partition; above it the ones not seen for longest are forgotten.
const MAX_PRODUCERS: usize = 10_000;

/// Symbols of one partition, numbered by first appearance.
#[derive(Clone, Debug, Default)]
pub struct Symbols {
    names: Vec<Box<str>>,
    /// By the hashes of their names, which are not kept twice.
    numbers: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl Symbols {
    /// The number of a symbol; a new one is given where there is none.
    pub fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.find(name) {
            return number;
        }
        let number = u32::try_from(self.names.len()).expect("fewer than 2^32 symbols");
        self.names.push(name.into());
        let Self {
            names,
            numbers,
            hasher,
        } = self;
        numbers.insert_unique(hasher.hash_one(name), number, |&number| {
            hasher.hash_one(&*names[number as usize])
        });
        number
    }

    /// The number of a symbol that has one.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<u32> {
        let hash = self.hasher.hash_one(name);
        let is = |&number: &u32| *self.names[number as usize] == *name;
        self.numbers.find(hash, is).copied()
    }

    /// The symbol of a number that was given.
    #[must_use]
    pub fn name(&self, number: u32) -> &str {
        &self.names[number as usize]
    }

    /// All, by number.
    #[must_use]
    pub fn names(&self) -> &[Box<str>] {
        &self.names
    }
}

impl From<Vec<Box<str>>> for Symbols {
    fn from(names: Vec<Box<str>>) -> Self {
        let mut symbols = Self::default();
        for name in names {
            symbols.number(&name);
        }
        symbols
    }
}

/// What one partition remembers in order to judge the next message and the next tick.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Order {
    /// By number; a checkpoint keeps these beside it.
    last: Vec<Option<Last>>,
    producers: std::collections::BTreeMap<String, Producer>,
    messages: u64,
    newest_time: f64,
}

/// The newest tick of a symbol.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Last {
    /// Time of the newest tick; not of the last one, which may be older.
    newest_time: f64,
    /// The fields of the last one.
    fields: [f64; 6],
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Producer {
    sequence: u64,
    part: u32,
    seen_message: u64,
    seen_time: f64,
}

/// What becomes of a tick.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Admit {
    /// It counts. `previous_time` is the newest time of its symbol before it, in seconds; not-a-number for the
    /// symbol's first tick.
    New {
        /// See above.
        previous_time: f64,
    },
    /// Older than [`MAX_LATENESS_S`] allows.
    Late,
    /// Equal to its predecessor in every field.
    Repeat,
}

impl Order {
    /// Whether a message counts; not where its producer had sent it before. To be called once a message.
    pub fn admit_message(&mut self, headers: Headers<'_>) -> bool {
        self.messages += 1;
        if headers.is_empty() {
            return true;
        }
        let text = |name| headers.get(name).and_then(|v| std::str::from_utf8(v).ok());
        let (Some(id), Some(sequence)) = (
            text("Producer-Id"),
            text("Sequence").and_then(|s| s.parse().ok()),
        ) else {
            return true;
        };
        let part: u32 = text("Part").and_then(|s| s.parse().ok()).unwrap_or(0);
        let seen = Producer {
            sequence,
            part,
            seen_message: self.messages,
            seen_time: self.newest_time,
        };
        match self.producers.get_mut(id) {
            Some(last) if (sequence, part) <= (last.sequence, last.part) => {
                last.seen_message = seen.seen_message;
                last.seen_time = seen.seen_time;
                return false;
            }
            Some(last) => *last = seen,
            None => {
                self.producers.insert(id.to_owned(), seen);
                self.forget_producers();
            }
        }
        true
    }

    /// Whether a tick counts. `symbol` is its number in this partition.
    pub fn admit(&mut self, symbol: u32, tick: &Tick<'_>) -> Admit {
        let symbol = symbol as usize;
        if symbol >= self.last.len() {
            self.last.resize(symbol + 1, None);
        }
        self.newest_time = self.newest_time.max(tick.time);
        let fields = [
            tick.time,
            tick.open,
            tick.high,
            tick.low,
            tick.close,
            tick.volume,
        ];
        let entry = &mut self.last[symbol];
        let previous_time = match entry {
            None => f64::NAN,
            Some(last) if tick.time < last.newest_time - MAX_LATENESS_S => return Admit::Late,
            Some(last) if last.fields == fields => return Admit::Repeat,
            Some(last) => last.newest_time,
        };
        // `f64::max` gives the number where the other is not-a-number.
        *entry = Some(Last {
            newest_time: previous_time.max(tick.time),
            fields,
        });
        Admit::New { previous_time }
    }

    /// The newest tick of a symbol; none before its first.
    pub(super) fn last(&self, symbol: u32) -> Option<Last> {
        self.last.get(symbol as usize).copied().flatten()
    }

    /// Puts back the newest ticks of all symbols.
    pub(super) fn set_lasts(&mut self, lasts: Vec<Option<Last>>) {
        self.last = lasts;
    }

    /// What belongs to no symbol.
    pub(super) fn without_symbols(&self) -> Self {
        Self {
            last: Vec::new(),
            producers: self.producers.clone(),
            ..*self
        }
    }

    fn forget_producers(&mut self) {
        let oldest_time = self.newest_time - PRODUCER_FORGOTTEN_AFTER_S;
        if self.producers.len() > MAX_PRODUCERS {
            self.producers.retain(|_, p| p.seen_time >= oldest_time);
        }
        while self.producers.len() > MAX_PRODUCERS {
            let oldest = self
                .producers
                .iter()
                .min_by_key(|(_, p)| p.seen_message)
                .map(|(id, _)| id.clone());
            let Some(oldest) = oldest else { return };
            self.producers.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Messages, Topic};

    fn tick(time: f64, close: f64) -> Tick<'static> {
        Tick {
            symbol: "A".into(),
            time,
            open: close,
            high: close,
            low: close,
            close,
            volume: 1.0,
        }
    }

    fn admits(order: &mut Order, id: &str, sequence: u64, part: u32) -> bool {
        let (sequence, part) = (sequence.to_string(), part.to_string());
        let mut messages = Messages::new();
        let headers = [
            ("Producer-Id", id.as_bytes()),
            ("Sequence", sequence.as_bytes()),
            ("Part", part.as_bytes()),
        ];
        messages.push(Topic::Ticks, 0, 0, 0, b"", b"", headers);
        order.admit_message(messages.iter().next().unwrap().headers)
    }

    #[test]
    fn a_tick_more_than_ten_seconds_older_than_the_newest_is_late() {
        let mut order = Order::default();
        assert!(
            matches!(order.admit(0, &tick(100.0, 1.0)), Admit::New { previous_time } if previous_time.is_nan())
        );
        assert_eq!(
            order.admit(0, &tick(90.0, 2.0)),
            Admit::New {
                previous_time: 100.0
            }
        );
        assert_eq!(order.admit(0, &tick(89.9, 3.0)), Admit::Late);
        assert_eq!(
            order.admit(0, &tick(101.0, 3.0)),
            Admit::New {
                previous_time: 100.0
            }
        );
    }

    #[test]
    fn only_a_tick_equal_to_its_predecessor_is_a_repeat() {
        let mut order = Order::default();
        order.admit(0, &tick(1.0, 1.0));
        assert_eq!(order.admit(0, &tick(1.0, 1.0)), Admit::Repeat);
        assert!(matches!(order.admit(0, &tick(1.0, 2.0)), Admit::New { .. }));
        assert!(
            matches!(order.admit(0, &tick(1.0, 1.0)), Admit::New { .. }),
            "not its direct predecessor"
        );
        assert!(
            matches!(order.admit(1, &tick(1.0, 1.0)), Admit::New { .. }),
            "another symbol"
        );
    }

    #[test]
    fn a_message_counts_once_for_its_producer_sequence_and_part() {
        let mut order = Order::default();
        assert!(admits(&mut order, "p", 1, 0));
        assert!(admits(&mut order, "p", 1, 1));
        assert!(!admits(&mut order, "p", 1, 1));
        assert!(!admits(&mut order, "p", 1, 0));
        assert!(admits(&mut order, "p", 5, 0));
        assert!(!admits(&mut order, "p", 4, 9));
        assert!(admits(&mut order, "q", 4, 0));
    }

    #[test]
    fn a_message_that_spans_years_is_known_when_it_comes_again() {
        const YEAR_S: f64 = 365.0 * 24.0 * 3600.0;
        let mut order = Order::default();
        assert!(admits(&mut order, "history", 1, 0));
        order.admit(0, &tick(0.0, 1.0));
        order.admit(0, &tick(12.0 * YEAR_S, 2.0));
        assert!(!admits(&mut order, "history", 1, 0), "its answer was lost");
    }

    #[test]
    fn the_producers_not_seen_for_longest_are_forgotten_first() {
        let mut order = Order::default();
        for n in 0..MAX_PRODUCERS {
            assert!(admits(&mut order, &format!("p{n}"), 7, 0));
        }
        assert!(
            !admits(&mut order, "p0", 7, 0),
            "still known, and now the newest"
        );
        assert!(admits(&mut order, "new", 7, 0));
        assert!(admits(&mut order, "p1", 7, 0), "forgotten for `new`");
        assert!(!admits(&mut order, "p0", 7, 0), "kept");
    }
}
