//! Strategies that read bars: they say of the closed bars what they would say of ticks that are these bars, at the place of
//! the tick that closed each, whatever the split, the cut or the failure.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::{Value, json};
use wigwag::{
    bars::Interval,
    change::Warmed,
    engine::{Album, Gallery, Outputs, Partition},
    log::{Messages, Topic},
    strategy::Strategy,
};

use crate::support::{
    add, add_defined, find, messages, on_bars, plugin, put_out, sorted, strategy, tick, walk,
};

/// Time of the first tick of `walk`.
const START: f64 = 1_700_000_000.0;

fn average(id: &str, period: u32, interval: Interval) -> Arc<Strategy> {
    on_bars(strategy(id, "ma", json!({ "period": period })), interval)
}

/// Two on bars of a second, one of a minute, one on ticks, and one that fails at a bar that closes at 666.
fn five() -> Partition {
    let mut partition = Partition::new(0, 0);
    add_defined(&mut partition, average("seconds", 3, Interval::Second));
    add_defined(&mut partition, average("minutes", 2, Interval::Minute));
    add(&mut partition, "ticks", "ma", json!({ "period": 3 }));
    let bad = strategy("bad", "misbehave", json!({ "how": "panic" }));
    add_defined(&mut partition, on_bars(bad, Interval::Second));
    let mut some = Strategy::clone(&average("some", 2, Interval::Second));
    some.symbols = Some(vec!["S1".to_owned()]);
    add_defined(&mut partition, Arc::new(some));
    partition
}

/// Ticks of three symbols, ten a second, with events between them, and some bars that close at 666.
fn market(ticks: usize, failures: &[usize]) -> Vec<String> {
    let mut lines = walk(3, ticks);
    for n in (50..ticks).step_by(97) {
        let time = START + n as f64 * 0.1;
        lines[n] = format!(
            r#"{{"data_type":"economic_indicator","indicator_name":"CPI","value":2,"timestamp":{time}}}"#
        );
    }
    for &second in failures {
        for (n, line) in lines.iter_mut().enumerate().skip(second * 10).take(10) {
            *line = tick("S1", START + n as f64 * 0.1, 666.0);
        }
    }
    lines
}

fn json_of(texts: &[String]) -> Vec<Value> {
    texts
        .iter()
        .map(|text| serde_json::from_str(text).unwrap())
        .collect()
}

/// What comes of a strategy, or of all, on the topics of which a reader sees something.
fn all_of(outputs: &Outputs, of: impl Fn(&str) -> bool + Copy) -> Vec<String> {
    let topics = [Topic::Signals, Topic::Values, Topic::Changes];
    let texts = topics
        .into_iter()
        .flat_map(|topic| put_out(outputs, topic, of));
    sorted(texts.collect())
}

fn bars(outputs: &Outputs, interval: &str) -> Vec<Value> {
    let bars = outputs.appends.iter().filter(|a| a.topic == Topic::Bars);
    let bars = bars.map(|a| serde_json::from_slice::<Value>(&a.value).unwrap());
    bars.filter(|bar| bar["interval"] == interval).collect()
}

#[test]
fn a_strategy_says_of_bars_what_it_says_of_ticks_that_are_these_bars() {
    let mut partition = five();
    let mut outputs = Outputs::default();
    partition.feed(messages(&market(6000, &[]), 7, 0).iter(), &mut outputs);
    for (id, interval, period) in [("seconds", "1s", 3), ("minutes", "1m", 2)] {
        let bars = bars(&outputs, interval);
        let line = |bar: &Value| {
            format!(
                r#"{{"stock_symbol":{},"opening_price":{},"closing_price":{},"high":{},"low":{},"volume":{},"timestamp":{}}}"#,
                bar["symbol"],
                bar["open"],
                bar["close"],
                bar["high"],
                bar["low"],
                bar["volume"],
                bar["open_time"]
            )
        };
        let lines: Vec<String> = bars.iter().map(line).collect();
        let (mut plain, mut expected) = (Partition::new(0, 0), Outputs::default());
        add(&mut plain, id, "ma", json!({ "period": period }));
        plain.feed(messages(&lines, 1, 0).iter(), &mut expected);
        let wanted = json_of(&put_out(&expected, Topic::Signals, |_| true));
        let said = json_of(&put_out(&outputs, Topic::Signals, |s| s == id));
        assert!(said.len() >= 5, "{} signals of {id}", said.len());
        assert_eq!(said.len(), wanted.len(), "{id}");
        for (said, wanted) in said.iter().zip(&wanted) {
            for field in ["symbol", "side", "strength", "price", "reason", "values"] {
                assert_eq!(said[field], wanted[field], "{id}: {said}");
            }
            assert_eq!(said["bar"]["open_time"], wanted["timestamp"]);
            assert_eq!(said["bar"]["interval"], interval);
        }
        let of_values = |outputs: &Outputs| -> Vec<Value> {
            let values = json_of(&put_out(outputs, Topic::Values, |s| s == id));
            let short = |v: Value| json!([v["symbol"], v["timestamp"], v["series"]]);
            values.into_iter().map(short).collect()
        };
        assert_eq!(of_values(&outputs), of_values(&expected), "{id}");
    }
}

