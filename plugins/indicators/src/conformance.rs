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

/// The column `close` of the reference file, and the column named.
pub(crate) fn reference_columns(name: &str) -> (Vec<f64>, Vec<Option<f64>>) {
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
    let (close, values) = (column("close"), column(name));
    lines
        .map(|line| {
            (
                line[close].parse::<f64>().expect("a close"),
                line[values].parse().ok(),
            )
        })
        .unzip()
}

/// The laws, for `$new` against a naive batch formula: closes in, one value or none for each.
macro_rules! conformance {
    ($name:ident, $new:expr, $naive:expr) => {
        mod $name {
            use super::*;
            use crate::conformance::{any_closes, assert_close};
            use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

            fn bits(values: &[Option<f64>]) -> Vec<Option<u64>> {
                values.iter().map(|value| value.map(f64::to_bits)).collect()
            }

            fn batch(closes: &[f64]) -> Vec<Option<f64>> {
                let mut indicator = $new;
                closes.iter().map(|close| indicator.update(*close)).collect()
            }

            #[test]
            fn the_first_value_comes_with_the_last_tick_of_the_warm_up() {
                let closes: Vec<f64> = (0..200u32).map(|i| f64::from(i * i % 17 + 50)).collect();
                let first = batch(&closes).iter().position(Option::is_some).unwrap();
                assert_eq!(first + 1, $new.warm_up_ticks() as usize);
            }

            #[test]
            fn an_outlier_does_not_last() {
                let calm = |i: u32| 100.0 + f64::from(i * i % 17);
                let closes: Vec<f64> =
                    (0..3000u32).map(|i| if i == 30 { 1e12 } else { calm(i) }).collect();
                let clean: Vec<f64> = (0..3000).map(calm).collect();
                let (marred, clean) = (batch(&closes), batch(&clean));
                for tick in 2900..3000 {
                    assert_close(marred[tick], clean[tick], tick).unwrap();
                }
            }

            #[test]
            fn the_largest_numbers_leave_no_infinity_behind() {
                let huge = (0..60).map(|i| if i % 2 == 0 { f64::MAX } else { f64::MIN_POSITIVE });
                let closes: Vec<f64> = huge.chain((0..200).map(|i| f64::from(100 + i % 7))).collect();
                let values = batch(&closes);
                assert!(values.iter().flatten().all(|value| value.is_finite()), "{values:?}");
                assert!(values[259].is_some());
            }

            proptest! {
                #[test]
                fn it_equals_the_batch_formula(closes in any_closes()) {
                    let naive: fn(&[f64]) -> Vec<Option<f64>> = $naive;
                    for (tick, (got, expected)) in batch(&closes).into_iter().zip(naive(&closes)).enumerate() {
                        assert_close(got, expected, tick)?;
                    }
                }

                #[test]
                fn a_replay_gives_the_same_bits(closes in any_closes()) {
                    prop_assert_eq!(bits(&batch(&closes)), bits(&batch(&closes)));
                }

                #[test]
                fn a_snapshot_at_any_cut_goes_on_with_the_same_bits(
                    closes in any_closes(), cuts in prop::collection::btree_set(0..150usize, 0..6),
                ) {
                    let mut indicator = $new;
                    let mut values = Vec::new();
                    for (tick, close) in closes.iter().enumerate() {
                        if cuts.contains(&tick) {
                            let mut bytes = Vec::new();
                            indicator.snapshot(&mut bytes);
                            let mut rest = bytes.as_slice();
                            indicator = $new;
                            prop_assert_eq!(indicator.restore(&mut rest), Ok(()));
                            prop_assert!(rest.is_empty());
                            let mut again = Vec::new();
                            indicator.snapshot(&mut again);
                            prop_assert_eq!(&again, &bytes);
                        }
                        values.push(indicator.update(*close));
                    }
                    prop_assert_eq!(bits(&values), bits(&batch(&closes)));
                }

                #[test]
                fn bytes_of_any_kind_are_taken_or_refused_and_never_panic(
                    mut bytes in prop::collection::vec(any::<u8>(), 0..200),
                    at in any::<prop::sample::Index>(), byte in any::<u8>(), close in 1.0..100.0f64,
                ) {
                    let _ = $new.restore(&mut bytes.as_slice());
                    let mut indicator = $new;
                    indicator.update(close);
                    bytes.clear();
                    indicator.snapshot(&mut bytes);
                    *at.get_mut(&mut bytes) = byte;
                    if indicator.restore(&mut bytes.as_slice()).is_ok() {
                        for _ in 0..50 {
                            indicator.update(close);
                        }
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

/// A column of the reference file, to 1e-9.
macro_rules! reference {
    ($new:expr, $column:literal) => {{
        let (closes, expected) = crate::conformance::reference_columns($column);
        assert_eq!(
            (closes.len(), expected.iter().flatten().count() > 100),
            (160, true)
        );
        let mut indicator = $new;
        for (tick, (close, expected)) in closes.into_iter().zip(expected).enumerate() {
            let got = indicator.update(close);
            match (got, expected) {
                (Some(got), Some(expected)) => {
                    assert!(
                        (got - expected).abs() <= 1e-9 * expected.abs(),
                        "{got} instead of {expected} at {tick}"
                    );
                }
                _ => assert_eq!(got, expected, "at {tick}"),
            }
        }
    }};
}
