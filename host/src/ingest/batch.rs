//! What is to be appended for some bodies: valid lines by partition, in messages that a log can take, and what
//! was refused.

use std::fmt::Display;

use super::{
    Answer, IngestError, Options, PART, PRODUCER_ID, Producer, RecordError, SEQUENCE,
    counts::Counts, split::split,
};
use crate::{
    log::{Append, MAX_VALUE_BYTES, Topic},
    market::{Limits, Reading, Rejection, partition_of, read_line},
};

/// A refused record is kept up to here: enough to see what it was.
const MAX_REJECT_BYTES: usize = 64_000;

const MAX_SOURCE_BYTES: usize = 200;

/// An answer lists so many errors and counts the rest.
const MAX_ERRORS: usize = 100;

/// Where a body came from.
#[derive(Clone, Copy)]
pub(super) struct Origin<'a> {
    /// For a person.
    pub(super) source: &'a dyn Display,
    /// The key that it came with; empty for none.
    pub(super) key: &'a [u8],
}

/// Appends in the making.
pub(super) struct Batch {
    options: Options,
    producer: Option<Producer>,
    /// By partition.
    lines: Vec<Lines>,
    rejects: Vec<Append>,
    counts: Counts,
    errors: Vec<RecordError>,
    canonical: Vec<u8>,
}

/// The valid lines of one partition.
#[derive(Clone, Debug, Default)]
struct Lines {
    /// Of the message in the making.
    key: Vec<u8>,
    value: Vec<u8>,
    /// What its value would be with the lines that were withheld. They count, so that the messages are cut at
    /// the same lines when the body is sent again and the clock has gone on.
    bytes: usize,
    part: u32,
    /// Key, value and part of the messages before.
    done: Vec<(Vec<u8>, Vec<u8>, u32)>,
}

impl Batch {
    pub(super) fn new(options: Options, partitions: u32, producer: Option<&Producer>) -> Self {
        Self {
            options,
            producer: producer.cloned(),
            lines: vec![Lines::default(); partitions as usize],
            rejects: Vec::new(),
            counts: Counts::default(),
            errors: Vec::new(),
            canonical: Vec::new(),
        }
    }

    /// Reads one body; `now` is in seconds since the epoch.
    ///
    /// # Errors
    /// Where the body is refused as a whole; then it has added nothing.
    pub(super) fn read(
        &mut self,
        body: &[u8],
        content: super::Content,
        origin: Origin<'_>,
        now: f64,
    ) -> Result<(), IngestError> {
        let limit = self.options.max_body_bytes;
        if body.len() > limit {
            return Err(IngestError::TooLarge {
                limit,
                unit: "bytes",
            });
        }
        let records = split(body, content, self.options.max_records)?;
        let limits = Limits {
            now,
            max_future_skew: self.options.max_future_skew,
        };
        let mut refused = Vec::new();
        for (index, &line) in records.iter().enumerate() {
            if let Err(rejection) = self.take(line, &limits, body.len()) {
                refused.push((index, line, rejection));
            }
        }
        if let Some((_, _, first)) = refused.first()
            && refused.len() == records.len()
            && refused
                .iter()
                .all(|(_, _, rejection)| rejection.rule == "json")
        {
            return Err(IngestError::NotJson(first.message.clone()));
        }
        self.counts.read(body.len());
        for (index, line, rejection) in refused {
            self.refuse(index, line, rejection, origin, now);
        }
        Ok(())
    }

    /// Keeps a body that was refused as a whole as one refused record.
    pub(super) fn refuse_whole(
        &mut self,
        body: &[u8],
        error: &IngestError,
        origin: Origin<'_>,
        now: f64,
    ) {
        let rule = if matches!(error, IngestError::TooLarge { .. }) {
            "too_large"
        } else {
            "json"
        };
        let rejection = Rejection {
            field: String::new(),
            rule,
            message: error.to_string(),
        };
        self.counts.read(body.len());
        self.refuse(0, body, rejection, origin, now);
    }

