//! The check of what a plugin returns: it never panics, and what it accepts can be used without another look.

use wigwag::plugin::{EventSide, Opinion, Output, PluginSignals, check_output};

/// How many signals it has, where it is accepted. Panics where the check does not hold what it promises.
pub fn judge(data: &[u8]) -> Option<usize> {
    let mut bytes = Bytes(data);
    let (rows, wanted, series) = (bytes.small(), bytes.small(), bytes.small() % 4);
    let signals = PluginSignals {
        row: bytes.list(|b| b.small() as u32),
        opinion: bytes.list(|b| b.small() as u32 % 4),
        strength: bytes.list(Bytes::number),
        values: bytes.list(Bytes::number),
        opinions: bytes.list(|b| Opinion {
            side: EventSide::Buy,
            reason: b.text(),
        }),
    };
    let values = bytes.list(Bytes::number);
    let output = Output { signals, values };
    check_output(&output, rows, wanted, series).ok()?;
    usable(&output, rows, wanted, series);
    Some(output.signals.row.len())
}

fn usable(output: &Output, rows: usize, wanted: usize, series: usize) {
    let PluginSignals {
        row,
        opinion,
        strength,
        values,
        opinions,
    } = &output.signals;
    assert_eq!(output.values.len(), wanted * series);
    assert_eq!((opinion.len(), strength.len()), (row.len(), row.len()));
    assert_eq!(values.len(), row.len() * series);
    assert!(row.is_sorted() && row.iter().all(|row| (*row as usize) < rows));
    assert!(opinion.iter().all(|n| (*n as usize) < opinions.len()));
    assert!(strength.iter().all(|s| (0.0..=1.0).contains(s)));
    assert!(
        values
            .iter()
            .chain(&output.values)
            .all(|v| !v.is_infinite())
    );
    for opinion in opinions {
        assert!((1..=200).contains(&opinion.reason.len()));
        assert!(!opinion.reason.contains(|c: char| c.is_control()));
    }
}

/// What is left of the data.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> u8 {
        let (byte, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *byte
    }

    /// Mostly small, so that lengths often fit each other.
    fn small(&mut self) -> usize {
        match self.byte() {
            255 => usize::from(self.byte()) * 1_000,
            byte => usize::from(byte % 8),
        }
    }

    fn number(&mut self) -> f64 {
        match self.byte() {
            0 => f64::NAN,
            1 => f64::INFINITY,
            2 => -0.0,
            3 => 1.0 + f64::EPSILON,
            byte => f64::from(byte) / 256.0,
        }
    }

    fn text(&mut self) -> String {
        match self.byte() {
            0 => String::new(),
            1 => "x".repeat(201),
            2 => "two\nlines".to_owned(),
            byte => format!("because of {byte}"),
        }
    }

    fn list<T>(&mut self, of: impl Fn(&mut Self) -> T) -> Vec<T> {
        let length = self.small();
        (0..length).map(|_| of(self)).collect()
    }
}
