//! What every indicator must keep, as macros: `conformance!` for the laws, `published!` and `reference!` for known
//! numbers. An indicator that joins gets all of it from one line.

use std::prelude::rust_2024::*;
use std::vec;

use proptest::prelude::*;

/// Series that have broken indicators before, and random ones.
pub(crate) fn any_closes() -> impl Strategy<Value = Vec<f64>> {
    let cents = |cents: u32| f64::from(cents) / 100.0;
    let price = (1..20_000u32).prop_map(cents);
    prop_oneof![
        // Noise.
        4 => prop::collection::vec(price.clone(), 0..150),
        // A walk that often stands still.
        4 => prop::collection::vec(-2..=2i32, 0..150).prop_map(|steps| {
            let walk = |price: &mut i32, step: i32| { *price += step; Some(f64::from(*price) / 4.0) };
            steps.into_iter().scan(400, walk).collect()
        }),
        // Flat.
        1 => (price, 0..150usize).prop_map(|(price, ticks)| vec![price; ticks]),
        // Up, down, and up again.
        2 => (1..50u32, 1..50u32).prop_map(move |(rise, fall)| {
            let top = 1000 + rise * 7;
            (0..rise).map(|i| 1000 + i * 7).chain((0..fall).map(|i| top - i * 3)).chain(1000..1040).map(cents).collect()
        }),
    ]
}

/// Equal to 1e-9 relative; the absolute part is for values that cancel to about nothing, as an index of 1e-15 does.
pub(crate) fn assert_close(
    got: Option<f64>,
    expected: Option<f64>,
    tick: usize,
) -> Result<(), TestCaseError> {
    let close = match (got, expected) {
        (Some(got), Some(expected)) => (got - expected).abs() <= 1e-9 * expected.abs() + 1e-11,
        (got, expected) => got == expected,
    };
    prop_assert!(close, "{got:?} instead of {expected:?} at tick {tick}");
    Ok(())
}

/// What an indicator may read of a tick.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Tick {
    pub(crate) high: f64,
    pub(crate) low: f64,
    pub(crate) close: f64,
    pub(crate) volume: f64,
}

impl Tick {
    /// A tick with this close, and the rest made up from a number.
    pub(crate) fn around(close: f64, number: u32) -> Self {
        let spread = |number: u32| 0.001 * f64::from(number % 5);
        Self {
            high: (close * (1.0 + spread(number))).min(f64::MAX),
            low: close * (1.0 - spread(number / 5)),
            close,
            volume: f64::from(number / 25 % 100),
        }
    }
}

/// Ticks around [`any_closes`]; of all that have one price, too.
pub(crate) fn any_ticks() -> impl Strategy<Value = Vec<Tick>> {
    let numbers = prop_oneof![3 => 0..2500u32, 1 => Just(25 * 7)];
    (
        any_closes(),
        prop::collection::vec(numbers, 150),
        any::<bool>(),
    )
        .prop_map(|(closes, numbers, is_narrow)| {
            let numbers = numbers
                .into_iter()
                .map(|number| number - if is_narrow { number % 25 } else { 0 });
            closes
                .into_iter()
                .zip(numbers)
                .map(|(close, number)| Tick::around(close, number))
                .collect()
        })
}

/// Tulip Indicators, `tests/untest.txt`: the series of all its tests.
pub(crate) const TULIP: [Tick; 15] = {
    const fn tick(high: f64, low: f64, close: f64, volume: f64) -> Tick {
        Tick {
            high,
            low,
            close,
            volume,
        }
    }
    [
        tick(82.15, 81.29, 81.59, 5_653_100.0),
        tick(81.89, 80.64, 81.06, 6_447_400.0),
        tick(83.03, 81.31, 82.87, 7_690_900.0),
        tick(83.30, 82.65, 83.00, 3_831_400.0),
        tick(83.85, 83.07, 83.61, 4_455_100.0),
        tick(83.90, 83.11, 83.15, 3_798_000.0),
        tick(83.33, 82.49, 82.84, 3_936_200.0),
        tick(84.30, 82.30, 83.99, 4_732_000.0),
        tick(84.84, 84.15, 84.55, 4_841_300.0),
        tick(85.00, 84.11, 84.36, 3_915_300.0),
        tick(85.90, 84.03, 85.53, 6_830_800.0),
        tick(86.58, 85.39, 86.54, 6_694_100.0),
        tick(86.98, 85.76, 86.89, 5_293_600.0),
        tick(88.00, 87.17, 87.77, 7_985_800.0),
        tick(87.87, 87.01, 87.29, 4_807_900.0),
    ]
};