    /// Bytes read.
    pub(super) const fn bytes(&self) -> u64 {
        self.counts.bytes()
    }

    /// What is to be appended, `ticks` first.
    pub(super) fn take_appends(&mut self) -> Vec<Append> {
        let mut appends = Vec::with_capacity(self.lines.len() + self.rejects.len());
        for (partition, lines) in (0..).zip(&mut self.lines) {
            lines.end_message();
            for (key, value, part) in lines.done.drain(..) {
                let headers = match &self.producer {
                    Some(producer) => vec![
                        (PRODUCER_ID, producer.id().as_bytes().to_vec()),
                        (SEQUENCE, producer.sequence().to_string().into_bytes()),
                        (PART, part.to_string().into_bytes()),
                    ],
                    None => Vec::new(),
                };
                appends.push(Append {
                    topic: Topic::Ticks,
                    partition,
                    key,
                    value,
                    headers,
                });
            }
        }
        appends.append(&mut self.rejects);
        appends
    }

    /// Counts of all that was read.
    pub(super) const fn counts(&self) -> &Counts {
        &self.counts
    }

    pub(super) fn into_answer(self) -> Answer {
        Answer {
            accepted: self.counts.accepted(),
            rejected: self.counts.rejected(),
            errors: self.errors,
        }
    }

    fn take(&mut self, line: &[u8], limits: &Limits, body_bytes: usize) -> Result<(), Rejection> {
        let limit = self.options.max_record_bytes;
        if line.len() > limit {
            let message = format!("the record has {} bytes; the limit is {limit}", line.len());
            return Err(Rejection {
                field: String::new(),
                rule: "too_large",
                message,
            });
        }
        let Reading { record, usual } = read_line(line, &Limits::none())?;
        let in_time = limits.check(record.time());
        let line = if usual {
            line
        } else {
            self.canonical.clear();
            record.write_json(&mut self.canonical);
            &self.canonical
        };
        // Partitions get about the same; a little more spares most of them a copy.
        let usual_bytes = body_bytes / self.lines.len() * 5 / 4;
        match record.symbol() {
            Some(symbol) => {
                let partition = partition_of(symbol, self.lines.len() as u32);
                self.lines[partition as usize].add(symbol, line, in_time.is_ok(), usual_bytes);
            }
            None => {
                for lines in &mut self.lines {
                    lines.add("", line, in_time.is_ok(), line.len());
                }
            }
        }
        in_time?;
        self.counts.accept(record.kind());
        Ok(())
    }

    fn refuse(
        &mut self,
        index: usize,
        line: &[u8],
        rejection: Rejection,
        origin: Origin<'_>,
        now: f64,
    ) {
        let Rejection {
            field,
            rule,
            message,
        } = rejection;
        let time_ms = (now * 1000.0) as i64;
        // Any partition does; this spreads the refused of one body and of many.
        let partition = time_ms
            .wrapping_add(index as i64)
            .rem_euclid(self.lines.len() as i64);
        let mut source = origin.source.to_string();
        source.truncate(source.floor_char_boundary(MAX_SOURCE_BYTES));
        self.rejects.push(Append {
            topic: Topic::Rejects,
            partition: partition as u32,
            key: cut(origin.key),
            value: cut(line),
            headers: vec![
                ("Rule", rule.into()),
                ("Field", field.clone().into_bytes()),
                ("Time", time_ms.to_string().into_bytes()),
                ("Source", source.into_bytes()),
            ],
        });
        self.counts.reject(rule);
        if self.errors.len() < MAX_ERRORS {
            self.errors.push(RecordError {
                index: index as u64,
                field,
                rule,
                message,
            });
        }
    }
}

