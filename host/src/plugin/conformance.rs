//! Whether a plugin's results follow from its ticks alone: they must be the same for a second run, for any split of
//! batches, and for a snapshot and restore at any cut. What the engine builds on is tried here before a plugin is taken.

mod comparison;
mod refusal;
mod walk;

use serde_json::{Map, Value};

pub use self::refusal::{ConformanceError, Trial};
use self::{
    comparison::{Seen, compare},
    refusal::NEWEST,
    walk::{Kept, Walk, mix},
};
use super::{
    instance::Failure,
    runtime::Plugin,
    sample::{SYMBOLS, Sample},
};

/// Units of one call at most, as the engine calls.
const MAX_CHUNK: usize = 1024;

/// Made-up ticks of each symbol beyond twice the warm-up, and the fewest and most ticks in all.
const TICKS_BEYOND: usize = 40;
const MIN_TICKS: usize = 600;
const MAX_TICKS: usize = 6_000;
const FEWEST_TICKS: usize = 120;

/// Ticks by which the price of one is first estimated.
const PROBE_TICKS: usize = 60;

/// Fuel that one pass over the ticks may take: a dear plugin is tried on fewer.
const PASS_FUEL: u64 = 200_000_000;

/// Units after which another instance goes on, again and again: so few that a cut falls into each state on the way.
/// Where there are many symbols, whose states are all handed on, it is a part of their number.
const LINK_UNITS: usize = 7;
const SYMBOLS_A_UNIT: usize = 4;

/// Fuel that these instances may take together: where each is dear, fewer go further.
const CHAIN_FUEL: u64 = 500_000_000;

/// Ticks from which a price can be told: of fewer, the call itself is most of it.
const PRICED_TICKS: usize = 100;

/// Fuel that all of it may take, starts and snapshots too: some seconds.
const TOTAL_FUEL: u64 = 20_000_000_000;

/// Another seed would do as well.
const SEED: u64 = 0x5157;

/// What was found out about a plugin with some parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conformance {
    /// Ticks on which it was tried, made-up and real.
    pub ticks: usize,
    /// What a tick costs on average, in fuel: its price, of made-up or of real ticks, whichever is higher.
    pub fuel_per_tick: u64,
    /// Values and signals that were compared; where there is none, it holds over nothing.
    pub values: usize,
    /// See `values`.
    pub signals: usize,
    /// Ticks of a symbol before its first value, as it said itself.
    pub warm_up_ticks: u32,
    /// The most memory that an instance had, in bytes.
    pub memory_bytes: usize,
}

/// Tries a plugin with resolved parameters on made-up ticks, and on `recent` ones where there are any; again where the
/// wall clock struck.
///
/// # Errors
/// The first of its results that differs, or its failure.
pub fn conform(
    plugin: &Plugin,
    params: &Map<String, Value>,
    recent: Option<&Sample>,
) -> Result<Conformance, ConformanceError> {
    match conform_once(plugin, params, recent) {
        Err(error) if error.is_of_the_clock() => conform_once(plugin, params, recent),
        tried => tried,
    }
}

