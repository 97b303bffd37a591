//! Pictures of a partition: begun at any message and completed many later, whatever fails meanwhile, they are the state
//! at the message where they were begun; and from `checkpoints` the newest usable one is found.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;
use support::{
    add, built_ins, find, messages, plugin, provoking, put_out, sorted, strategy, tick, walk,
};
use wigwag::{
    engine::{Album, Gallery, Outputs, Partition, PictureProgress},
    log::{
        Append, Log, MAX_VALUE_BYTES, Messages, Topic,
        embedded::{EmbeddedLog, Options},
    },
};

/// What `checkpoints` would hold after these outputs.
fn stored<'a>(appends: impl IntoIterator<Item = &'a Append>) -> Messages {
    let mut stored = Messages::new();
    let checkpoints = appends
        .into_iter()
        .filter(|a| a.topic == Topic::Checkpoints);
    for (n, a) in checkpoints.enumerate() {
        let headers = a.headers.iter().map(|(k, v)| (*k, v.as_slice()));
        stored.push(a.topic, 0, n as u64, 0, &a.key, &a.value, headers);
    }
    stored
}

fn gallery(appends: &[Append]) -> Gallery {
    let mut gallery = Gallery::default();
    gallery.add(&stored(appends));
    gallery
}

/// Three built-ins, one that fails, and one that sees some of the symbols only.
fn five(how: &str) -> Partition {
    let mut partition = built_ins();
    add(&mut partition, "bad", "misbehave", json!({ "how": how }));
    let mut some = wigwag::strategy::Strategy::clone(&strategy("some", "misbehave", json!({})));
    some.symbols = Some((0..50).map(|n| format!("S{}", 3 * n)).collect());
    let (none, mut out) = (Messages::new(), Outputs::default());
    partition.start(
        Arc::new(some),
        plugin("misbehave"),
        &none,
        0,
        false,
        &mut out,
    );
    partition
}

/// What comes of the messages from an offset on.
fn from(outputs: &Outputs, offset: u64) -> Vec<String> {
    let topics = [Topic::Signals, Topic::Values, Topic::Changes];
    let texts = topics
        .into_iter()
        .flat_map(|t| put_out(outputs, t, |_| true));
    let is_from = |text: &String| {
        let json: serde_json::Value = serde_json::from_str(text).unwrap();
        json["kind"] != "start" && json["offset"].as_u64().unwrap() >= offset
    };
    sorted(texts.filter(is_from).collect())
}

/// A market of 150 symbols of which most are seldom touched, with economic indicators and rows at which `bad` fails.
fn market(seed: u64, ticks: usize, failures: usize) -> Vec<String> {
    let mut random = seed;
    let mut draw = move |below: u64| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    let line = |n: usize| {
        let time = 1_700_000_000.0 + n as f64 * 0.05;
        match draw(40) {
            0 => format!(
                r#"{{"data_type":"economic_indicator","indicator_name":"CPI","value":2,"timestamp":{time}}}"#
            ),
            1..20 => tick(
                &format!("S{}", draw(5)),
                time,
                100.0 + draw(1000) as f64 / 100.0,
            ),
            // Some appear late.
            _ => tick(
                &format!("S{}", draw(20 + 130 * n as u64 / ticks as u64)),
                time,
                100.0 + draw(1000) as f64 / 100.0,
            ),
        }
    };
    let mut lines: Vec<String> = (0..ticks).map(line).collect();
    for n in 0..failures {
        let at = (n * 7919 + seed as usize % 1000) % ticks;
        lines[at] = tick("S1", 1_700_000_000.0 + at as f64 * 0.05, 666.0);
    }
    lines
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_picture_is_the_state_where_it_was_begun_whenever_it_is_completed(
        seed in 0_u64..1 << 40,
        begin in 0_usize..300,
        before in prop::option::of(0_usize..300),
        a_poll in 1_usize..40,
        slice in 1_usize..200,
        failures in 0_usize..5,
        a_message in 1_usize..12,
    ) {
        let lines = market(seed, 2400, failures);
        let all = messages(&lines, a_message, 0);
        let count = all.len();
        let begin = begin.min(count - 1);
        let (mut whole, mut expected) = (five("panic"), Outputs::default());
        whole.feed(all.iter(), &mut expected);

        let (mut first, mut outputs, mut album) = (five("panic"), Outputs::default(), Album::default());
        let (mut at, mut completed) = (0, None);
        while at < count {
            // At most to the next place where something is to be done.
            let stops = [before.unwrap_or(0), begin].into_iter().filter(|&s| s > at);
            let to = stops.chain([at + a_poll, count]).min().unwrap();
            if before == Some(at) && at < begin {
                first.take_picture(&mut album, &mut outputs);
            }
            if at == begin {
                first.begin_picture(&mut album, &mut outputs);
            }
            first.feed(all.iter().skip(at).take(to - at), &mut outputs);
            at = to;
            if first.advance_picture(slice, &mut album, &mut outputs) == PictureProgress::Complete {
                completed.get_or_insert(at);
            }
        }
        // What failed or not: it is as if no picture had been taken.
        prop_assert!(from(&outputs, 0) == from(&expected, 0));

        if first.advance_picture(usize::MAX, &mut album, &mut outputs) == PictureProgress::Complete {
            completed.get_or_insert(at);
        }
        let completed = completed.expect("nothing is quarantined here");
        let (picture, wrong) = gallery(&outputs.appends).newest(count as u64);
        prop_assert_eq!(wrong, Vec::<String>::new());
        let picture = picture.unwrap();
        prop_assert_eq!(picture.position(), begin as u64, "completed at {}", completed);
        let mut again = Outputs::default();
        let mut second = Partition::resume(0, picture, &find, &mut again).unwrap();
        second.feed(all.iter().skip(begin), &mut again);
        prop_assert!(from(&again, begin as u64) == from(&expected, begin as u64));
        prop_assert_eq!(second.symbols(), whole.symbols());

        // A picture of the one that goes on and one of the one that was resumed are the same.
        let (mut of_first, mut of_second) = (Outputs::default(), Outputs::default());
        first.take_picture(&mut Album::default(), &mut of_first);
        second.take_picture(&mut Album::default(), &mut of_second);
        prop_assert!(of_first.appends == of_second.appends);
    }
}