impl Lines {
    /// Adds a line, or where it is withheld only its size. A symbol is empty for a line that has none.
    fn add(&mut self, symbol: &str, line: &[u8], wanted: bool, usual_bytes: usize) {
        if self.bytes + line.len() > MAX_VALUE_BYTES {
            self.end_message();
        }
        self.bytes += line.len() + 1;
        if !wanted {
            return;
        }
        if self.value.is_empty() {
            self.value
                .reserve(usual_bytes.min(MAX_VALUE_BYTES).max(line.len()));
        } else {
            self.value.push(b'\n');
        }
        self.value.extend_from_slice(line);
        if self.key.is_empty() {
            self.key.extend_from_slice(symbol.as_bytes());
        }
    }

    fn end_message(&mut self) {
        let (key, value) = (
            std::mem::take(&mut self.key),
            std::mem::take(&mut self.value),
        );
        if !value.is_empty() {
            self.done.push((key, value, self.part));
        }
        self.part += 1;
        self.bytes = 0;
    }
}

fn cut(bytes: &[u8]) -> Vec<u8> {
    bytes[..bytes.len().min(MAX_REJECT_BYTES)].to_vec()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::{ingest::Content, market::read_record};

    const NOW: f64 = 1_700_000_000.0;
    const ORIGIN: Origin<'_> = Origin {
        source: &"a test",
        key: b"",
    };

    fn tick(symbol: &str, time: f64) -> String {
        format!(
            r#"{{"stock_symbol":"{symbol}","opening_price":10.5,"closing_price":10.25,"high":11.0,"low":10.0,"volume":5.0,"timestamp":{time}}}"#
        )
    }

    fn producer() -> Producer {
        Producer::try_new("p", 7).unwrap()
    }

    fn batch(partitions: u32) -> Batch {
        Batch::new(Options::default(), partitions, Some(&producer()))
    }

    fn appends(body: &str, partitions: u32, now: f64) -> Vec<Append> {
        let mut batch = batch(partitions);
        batch
            .read(body.as_bytes(), Content::Auto, ORIGIN, now)
            .unwrap();
        batch.take_appends()
    }

    fn header(append: &Append, name: &str) -> String {
        let value = append
            .headers
            .iter()
            .find(|(n, _)| *n == name)
            .map(|(_, value)| value.clone());
        String::from_utf8(value.unwrap()).unwrap()
    }

    #[test]
    fn a_body_is_one_message_in_each_partition_that_it_touches_in_its_order() {
        let body: Vec<String> = (0..100)
            .map(|i| tick(&format!("S{}", i % 10), NOW + f64::from(i) / 100.0))
            .collect();
        let appends = appends(&body.join("\n"), 4, NOW);
        let mut expected: BTreeMap<u32, (String, Vec<&str>)> = BTreeMap::new();
        for (i, line) in body.iter().enumerate() {
            let symbol = format!("S{}", i % 10);
            let (_, lines) = expected
                .entry(partition_of(&symbol, 4))
                .or_insert((symbol, Vec::new()));
            lines.push(line);
        }
        assert_eq!(appends.len(), expected.len());
        for append in &appends {
            let (key, lines) = &expected[&append.partition];
            assert_eq!(
                (append.topic, &append.key),
                (Topic::Ticks, &key.clone().into_bytes())
            );
            assert_eq!(append.value, lines.join("\n").into_bytes());
            assert_eq!(
                (
                    header(append, "Producer-Id"),
                    header(append, "Sequence"),
                    header(append, "Part")
                ),
                ("p".to_string(), "7".to_string(), "0".to_string())
            );
        }
    }

    #[test]
    fn without_a_producer_a_message_has_no_headers() {
        let mut batch = Batch::new(Options::default(), 1, None);
        batch
            .read(tick("A", NOW).as_bytes(), Content::Auto, ORIGIN, NOW)
            .unwrap();
        assert!(batch.take_appends()[0].headers.is_empty());
    }

    #[test]
    fn a_usual_line_is_copied_and_any_other_written_anew() {
        let spaced = tick("A", NOW).replace("\":", "\": ").replace(',', ", ");
        let unusual = tick("A", NOW).replace('{', r#"{"note": "x", "#);
        let appends = appends(&format!("{spaced}\n{unusual}"), 1, NOW);
        let kept = format!(
            "{spaced}\n{}",
            tick("A", NOW).replace(&format!("{NOW}"), "1700000000.0")
        );
        assert_eq!(String::from_utf8_lossy(&appends[0].value), kept);
    }

    #[test]
    fn an_economic_indicator_goes_to_every_partition_in_its_place() {
        let economic = format!(
            r#"{{"data_type":"economic_indicator","timestamp":{NOW:.1},"indicator_name":"GDP","value":2.5}}"#
        );
        let appends = appends(
            &format!("{economic}\n{}\n{economic}", tick("A", NOW)),
            3,
            NOW,
        );
        let with_tick = partition_of("A", 3);
        assert_eq!(appends.len(), 3);
        for append in appends {
            let tick = tick("A", NOW);
            let (key, value) = if append.partition == with_tick {
                ("A", format!("{economic}\n{tick}\n{economic}"))
            } else {
                ("", format!("{economic}\n{economic}"))
            };
            assert_eq!((append.key, append.value), (key.into(), value.into_bytes()));
        }
    }

    #[test]
    fn a_refused_record_goes_to_rejects_with_its_reason_and_the_good_ones_go_through() {
        let bad = tick("A", NOW).replace("10.25", "-1.5");
        let mut batch = batch(3);
        let body = format!("{bad}\n{}\n{}", tick("A", NOW), tick("A", NOW + 11.0));
        let origin = Origin {
            source: &"127.0.0.1:9",
            key: b"k",
        };
        batch
            .read(body.as_bytes(), Content::Auto, origin, NOW)
            .unwrap();
        let appends = batch.take_appends();
        assert_eq!(
            appends.iter().map(|a| a.topic).collect::<Vec<_>>(),
            [Topic::Ticks, Topic::Rejects, Topic::Rejects]
        );
        let reject = &appends[1];
        assert_eq!(
            (&reject.key, &reject.value),
            (&b"k".to_vec(), &bad.into_bytes())
        );
        assert_eq!(
            (header(reject, "Rule"), header(reject, "Field")),
            ("positive".into(), "closing_price".into())
        );
        assert_eq!(
            (header(reject, "Time"), header(reject, "Source")),
            ("1700000000000".into(), "127.0.0.1:9".into())
        );
        assert_ne!(appends[1].partition, appends[2].partition);
        let answer = batch.into_answer();
        assert_eq!((answer.accepted, answer.rejected), (1, 2));
        assert_eq!(
            answer.errors[0],
            RecordError {
                index: 0,
                field: "closing_price".into(),
                rule: "positive",
                message: "closing_price is -1.5; prices must be positive".into()
            }
        );
        assert_eq!(
            (answer.errors[1].index, answer.errors[1].rule),
            (2, "future")
        );
    }

    #[test]
    fn a_body_in_which_nothing_is_json_is_one_reject() {
        let mut batch = batch(1);
        let body = "<html>\n<body>\n".repeat(10_000);
        let error = batch
            .read(body.as_bytes(), Content::Auto, ORIGIN, NOW)
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "the record is not JSON: expected value at line 1 column 1"
        );
        batch.refuse_whole(body.as_bytes(), &error, ORIGIN, NOW);
        let appends = batch.take_appends();
        assert_eq!(
            (appends.len(), appends[0].value.len()),
            (1, MAX_REJECT_BYTES)
        );
        assert_eq!(header(&appends[0], "Rule"), "json");
    }

    #[test]
    fn errors_are_cut_and_still_counted() {
        let body = "{}\n".repeat(1000);
        let mut batch = batch(4);
        batch
            .read(body.as_bytes(), Content::Auto, ORIGIN, NOW)
            .unwrap();
        assert_eq!(batch.take_appends().len(), 1000);
        let answer = batch.into_answer();
        assert_eq!((answer.rejected, answer.errors.len()), (1000, MAX_ERRORS));
    }

    #[test]
    fn sizes_are_bounded() {
        let options = Options {
            max_body_bytes: 1000,
            max_record_bytes: 200,
            max_records: 3,
            ..Options::default()
        };
        let read = |body: &str| {
            let mut batch = Batch::new(options, 1, None);
            let whole = batch.read(body.as_bytes(), Content::Auto, ORIGIN, NOW);
            whole.map(|()| {
                batch
                    .into_answer()
                    .errors
                    .into_iter()
                    .map(|e| e.rule)
                    .collect::<Vec<_>>()
            })
        };
        let error = |body: &str| read(body).unwrap_err().to_string();
        assert_eq!(
            error(&" ".repeat(1001)),
            "the body has more than 1000 bytes; send it in smaller parts"
        );
        assert_eq!(
            error("{}\n{}\n{}\n{}"),
            "the body has more than 3 records; send it in smaller parts"
        );
        let long = tick("A", NOW).replace('{', &format!("{{\"note\":\"{}\",", "x".repeat(100)));
        assert_eq!(
            read(&format!("{long}\n{}", tick("A", NOW))).unwrap(),
            ["too_large"]
        );
    }

    #[test]
    fn a_large_body_is_cut_into_numbered_parts_that_fit() {
        let body: Vec<String> = (0..20_000).map(|i| tick("A", NOW - f64::from(i))).collect();
        let appends = appends(&body.join("\n"), 1, NOW);
        let parts: Vec<String> = appends
            .iter()
            .map(|append| header(append, "Part"))
            .collect();
        assert_eq!(parts, ["0", "1", "2"]);
        assert!(
            appends
                .iter()
                .all(|append| append.value.len() <= MAX_VALUE_BYTES)
        );
        let values: Vec<_> = appends
            .iter()
            .map(|append| str::from_utf8(&append.value).unwrap())
            .collect();
        assert_eq!(values.join("\n"), body.join("\n"));
    }

    /// What the engine keeps when a body arrives a second time after the first `arrived` messages of the first time.
    fn seen_by_the_engine(first: &[Append], arrived: usize, second: &[Append]) -> Vec<String> {
        let mut newest: BTreeMap<u32, u32> = BTreeMap::new();
        let mut seen = Vec::new();
        for append in first.iter().take(arrived).chain(second) {
            let part: u32 = header(append, "Part").parse().unwrap();
            if newest.get(&append.partition).is_none_or(|&n| part > n) {
                newest.insert(append.partition, part);
                seen.extend(
                    append
                        .value
                        .split(|&byte| byte == b'\n')
                        .map(|line| String::from_utf8_lossy(line).into()),
                );
            }
        }
        seen
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        #[test]
        fn a_body_sent_again_later_adds_no_record_twice(
            ahead in prop::collection::vec(prop::bool::weighted(0.3), 9_000..14_000),
            arrived in 0..6_usize,
        ) {
            let line = |(i, ahead): (usize, &bool)| {
                let symbol = format!("S{}", i % 3);
                let time = if *ahead { NOW + 20.0 } else { NOW } - i as f64 / 10_000.0;
                if i % 7 == 0 { tick(&symbol, time).replace('{', r#"{"note":"written anew","#) } else { tick(&symbol, time) }
            };
            let body = ahead.iter().enumerate().map(line).collect::<Vec<_>>().join("\n");
            // Time goes on, and what was too far ahead no longer is.
            let (first, second) = (appends(&body, 2, NOW), appends(&body, 2, NOW + 60.0));
            let ticks = |appends: Vec<Append>| appends.into_iter().filter(|a| a.topic == Topic::Ticks).collect::<Vec<_>>();
            let (first, second) = (ticks(first), ticks(second));
            let mut seen = seen_by_the_engine(&first, arrived, &second);
            seen.sort();
            let count = seen.len();
            seen.dedup();
            prop_assert_eq!(seen.len(), count);
            // And nothing that was in time is missing.
            let in_time = seen.iter().filter(|l| read_record(l.as_bytes(), &Limits::none()).unwrap().time() <= NOW).count();
            prop_assert_eq!(in_time, ahead.iter().filter(|ahead| !**ahead).count());
        }
    }
}
