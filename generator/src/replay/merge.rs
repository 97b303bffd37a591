//! Several recordings as one: by time, and where times are equal in the order in which they were named.

use super::{Replay, ReplayError};
use crate::record::Record;

/// The records of some files, the earliest of those that come next first. Each file is taken to be in the order of time
/// itself; where one is not, its records come when their turn in it does. What breaks a rule comes at its turn too.
pub struct Merge(Vec<Next>);

struct Next {
    replay: Replay,
    item: Option<Result<Record, ReplayError>>,
}

impl Merge {
    /// Reads the first record of each.
    pub fn of(replays: Vec<Replay>) -> Self {
        let first = |mut replay: Replay| {
            let item = replay.next();
            Next { replay, item }
        };
        Self(replays.into_iter().map(first).collect())
    }

    /// All records in the order of time, whatever that of the files. Holds them in memory.
    ///
    /// # Errors
    /// Where any of them breaks a rule: then there are none.
    pub fn sorted(self) -> Result<impl Iterator<Item = Record>, ReplayError> {
        let mut all = self.collect::<Result<Vec<Record>, _>>()?;
        // Stable: those of one time stay as they stand.
        all.sort_by_key(|record| record.time_us);
        Ok(all.into_iter())
    }
}

impl Iterator for Merge {
    type Item = Result<Record, ReplayError>;

    fn next(&mut self) -> Option<Self::Item> {
        let time_of = |next: &&mut Next| match &next.item {
            Some(Ok(record)) => record.time_us,
            _ => i64::MIN,
        };
        let waiting = self.0.iter_mut().filter(|next| next.item.is_some());
        let earliest = waiting.min_by_key(time_of)?;
        let following = earliest.replay.next();
        std::mem::replace(&mut earliest.item, following)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const HEAD: &str = "date,open,high,low,close,volume\n";

    /// Files of days, each by its symbol.
    fn files(files: &[(&str, &[&str])]) -> (tempfile::TempDir, Merge) {
        let dir = tempfile::tempdir().unwrap();
        let open = |(symbol, days): &(&str, &[&str])| {
            let rows = days.iter().map(|day| format!("{day},1,1,1,1,1\n"));
            let path = dir.path().join(format!("{symbol}.csv"));
            fs::write(&path, HEAD.to_owned() + &rows.collect::<String>()).unwrap();
            Replay::open(&path, None).unwrap()
        };
        let merge = Merge::of(files.iter().map(open).collect());
        (dir, merge)
    }

    fn text(record: &Record) -> String {
        let mut json = Vec::new();
        record.write_json(&mut json);
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        let day = json["timestamp"].as_f64().unwrap() / 86_400.0;
        format!("{}{day}", json["stock_symbol"].as_str().unwrap())
    }

    #[test]
    fn files_named_by_their_symbols_come_as_one_by_time() {
        let of: &[(&str, &[&str])] = &[
            ("B", &["1970-01-02", "1970-01-05"]),
            ("A", &["1970-01-02", "1970-01-03", "1970-01-04"]),
        ];
        let merged: Vec<_> = files(of).1.map(|record| text(&record.unwrap())).collect();
        assert_eq!(merged, ["B1", "A1", "A2", "A3", "B4"]);
    }

    #[test]
    fn what_is_not_in_order_is_only_when_it_is_sorted() {
        let of: &[(&str, &[&str])] = &[
            ("A", &["1970-01-04", "1970-01-02"]),
            ("B", &["1970-01-03", "1970-01-02"]),
        ];
        let merged: Vec<_> = files(of).1.map(|record| text(&record.unwrap())).collect();
        assert_eq!(merged, ["B2", "B1", "A3", "A1"]);
        let sorted: Vec<_> = files(of).1.sorted().unwrap().map(|r| text(&r)).collect();
        assert_eq!(sorted, ["B1", "A1", "B2", "A3"]);
    }

    #[test]
    fn a_row_that_breaks_a_rule_comes_behind_those_before_it() {
        let of: &[(&str, &[&str])] = &[("A", &["1970-01-02", "soon"]), ("B", &["1970-01-03"])];
        let mut merged = files(of).1;
        assert_eq!(text(&merged.next().unwrap().unwrap()), "A1");
        let error = merged.next().unwrap().unwrap_err().to_string();
        assert!(
            error.contains("A.csv line 3") && error.contains("\"soon\""),
            "{error}"
        );
        let refused = files(of).1.sorted().err().unwrap().to_string();
        assert!(refused.contains("A.csv line 3"), "{refused}");
    }
}