#[test]
fn a_picture_of_a_strategy_that_is_quarantined_meanwhile_is_given_up_and_the_next_holds() {
    let at: Vec<usize> = (0..9).map(|n| 401 + n * 4).collect();
    let lines = provoking(1200, &at);
    let all = messages(&lines, 10, 0);
    let (mut whole, mut expected) = (five("loop"), Outputs::default());
    whole.feed(all.iter(), &mut expected);

    let (mut partition, mut outputs, mut album) =
        (five("loop"), Outputs::default(), Album::default());
    partition.feed(all.iter().take(20), &mut outputs);
    partition.take_picture(&mut album, &mut outputs);
    partition.feed(all.iter().skip(20).take(10), &mut outputs);
    partition.begin_picture(&mut album, &mut outputs);
    assert!(partition.is_taking_picture());
    partition.feed(all.iter().skip(30).take(20), &mut outputs);
    assert!(!partition.is_taking_picture(), "its states are gone");
    let position = gallery(&outputs.appends).newest(120).0.unwrap().position();
    assert_eq!(position, 20, "what was written of it is no picture");

    partition.take_picture(&mut album, &mut outputs);
    let (picture, wrong) = gallery(&outputs.appends).newest(120);
    assert_eq!(wrong, Vec::<String>::new());
    let mut again = Outputs::default();
    let mut resumed = Partition::resume(0, picture.unwrap(), &find, &mut again).unwrap();
    assert_eq!(resumed.position(), 50);
    let bad = resumed.status().find(|s| s.strategy == "bad").unwrap();
    assert!(bad.quarantined.unwrap().contains("failed at 5"));
    resumed.feed(all.iter().skip(50), &mut again);
    partition.feed(all.iter().skip(50), &mut outputs);
    assert!(from(&again, 50) == from(&expected, 50));
    assert!(from(&outputs, 0) == from(&expected, 0));
}

#[test]
fn strategies_that_come_and_go_end_a_picture_in_the_making() {
    let lines = walk(200, 2000);
    let all = messages(&lines, 10, 0);
    let (mut partition, mut outputs, mut album) =
        (built_ins(), Outputs::default(), Album::default());
    partition.feed(all.iter().take(100), &mut outputs);
    partition.begin_picture(&mut album, &mut outputs);
    partition.advance_picture(64, &mut album, &mut outputs);
    add(&mut partition, "bad", "misbehave", json!({}));
    let progress = partition.advance_picture(64, &mut album, &mut outputs);
    assert_eq!(progress, PictureProgress::None);
    partition.take_picture(&mut album, &mut outputs);
    let picture = gallery(&outputs.appends).newest(100).0.unwrap();
    let mut again = Outputs::default();
    let mut resumed = Partition::resume(0, picture, &find, &mut again).unwrap();
    assert_eq!(resumed.strategies().count(), 4);
    resumed.feed(all.iter().skip(100), &mut again);
    partition.feed(all.iter().skip(100), &mut outputs);
    assert!(from(&again, 100) == from(&outputs, 100));
}