/// The ticks of the reference file, and the column named.
pub(crate) fn reference_ticks(name: &str) -> (Vec<Tick>, Vec<Option<f64>>) {
    let mut lines = include_str!("../tests/indicators.csv")
        .lines()
        .map(|line| line.split(',').collect::<Vec<_>>());
    let header = lines.next().expect("the file has a header");
    let column = |name: &str| {
        header
            .iter()
            .position(|field| *field == name)
            .expect("the file has the column")
    };
    let [high, low, close, volume] = ["high", "low", "close", "volume"].map(column);
    let values = column(name);
    lines
        .map(|line| {
            let number = |column: usize| line[column].parse::<f64>().expect("a number");
            let tick = Tick {
                high: number(high),
                low: number(low),
                close: number(close),
                volume: number(volume),
            };
            (tick, line[values].parse().ok())
        })
        .unzip()
}

/// The laws, for `$new` against a naive batch formula: what is read of a tick in, an array of values out.
///
/// The short form is for indicators that read closes and give one value.
macro_rules! conformance {
    ($name:ident, $new:expr, $naive:expr) => {
        conformance!(
            $name,
            $new,
            |indicator, tick| [indicator.update(tick.close)],
            |ticks| {
                let naive: fn(&[f64]) -> Vec<Option<f64>> = $naive;
                let closes: Vec<f64> = ticks.iter().map(|tick| tick.close).collect();
                naive(&closes).into_iter().map(|value| [value]).collect()
            }
        );
    };
    ($name:ident, $new:expr, |$indicator:ident, $tick:ident| $update:expr, |$ticks:ident| $naive:expr) => {
        mod $name {
            use super::*;

            laws!($new, |$indicator, $tick| $update, |$ticks| $naive);

            #[test]
            fn an_outlier_does_not_last() {
                let calm = |i: u32| 100.0 + f64::from(i * i % 17);
                let ticks = |close: &dyn Fn(u32) -> f64| -> Vec<Tick> {
                    (0..3000u32)
                        .map(|i| Tick::around(close(i), i * 31 % 625))
                        .collect()
                };
                let marred = batch(&ticks(&|i| if i == 30 { 1e12 } else { calm(i) }));
                let clean = batch(&ticks(&calm));
                for tick in 2900..3000 {
                    for (marred, clean) in marred[tick].iter().zip(&clean[tick]) {
                        assert_close(*marred, *clean, tick).unwrap();
                    }
                }
            }

            #[test]
            fn the_largest_numbers_are_forgotten() {
                assert!(after_the_largest().iter().all(Option::is_some));
            }
        }
    };
}

/// The same for what never forgets, as a sum since the start of a session.
macro_rules! cumulative {
    ($name:ident, $new:expr, |$indicator:ident, $tick:ident| $update:expr, |$ticks:ident| $naive:expr) => {
        mod $name {
            use super::*;

            laws!($new, |$indicator, $tick| $update, |$ticks| $naive);

            #[test]
            fn the_largest_numbers_give_nothing_rather_than_an_infinity() {
                after_the_largest();
            }
        }
    };
}

