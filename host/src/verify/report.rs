//! What was found, and how it is told: to a person, or one JSON object a partition.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    time::Duration,
};

use serde::Serialize;
use serde_json::Value;

use super::record::Place;
use crate::log::{MessageRef, Offset};

/// What there is to say about one partition.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Verdict {
    /// The partition.
    pub partition: u32,
    /// First offset of `ticks` whose signals were compared.
    pub from: Offset,
    /// The offset before which the comparison ends.
    pub to: Offset,
    /// The offset of the checkpoint, or of the first tick, with which the recomputation began.
    pub replayed_from: Offset,
    /// Ticks of the range that counted.
    pub ticks: u64,
    /// Signals that were the same, by strategy.
    pub signals: BTreeMap<String, u64>,
    /// Where the two sides differ first.
    pub difference: Option<Difference>,
    /// What could not be told, and why.
    pub unknown: Vec<String>,
}

/// The first place where the stored signals are not the recomputed ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// In what.
    pub kind: Kind,
    /// The strategy's id.
    pub strategy: String,
    /// What is traded.
    pub symbol: String,
    /// Of `ticks`.
    pub partition: u32,
    /// Of the tick's message in `ticks`.
    pub offset: Offset,
    /// Line of the tick in that message.
    pub row: u32,
    /// Which signal of that strategy at that tick.
    pub n: u32,
    /// As it must be.
    pub recomputed: Option<String>,
    /// As it is. Where a signal is missing, what its strategy put out next.
    pub stored: Option<Stored>,
}

/// How two sides differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Same signal, other bytes.
    Changed,
    /// It is not stored, or not in its place.
    Missing,
    /// It is stored, and nothing leads to it.
    Extra,
    /// It stands behind a signal of its strategy for the same or a later tick: once more, or out of order.
    Repeated,
}

/// A message of `signals`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stored {
    /// Where it stands there.
    pub offset: Offset,
    /// Its key.
    pub key: String,
    /// Its bytes.
    pub value: String,
}

/// All partitions together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All that was asked for is the same.
    Same,
    /// Something differs.
    Differs,
    /// Nothing was found to differ, and not all could be told.
    Unknown,
}

impl Verdict {
    pub(super) fn of(partition: u32) -> Self {
        Self {
            partition,
            ..Self::default()
        }
    }

    /// Signals that were the same.
    #[must_use]
    pub fn same(&self) -> u64 {
        self.signals.values().sum()
    }

    /// This partition's.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        if self.difference.is_some() {
            Outcome::Differs
        } else if self.unknown.is_empty() {
            Outcome::Same
        } else {
            Outcome::Unknown
        }
    }
}

/// A difference says more than what could not be told.
#[must_use]
pub fn outcome(verdicts: &[Verdict]) -> Outcome {
    let any = |outcome| verdicts.iter().any(|v| v.outcome() == outcome);
    if any(Outcome::Differs) {
        Outcome::Differs
    } else if any(Outcome::Unknown) {
        Outcome::Unknown
    } else {
        Outcome::Same
    }
}

impl Difference {
    pub(super) fn of(
        kind: Kind,
        strategy: &str,
        partition: u32,
        place: Place,
        recomputed: Option<&[u8]>,
        stored: Option<Stored>,
    ) -> Self {
        let recomputed = recomputed.map(|value| String::from_utf8_lossy(value).into_owned());
        let record = recomputed.as_deref().or(stored.as_ref().map(|s| &*s.value));
        let record: Value = record
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default();
        Self {
            kind,
            strategy: strategy.to_owned(),
            symbol: record["symbol"].as_str().unwrap_or_default().to_owned(),
            partition,
            offset: place.offset,
            row: place.row,
            n: place.n,
            recomputed,
            stored,
        }
    }
}

impl Stored {
    pub(super) fn of(message: MessageRef<'_>) -> Self {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Self {
            offset: message.offset,
            key: text(message.key),
            value: text(message.value),
        }
    }
}

impl Outcome {
    const fn name(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Differs => "differs",
            Self::Unknown => "unknown",
        }
    }
}

impl Kind {
    const fn told(self) -> &'static str {
        match self {
            Self::Changed => "is stored with other bytes than it must have",
            Self::Missing => "is not stored in its place",
            Self::Extra => "is stored, and nothing leads to it",
            Self::Repeated => "is stored behind one for the same or a later tick",
        }
    }
}

/// One object a partition, each on a line.
///
/// # Errors
/// Where it cannot be written.
pub fn write_json(verdicts: &[Verdict], out: &mut dyn Write) -> io::Result<()> {
    #[derive(Serialize)]
    struct Line<'a> {
        result: &'static str,
        #[serde(flatten)]
        verdict: &'a Verdict,
    }
    for verdict in verdicts {
        let result = verdict.outcome().name();
        serde_json::to_writer(&mut *out, &Line { result, verdict })?;
        writeln!(out)?;
    }
    Ok(())
}

/// What a person wants to know.
///
/// # Errors
/// Where it cannot be written.
pub fn write_text(verdicts: &[Verdict], took: Duration, out: &mut dyn Write) -> io::Result<()> {
    for verdict in verdicts {
        let Verdict {
            partition,
            from,
            to,
            ticks,
            ..
        } = verdict;
        let (same, told) = (verdict.same(), verdict.outcome().name());
        writeln!(
            out,
            "partition {partition}: {told}: {same} signals of {ticks} ticks compared, offsets {from} to {to}"
        )?;
        if let Some(difference) = &verdict.difference {
            write_difference(difference, out)?;
        }
        for why in &verdict.unknown {
            writeln!(out, "  cannot tell: {why}")?;
        }
    }
    let same: u64 = verdicts.iter().map(Verdict::same).sum();
    let ticks: u64 = verdicts.iter().map(|v| v.ticks).sum();
    let (partitions, seconds) = (verdicts.len(), took.as_secs_f64());
    let rate = ticks as f64 / seconds.max(1e-9);
    let told = outcome(verdicts).name();
    writeln!(
        out,
        "{told}: {same} signals of {ticks} ticks in {partitions} partitions, {seconds:.1} s, {rate:.0} ticks/s"
    )
}

fn write_difference(difference: &Difference, out: &mut dyn Write) -> io::Result<()> {
    let Difference {
        kind,
        strategy,
        symbol,
        partition,
        offset,
        row,
        n,
        recomputed,
        stored,
    } = difference;
    let told = kind.told();
    writeln!(
        out,
        "  strategy {strategy:?}, symbol {symbol:?}, ticks/{partition} offset {offset}, row {row}, signal {n}: {told}"
    )?;
    match recomputed {
        Some(recomputed) => writeln!(out, "  recomputed: {recomputed}")?,
        None => writeln!(out, "  recomputed: none")?,
    }
    match stored {
        Some(Stored { offset, key, value }) => writeln!(
            out,
            "  stored:     {value} (signals/{partition} offset {offset}, key {key:?})"
        ),
        None => writeln!(out, "  stored:     none"),
    }
}