#[test]
fn a_signal_stands_where_the_tick_that_closed_the_bar_does_and_ids_are_unique() {
    let lines = market(6000, &[]);
    let (mut partition, mut outputs) = (five(), Outputs::default());
    partition.feed(messages(&lines, 7, 40).iter(), &mut outputs);
    let signals = put_out(&outputs, Topic::Signals, |_| true);
    let closed: BTreeMap<_, _> = ["1s", "1m"]
        .into_iter()
        .flat_map(|interval| {
            bars(&outputs, interval)
                .into_iter()
                .map(move |bar| (interval, bar))
        })
        .map(|(interval, bar)| {
            let start = bar["open_time"].as_f64().unwrap() as u64;
            (
                (interval, bar["symbol"].as_str().unwrap().to_owned(), start),
                bar,
            )
        })
        .collect();
    let mut ids = BTreeSet::new();
    for text in &signals {
        let signal: wigwag::signal::Signal = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&signal).unwrap(), *text);
        assert!(ids.insert(signal.id.clone()), "{text}");
        let n = (signal.offset - 40) as usize * 7 + signal.row as usize;
        let tick: Value = serde_json::from_str(&lines[n]).unwrap();
        assert_eq!(tick["stock_symbol"], signal.symbol);
        assert_eq!(tick["timestamp"].as_f64(), Some(signal.timestamp));
        let Some(bar) = signal.bar else {
            assert_eq!(signal.strategy, "ticks");
            continue;
        };
        // The bar is over, and the tick before had been in it.
        let end = bar.open_time + bar.interval.seconds();
        assert!(signal.timestamp >= end && signal.timestamp < end + bar.interval.seconds());
        let start = bar.open_time as u64;
        let closed = &closed[&(bar.interval.name(), signal.symbol.clone(), start)];
        assert_eq!(closed["close"].as_f64(), Some(signal.price));
        assert_eq!(closed["offset"].as_u64(), Some(signal.offset));
    }
    assert!(signals.len() > 300, "{} signals", signals.len());
}

#[test]
fn any_split_of_messages_and_a_picture_anywhere_give_the_same_whatever_fails() {
    let lines = market(3000, &[31, 77, 150, 151]);
    let all = messages(&lines, 6, 0);
    let (mut whole, mut expected) = (five(), Outputs::default());
    whole.feed(all.iter(), &mut expected);
    let skipped = json_of(&put_out(&expected, Topic::Changes, |s| s == "bad"));
    let kinds: Vec<_> = skipped.iter().map(|c| c["kind"].as_str()).collect();
    assert_eq!(kinds, [Some("skip"); 4], "{skipped:?}");
    assert_eq!(skipped[0]["record"]["closing_price"], 666.0);
    assert_eq!(skipped[0]["record"]["timestamp"], START + 31.0);
    let wanted = all_of(&expected, |_| true);
    for a_poll in [1, 13, 200] {
        for cut in [0, 52, 128, 251, 333, 499] {
            let (mut first, mut outputs, mut album) =
                (five(), Outputs::default(), Album::default());
            let upto = |to: usize| {
                (0..to)
                    .step_by(a_poll)
                    .map(move |at| at..(at + a_poll).min(to))
            };
            for poll in upto(cut) {
                first.feed(all.iter().skip(poll.start).take(poll.len()), &mut outputs);
            }
            first.take_picture(&mut album, &mut outputs);
            // One goes on, another begins with what the first one left.
            let mut stored = Messages::new();
            let pictures = outputs
                .appends
                .iter()
                .filter(|a| a.topic == Topic::Checkpoints);
            for (n, a) in (0..).zip(pictures) {
                let headers = a.headers.iter().map(|(k, v)| (*k, v.as_slice()));
                stored.push(a.topic, 0, n, 0, &a.key, &a.value, headers);
            }
            let mut gallery = Gallery::default();
            gallery.add(&stored);
            let picture = gallery.newest(u64::MAX).0.unwrap();
            let mut second = Partition::resume(0, picture, &find, &mut Outputs::default()).unwrap();
            let mut behind = Outputs::default();
            for poll in upto(500 - cut) {
                let rest = || all.iter().skip(cut + poll.start).take(poll.len());
                first.feed(rest(), &mut outputs);
                second.feed(rest(), &mut behind);
            }
            assert!(
                all_of(&outputs, |_| true) == wanted,
                "{a_poll} a poll, {cut}"
            );
            let is_behind = |text: &&String| {
                let json: Value = serde_json::from_str(text).unwrap();
                json["offset"].as_u64().unwrap() >= cut as u64
            };
            let left: Vec<_> = wanted.iter().filter(is_behind).cloned().collect();
            assert!(
                all_of(&behind, |_| true) == left,
                "{a_poll} a poll, resumed at {cut}"
            );
        }
    }
}