/// What holds for all of them.
macro_rules! laws {
    ($new:expr, |$indicator:ident, $tick:ident| $update:expr, |$ticks:ident| $naive:expr) => {
        use crate::conformance::{Tick, any_ticks, assert_close};
        use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

        fn bits(values: &[Vec<Option<f64>>]) -> Vec<Option<u64>> {
            values
                .iter()
                .flatten()
                .map(|value| value.map(f64::to_bits))
                .collect()
        }

        fn batch(ticks: &[Tick]) -> Vec<Vec<Option<f64>>> {
            let mut $indicator = $new;
            ticks.iter().map(|$tick| $update.to_vec()).collect()
        }

        /// The values 200 ticks after the largest and smallest numbers, on the way to which there is no infinity.
        fn after_the_largest() -> Vec<Option<f64>> {
            let huge = (0..60).map(|i| {
                if i % 2 == 0 {
                    f64::MAX
                } else {
                    f64::MIN_POSITIVE
                }
            });
            let closes = huge.chain((0..200).map(|i| f64::from(100 + i % 7)));
            let ticks: Vec<_> = (25..)
                .zip(closes)
                .map(|(i, close)| Tick::around(close, i))
                .collect();
            let values = batch(&ticks);
            assert!(
                values
                    .iter()
                    .flatten()
                    .flatten()
                    .all(|value| value.is_finite()),
                "{values:?}"
            );
            values[259].clone()
        }

        #[test]
        fn the_first_value_comes_with_the_last_tick_of_the_warm_up() {
            let ticks: Vec<_> = (0..200u32)
                .map(|i| Tick::around(f64::from(i * i % 17 + 50), 31 + i))
                .collect();
            let first = batch(&ticks)
                .iter()
                .position(|values| values.iter().any(Option::is_some))
                .unwrap();
            assert_eq!(first + 1, $new.warm_up_ticks() as usize);
        }

        proptest! {
            #[test]
            fn it_equals_the_batch_formula(ticks in any_ticks()) {
                let $ticks = ticks.as_slice();
                let expected: Vec<_> = $naive;
                prop_assert_eq!(expected.len(), ticks.len());
                for (tick, (got, expected)) in batch(&ticks).into_iter().zip(expected).enumerate() {
                    for (got, expected) in got.into_iter().zip(expected) {
                        assert_close(got, expected, tick)?;
                    }
                }
            }

            #[test]
            fn a_replay_gives_the_same_bits(ticks in any_ticks()) {
                prop_assert_eq!(bits(&batch(&ticks)), bits(&batch(&ticks)));
            }

            #[test]
            fn a_snapshot_at_any_cut_goes_on_with_the_same_bits(
                ticks in any_ticks(), cuts in prop::collection::btree_set(0..150usize, 0..6),
            ) {
                let mut $indicator = $new;
                let mut values = Vec::new();
                for (at, $tick) in ticks.iter().enumerate() {
                    if cuts.contains(&at) {
                        let mut bytes = Vec::new();
                        $indicator.snapshot(&mut bytes);
                        let mut rest = bytes.as_slice();
                        $indicator = $new;
                        prop_assert_eq!($indicator.restore(&mut rest), Ok(()));
                        prop_assert!(rest.is_empty());
                        let mut again = Vec::new();
                        $indicator.snapshot(&mut again);
                        prop_assert_eq!(&again, &bytes);
                    }
                    values.push($update.to_vec());
                }
                prop_assert_eq!(bits(&values), bits(&batch(&ticks)));
            }

            #[test]
            fn bytes_of_any_kind_are_taken_or_refused_and_never_panic(
                mut bytes in prop::collection::vec(any::<u8>(), 0..200),
                at in any::<prop::sample::Index>(), byte in any::<u8>(), close in 1.0..100.0f64,
            ) {
                let _ = $new.restore(&mut bytes.as_slice());
                let mut $indicator = $new;
                let $tick = &Tick::around(close, 37);
                let _ = $update;
                bytes.clear();
                $indicator.snapshot(&mut bytes);
                *at.get_mut(&mut bytes) = byte;
                if $indicator.restore(&mut bytes.as_slice()).is_ok() {
                    for _ in 0..50 {
                        let _ = $update;
                    }
                }
            }
        }
    };
}

/// Known numbers, printed to so many digits.
macro_rules! published {
    ($new:expr, closes: [$($close:literal),* $(,)?], from: $from:literal, values: [$($value:literal),* $(,)?], digits: $digits:literal) => {{
        let mut indicator = $new;
        let values: Vec<_> = [$($close),*].iter().map(|close| indicator.update(*close)).collect();
        assert!(values[..$from].iter().all(Option::is_none));
        let printed = |value: &f64| std::format!("{value:.*}", $digits);
        let got: Vec<_> = values[$from..].iter().map(|value| printed(&value.unwrap())).collect();
        let expected: Vec<_> = [$($value),*].iter().map(printed).collect();
        assert_eq!(got, expected);
    }};
}

/// A column of the reference file, to 1e-9. The short form is for what reads closes.
macro_rules! reference {
    ($new:expr, $column:literal) => {
        reference!($new, $column, |indicator, tick| indicator
            .update(tick.close))
    };
    ($new:expr, $column:literal, |$indicator:ident, $tick:ident| $update:expr) => {{
        let (ticks, expected) = crate::conformance::reference_ticks($column);
        assert_eq!(
            (ticks.len(), expected.iter().flatten().count() > 100),
            (160, true)
        );
        let mut $indicator = $new;
        for (at, ($tick, expected)) in ticks.into_iter().zip(expected).enumerate() {
            let got: Option<f64> = $update;
            match (got, expected) {
                (Some(got), Some(expected)) => {
                    assert!(
                        (got - expected).abs() <= 1e-9 * expected.abs(),
                        "{got} instead of {expected} at {at}"
                    );
                }
                _ => assert_eq!(got, expected, "at {at}"),
            }
        }
    }};
}