/// Pictures at the offsets 10, 20 and 30.
fn three_pictures() -> Vec<Vec<Append>> {
    let (mut partition, mut album) = (built_ins(), Album::default());
    let all = messages(&walk(200, 300), 10, 0);
    (0..3)
        .map(|n| {
            let mut outputs = Outputs::default();
            partition.feed(all.iter().skip(10 * n).take(10), &mut outputs);
            partition.take_picture(&mut album, &mut outputs);
            outputs.appends.retain(|a| a.topic == Topic::Checkpoints);
            outputs.appends
        })
        .collect()
}

#[test]
fn a_damaged_unfinished_or_foreign_picture_is_passed_over_for_the_one_before() {
    let whole = three_pictures();
    type Spoil = fn(&mut Vec<Append>);
    let spoilt: [(&str, Spoil); 6] = [
        ("not of its digest", |p| p[0].value[20] ^= 1),
        ("not of its digest", |p| {
            *p[1].value.last_mut().unwrap() ^= 1
        }),
        ("lacks chunk 1 of 2", |p| drop(p.remove(1))),
        ("manifest that cannot be read", |p| {
            p.last_mut().unwrap().value[0] = b'!'
        }),
        ("has schema 1; this program reads 2", |p| {
            let manifest = &mut p.last_mut().unwrap().value;
            let text = String::from_utf8(manifest.clone()).unwrap();
            *manifest = text.replace("\"schema\":2", "\"schema\":1").into_bytes();
        }),
        ("", |p| drop(p.pop())),
    ];
    for (why, spoil) in spoilt {
        let mut kept = whole.clone();
        spoil(&mut kept[2]);
        let gallery = gallery(&kept.concat());
        assert_eq!(gallery.next_seq(), 3);
        let (picture, wrong) = gallery.newest(30);
        assert_eq!(picture.unwrap().position(), 20, "{why}");
        match why {
            "" => assert_eq!(
                wrong,
                Vec::<String>::new(),
                "one without manifest is no picture"
            ),
            why => assert!(
                wrong.len() == 1 && wrong[0].contains(why),
                "{why}: {wrong:?}"
            ),
        }
    }
    let (picture, wrong) = gallery(&whole.concat()).newest(19);
    assert_eq!(picture.unwrap().position(), 10);
    assert_eq!(wrong.len(), 2, "above the position: {wrong:?}");
    assert!(gallery(&whole.concat()).newest(9).0.is_none());
}

#[test]
fn every_part_of_a_picture_fits_into_a_message() {
    let (mut partition, mut outputs, mut album) =
        (built_ins(), Outputs::default(), Album::default());
    let mut all = Messages::new();
    for n in 0..9_000 {
        let (id, line) = (
            format!("{n:0200}"),
            tick("A", 1_700_000_000.0 + f64::from(n), 5.0),
        );
        let headers = [
            ("Producer-Id", id.as_bytes()),
            ("Sequence", b"1".as_slice()),
        ];
        all.push(Topic::Ticks, 0, n as u64, 0, b"", line.as_bytes(), headers);
    }
    partition.feed(all.iter(), &mut outputs);
    partition.take_picture(&mut album, &mut outputs);
    let parts = outputs
        .appends
        .iter()
        .filter(|a| a.topic == Topic::Checkpoints);
    let sizes: Vec<usize> = parts.map(|a| a.value.len()).collect();
    assert!(
        sizes.len() > 3 && sizes.iter().sum::<usize>() > 2 * MAX_VALUE_BYTES,
        "{sizes:?}"
    );
    assert!(
        sizes.iter().all(|&size| size <= MAX_VALUE_BYTES),
        "{sizes:?}"
    );
    let picture = gallery(&outputs.appends).newest(9_000).0.unwrap();
    let mut resumed = Partition::resume(0, picture, &find, &mut outputs).unwrap();
    let mut repeated = Outputs::default();
    resumed.feed(all.iter().skip(8_990), &mut repeated);
    assert_eq!(
        repeated.counts.repeated_messages, 10,
        "each producer is remembered"
    );
}