fn conform_once(
    plugin: &Plugin,
    params: &Map<String, Value>,
    recent: Option<&Sample>,
) -> Result<Conformance, ConformanceError> {
    let mut trier = Trier {
        plugin,
        params,
        fuel: 0,
        chunk: MAX_CHUNK,
        memory_bytes: 0,
        warm_up_ticks: 0,
    };
    let probe = trier.first(&Sample::generated(SEED, PROBE_TICKS), "made-up ticks")?;
    let warm_up = trier.warm_up_ticks as usize;
    let wanted = (SYMBOLS as usize)
        .saturating_mul(warm_up.saturating_mul(2).saturating_add(TICKS_BEYOND))
        .clamp(MIN_TICKS, MAX_TICKS);
    let affordable = usize::try_from(PASS_FUEL / probe.fuel_per_unit.max(1)).unwrap_or(MAX_TICKS);
    let ticks = wanted.min(affordable.max(FEWEST_TICKS));
    // As the engine does: a call stays well under the budget of a row.
    let fits = plugin.limits().row_fuel / 2 / probe.fuel_per_unit.max(1);
    trier.chunk = usize::try_from(fits).map_or(MAX_CHUNK, |fits| fits.clamp(1, MAX_CHUNK));

    let made_up = Sample::generated(SEED, ticks);
    let first = trier.first(&made_up, "made-up ticks")?;
    let mut found = Conformance {
        ticks: made_up.len(),
        fuel_per_tick: first.fuel_per_unit,
        values: first.seen.values(),
        signals: first.seen.signals(),
        warm_up_ticks: 0,
        memory_bytes: 0,
    };
    trier.again(&made_up, &first.seen, "made-up ticks")?;
    let recent = recent.map(|recent| recent.ending(affordable.max(1)));
    let recent = recent.unwrap_or_default();
    if !recent.is_empty() {
        let first = trier.first(&recent, NEWEST)?;
        trier
            .again(&recent, &first.seen, NEWEST)
            .map_err(ConformanceError::among_the_newest)?;
        found.ticks += recent.len();
        found.values += first.seen.values();
        found.signals += first.seen.signals();
        if recent.len() >= PRICED_TICKS {
            found.fuel_per_tick = found.fuel_per_tick.max(first.fuel_per_unit);
        }
    }
    Ok(Conformance {
        warm_up_ticks: trier.warm_up_ticks,
        memory_bytes: trier.memory_bytes,
        ..found
    })
}

struct First {
    seen: Seen,
    fuel_per_unit: u64,
}

struct Trier<'a> {
    plugin: &'a Plugin,
    params: &'a Map<String, Value>,
    fuel: u64,
    /// Units of one call.
    chunk: usize,
    memory_bytes: usize,
    warm_up_ticks: u32,
}

impl<'a> Trier<'a> {
    fn first(&mut self, sample: &Sample, name: &str) -> Result<First, ConformanceError> {
        let mut walk = self.start(sample)?;
        let before = walk.instance.fuel_used();
        walk.name_all().map_err(|f| failed(name, f))?;
        while walk.at < sample.units() {
            walk.step(self.chunk, |_| true)
                .map_err(|f| walk.failed(name, f))?;
            self.account(&mut walk)?;
        }
        let fuel = walk.instance.fuel_used() - before;
        Ok(First {
            fuel_per_unit: fuel / (sample.units() as u64).max(1),
            seen: walk.seen,
        })
    }

    /// All the ways in which nothing may change.
    fn again(&mut self, sample: &Sample, first: &Seen, name: &str) -> Result<(), ConformanceError> {
        let second = self.first(sample, name)?;
        compare(Trial::SecondRun, sample, first, &second.seen, 0)?;
        let mut singly = self.start(sample)?;
        while singly.at < sample.units() {
            singly
                .step(1, |row| row % 2 == 0)
                .map_err(|f| singly.failed(name, f))?;
            self.account(&mut singly)?;
        }
        compare(Trial::BatchesOfOne, sample, first, &singly.seen, 0)?;
        let mut other = self.start(sample)?;
        let mut size = 1;
        while other.at < sample.units() {
            // Sizes up to 97, in no order.
            size = (size * 59 % 97 + 1).min(self.chunk);
            let wants = |row: usize| row > sample.len() / 2 && row.is_multiple_of(3);
            other.step(size, wants).map_err(|f| other.failed(name, f))?;
            self.account(&mut other)?;
        }
        compare(Trial::OtherBatches, sample, first, &other.seen, 0)?;
        self.cut(sample, first, name)
    }

    /// Snapshots on the way, and other instances that go on from them.
    fn cut(&mut self, sample: &Sample, first: &Seen, name: &str) -> Result<(), ConformanceError> {
        let units = sample.units();
        let cuts = [1, 7, units / 5, units * 2 / 3 + 1, units * 5 / 6 - 1, units];
        let mut walk = self.start(sample)?;
        let mut before: Option<Kept> = None;
        for at in cuts {
            while walk.at < at.min(units) {
                let size = (at - walk.at).min(self.chunk);
                walk.step(size, |_| true)
                    .map_err(|f| walk.failed(name, f))?;
            }
            let kept = walk.keep().map_err(|f| walk.failed("snapshot", f))?;
            self.account(&mut walk)?;
            self.go_on(sample, first, &kept, Trial::Restore(at))?;
            if let Some(before) = before {
                let mixed = mix(sample, &before, &kept);
                self.go_on(sample, first, &mixed, Trial::RestoreOfSilent(at))?;
            }
            before = Some(kept);
        }
        compare(Trial::Snapshot, sample, first, &walk.seen, 0)?;
        self.chain(sample, first)
    }

