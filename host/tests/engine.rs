//! The engine's core with real plugins: the same messages give the same outputs, whatever the split, the cut or
//! the neighbours.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "engine/bars.rs"]
mod bars;
mod support;
#[path = "engine/upgrades.rs"]
mod upgrades;

use serde_json::json;
use support::{
    add, built_ins, close, messages, plugin, provoking, put_out, signals, sorted, strategy, tick,
    walk,
};
use wigwag::{
    engine::{Outputs, Partition},
    log::{Messages, Topic},
    signal::{Signal, SignalId},
};

#[test]
fn any_split_of_messages_gives_the_same_signals_and_values() {
    let lines = walk(7, 6000);
    let run = |polls: &[usize]| {
        let (mut partition, mut outputs) = (built_ins(), Outputs::default());
        let all = messages(&lines, 10, 0);
        let mut from = 0;
        for &poll in polls.iter().cycle() {
            if from >= all.len() {
                break;
            }
            partition.feed(all.iter().skip(from).take(poll), &mut outputs);
            from += poll;
        }
        let values = put_out(&outputs, Topic::Values, |_| true);
        (sorted(signals(&outputs)), sorted(values))
    };
    let whole = run(&[600]);
    assert!(whole.0.len() > 300, "{} signals", whole.0.len());
    for polls in [&[1][..], &[7, 1, 150], &[333]] {
        assert!(run(polls) == whole, "polls of {polls:?}");
    }
}

#[test]
fn a_signal_is_the_json_that_its_type_says_and_its_id_says_where_it_came_from() {
    let (mut partition, mut outputs) = (built_ins(), Outputs::default());
    let lines = walk(3, 900);
    partition.feed(messages(&lines, 10, 40).iter(), &mut outputs);
    for text in signals(&outputs) {
        let signal: Signal = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&signal).unwrap(), text);
        let id: SignalId = signal.id.parse().unwrap();
        assert_eq!(
            (id.strategy, id.offset, id.row, id.n),
            (signal.strategy, signal.offset, signal.row, signal.n)
        );
        let line = &lines[(signal.offset - 40) as usize * 10 + signal.row as usize];
        let tick: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(tick["stock_symbol"], json!(signal.symbol));
        assert_eq!(tick["closing_price"].as_f64(), Some(signal.price));
        assert_eq!(tick["timestamp"].as_f64(), Some(signal.timestamp));
        assert_eq!(signal.values.len(), 1);
    }
}

#[test]
fn a_strategy_that_fails_skips_that_row_alone_and_its_neighbours_see_nothing_of_it() {
    let lines = provoking(2400, &[1201, 1601]);
    let all = messages(&lines, 100, 0);
    let (mut alone, mut expected) = (built_ins(), Outputs::default());
    alone.feed(all.iter(), &mut expected);
    for how in [
        "panic",
        "loop",
        "memory",
        "recursion",
        "strength",
        "not-a-number",
        "flood",
        "reason",
    ] {
        let (mut partition, mut outputs) = (built_ins(), Outputs::default());
        add(&mut partition, "bad", "misbehave", json!({ "how": how }));
        partition.feed(all.iter(), &mut outputs);
        let neighbours = put_out(&outputs, Topic::Signals, |s| s != "bad");
        assert!(
            sorted(neighbours) == sorted(signals(&expected)),
            "neighbours of {how}"
        );

        // 598 of the 600 ticks of S1 were seen, all of the others.
        let own = put_out(&outputs, Topic::Signals, |s| s == "bad");
        assert_eq!(own.len(), 3 * 60 + 59, "{how}");
        let changes = put_out(&outputs, Topic::Changes, |s| s == "bad");
        let changes: Vec<serde_json::Value> = changes
            .iter()
            .map(|c| serde_json::from_str(c).unwrap())
            .collect();
        let places: Vec<_> = changes
            .iter()
            .map(|c| (c["kind"].as_str(), c["offset"].as_u64(), c["row"].as_u64()))
            .collect();
        assert_eq!(
            places,
            [
                (Some("skip"), Some(12), Some(1)),
                (Some("skip"), Some(16), Some(1))
            ],
            "{how}: {changes:?}"
        );
        let cause = match how {
            "panic" | "recursion" => "trap",
            "loop" => "fuel",
            "memory" => "memory",
            _ => "nonsense",
        };
        assert_eq!(changes[0]["cause"], cause, "{how}: {changes:?}");
        if how == "panic" {
            assert!(
                changes[0]["detail"]
                    .as_str()
                    .unwrap()
                    .contains("the close is Panic"),
                "{changes:?}"
            );
        }
    }
}

