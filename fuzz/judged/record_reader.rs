//! The reader of records: it never panics, what it accepts holds the rules, and what is written of it is read back alike.

use wigwag::market::{Limits, Record, read_record};

/// Whether it is accepted. Panics where the reader does not hold what it promises.
pub fn judge(data: &[u8]) -> bool {
    let Ok(record) = read_record(data, &Limits::none()) else {
        return false;
    };
    if let Record::Tick(tick) = &record {
        for price in [tick.open, tick.high, tick.low, tick.close] {
            assert!(price.is_finite() && price > 0.0, "{tick:?}");
        }
        assert!(tick.low <= tick.open.min(tick.close), "{tick:?}");
        assert!(tick.high >= tick.open.max(tick.close), "{tick:?}");
        assert!(tick.volume.is_finite() && tick.volume >= 0.0, "{tick:?}");
        assert!((1..=16).contains(&tick.symbol.len()), "{tick:?}");
    }
    let mut written = Vec::new();
    record.write_json(&mut written);
    let again = read_record(&written, &Limits::none()).expect("what was written is valid");
    assert_eq!(format!("{again:?}"), format!("{record:?}"));
    true
}