#[test]
fn a_tick_older_than_the_open_second_closes_no_bar_and_changes_none() {
    let run = |lines: &[String]| {
        let (mut partition, mut outputs) = (five(), Outputs::default());
        partition.feed(messages(lines, 1, 0).iter(), &mut outputs);
        let of = |s: &str| s == "seconds" || s == "minutes";
        let texts = all_of(&outputs, of).into_iter();
        let without_place = |text: String| {
            let mut json: Value = serde_json::from_str(&text).unwrap();
            let fields = json.as_object_mut().unwrap();
            fields.retain(|name, _| name != "id" && name != "offset");
            json.to_string()
        };
        sorted(texts.map(without_place).collect())
    };
    let lines = market(3000, &[]);
    let mut with_late = Vec::new();
    for (n, line) in lines.iter().enumerate() {
        with_late.push(line.clone());
        if n > 20 && n % 31 == 0 {
            let late = tick(&format!("S{}", n % 3), START + n as f64 * 0.1 - 1.7, 500.0);
            with_late.push(late);
        }
    }
    assert!(run(&with_late) == run(&lines));
}

#[test]
fn a_strategy_warmed_up_with_bars_goes_on_as_one_that_had_seen_them() {
    let all = messages(&market(3000, &[]), 6, 0);
    let (mut early, mut expected) = (Partition::new(0, 0), Outputs::default());
    add_defined(&mut early, average("seconds", 20, Interval::Second));
    let (mut late, mut outputs) = (Partition::new(0, 0), Outputs::default());
    early.feed(all.iter(), &mut expected);
    late.feed(all.iter().take(300), &mut outputs);
    let mut stored = Messages::new();
    let bars = outputs.appends.iter().filter(|a| a.topic == Topic::Bars);
    for (n, a) in (0..).zip(bars) {
        if a.key.ends_with(b"/1s") {
            stored.push(a.topic, 0, n, 0, &a.key, &a.value, []);
            // As where an engine was told to start anew: they are there again.
            stored.push(a.topic, 0, n, 0, &a.key, &a.value, []);
        }
    }
    let warmed = Warmed {
        warmed_from: 300,
        warmed_bars: Some(0..1000),
    };
    let mut outputs = Outputs::default();
    let strategy = average("seconds", 20, Interval::Second);
    late.start(strategy, plugin("ma"), &stored, warmed, false, &mut outputs);
    let start = json_of(&put_out(&outputs, Topic::Changes, |_| true));
    assert_eq!(start[0]["warmed_bars"], json!({"start": 0, "end": 1000}));
    late.feed(all.iter().skip(300), &mut outputs);
    let behind = |outputs: &Outputs| {
        let mut texts = all_of(outputs, |_| true);
        texts.retain(|text| {
            let json: Value = serde_json::from_str(text).unwrap();
            json["kind"].is_null() && json["offset"].as_u64().unwrap() >= 300
        });
        texts
    };
    let said = behind(&outputs);
    assert!(said.len() > 300, "{}", said.len());
    assert!(said == behind(&expected));
}