    /// One instance after another, each from the snapshot of the one before.
    fn chain(&mut self, sample: &Sample, first: &Seen) -> Result<(), ConformanceError> {
        const DURING: &str = "after a restore every few ticks";
        let units = sample.units();
        let (before, mut links) = (self.fuel, 0);
        let mut seen = Seen::default();
        let mut kept: Option<Kept> = None;
        let least = LINK_UNITS.max(sample.ticks.names.len() / SYMBOLS_A_UNIT);
        let mut size = least;
        loop {
            let mut walk = self.start(sample)?;
            if let Some(kept) = &kept {
                walk.restore(kept).map_err(|f| walk.failed(DURING, f))?;
            }
            let end = (walk.at + size).min(units);
            while walk.at < end {
                walk.step((end - walk.at).min(self.chunk), |_| true)
                    .map_err(|f| walk.failed(DURING, f))?;
            }
            if walk.at < units {
                kept = Some(walk.keep().map_err(|f| walk.failed("snapshot", f))?);
            }
            self.account(&mut walk)?;
            seen.append(&mut walk.seen);
            if walk.at == units {
                return compare(Trial::Chain, sample, first, &seen, 0);
            }
            // What is left of the fuel, and how many links it is enough for.
            links += 1;
            let taken = self.fuel - before;
            let enough = CHAIN_FUEL.saturating_sub(taken) / (taken / links).max(1);
            let enough = usize::try_from(enough).unwrap_or(usize::MAX).max(1);
            size = least.max((units - walk.at).div_ceil(enough));
        }
    }

    fn go_on(
        &mut self,
        sample: &Sample,
        first: &Seen,
        kept: &Kept,
        trial: Trial,
    ) -> Result<(), ConformanceError> {
        let mut walk = self.start(sample)?;
        walk.restore(kept).map_err(|f| failed("restore", f))?;
        while walk.at < sample.units() {
            walk.step(self.chunk, |_| true)
                .map_err(|f| walk.failed("after a restore", f))?;
            self.account(&mut walk)?;
        }
        self.account(&mut walk)?;
        compare(
            trial,
            sample,
            first,
            &walk.seen,
            sample.rows_before(kept.at),
        )
    }

    fn start<'s>(&mut self, sample: &'s Sample) -> Result<Walk<'s>, ConformanceError>
    where
        'a: 's,
    {
        let plugin = self.plugin;
        let mut instance = plugin.instantiate().map_err(|f| failed("its start", f))?;
        let arguments = plugin.description().arguments(self.params);
        self.warm_up_ticks = instance
            .configure(&arguments)
            .map_err(ConformanceError::Configure)?;
        let mut walk = Walk {
            instance,
            plugin,
            sample,
            at: 0,
            named: 0,
            counted: 0,
            seen: Seen::default(),
        };
        self.account(&mut walk)?;
        Ok(walk)
    }

    /// Counts what a walk took since the last time.
    fn account(&mut self, walk: &mut Walk<'_>) -> Result<(), ConformanceError> {
        let used = walk.instance.fuel_used();
        self.fuel += used - std::mem::replace(&mut walk.counted, used);
        self.memory_bytes = self.memory_bytes.max(walk.instance.memory_bytes());
        // What it logged is for nobody.
        drop(walk.instance.take_log());
        if self.fuel > TOTAL_FUEL {
            return Err(ConformanceError::TooCostly {
                limit: TOTAL_FUEL,
                ticks: walk.sample.len(),
            });
        }
        Ok(())
    }
}

fn failed(during: &str, failure: Failure) -> ConformanceError {
    ConformanceError::Failed {
        during: during.to_owned(),
        failure,
    }
}