#[test]
fn the_newest_usable_picture_is_found_from_the_end_of_the_topic_backwards() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        partitions: 1,
        ..Options::default()
    };
    let log = EmbeddedLog::open(folder.path(), options).unwrap();
    let append = |appends: Vec<Append>| wait_for(log.append(appends));
    let none = Gallery::search(&log, 0, 5).unwrap();
    assert!(none.picture.is_none() && none.next_seq == 0);

    // Each picture has 40 parts of its head alone, so that a search goes through several windows.
    let (mut partition, mut album) = (built_ins(), Album::default());
    let all = messages(&walk(70, 3000), 10, 0);
    for n in 0..30 {
        let mut outputs = Outputs::default();
        partition.feed(all.iter().skip(10 * n).take(10), &mut outputs);
        partition.take_picture(&mut album, &mut outputs);
        outputs.appends.retain(|a| a.topic == Topic::Checkpoints);
        if n == 28 {
            outputs.appends.pop();
        }
        if n == 29 {
            *outputs.appends[1].value.last_mut().unwrap() ^= 1;
        }
        append(outputs.appends);
        // Parts of a picture that was never completed.
        let mut begun = Outputs::default();
        for _ in 0..25 {
            partition.begin_picture(&mut album, &mut begun);
        }
        begun.appends.retain(|a| a.topic == Topic::Checkpoints);
        append(begun.appends);
    }
    let mut whole = Gallery::default();
    let mut reader = log
        .read(&[wigwag::log::Start {
            topic: Topic::Checkpoints,
            partition: 0,
            offset: 0,
        }])
        .unwrap();
    let end = log.bounds(Topic::Checkpoints, 0).unwrap().end;
    while reader.position(Topic::Checkpoints, 0) < end {
        let mut some = Messages::new();
        reader
            .poll(&mut some, 1 << 20, std::time::Duration::from_secs(1))
            .unwrap();
        whole.add(&some);
    }
    for position in [5, 10, 15, 100, 199, 270, 279, 280, 300] {
        let found = Gallery::search(&log, 0, position).unwrap();
        let at = found.picture.map(|p| p.position());
        assert_eq!(
            at,
            whole.newest(position).0.map(|p| p.position()),
            "{position}"
        );
        assert_eq!(found.next_seq, whole.next_seq());
    }
    let found = Gallery::search(&log, 0, 300).unwrap();
    assert_eq!(found.picture.unwrap().position(), 280);
    assert!(
        found.wrong.len() == 1 && found.wrong[0].contains("digest"),
        "{:?}",
        found.wrong
    );
}

fn wait_for(appended: wigwag::log::Appended) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(appended).unwrap();
}

#[test]
fn a_quarantine_at_the_end_of_a_replay_is_in_the_next_checkpoint() {
    let at: Vec<usize> = (0..5).map(|n| 1 + n * 4).collect();
    // Nothing is behind the row that was one too many.
    let lines = &provoking(400, &at)[..18];
    let all = messages(lines, 3, 0);
    let live = |partition: &mut Partition| {
        let mut outputs = Outputs::default();
        add(partition, "bad", "misbehave", json!({ "how": "panic" }));
        partition.feed(all.iter(), &mut outputs);
        put_out(&outputs, Topic::Changes, |_| true)
    };
    let changes: Vec<wigwag::change::Change> = live(&mut Partition::new(0, 0))
        .iter()
        .map(|c| serde_json::from_str(c).unwrap())
        .collect();
    assert_eq!(changes.len(), 6, "five rows and the quarantine");

    let (mut replayed, mut outputs) = (Partition::new(0, 0), Outputs::default());
    add(&mut replayed, "bad", "misbehave", json!({ "how": "panic" }));
    for change in &changes {
        replayed.obey(change);
        replayed.note(change);
    }
    replayed.replay(all.iter(), &mut outputs);
    replayed.take_picture(&mut Album::default(), &mut outputs);
    let (picture, _) = gallery(&outputs.appends).newest(6);
    let picture = picture.unwrap();
    let resumed = Partition::resume(0, picture, &find, &mut outputs).unwrap();
    let status: Vec<_> = resumed.status().collect();
    let reason = status[0].quarantined.as_deref().unwrap_or_default();
    assert!(reason.contains("failed at 5 of 10000 rows"), "{status:?}");
}