#[test]
fn the_same_rows_are_skipped_whatever_the_split_of_batches() {
    let lines = provoking(1200, &[401, 405, 801]);
    let run = |a_poll: usize| {
        let mut partition = Partition::new(0, 0);
        add(
            &mut partition,
            "bad",
            "misbehave",
            json!({ "how": "panic" }),
        );
        let mut outputs = Outputs::default();
        let all = messages(&lines, 3, 0);
        for from in (0..all.len()).step_by(a_poll) {
            partition.feed(all.iter().skip(from).take(a_poll), &mut outputs);
        }
        (
            signals(&outputs),
            put_out(&outputs, Topic::Changes, |_| true),
        )
    };
    let whole = run(400);
    assert_eq!(whole.1.len(), 3);
    assert!(run(1) == whole && run(17) == whole && run(134) == whole);
}

#[test]
fn a_strategy_that_keeps_failing_is_quarantined_with_its_reason() {
    let at: Vec<usize> = (0..9).map(|n| 401 + n * 4).collect();
    let lines = provoking(1200, &at);
    let (mut partition, mut outputs) = (built_ins(), Outputs::default());
    add(&mut partition, "bad", "misbehave", json!({ "how": "loop" }));
    partition.feed(messages(&lines, 10, 0).iter(), &mut outputs);
    let status: Vec<_> = partition.status().collect();
    let reason = status
        .iter()
        .find(|s| s.strategy == "bad")
        .unwrap()
        .quarantined
        .clone()
        .unwrap();
    assert!(
        reason.contains("failed at 5 of 10000 rows") && reason.contains("fuel"),
        "{reason}"
    );
    assert!(
        status
            .iter()
            .filter(|s| s.strategy != "bad")
            .all(|s| s.quarantined.is_none())
    );
    let kinds: Vec<_> = put_out(&outputs, Topic::Changes, |s| s == "bad")
        .iter()
        .map(|c| {
            serde_json::from_str::<serde_json::Value>(c).unwrap()["kind"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(
        kinds,
        ["skip", "skip", "skip", "skip", "skip", "quarantine"]
    );
}

#[test]
fn a_dear_strategy_within_its_budget_loses_no_row() {
    let (mut partition, mut outputs) = (Partition::new(0, 0), Outputs::default());
    add(
        &mut partition,
        "dear",
        "misbehave",
        json!({ "how": "dear" }),
    );
    partition.feed(messages(&walk(1, 300), 50, 0).iter(), &mut outputs);
    assert_eq!(signals(&outputs).len(), 30);
    assert_eq!(outputs.counts.skipped_rows, 0);
}

#[test]
fn values_come_at_the_first_tick_of_each_interval_of_the_ticks_time() {
    let mut definition =
        wigwag::strategy::Strategy::clone(&strategy("ticks", "misbehave", json!({})));
    definition.values_interval_ms = 1000;
    let mut partition = Partition::new(0, 0);
    let mut outputs = Outputs::default();
    partition.start(
        definition.into(),
        plugin("misbehave"),
        &Messages::new(),
        0,
        false,
        &mut outputs,
    );
    let times = [10.0, 10.5, 10.999, 11.0, 11.2, 10.9, 14.0, 14.1];
    let lines: Vec<_> = (0..)
        .zip(times)
        .map(|(n, time)| tick("A", time, close(0, n)))
        .collect();
    partition.feed(messages(&lines, 3, 0).iter(), &mut outputs);
    let times: Vec<_> = put_out(&outputs, Topic::Values, |_| true)
        .iter()
        .map(|v| {
            serde_json::from_str::<serde_json::Value>(v).unwrap()["timestamp"]
                .as_f64()
                .unwrap()
        })
        .collect();
    assert_eq!(times, [10.0, 11.0, 14.0]);
}

#[test]
fn late_ticks_and_repeats_are_dropped_and_counted() {
    let (mut partition, mut outputs) = (built_ins(), Outputs::default());
    add(&mut partition, "ticks", "misbehave", json!({}));
    let lines = [
        tick("A", 100.0, 5.0),
        tick("A", 100.0, 5.0),
        tick("A", 89.0, 5.0),
        tick("A", 95.0, 5.0),
        "{}".into(),
    ];
    partition.feed(messages(&lines, 10, 0).iter(), &mut outputs);
    let counts = outputs.counts;
    assert_eq!(
        (counts.ticks, counts.late, counts.repeats, counts.unreadable),
        (2, 1, 1, 1)
    );
    let values = put_out(&outputs, Topic::Values, |s| s == "ticks");
    assert!(
        values.last().unwrap().contains(r#""series":{"ticks":2.0}"#),
        "{values:?}"
    );
}

#[test]
fn a_strategy_on_some_symbols_sees_no_other() {
    let mut definition =
        wigwag::strategy::Strategy::clone(&strategy("some", "misbehave", json!({})));
    definition.symbols = Some(vec!["S2".into()]);
    let mut partition = Partition::new(0, 0);
    let mut outputs = Outputs::default();
    partition.start(
        definition.into(),
        plugin("misbehave"),
        &Messages::new(),
        0,
        false,
        &mut outputs,
    );
    partition.feed(messages(&walk(4, 400), 10, 0).iter(), &mut outputs);
    let signals: Vec<Signal> = signals(&outputs)
        .iter()
        .map(|s| serde_json::from_str(s).unwrap())
        .collect();
    assert_eq!(signals.len(), 10);
    assert!(signals.iter().all(|s| s.symbol == "S2"));
    // Record 4n + 2 of the walk stands in message (4n + 2) / 10 at line (4n + 2) % 10.
    assert_eq!((signals[0].offset, signals[0].row), (3, 8));
}

#[test]
fn a_started_strategy_is_warmed_up_by_what_came_before() {
    let lines = walk(3, 600);
    let all = messages(&lines, 10, 0);
    let (mut cold, mut expected) = (built_ins(), Outputs::default());
    cold.feed(all.iter(), &mut expected);

    let (mut partition, mut outputs) = (Partition::new(0, 0), Outputs::default());
    add(&mut partition, "rsi-14", "rsi", json!({}));
    partition.feed(all.iter().take(40), &mut outputs);
    let before = messages(&lines[..400], 10, 0);
    partition.start(
        strategy("ma-20", "ma", json!({})),
        plugin("ma"),
        &before,
        0,
        false,
        &mut outputs,
    );
    partition.feed(all.iter().skip(40), &mut outputs);
    let from_40 = |outputs: &Outputs| {
        let signals = put_out(outputs, Topic::Signals, |s| s == "ma-20");
        let later = |s: &String| serde_json::from_str::<Signal>(s).unwrap().offset >= 40;
        signals.into_iter().filter(later).collect::<Vec<_>>()
    };
    assert!(!from_40(&expected).is_empty());
    assert_eq!(from_40(&outputs), from_40(&expected));
    assert!(put_out(&outputs, Topic::Changes, |s| s == "ma-20")[0].contains(r#""warmed_from":0"#));
}
