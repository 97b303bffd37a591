//! A short run of the fuzz targets in `fuzz/`, always the same: good inputs, and what chance makes of them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use wigwag::plugin::BUILT_IN;

#[allow(unreachable_pub, reason = "shared with the fuzz targets")]
#[path = "../../fuzz/judged/record_reader.rs"]
mod record_reader;
#[allow(unreachable_pub, reason = "shared with the fuzz targets")]
#[path = "../../fuzz/judged/result_check.rs"]
mod result_check;
#[allow(unreachable_pub, reason = "shared with the fuzz targets")]
#[path = "../../fuzz/judged/upload_check.rs"]
mod upload_check;

/// Flips, removes, repeats, moves or replaces some bytes.
fn spoil(bytes: &mut Vec<u8>, dice: &mut ChaCha8Rng) {
    for _ in 0..dice.random_range(1..=4) {
        let length = bytes.len();
        if length < 4 {
            bytes.extend_from_slice(&[dice.random(), dice.random(), dice.random(), dice.random()]);
            continue;
        }
        let at = dice.random_range(0..length);
        let end = (at + dice.random_range(1..=32)).min(length);
        match dice.random_range(0..6) {
            0 => bytes[at] ^= 1 << dice.random_range(0..8),
            1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][dice.random_range(0..5)],
            2 => drop(bytes.drain(at..end)),
            3 => {
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
            4 => bytes.truncate(at),
            _ => {
                let to = dice.random_range(0..length);
                bytes.swap(at, to);
            }
        }
    }
}

#[test]
fn the_check_of_an_upload_holds_for_spoiled_plugins() {
    let mut dice = ChaCha8Rng::seed_from_u64(1);
    let (mut refused, mut accepted) = (0, 0);
    for (_, bytes) in BUILT_IN {
        assert!(upload_check::judge(bytes));
        for _ in 0..300 {
            let mut spoiled = bytes.to_vec();
            // Most of a plugin is code; its head and its end say what it is.
            match dice.random_range(0..3) {
                0 => {
                    let mut head = spoiled[..400].to_vec();
                    spoil(&mut head, &mut dice);
                    spoiled.splice(..400, head);
                }
                _ => spoil(&mut spoiled, &mut dice),
            }
            match upload_check::judge(&spoiled) {
                true => accepted += 1,
                false => refused += 1,
            }
        }
    }
    // Otherwise it would say nothing.
    assert!(refused > 300 && accepted > 20, "{refused} and {accepted}");
}

#[test]
fn the_reader_of_records_holds_for_spoiled_records() {
    let good: [&[u8]; 5] = [
        br#"{"stock_symbol":"AAPL","opening_price":1.5,"closing_price":2,"high":2.5,"low":1,"volume":3,"timestamp":1700000000.25}"#,
        br#"{"data_type":"order_book","stock_symbol":"B-1","timestamp":1769860800.5,"order_type":"buy","price":10,"quantity":0}"#,
        br#"{"data_type":"news_sentiment","stock_symbol":"A","timestamp":1,"sentiment_score":-0.5,"sentiment_magnitude":0.75}"#,
        br#"{"data_type":"market_data","stock_symbol":"A","timestamp":1,"market_cap":1e12,"pe_ratio":-3.25}"#,
        br#"{"data_type":"economic_indicator","timestamp":1,"indicator_name":"cpi\u00e9","value":-0.0}"#,
    ];
    let mut dice = ChaCha8Rng::seed_from_u64(2);
    for bytes in good {
        assert!(record_reader::judge(bytes));
        let mut accepted = 0;
        for _ in 0..20_000 {
            let mut spoiled = bytes.to_vec();
            spoil(&mut spoiled, &mut dice);
            accepted += u32::from(record_reader::judge(&spoiled));
        }
        // Otherwise it would say nothing.
        assert!((20..19_980).contains(&accepted), "{accepted}");
    }
}

#[test]
fn the_check_of_results_holds_for_any_result() {
    // Two signals of three rows, two of which are wanted of one series: as the target reads it.
    let good = [
        3, 2, 1, 2, 0, 2, 2, 0, 0, 2, 128, 200, 2, 9, 9, 1, 50, 2, 9, 9,
    ];
    assert_eq!(result_check::judge(&good), Some(2));
    let mut dice = ChaCha8Rng::seed_from_u64(3);
    let (mut refused, mut accepted) = (0, 0);
    for n in 0..100_000 {
        let data = match n % 2 {
            0 => {
                let length = dice.random_range(0..60);
                (0..length).map(|_| dice.random()).collect()
            }
            _ => {
                let mut spoiled = good.to_vec();
                spoil(&mut spoiled, &mut dice);
                spoiled
            }
        };
        match result_check::judge(&data) {
            Some(signals) => accepted += u32::from(signals > 0),
            None => refused += 1,
        }
    }
    // Otherwise it would say nothing.
    assert!(
        refused > 10_000 && accepted > 1_000,
        "{refused} and {accepted}"
    );
}
