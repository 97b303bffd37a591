//! Judges a log after faults: what was answered is there once, and everything that the engines put out is what one
//! partition without faults makes of the same `ticks`, byte for byte.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use serde_json::Value;
use wigwag::{
    change::{Change, What},
    engine::{Album, Gallery, Outputs, Partition},
    log::{Append, Messages, Topic},
    strategy::Strategy,
};

use crate::{
    history::{Entry, Place},
    load::Sent,
    support::find,
};

/// What the engines put out, and which is compared.
const OUTPUTS: [Topic; 5] = [
    Topic::Signals,
    Topic::Values,
    Topic::Bars,
    Topic::Changes,
    Topic::Shadow,
];

/// What was compared.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) ticks: usize,
    pub(crate) repeated_messages: usize,
    pub(crate) signals: usize,
    pub(crate) checkpoints: usize,
    /// Longest time between two commits that put something out, by partition, milliseconds.
    pub(crate) pauses_ms: Vec<i64>,
}

/// Compares all; panics at the first difference.
pub(crate) fn judge(place: &Place, sent: &Sent) -> Verdict {
    let mut verdict = Verdict::default();
    let mut seen: HashMap<(String, u64), usize> = HashMap::new();
    for partition in 0..place.partitions {
        let ticks = place.read(Topic::Ticks, partition);
        verdict.repeated_messages += count_after_the_repeat_rule(&ticks, &mut seen);
        judge_partition(place, partition, &ticks, &mut verdict);
    }
    for tick in &sent.answered {
        let times = seen.get(tick).copied().unwrap_or(0);
        assert_eq!(
            times, 1,
            "{tick:?} was answered 200 and is {times} times in ticks"
        );
    }
    // Rows that send repeats on purpose do so under other names.
    let twice: Vec<_> = seen
        .iter()
        .filter(|((symbol, _), times)| symbol.starts_with('S') && **times != 1)
        .collect();
    assert!(twice.is_empty(), "more than once in ticks: {twice:?}");
    verdict.ticks = seen.len();
    assert!(verdict.signals > 0, "no signal was compared");
    verdict
}

/// Counts the ticks of messages that are no repetition; gives the number of those that are.
fn count_after_the_repeat_rule(ticks: &[Entry], seen: &mut HashMap<(String, u64), usize>) -> usize {
    let mut newest: HashMap<&[u8], (u64, u64)> = HashMap::new();
    let mut repeated = 0;
    for entry in ticks {
        let header = |name: &str| {
            entry
                .headers
                .iter()
                .find(|(n, _)| n == name)
                .map(|(_, v)| &v[..])
        };
        let number =
            |name| header(name).and_then(|v| std::str::from_utf8(v).ok()?.parse::<u64>().ok());
        if let (Some(id), Some(sequence)) = (header("Producer-Id"), number("Sequence")) {
            let this = (sequence, number("Part").unwrap_or(0));
            if newest.get(id).is_some_and(|last| this <= *last) {
                repeated += 1;
                continue;
            }
            newest.insert(id, this);
        }
        for line in entry
            .value
            .split(|&b| b == b'\n')
            .filter(|line| !line.is_empty())
        {
            let record: Value =
                serde_json::from_slice(line).expect("ingest lets only JSON through");
            let (symbol, time) = (&record["stock_symbol"], &record["timestamp"]);
            if let (Some(symbol), Some(time)) = (symbol.as_str(), time.as_f64()) {
                *seen.entry((symbol.to_owned(), time as u64)).or_default() += 1;
            }
        }
    }
    repeated
}

fn judge_partition(place: &Place, number: u32, ticks: &[Entry], verdict: &mut Verdict) {
    let found: Vec<Vec<Entry>> = OUTPUTS
        .iter()
        .map(|&topic| place.read(topic, number))
        .collect();
    let input = messages(Topic::Ticks, number, ticks);
    let mut changes: Vec<Change> = found[3]
        .iter()
        .map(|e| serde_json::from_slice(&e.value).expect("a change"))
        .collect();
    changes.sort_by_key(|change| change.seq);
    let mut run = Run {
        partition: Partition::new(number, 0),
        input: &input,
        out: Outputs::default(),
    };
    run.through(&changes, false);
    let end = place.committed()[number as usize];
    assert_eq!(
        run.partition.position(),
        end,
        "ticks/{number} is committed to its end"
    );

    for (topic, found) in OUTPUTS.iter().zip(&found) {
        let expected = run.out.appends.iter().filter(|a| a.topic == *topic);
        let expected = by_series(
            *topic,
            expected.map(|a: &Append| (&a.key[..], &a.value[..])),
        );
        let seen = by_series(*topic, found.iter().map(|e| (&e.key[..], &e.value[..])));
        compare(*topic, number, &expected, &seen);
    }
    verdict.signals += found[0].len();
    let mut appended: Vec<_> = found[..2].iter().flatten().map(|e| e.appended_ms).collect();
    appended.sort_unstable();
    verdict.pauses_ms.push(
        appended
            .windows(2)
            .map(|pair| pair[1] - pair[0])
            .max()
            .unwrap_or(0),
    );

    let mut gallery = Gallery::default();
    gallery.add(&messages(
        Topic::Checkpoints,
        number,
        &place.read(Topic::Checkpoints, number),
    ));
    if let (Some(picture), _) = gallery.newest(end) {
        let mut out = Outputs::default();
        let resumed =
            Partition::resume(number, picture, &find, &mut out).expect("a picture resumes");
        changes.retain(|change| change.seq >= resumed.next_change());
        let mut resumed = Run {
            partition: resumed,
            input: &input,
            out,
        };
        resumed.through(&changes, true);
        let state = |run: &mut Run<'_>| {
            let mut out = Outputs::default();
            // A picture's place depends on when the last message was appended, and a replay of none knows of none.
            let mut last = Messages::new();
            last.push(Topic::Ticks, number, end, i64::MAX, b"", b"{}", []);
            run.partition.replay(last.iter(), &mut out);
            run.partition.take_picture(&mut Album::default(), &mut out);
            out.appends
        };
        assert!(
            state(&mut run) == state(&mut resumed),
            "checkpoints/{number}: the newest and a replay differ from the state without faults"
        );
        verdict.checkpoints += 1;
    }
}

