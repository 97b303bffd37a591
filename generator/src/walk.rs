//! The price walk of one symbol: tick k of day d is a pure function of the seed, the symbol, d and k. Knows no clock.
//!
//! The logarithm of the price is a random walk with one normal step a tick. To begin anywhere without adding up all
//! steps before, it is drawn from coarse to fine, each level pinned to the one above:
//!
//! - *anchors*, one a block of 128 * 128 ticks, are independent draws around the symbol's base price;
//! - *corners*, one a leaf of 128 ticks, are a walk from the block's anchor to the next one;
//! - *ticks* are a walk from the leaf's corner to the next one.
//!
//! A walk of n steps pinned at both ends (a Brownian bridge) whose ends differ by a normal of n steps' variance is a
//! plain random walk, and the anchors' spread is chosen so that they do. So steps inside of a block are independent and
//! normal, the price returns to its base from block to block instead of running away, and any tick costs 256 draws
//! from a cold start and two when read in order. Anchors after a day's last block are the next day's: the price
//! crosses midnight with a jump of less than one leaf's movement (0.2 % or so).
//!
//! Volatility is per tick and not per second, so that a fast feed is as lively as a slow one.
//!
//! Draws come from ChaCha8, whose key is (seed, day, symbol), whose stream is the level and whose position is the
//! number of the block or leaf.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Poisson, StandardNormal};

use crate::{record::Tick, symbol::Symbol};

/// Standard deviation of a tick's logarithmic return: 2 basis points, 4 cents of a 200 dollar share.
pub const STEP: f64 = 2e-4;
/// Ticks in a leaf, and leaves in a block.
const FAN: u64 = 128;
/// Prices are whole numbers of this many to the dollar.
const UNITS: f64 = 1e4;

/// Streams of a key, by what is drawn from them.
#[derive(Clone, Copy)]
pub(crate) enum Stream {
    Profile = 0,
    Anchors,
    Corners,
    Ticks,
    Events,
}

/// What does not change about a symbol.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Profile {
    /// The price around which it walks.
    pub(crate) base_price: f64,
    /// Shares traded in a tick, on average.
    pub(crate) mean_volume: f64,
    /// Shares that exist.
    pub(crate) shares: f64,
    /// Yearly earnings of a share.
    pub(crate) earnings: f64,
}

/// The walk of one symbol, with the leaf of ticks that was last asked for at hand.
pub struct Walk {
    seed: u64,
    symbol: Symbol,
    profile: Profile,
    volume: Poisson<f64>,
    leaves_per_day: u64,
    leaf: Option<(i64, u64)>,
    cells: Box<[Cell; FAN as usize]>,
}

/// A tick in price units, compact because each symbol keeps a leaf of them.
#[derive(Clone, Copy, Default)]
struct Cell {
    open: u32,
    high: u32,
    low: u32,
    close: u32,
    volume: u32,
}

/// The random stream of one level: pure in all arguments. An empty symbol is the market as a whole.
pub(crate) fn draws(
    seed: u64,
    day: i64,
    symbol: Option<Symbol>,
    stream: Stream,
    position: u64,
) -> ChaCha8Rng {
    // Positions are this many words apart, far more than any of them draws.
    const WORDS: u128 = 1 << 16;
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&day.to_le_bytes());
    key[16..].copy_from_slice(&symbol.map_or([0; Symbol::MAX_CHARS], |s| s.padded()));
    let mut rng = ChaCha8Rng::from_seed(key);
    rng.set_stream(stream as u64);
    rng.set_word_pos(u128::from(position) * WORDS);
    rng
}

impl Profile {
    fn draw(seed: u64, symbol: Symbol) -> Self {
        let mut rng = draws(seed, 0, Some(symbol), Stream::Profile, 0);
        let drawn = 20.0 * 25_f64.powf(rng.random());
        let base_price = match symbol.as_str() {
            "AAPL" => 230.0,
            "GOOGL" => 190.0,
            "AMZN" => 220.0,
            "MSFT" => 430.0,
            "TSLA" => 340.0,
            _ => drawn,
        };
        Self {
            base_price,
            mean_volume: rng.random_range(100.0..2_000.0),
            shares: rng.random_range(1e8_f64..1e10).round(),
            earnings: base_price / rng.random_range(10.0..40.0),
        }
    }
}

