//! What came of some ticks, and whether it is the same as what came of them before.

use std::fmt;

use super::{ConformanceError, Trial};
use crate::plugin::{
    bindings::{EventSide, Output},
    sample::Sample,
};

/// What came of some ticks.
#[derive(Default)]
pub(super) struct Seen {
    signals: Vec<SeenSignal>,
    /// Of each row that was wanted.
    values: Vec<(usize, Vec<Number>)>,
}

#[derive(PartialEq)]
pub(super) struct SeenSignal {
    row: usize,
    side: EventSide,
    strength: Number,
    reason: String,
    values: Vec<Number>,
}

/// A number that is the same where its bits are, or where there is none.
#[derive(Clone, Copy)]
struct Number(f64);

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits() || self.0.is_nan() && other.0.is_nan()
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.is_nan() {
            true => f.write_str("no value"),
            false => write!(f, "{}", self.0),
        }
    }
}

impl Seen {
    /// How many signals there are.
    pub(super) const fn signals(&self) -> usize {
        self.signals.len()
    }

    /// How many values there are; what is not there is not counted.
    pub(super) fn values(&self) -> usize {
        let numbers = self.values.iter().flat_map(|(_, numbers)| numbers);
        numbers.filter(|number| !number.0.is_nan()).count()
    }

    /// Takes over what came of later rows.
    pub(super) fn append(&mut self, later: &mut Self) {
        self.signals.append(&mut later.signals);
        self.values.append(&mut later.values);
    }

    pub(super) fn add(&mut self, output: &Output, first: usize, wanted: &[u32], series: usize) {
        let numbers = |values: &[f64]| values.iter().copied().map(Number).collect::<Vec<_>>();
        let signals = &output.signals;
        for (n, &row) in signals.row.iter().enumerate() {
            let opinion = &signals.opinions[signals.opinion[n] as usize];
            self.signals.push(SeenSignal {
                row: first + row as usize,
                side: opinion.side,
                strength: Number(signals.strength[n]),
                reason: opinion.reason.clone(),
                values: numbers(&signals.values[n * series..(n + 1) * series]),
            });
        }
        if series > 0 {
            let values = wanted.iter().zip(output.values.chunks_exact(series));
            self.values
                .extend(values.map(|(&row, values)| (first + row as usize, numbers(values))));
        }
    }
}

pub(super) fn place(sample: &Sample, row: usize) -> String {
    match row < sample.len() {
        true => {
            let tick = sample.ticks.tick(row);
            format!(
                "at tick {row}, of {} with close {}",
                tick.symbol, tick.close
            )
        }
        false => format!("after {row} ticks"),
    }
}

/// Compares what came of the rows from one on. Values of rows that only one of them wanted are not compared.
pub(super) fn compare(
    trial: Trial,
    sample: &Sample,
    first: &Seen,
    other: &Seen,
    from: usize,
) -> Result<(), ConformanceError> {
    let differs = |row: usize, difference: String| {
        Err(ConformanceError::Differs {
            trial,
            place: place(sample, row),
            difference,
        })
    };
    let skipped = first.signals.partition_point(|signal| signal.row < from);
    let expected = &first.signals[skipped..];
    for n in 0..expected.len().max(other.signals.len()) {
        match (expected.get(n), other.signals.get(n)) {
            (Some(a), Some(b)) if a == b => {}
            (Some(a), Some(b)) if a.row == b.row => {
                return differs(a.row, format!("the signal {a} becomes {b}"));
            }
            (Some(a), b) if b.is_none_or(|b| a.row < b.row) => {
                return differs(a.row, format!("the signal {a} is missing"));
            }
            (_, Some(b)) => return differs(b.row, format!("there is a signal {b} more")),
            (_, None) => {}
        }
    }
    let mut expected = first.values.iter().peekable();
    for (row, values) in &other.values {
        while expected.next_if(|(before, _)| before < row).is_some() {}
        let Some((_, expected)) = expected.next_if(|(same, _)| same == row) else {
            continue;
        };
        if let Some(n) = (0..values.len()).find(|&n| expected[n] != values[n]) {
            let (was, is) = (expected[n], values[n]);
            return differs(*row, format!("value {n} was {was} and is {is}"));
        }
    }
    Ok(())
}

impl fmt::Display for SeenSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = match self.side {
            EventSide::Buy => "buy",
            EventSide::Sell => "sell",
        };
        write!(f, "{side} {} {:?}", self.strength, self.reason)
    }
}