/// A partition over its input.
struct Run<'a> {
    partition: Partition,
    input: &'a Messages,
    out: Outputs,
}

impl Run<'_> {
    /// To the end, with these changes where they were.
    fn through(&mut self, changes: &[Change], silent: bool) {
        for change in changes {
            match &change.what {
                What::Start { definition, warmed } => {
                    self.up_to(change.offset, silent);
                    let strategy = Arc::new(Strategy::clone(definition));
                    let digest = strategy.plugin_digest.parse().expect("a digest");
                    let plugin = find(digest).expect("one of ours");
                    let mut warm_up = Messages::new();
                    for m in self
                        .input
                        .iter()
                        .filter(|m| (warmed.warmed_from..change.offset).contains(&m.offset))
                    {
                        warm_up.push(
                            m.topic,
                            m.partition,
                            m.offset,
                            m.timestamp_ms,
                            m.key,
                            m.value,
                            m.headers.iter(),
                        );
                    }
                    self.partition.start(
                        strategy,
                        plugin,
                        &warm_up,
                        warmed.clone(),
                        silent,
                        &mut self.out,
                    );
                    self.partition.note(change);
                }
                What::Promote { definition } => {
                    self.up_to(change.offset, silent);
                    let strategy = Arc::new(Strategy::clone(definition));
                    self.partition.promote(strategy, silent, &mut self.out);
                    self.partition.note(change);
                }
                What::Stop { why } => {
                    self.up_to(change.offset, silent);
                    self.partition
                        .stop(&change.strategy, *why, silent, &mut self.out);
                    self.partition.note(change);
                }
                What::Skip { .. } | What::Quarantine { .. } => {
                    panic!("a built-in failed: {change:?}")
                }
            }
        }
        self.up_to(u64::MAX, silent);
    }

    fn up_to(&mut self, offset: u64, silent: bool) {
        let range = self.partition.position()..offset;
        let messages = self.input.iter().filter(|m| range.contains(&m.offset));
        match silent {
            true => self.partition.replay(messages, &mut self.out),
            false => self.partition.feed(messages, &mut self.out),
        }
    }
}

fn messages(topic: Topic, partition: u32, entries: &[Entry]) -> Messages {
    let mut messages = Messages::new();
    for e in entries {
        let headers = e
            .headers
            .iter()
            .map(|(name, value)| (&name[..], &value[..]));
        messages.push(
            topic,
            partition,
            e.offset,
            e.appended_ms,
            &e.key,
            &e.value,
            headers,
        );
    }
    messages
}

/// What has an order of its own: a strategy's outputs for one symbol.
fn by_series<'a>(
    topic: Topic,
    outputs: impl Iterator<Item = (&'a [u8], &'a [u8])>,
) -> BTreeMap<String, Vec<&'a [u8]>> {
    let mut series: BTreeMap<String, Vec<&[u8]>> = BTreeMap::new();
    for (key, value) in outputs {
        let mut name = String::from_utf8_lossy(key).into_owned();
        if matches!(topic, Topic::Signals | Topic::Shadow) {
            let signal: Value = serde_json::from_slice(value).expect("a signal is JSON");
            name = format!(
                "{}/{name}",
                signal["strategy"].as_str().expect("its strategy")
            );
        }
        series.entry(name).or_default().push(value);
    }
    series
}

fn compare(
    topic: Topic,
    partition: u32,
    expected: &BTreeMap<String, Vec<&[u8]>>,
    seen: &BTreeMap<String, Vec<&[u8]>>,
) {
    for name in expected.keys().chain(seen.keys()) {
        let none = Vec::new();
        let (expected, seen) = (
            expected.get(name).unwrap_or(&none),
            seen.get(name).unwrap_or(&none),
        );
        let at = expected.iter().zip(seen).position(|(e, s)| e != s);
        let at = at.or((expected.len() != seen.len()).then(|| expected.len().min(seen.len())));
        if let Some(at) = at {
            let text = |of: &[&[u8]]| of.get(at).map(|v| String::from_utf8_lossy(v).into_owned());
            panic!(
                "{topic}/{partition} {name}: {} seen and {} expected; number {at} is\n{:?}\nand should be\n{:?}",
                seen.len(),
                expected.len(),
                text(seen),
                text(expected)
            );
        }
    }
}
