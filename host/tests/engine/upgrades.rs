//! Shadows and promotions in the core.

use serde_json::json;
use wigwag::{
    engine::{Album, Gallery, Outputs, Partition},
    log::{Messages, Topic},
    strategy::Strategy,
};

use crate::support::{add, find, messages, put_out, signals, strategy, walk};

fn fed(partition: &mut Partition, lines: &[String], first: u64) -> Outputs {
    let mut outputs = Outputs::default();
    partition.feed(messages(lines, 10, first).iter(), &mut outputs);
    outputs
}

/// A live average of the closes, and beside it an exponential one.
fn with_shadow() -> Partition {
    let mut partition = Partition::new(0, 0);
    add(&mut partition, "trend", "ma", json!({}));
    add(
        &mut partition,
        &Strategy::shadow_id("trend"),
        "ema",
        json!({}),
    );
    partition
}

fn promote(partition: &mut Partition) -> Outputs {
    let mut outputs = Outputs::default();
    partition.promote(strategy("trend", "ema", json!({})), false, &mut outputs);
    outputs
}

#[test]
fn a_shadow_says_what_it_would_say_live_and_goes_on_so_once_it_is_promoted() {
    let lines = walk(4, 2_000);
    let (before, after) = lines.split_at(1_000);
    let mut alone = Partition::new(0, 0);
    add(&mut alone, "trend", "ema", json!({}));
    let expected = (fed(&mut alone, before, 0), fed(&mut alone, after, 100));

    let mut partition = with_shadow();
    let outputs = fed(&mut partition, before, 0);
    assert_eq!(
        put_out(&outputs, Topic::Shadow, |_| true),
        signals(&expected.0)
    );
    let live = signals(&outputs);
    assert!(!live.is_empty() && live.iter().all(|s| s.contains("\"plugin\":\"ma\"")));
    assert_eq!(outputs.counts.signals, live.len() as u64);

    let change = &promote(&mut partition).appends[0];
    let text = String::from_utf8(change.value.clone()).unwrap();
    assert!(
        text.contains("\"kind\":\"promote\"") && text.contains("\"offset\":100"),
        "{text}"
    );
    let running: Vec<_> = partition.strategies().map(|s| s.id.clone()).collect();
    assert_eq!(running, ["trend"]);
    let outputs = fed(&mut partition, after, 100);
    assert_eq!(signals(&outputs), signals(&expected.1));
    for topic in [Topic::Values, Topic::Shadow] {
        let all = |outputs: &Outputs| put_out(outputs, topic, |_| true);
        assert_eq!(all(&outputs), all(&expected.1));
    }
}

#[test]
fn a_picture_of_a_shadow_and_one_of_what_was_promoted_bring_both_back() {
    let lines = walk(4, 3_000);
    let resumed = |partition: &mut Partition| {
        let (mut album, mut outputs) = (Album::default(), Outputs::default());
        partition.take_picture(&mut album, &mut outputs);
        let mut kept = Messages::new();
        for (n, a) in (0..).zip(&outputs.appends) {
            let headers = a
                .headers
                .iter()
                .map(|(name, value)| (*name, value.as_slice()));
            kept.push(a.topic, 0, n, 0, &a.key, &a.value, headers);
        }
        let mut gallery = Gallery::default();
        gallery.add(&kept);
        let (picture, wrong) = gallery.newest(u64::MAX);
        let picture = picture.unwrap_or_else(|| panic!("{wrong:?}"));
        Partition::resume(0, picture, &find, &mut Outputs::default()).unwrap()
    };
    let mut through = with_shadow();
    let mut by_pictures = with_shadow();
    for (n, lines) in (0..).zip(lines.chunks(1_000)) {
        if n == 1 {
            promote(&mut through);
            promote(&mut by_pictures);
        }
        by_pictures = resumed(&mut by_pictures);
        let expected = fed(&mut through, lines, n * 100);
        let outputs = fed(&mut by_pictures, lines, n * 100);
        for topic in [Topic::Signals, Topic::Shadow, Topic::Values] {
            let all = |outputs: &Outputs| put_out(outputs, topic, |_| true);
            assert_eq!(all(&outputs), all(&expected), "{topic} of part {n}");
        }
    }
}

#[test]
fn a_promoted_one_that_fails_is_brought_back_with_the_rows_that_it_saw_as_a_shadow() {
    let run = |as_shadow: bool| {
        let mut partition = Partition::new(0, 0);
        let id = match as_shadow {
            true => {
                add(&mut partition, "bad", "ma", json!({}));
                Strategy::shadow_id("bad")
            }
            false => "bad".to_owned(),
        };
        add(&mut partition, &id, "misbehave", json!({"how": "panic"}));
        let lines = crate::support::provoking(900, &[321, 621]);
        fed(&mut partition, &lines[..600], 0);
        if as_shadow {
            let definition = strategy("bad", "misbehave", json!({"how": "panic"}));
            partition.promote(definition, false, &mut Outputs::default());
        }
        signals(&fed(&mut partition, &lines[600..], 60))
    };
    let expected = run(false);
    assert!(expected.len() > 20);
    assert_eq!(run(true), expected);
}

#[test]
fn what_a_plugin_logs_goes_into_the_step_of_its_rows_once() {
    let mut partition = Partition::new(0, 0);
    add(&mut partition, "bad", "misbehave", json!({"how": "panic"}));
    let lines = crate::support::provoking(400, &[101, 301]);
    let outputs = fed(&mut partition, &lines, 0);
    let logged = put_out(&outputs, Topic::Logs, |_| true);
    assert_eq!(logged.len(), 2, "{logged:?}");
    for (line, offset) in logged.iter().zip([10, 30]) {
        for part in [
            "the close is Panic",
            "\"level\":\"error\"",
            &format!("\"offset\":{offset}"),
        ] {
            assert!(line.contains(part), "{part}: {line}");
        }
    }
}

/// With as many rows since the checkpoint as there may be.
#[test]
fn after_a_trap_a_strategy_of_a_thousand_symbols_is_back_soon() {
    let lines = walk(1_000, 100_000);
    let mut partition = Partition::new(0, 0);
    add(&mut partition, "bad", "misbehave", json!({"how": "panic"}));
    let mut outputs = fed(&mut partition, &lines, 0);
    assert_eq!(partition.rows_since_checkpoint(), 100_000);
    let one = |n: u64, close| {
        vec![crate::support::tick(
            "S1",
            1_800_000_000.0 + n as f64,
            close,
        )]
    };
    let fastest = (0..3)
        .map(|n| {
            let started = std::time::Instant::now();
            outputs = fed(&mut partition, &one(n, 666.0), 20_000 + n);
            assert_eq!(outputs.counts.skipped_rows, 1);
            started.elapsed()
        })
        .min();
    println!("back after {fastest:?}");
    // Its limit is 50 ms on a machine of its own.
    assert!(fastest.unwrap() < std::time::Duration::from_millis(500));
}