impl Walk {
    /// The walk of a symbol that has so many ticks in a day.
    pub fn new(seed: u64, symbol: Symbol, ticks_per_day: u64) -> Self {
        let profile = Profile::draw(seed, symbol);
        Self {
            seed,
            symbol,
            profile,
            volume: Poisson::new(profile.mean_volume)
                .expect("a mean volume is positive and finite"),
            leaves_per_day: ticks_per_day.div_ceil(FAN),
            leaf: None,
            cells: Box::new([Cell::default(); FAN as usize]),
        }
    }

    /// The symbol that walks.
    pub fn symbol(&self) -> Symbol {
        self.symbol
    }

    pub(crate) fn profile(&self) -> &Profile {
        &self.profile
    }

    /// Tick `k` of a day.
    pub fn tick(&mut self, day: i64, k: u64) -> Tick {
        let leaf = k / FAN;
        if self.leaf != Some((day, leaf)) {
            self.fill(day, leaf);
        }
        let cell = self.cells[(k % FAN) as usize];
        let price = |units| f64::from(units) / UNITS;
        Tick {
            symbol: self.symbol,
            open: price(cell.open),
            high: price(cell.high),
            low: price(cell.low),
            close: price(cell.close),
            volume: f64::from(cell.volume),
        }
    }

    fn fill(&mut self, day: i64, leaf: u64) {
        let (from, to) = self.corners(day, leaf);
        let mut rng = draws(self.seed, day, Some(self.symbol), Stream::Ticks, leaf);
        let mut logs = [0.0; FAN as usize + 1];
        pinned_walk(&mut logs, from, to, STEP, &mut rng);
        let points = logs.map(|log| self.profile.base_price * log.exp());
        for (cell, ends) in self.cells.iter_mut().zip(points.windows(2)) {
            let (open, close) = (units(ends[0]), units(ends[1]));
            let mut stretch = || 1.0 + STEP / 2.0 * rng.sample::<f64, _>(StandardNormal).abs();
            let high = units(ends[0].max(ends[1]) * stretch());
            let low = units(ends[0].min(ends[1]) / stretch());
            *cell = Cell {
                open,
                // Rounding keeps the order of what it rounds, but for the last bit of a product.
                high: high.max(open).max(close),
                low: low.min(open).min(close),
                close,
                volume: self.volume.sample(&mut rng) as u32,
            };
        }
        self.leaf = Some((day, leaf));
    }

    /// The logarithms at both ends of a leaf.
    fn corners(&self, day: i64, leaf: u64) -> (f64, f64) {
        let block = leaf / FAN;
        let first = block * FAN;
        let len = (self.leaves_per_day - first).min(FAN) as usize;
        let mut rng = draws(self.seed, day, Some(self.symbol), Stream::Corners, block);
        let mut logs = [0.0; FAN as usize + 1];
        let logs = &mut logs[..=len];
        let (from, to) = (self.anchor(day, block), self.anchor(day, block + 1));
        pinned_walk(logs, from, to, STEP * (FAN as f64).sqrt(), &mut rng);
        let at = (leaf - first) as usize;
        (logs[at], logs[at + 1])
    }

    fn anchor(&self, day: i64, block: u64) -> f64 {
        let blocks = self.leaves_per_day.div_ceil(FAN);
        let (day, block) = if block < blocks {
            (day, block)
        } else {
            (day + 1, 0)
        };
        let mut rng = draws(self.seed, day, Some(self.symbol), Stream::Anchors, block);
        // The difference of two of these has the variance of a whole block of steps.
        let spread = STEP * FAN as f64 / 2_f64.sqrt();
        spread * rng.sample::<f64, _>(StandardNormal)
    }
}

/// Fills `points` with a normal random walk from `from` to `to`, both included.
fn pinned_walk(points: &mut [f64], from: f64, to: f64, step: f64, rng: &mut ChaCha8Rng) {
    let steps = points.len() - 1;
    let mut sum = 0.0;
    for point in &mut points[1..] {
        sum += step * rng.sample::<f64, _>(StandardNormal);
        *point = sum;
    }
    let tilt = (to - from - sum) / steps as f64;
    for (i, point) in points.iter_mut().enumerate() {
        *point += from + tilt * i as f64;
    }
    // The next walk begins where this one ends, to the last bit.
    points[0] = from;
    points[steps] = to;
}

