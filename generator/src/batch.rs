//! Records as bytes on their way: one line each, with what a target needs to know of each line.

use crate::{record::Record, symbol::Symbol};

/// Some records as NDJSON. Its buffers are used again after [`Batch::clear`].
#[derive(Default)]
pub struct Batch {
    /// The lines, each ended by a line feed.
    pub body: Vec<u8>,
    lines: Vec<Line>,
}

struct Line {
    end: usize,
    symbol: Option<Symbol>,
}

impl Batch {
    /// Appends a record.
    pub fn push(&mut self, record: &Record) {
        record.write_json(&mut self.body);
        self.body.push(b'\n');
        self.lines.push(Line {
            end: self.body.len(),
            symbol: record.symbol(),
        });
    }

    /// The number of records.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether it has no records.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Takes all records out and keeps the buffers.
    pub fn clear(&mut self) {
        self.body.clear();
        self.lines.clear();
    }

    /// The symbol and the JSON, without line end, of each record.
    pub fn records(&self) -> impl Iterator<Item = (Option<Symbol>, &[u8])> {
        let starts = std::iter::once(0).chain(self.lines.iter().map(|line| line.end));
        starts
            .zip(&self.lines)
            .map(|(start, line)| (line.symbol, &self.body[start..line.end - 1]))
    }
}