fn units(price: f64) -> u32 {
    ((price * UNITS).round() as u32).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICKS_PER_DAY: u64 = 300_007;

    fn walk(seed: u64, name: &str) -> Walk {
        Walk::new(seed, Symbol::parse(name).unwrap(), TICKS_PER_DAY)
    }

    fn mean_and_sd(values: &[f64]) -> (f64, f64) {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        (
            mean,
            (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt(),
        )
    }

    #[test]
    fn a_tick_is_the_same_from_wherever_it_is_reached() {
        let (mut in_order, mut at_random) = (walk(7, "AAPL"), walk(7, "AAPL"));
        let forward: Vec<Tick> = (0..40_000).map(|k| in_order.tick(20_000, k)).collect();
        for k in (0..40_000).rev().step_by(977) {
            at_random.tick(-3, k);
            assert_eq!(at_random.tick(20_000, k), forward[k as usize], "tick {k}");
        }
    }

    #[test]
    fn seed_symbol_and_day_each_give_another_walk() {
        let close = |seed, name, day| walk(seed, name).tick(day, 5).close;
        let one = close(1, "AAPL", 1);
        assert_eq!(one, close(1, "AAPL", 1));
        assert!(one != close(2, "AAPL", 1) && one != close(1, "AAPL", 2));
        let relative = |name, base| close(1, name, 1) / base;
        assert_ne!(relative("AAPL", 230.0), relative("GOOGL", 190.0));
    }

    #[test]
    fn a_tick_opens_where_the_last_one_closed() {
        let mut walk = walk(3, "TSLA");
        let ticks: Vec<Tick> = (0..TICKS_PER_DAY).map(|k| walk.tick(0, k)).collect();
        assert!(ticks.windows(2).all(|pair| pair[0].close == pair[1].open));
        // Across midnight less than a leaf's movement (11 steps) in nearly every case; here in each of 50 days.
        for day in 0..50 {
            let jump = (walk.tick(day + 1, 0).open / walk.tick(day, TICKS_PER_DAY - 1).close)
                .ln()
                .abs();
            assert!(
                jump < 4.0 * STEP * (FAN as f64).sqrt(),
                "{jump} after day {day}"
            );
        }
    }

    #[test]
    fn returns_are_normal_steps_without_memory() {
        let mut walk = walk(11, "MSFT");
        let returns: Vec<f64> = (0..TICKS_PER_DAY)
            .map(|k| walk.tick(4, k))
            .map(|t| (t.close / t.open).ln())
            .collect();
        let (mean, sd) = mean_and_sd(&returns);
        // 300,007 draws: the sd is known to 0.13 %, the mean to 3.7e-7, a correlation to 0.0018; five times that passes.
        assert!((sd / STEP - 1.0).abs() < 0.01, "sd {sd}");
        assert!(mean.abs() < 2e-6, "mean {mean}");
        let lagged: f64 = returns
            .windows(2)
            .map(|pair| pair[0] * pair[1])
            .sum::<f64>()
            / returns.len() as f64
            / sd.powi(2);
        assert!(lagged.abs() < 0.01, "correlation {lagged}");
        let beyond_two =
            returns.iter().filter(|r| r.abs() > 2.0 * sd).count() as f64 / returns.len() as f64;
        assert!(
            (beyond_two - 0.0455).abs() < 0.003,
            "{beyond_two} of returns beyond two sd"
        );
    }

    #[test]
    fn volumes_are_poisson() {
        let mut walk = walk(5, "AMZN");
        let mean_volume = walk.profile().mean_volume;
        let volumes: Vec<f64> = (0..TICKS_PER_DAY).map(|k| walk.tick(4, k).volume).collect();
        let (mean, sd) = mean_and_sd(&volumes);
        assert!(
            (mean / mean_volume - 1.0).abs() < 0.001,
            "mean {mean} of {mean_volume}"
        );
        assert!(
            (sd.powi(2) / mean_volume - 1.0).abs() < 0.02,
            "variance {} of {mean_volume}",
            sd.powi(2)
        );
    }

    #[test]
    fn the_price_stays_about_its_base() {
        for name in ["AAPL", "S0005", "ZZ.9"] {
            let mut walk = walk(9, name);
            let base = walk.profile().base_price;
            let logs: Vec<f64> = (0..3_000)
                .map(|day| (walk.tick(day, 7_000).close / base).ln())
                .collect();
            let (mean, sd) = mean_and_sd(&logs);
            // One block's spread: 128 steps over the square root of two, 1.8 %, throughout the block.
            assert!(
                (sd / (STEP * 128.0 / 2_f64.sqrt()) - 1.0).abs() < 0.07,
                "{name}: sd {sd}"
            );
            assert!(mean.abs() < 0.002, "{name}: mean {mean}");
            assert!(logs.iter().all(|log| log.abs() < 0.12), "{name}");
        }
    }
}
