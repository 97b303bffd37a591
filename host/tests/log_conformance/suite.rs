//! The claims, each a function over a [`Fixture`]; [`conformance!`] makes tests of them. Nothing here knows how
//! offsets are numbered (there may be gaps), when a compacted topic forgets, or how long a rebalance takes.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};
use wigwag::log::{
    Append, Bounds, Group, Lease, Log, LogError, MAX_VALUE_BYTES, Member, Messages, Offset, Reader,
    Start, Step, Topic,
};

/// Partitions of `ticks` in every log of the suite.
pub(crate) const PARTITIONS: u32 = 4;
/// How long anything may take before a test fails; a broker's rebalance is well below it.
const DEADLINE: Duration = Duration::from_secs(60);
/// A poll's timeout where something is expected.
const SHORT: Duration = Duration::from_millis(100);
/// What is asked of a poll where the amount does not matter.
const PLENTY: usize = 4 << 20;
/// Tells a process of this test binary on which log to work until it is killed.
const CHILD_LOG: &str = "WIGWAG_TEST_LOG";
/// Tells it how many were killed before it.
const CHILD_RUN: &str = "WIGWAG_TEST_RUN";

/// Storage for one log, empty when created. It outlives the log, so that a log can be opened again on what an
/// earlier one left.
pub(crate) trait Fixture {
    /// The implementation.
    type Log: Log;

    /// New storage, removed with the fixture.
    fn create() -> Self;
    /// The storage that a fixture of another process has under this address, and keeps.
    fn attach(address: &str) -> Self;
    /// What [`Fixture::attach`] needs.
    fn address(&self) -> String;
    /// Opens the log with [`PARTITIONS`] partitions, creating its topics where needed.
    fn open(&self) -> Self::Log;
    /// Removes the messages below `offset`, as retention does.
    fn trim(&self, log: &Self::Log, topic: Topic, partition: u32, offset: Offset);
}

/// Makes a module of tests, one for each claim, for one implementation.
macro_rules! conformance {
    ($module:ident, $fixture:ty) => {
        $crate::suite::conformance!(@claims $module, $fixture,
            an_appended_message_comes_back_with_all_its_parts,
            small_messages_keep_their_borders,
            an_append_of_nothing_is_answered,
            messages_of_one_caller_stay_in_order_among_many_callers,
            a_reader_may_start_at_any_message,
            a_poll_stops_near_its_limit_and_the_next_goes_on,
            a_reader_follows_several_topics_and_partitions,
            a_reader_that_has_seen_all_stands_at_the_end,
            a_poll_with_nothing_to_read_ends_with_its_timeout,
            a_waiting_poll_wakes_when_something_is_appended,
            the_largest_message_fits_and_a_larger_one_is_refused_with_all_beside_it,
            a_partition_that_does_not_exist_is_refused,
            a_fresh_log_answers_and_is_empty,
            what_was_answered_is_there_after_reopening,
            offset_at_finds_the_first_message_of_an_instant,
            what_was_trimmed_is_gone_and_the_rest_stays,
            a_compacted_topic_folds_to_the_newest_of_each_key,
            a_follower_of_a_compacted_topic_sees_a_key_removed,
            a_member_alone_gets_every_partition_once,
            a_lease_reads_its_partition_from_where_it_was_told,
            a_step_commits_its_outputs_and_its_position_together,
            a_step_without_outputs_commits_its_position,
            a_step_dropped_in_hand_is_there_whole_or_not_at_all,
            a_step_with_a_message_too_large_leaves_nothing,
            positions_of_partitions_and_groups_are_independent,
            steps_go_on_after_reopening,
            a_successor_shuts_its_predecessor_out,
            steps_and_plain_appends_do_not_disturb_each_other,
            a_reader_beside_the_writer_sees_every_step_once_and_in_order,
        );
    };
    (@claims $module:ident, $fixture:ty, $($claim:ident,)*) => {
        mod $module {
            $(
                #[test]
                fn $claim() {
                    $crate::suite::$claim::<$fixture>();
                }
            )*

            #[test]
            fn what_was_acknowledged_survives_kill_9_exactly_once() {
                let child = concat!(stringify!($module), "::works_until_it_is_killed");
                $crate::suite::what_was_acknowledged_survives_kill_9_exactly_once::<$fixture>(child);
            }

            /// The process that the test above kills; without its parent it has nothing to do.
            #[test]
            fn works_until_it_is_killed() {
                $crate::suite::works_until_it_is_killed::<$fixture>();
            }
        }
    };
}
pub(crate) use conformance;

/// A message with its parts owned.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Message {
    topic: Topic,
    partition: u32,
    offset: Offset,
    timestamp_ms: i64,
    key: Vec<u8>,
    value: Vec<u8>,
    headers: Vec<(String, Vec<u8>)>,
}

/// A member with all the leases that it was given; drops the leases first.
struct Owner {
    leases: BTreeMap<u32, Box<dyn Lease>>,
    member: Box<dyn Member>,
}

impl Owner {
    /// Joins and waits until the leases of all partitions have come.
    fn of_all(log: &impl Log, group: Group) -> Self {
        let mut owner = Self {
            leases: BTreeMap::new(),
            member: log.join(group).expect("joins"),
        };
        let deadline = Instant::now() + DEADLINE;
        while owner.leases.len() < PARTITIONS as usize {
            assert!(
                Instant::now() < deadline,
                "only the leases of {:?} came",
                owner.leases.keys()
            );
            if let Some(lease) = owner.member.poll(SHORT).expect("the member polls") {
                let partition = lease.partition();
                assert!(
                    owner.leases.insert(partition, lease).is_none(),
                    "partition {partition} came twice"
                );
            }
        }
        owner
    }

    fn take(&mut self, partition: u32) -> Box<dyn Lease> {
        self.leases
            .remove(&partition)
            .expect("the partition's lease")
    }
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        tokio::time::timeout(DEADLINE, future)
            .await
            .expect("answered before the deadline")
    })
}

fn message(topic: Topic, partition: u32, key: &[u8], value: &[u8]) -> Append {
    Append {
        topic,
        partition,
        key: key.to_vec(),
        value: value.to_vec(),
        headers: Vec::new(),
    }
}

fn append(log: &impl Log, appends: Vec<Append>) {
    wait(log.append(appends)).expect("appended");
}

/// Appends the numbers from 0 on, and returns what can then be read.
fn fill(log: &impl Log, topic: Topic, partition: u32, count: u32) -> Vec<Message> {
    append(
        log,
        (0..count)
            .map(|n| message(topic, partition, b"", n.to_string().as_bytes()))
            .collect(),
    );
    let messages = read_all(log, topic, partition);
    assert_eq!(messages.len(), count as usize);
    messages
}

fn bounds(log: &impl Log, topic: Topic, partition: u32) -> Bounds {
    log.bounds(topic, partition).expect("bounds")
}

fn reader_at(log: &impl Log, topic: Topic, partition: u32, offset: Offset) -> Box<dyn Reader> {
    log.read(&[Start {
        topic,
        partition,
        offset,
    }])
    .expect("a reader")
}

fn owned(messages: &Messages) -> impl Iterator<Item = Message> {
    messages.iter().map(|m| Message {
        topic: m.topic,
        partition: m.partition,
        offset: m.offset,
        timestamp_ms: m.timestamp_ms,
        key: m.key.to_vec(),
        value: m.value.to_vec(),
        headers: m
            .headers
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_vec()))
            .collect(),
    })
}

/// Reads on until the reader stands at or above `end`.
fn read_to(reader: &mut dyn Reader, topic: Topic, partition: u32, end: Offset) -> Vec<Message> {
    let mut messages = Messages::new();
    let deadline = Instant::now() + DEADLINE;
    while reader.position(topic, partition) < end {
        assert!(
            Instant::now() < deadline,
            "{topic}/{partition}: at {}, not yet {end}",
            reader.position(topic, partition)
        );
        reader.poll(&mut messages, PLENTY, SHORT).expect("polls");
    }
    owned(&messages).collect()
}

/// All that a partition holds now.
fn read_all(log: &impl Log, topic: Topic, partition: u32) -> Vec<Message> {
    let Bounds { start, end } = bounds(log, topic, partition);
    read_to(
        &mut *reader_at(log, topic, partition, start),
        topic,
        partition,
        end,
    )
}

/// Reads on until that many messages have come.
fn read_count(reader: &mut dyn Reader, count: usize) -> Vec<Message> {
    let mut messages = Messages::new();
    let deadline = Instant::now() + DEADLINE;
    while messages.len() < count {
        assert!(
            Instant::now() < deadline,
            "{} of {count} messages came",
            messages.len()
        );
        reader.poll(&mut messages, PLENTY, SHORT).expect("polls");
    }
    owned(&messages).collect()
}

fn texts(messages: &[Message]) -> Vec<&str> {
    messages
        .iter()
        .map(|m| std::str::from_utf8(&m.value).expect("text"))
        .collect()
}

/// Reads values as text.
fn read_texts(log: &impl Log, topic: Topic, partition: u32) -> Vec<String> {
    texts(&read_all(log, topic, partition))
        .into_iter()
        .map(str::to_owned)
        .collect()
}

/// Waits for the step in hand.
fn settle(lease: &mut dyn Lease) -> Result<(), LogError> {
    let deadline = Instant::now() + DEADLINE;
    while !lease.settle(SHORT)? {
        assert!(
            Instant::now() < deadline,
            "partition {}: the step never settled",
            lease.partition()
        );
    }
    Ok(())
}

fn commit(lease: &mut dyn Lease, position: Offset, appends: Vec<Append>) {
    lease.submit(Step { position, appends }).expect("submitted");
    settle(lease).expect("settled");
}

fn fence(lease: &mut dyn Lease) -> Option<Offset> {
    lease.fence().expect("fenced")
}

/// Joins alone, fences a partition and leaves.
fn committed(log: &impl Log, group: Group, partition: u32) -> Option<Offset> {
    fence(&mut *Owner::of_all(log, group).take(partition))
}

pub(crate) fn an_appended_message_comes_back_with_all_its_parts<F: Fixture>() {
    let fixture = F::create();
    let log = fixture.open();
    let everything: Vec<u8> = (0..=255).chain([0, 10, 13, 10, 0]).collect();
    let sent = Append {
        topic: Topic::Ticks,
        partition: 3,
        key: b"A\nB\0".to_vec(),
        value: everything.clone(),
        headers: vec![
            ("Producer-Id", b"p-1".to_vec()),
            ("Sequence", b"".to_vec()),
            ("bytes", everything.clone()),
            ("bytes", b"again".to_vec()),
        ],
    };
    append(&log, vec![sent.clone()]);
    let read = read_all(&log, Topic::Ticks, 3);
    assert_eq!(read.len(), 1);
    assert_eq!((read[0].topic, read[0].partition), (Topic::Ticks, 3));
    assert_eq!((&read[0].key, &read[0].value), (&sent.key, &sent.value));
    let headers: Vec<_> = sent
        .headers
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    assert_eq!(read[0].headers, headers);
    assert!(
        read[0].timestamp_ms > 1_700_000_000_000,
        "{} ms is no time of today",
        read[0].timestamp_ms
    );
}

pub(crate) fn small_messages_keep_their_borders<F: Fixture>() {
    let fixture = F::create();
    let log = fixture.open();
    let parts: [&[u8]; 8] = [b"", b"a", b"\n", b"a\nb", b"\n\n", b"\0", b"", b"last\n"];
    let mut sent = Vec::new();
    for key in parts {
        for value in parts {
            sent.push(message(Topic::Signals, 1, key, value));
        }
        let headers = vec![("h", key.to_vec())];
        sent.push(Append {
            headers,
            ..message(Topic::Signals, 1, b"between", key)
        });
    }
    // Together, and each by itself.
    append(&log, sent.clone());
    for one in &sent {
        append(&log, vec![one.clone()]);
    }
    let read = read_all(&log, Topic::Signals, 1);
    assert_eq!(read.len(), 2 * sent.len());
    for (n, (read, sent)) in read.iter().zip(sent.iter().chain(&sent)).enumerate() {
        assert_eq!(
            (&read.key, &read.value),
            (&sent.key, &sent.value),
            "message {n}"
        );
        let headers: Vec<_> = sent
            .headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect();
        assert_eq!(read.headers, headers, "message {n}");
    }
    assert!(
        read.windows(2).all(|pair| pair[0].offset < pair[1].offset),
        "offsets rise"
    );
}

pub(crate) fn an_append_of_nothing_is_answered<F: Fixture>() {
    let fixture = F::create();
    append(&fixture.open(), Vec::new());
}

pub(crate) fn messages_of_one_caller_stay_in_order_among_many_callers<F: Fixture>() {
    const CALLERS: u32 = 8;
    const APPENDS: u32 = 60;
    let fixture = F::create();
    let log = fixture.open();
    thread::scope(|scope| {
        for caller in 0..CALLERS {
            let log = &log;
            scope.spawn(move || {
                let answers: Vec<_> = (0..APPENDS)
                    .map(|n| {
                        let text = |half| format!("{caller} {}", 2 * n + half);
                        let partition = n % PARTITIONS;
                        log.append(vec![
                            message(Topic::Raw, partition, b"k", text(0).as_bytes()),
                            message(Topic::Raw, partition, b"", text(1).as_bytes()),
                        ])
                    })
                    .collect();
                for answer in answers {
                    wait(answer).expect("appended");
                }
            });
        }
    });
    for partition in 0..PARTITIONS {
        let mut of_caller: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        for text in read_texts(&log, Topic::Raw, partition) {
            let (caller, n) = text.split_once(' ').expect("two words");
            of_caller
                .entry(caller.to_owned())
                .or_default()
                .push(n.parse().expect("a number"));
        }
        let expected: Vec<u32> = (0..APPENDS)
            .filter(|n| n % PARTITIONS == partition)
            .flat_map(|n| [2 * n, 2 * n + 1])
            .collect();
        assert_eq!(of_caller.len(), CALLERS as usize);
        for (caller, seen) in of_caller {
            assert_eq!(seen, expected, "caller {caller} in raw/{partition}");
        }
    }
}

pub(crate) fn a_reader_may_start_at_any_message<F: Fixture>() {
    let fixture = F::create();
    let log = fixture.open();
    let all = fill(&log, Topic::Values, 2, 40);
    let end = bounds(&log, Topic::Values, 2).end;
    for (n, first) in all.iter().enumerate() {
        let mut reader = reader_at(&log, Topic::Values, 2, first.offset);
        assert_eq!(reader.position(Topic::Values, 2), first.offset);
        assert_eq!(read_to(&mut *reader, Topic::Values, 2, end), all[n..]);
    }
}

pub(crate) fn a_poll_stops_near_its_limit_and_the_next_goes_on<F: Fixture>() {
    const LIMIT: usize = 1000;
    let fixture = F::create();
    let log = fixture.open();
    let value = [b'x'; 99];
    append(
        &log,
        (0..100)
            .map(|_| message(Topic::Bars, 0, b"k", &value))
            .collect(),
    );
    append(&log, vec![message(Topic::Bars, 0, b"k", &[b'y'; 20_000])]);
    let all = read_all(&log, Topic::Bars, 0);
    assert_eq!(all.len(), 101);
    let mut reader = reader_at(&log, Topic::Bars, 0, 0);
    let mut messages = Messages::new();
    let mut seen = Vec::new();
    let deadline = Instant::now() + DEADLINE;
    while seen.len() < all.len() {
        assert!(
            Instant::now() < deadline,
            "{} of 101 messages came",
            seen.len()
        );
        messages.clear();
        reader.poll(&mut messages, LIMIT, SHORT).expect("polls");
        let last = messages
            .iter()
            .last()
            .map_or(0, |m| m.key.len() + m.value.len());
        assert!(
            messages.bytes() < LIMIT + last,
            "{} bytes for a limit of {LIMIT}",
            messages.bytes()
        );
        seen.extend(owned(&messages));
    }
    assert_eq!(seen, all);
}

pub(crate) fn a_reader_follows_several_topics_and_partitions<F: Fixture>() {
    let fixture = F::create();
    let log = fixture.open();
    let places = [
        (Topic::Signals, 0),
        (Topic::Signals, 3),
        (Topic::Values, 1),
        (Topic::Control, 0),
    ];
    let starts: Vec<_> = places
        .iter()
        .map(|&(topic, partition)| Start {
            topic,
            partition,
            offset: 0,
        })
        .collect();
    let mut reader = log.read(&starts).expect("a reader");
    let mut seen: BTreeMap<(Topic, u32), Vec<String>> = BTreeMap::new();
    for round in 0..5 {
        let text = |n: usize| format!("{round} {n}");
        let sent = places.iter().flat_map(|&(topic, partition)| {
            (0..10).map(move |n| {
                message(
                    topic,
                    partition,
                    format!("{round} {n}").as_bytes(),
                    text(n).as_bytes(),
                )
            })
        });
        // And one that nobody asked for.
        append(
            &log,
            sent.chain([message(Topic::Signals, 1, b"", b"unasked")])
                .collect(),
        );
        for read in read_count(&mut *reader, places.len() * 10) {
            let text = String::from_utf8(read.value).expect("text");
            seen.entry((read.topic, read.partition))
                .or_default()
                .push(text);
        }
    }
    let expected: Vec<String> = (0..5)
        .flat_map(|round| (0..10).map(move |n| format!("{round} {n}")))
        .collect();
    assert_eq!(seen.len(), places.len());
    for (place, seen) in seen {
        assert_eq!(seen, expected, "{place:?}");
    }
}

pub(crate) fn a_reader_that_has_seen_all_stands_at_the_end<F: Fixture>() {
    let fixture = F::create();
    let log = fixture.open();
    let all = fill(&log, Topic::Changes, 0, 7);
    let inputs = fill(&log, Topic::Ticks, 0, 1);
    let mut owner = Owner::of_all(&log, Group::Engine);
    let mut lease = owner.take(0);
    fence(&mut *lease);
    lease.seek(inputs[0].offset).expect("seeks");
    // What ends a step may itself take an offset.
    commit(
        &mut *lease,
        inputs[0].offset + 1,
        vec![message(Topic::Changes, 0, b"", b"last")],
    );
    let end = bounds(&log, Topic::Changes, 0).end;
    assert!(end > all[6].offset);
    let mut reader = reader_at(&log, Topic::Changes, 0, 0);
    let read = read_to(&mut *reader, Topic::Changes, 0, end);
    assert_eq!(texts(&read), ["0", "1", "2", "3", "4", "5", "6", "last"]);
    assert_eq!(reader.position(Topic::Changes, 0), end);
}

pub(crate) fn a_poll_with_nothing_to_read_ends_with_its_timeout<F: Fixture>() {
    const TIMEOUT: Duration = Duration::from_millis(300);
    let fixture = F::create();
    let log = fixture.open();
    fill(&log, Topic::Audit, 0, 3);
    let end = bounds(&log, Topic::Audit, 0).end;
    let mut reader = reader_at(&log, Topic::Audit, 0, end);
    let mut messages = Messages::new();
    messages.push(Topic::Audit, 0, 0, 0, b"", b"kept", []);
    let started = Instant::now();
    reader.poll(&mut messages, PLENTY, TIMEOUT).expect("polls");
    assert!(
        started.elapsed() >= TIMEOUT - Duration::from_millis(10),
        "ended after {:?}",
        started.elapsed()
    );
    assert_eq!(
        messages.len(),
        1,
        "what was in the batch stays, and nothing is added"
    );
    assert_eq!(reader.position(Topic::Audit, 0), end);
}

pub(crate) fn a_waiting_poll_wakes_when_something_is_appended<F: Fixture>() {
    let fixture = F::create();
    let log = fixture.open();
    let mut reader = reader_at(&log, Topic::Signals, 2, 0);
    let (ready, is_ready) = mpsc::channel();
    thread::scope(|scope| {
        let polled = scope.spawn(move || {
            let mut messages = Messages::new();
            ready.send(()).expect("the test waits");
            let started = Instant::now();
            reader.poll(&mut messages, PLENTY, DEADLINE).expect("polls");
            (messages.len(), started.elapsed())
        });
        is_ready.recv().expect("the reader starts");
        append(&log, vec![message(Topic::Signals, 2, b"", b"wake")]);
        let (count, after) = polled.join().expect("the reader ends");
        assert_eq!(count, 1);
        assert!(after < DEADLINE / 2, "woke after {after:?}");
    });
}

pub(crate) fn the_largest_message_fits_and_a_larger_one_is_refused_with_all_beside_it<
    F: Fixture,
>() {
    let fixture = F::create();
    let log = fixture.open();
    let value: Vec<u8> = (0..=MAX_VALUE_BYTES).map(|n| (n % 251) as u8).collect();
    let too_large = message(Topic::Checkpoints, 1, b"large", &value);
    let small = message(Topic::Checkpoints, 1, b"small", b"x");
    let refused = wait(log.append(vec![small.clone(), too_large, small]));
    match refused {
        Err(LogError::TooLarge {
            topic: Topic::Checkpoints,
            partition: 1,
            bytes,
            limit,
        }) => {
            assert_eq!((bytes, limit), (MAX_VALUE_BYTES + 1, MAX_VALUE_BYTES));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(read_all(&log, Topic::Checkpoints, 1), []);
    append(
        &log,
        vec![message(Topic::Checkpoints, 1, b"large", &value[1..])],
    );
    let read = read_all(&log, Topic::Checkpoints, 1);
    assert_eq!(read.len(), 1);
    assert!(
        read[0].value == value[1..],
        "the largest value comes back as it was"
    );
}

pub(crate) fn a_partition_that_does_not_exist_is_refused<F: Fixture>() {
    let fixture = F::create();
    let log = fixture.open();
    for (topic, partition) in [(Topic::Ticks, PARTITIONS), (Topic::Control, 1)] {
        let beside = message(Topic::Ticks, 0, b"", b"beside");
        let refused = wait(log.append(vec![beside, message(topic, partition, b"k", b"v")]));
        let text = refused.expect_err("no such partition").to_string();
        assert!(text.contains(&format!("{topic}/{partition}")), "{text}");
        assert!(log.bounds(topic, partition).is_err());
        assert!(log.offset_at(topic, partition, 0).is_err());
        assert!(
            log.read(&[Start {
                topic,
                partition,
                offset: 0
            }])
            .is_err()
        );
    }
    assert_eq!(read_all(&log, Topic::Ticks, 0), []);
}

pub(crate) fn a_fresh_log_answers_and_is_empty<F: Fixture>() {
    let fixture = F::create();
    let log = fixture.open();
    log.check().expect("it answers");
    assert_eq!(log.partitions(), PARTITIONS);
    for topic in Topic::ALL {
        for partition in 0..topic.partitions(PARTITIONS) {
            assert_eq!(
                bounds(&log, topic, partition),
                Bounds { start: 0, end: 0 },
                "{topic}/{partition}"
            );
        }
    }
}

pub(crate) fn what_was_answered_is_there_after_reopening<F: Fixture>() {
    let fixture = F::create();
    let log = fixture.open();
    let before = fill(&log, Topic::Ticks, 1, 25);
    let ends = bounds(&log, Topic::Ticks, 1);
    drop(log);
    let log = fixture.open();
    assert_eq!(bounds(&log, Topic::Ticks, 1), ends);
    assert_eq!(read_all(&log, Topic::Ticks, 1), before);
    append(&log, vec![message(Topic::Ticks, 1, b"", b"next")]);
    let after = read_all(&log, Topic::Ticks, 1);
    assert_eq!(
        (&after[..25], &after[25].value[..]),
        (&before[..], &b"next"[..])
    );
}

pub(crate) fn offset_at_finds_the_first_message_of_an_instant<F: Fixture>() {
    let fixture = F::create();
    let log = fixture.open();
    let (topic, partition) = (Topic::Signals, 0);
    assert_eq!(
        log.offset_at(topic, partition, 0)
            .expect("an empty partition has an end"),
        0
    );
    // Appended until three milliseconds have passed between the messages.
    let deadline = Instant::now() + DEADLINE;
    let all = loop {
        append(
            &log,
            (0..3)
                .map(|n| message(topic, partition, b"", &[b'0' + n]))
                .collect(),
        );
        let all = read_all(&log, topic, partition);
        if all
            .iter()
            .map(|m| m.timestamp_ms)
            .collect::<BTreeSet<_>>()
            .len()
            > 3
        {
            break all;
        }
        assert!(Instant::now() < deadline, "time stands still");
    };
    let (first, last) = (all[0].timestamp_ms, all[all.len() - 1].timestamp_ms);
    for instant in first - 1..=last {
        let expected = all
            .iter()
            .find(|m| m.timestamp_ms >= instant)
            .expect("the last is not below it")
            .offset;
        assert_eq!(
            log.offset_at(topic, partition, instant).expect("answers"),
            expected,
            "at {instant} ms"
        );
    }
    let end = bounds(&log, topic, partition).end;
    assert_eq!(
        log.offset_at(topic, partition, last + 1).expect("answers"),
        end
    );
}

pub(crate) fn what_was_trimmed_is_gone_and_the_rest_stays<F: Fixture>() {
    let fixture = F::create();
    let log = fixture.open();
    let all = fill(&log, Topic::Ticks, 0, 30);
    let (cut, end) = (all[17].offset, bounds(&log, Topic::Ticks, 0).end);
    let mut early = reader_at(&log, Topic::Ticks, 0, all[16].offset);
    fixture.trim(&log, Topic::Ticks, 0, cut);
    assert_eq!(bounds(&log, Topic::Ticks, 0), Bounds { start: cut, end });
    let is_gone = |result: Result<(), LogError>| match result {
        Err(LogError::Gone {
            topic: Topic::Ticks,
            partition: 0,
            offset,
            start,
        }) => {
            assert_eq!((offset, start), (all[16].offset, cut));
            true
        }
        Ok(()) => false,
        Err(error) => panic!("{error}"),
    };
    let mut messages = Messages::new();
    let deadline = Instant::now() + DEADLINE;
    while !is_gone(early.poll(&mut messages, PLENTY, SHORT)) {
        assert!(
            messages.is_empty(),
            "a reader below the start was given {:?}",
            owned(&messages).collect::<Vec<_>>()
        );
        assert!(
            Instant::now() < deadline,
            "a reader below the start never heard of it"
        );
    }
    let mut owner = Owner::of_all(&log, Group::Engine);
    let mut lease = owner.take(0);
    fence(&mut *lease);
    assert!(is_gone(lease.seek(all[16].offset)));
    drop((lease, owner));
    assert_eq!(read_all(&log, Topic::Ticks, 0), all[17..]);
    drop(log);
    let log = fixture.open();
    assert_eq!(bounds(&log, Topic::Ticks, 0), Bounds { start: cut, end });
    assert_eq!(read_all(&log, Topic::Ticks, 0), all[17..]);
    // Where everything is gone the offsets still go on.
    fixture.trim(&log, Topic::Ticks, 0, end);
    assert_eq!(bounds(&log, Topic::Ticks, 0), Bounds { start: end, end });
    drop(log);
    let log = fixture.open();
    assert_eq!(bounds(&log, Topic::Ticks, 0), Bounds { start: end, end });
    append(&log, vec![message(Topic::Ticks, 0, b"", b"next")]);
    let rest = read_all(&log, Topic::Ticks, 0);
    assert_eq!(texts(&rest), ["next"]);
    assert!(rest[0].offset >= end);
}

fn fold(messages: &[Message]) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut newest = BTreeMap::new();
    for message in messages {
        if message.value.is_empty() {
            newest.remove(&message.key);
        } else {
            newest.insert(message.key.clone(), message.value.clone());
        }
    }
    newest
}

pub(crate) fn a_compacted_topic_folds_to_the_newest_of_each_key<F: Fixture>() {
    let fixture = F::create();
    let log = fixture.open();
    let set = |key: &str, value: &str| message(Topic::Control, 0, key.as_bytes(), value.as_bytes());
    append(
        &log,
        vec![set("a", "1"), set("b", "1"), set("a", "2"), set("c", "1")],
    );
    append(&log, vec![set("b", ""), set("a\nb", "x\0y"), set("c", "2")]);
    append(
        &log,
        vec![set("c", ""), set("c", "3"), set("d", "1"), set("d", "")],
    );
    // The same key in another partition is another key.
    append(
        &log,
        vec![
            message(Topic::Checkpoints, 0, b"s", b"0"),
            message(Topic::Checkpoints, 1, b"s", b"1"),
        ],
    );
    let expected: BTreeMap<Vec<u8>, Vec<u8>> = [("a", "2"), ("a\nb", "x\0y"), ("c", "3")]
        .into_iter()
        .map(|(key, value)| (key.as_bytes().to_vec(), value.as_bytes().to_vec()))
        .collect();
    assert_eq!(fold(&read_all(&log, Topic::Control, 0)), expected);
    assert_eq!(read_texts(&log, Topic::Checkpoints, 0), ["0"]);
    assert_eq!(read_texts(&log, Topic::Checkpoints, 1), ["1"]);
    drop(log);
    assert_eq!(
        fold(&read_all(&fixture.open(), Topic::Control, 0)),
        expected
    );
}

pub(crate) fn a_follower_of_a_compacted_topic_sees_a_key_removed<F: Fixture>() {
    let fixture = F::create();
    let log = fixture.open();
    let mut follower = reader_at(&log, Topic::Control, 0, 0);
    append(&log, vec![message(Topic::Control, 0, b"rsi", b"{}")]);
    assert_eq!(texts(&read_count(&mut *follower, 1)), ["{}"]);
    append(&log, vec![message(Topic::Control, 0, b"rsi", b"")]);
    let seen = read_count(&mut *follower, 1);
    assert_eq!(
        (&seen[0].key[..], &seen[0].value[..]),
        (&b"rsi"[..], &b""[..])
    );
}

pub(crate) fn a_member_alone_gets_every_partition_once<F: Fixture>() {
    let fixture = F::create();
    let log = fixture.open();
    let mut owner = Owner::of_all(&log, Group::Engine);
    assert_eq!(
        owner.leases.keys().copied().collect::<Vec<_>>(),
        (0..PARTITIONS).collect::<Vec<_>>()
    );
    let more = owner
        .member
        .poll(Duration::from_millis(300))
        .expect("polls");
    assert!(more.is_none(), "a partition came twice");
    // Another that comes after this one has left gets them all.
    drop(owner);
    assert_eq!(
        Owner::of_all(&log, Group::Engine).leases.len(),
        PARTITIONS as usize
    );
}

pub(crate) fn a_lease_reads_its_partition_from_where_it_was_told<F: Fixture>() {
    let fixture = F::create();
    let log = fixture.open();
    let all = fill(&log, Topic::Ticks, 2, 20);
    fill(&log, Topic::Ticks, 1, 5);
    let mut owner = Owner::of_all(&log, Group::Engine);
    let mut lease = owner.take(2);
    fence(&mut *lease);
    lease.seek(all[6].offset).expect("seeks");
    let mut messages = Messages::new();
    let deadline = Instant::now() + DEADLINE;
    while messages.len() < 14 {
        assert!(
            Instant::now() < deadline,
            "{} of 14 messages came",
            messages.len()
        );
        lease.poll(&mut messages, 4, SHORT).expect("polls");
    }
    assert_eq!(owned(&messages).collect::<Vec<_>>(), all[6..]);
    // And what comes later.
    messages.clear();
    append(&log, vec![message(Topic::Ticks, 2, b"", b"later")]);
    while messages.is_empty() {
        assert!(Instant::now() < deadline, "what came later was not seen");
        lease.poll(&mut messages, PLENTY, SHORT).expect("polls");
    }
    assert_eq!(texts(&owned(&messages).collect::<Vec<_>>()), ["later"]);
}

/// One message for each topic that the engine writes.
fn outputs(partition: u32, text: &str) -> Vec<Append> {
    [
        Topic::Signals,
        Topic::Values,
        Topic::Bars,
        Topic::Changes,
        Topic::Checkpoints,
    ]
    .into_iter()
    .map(|topic| Append {
        headers: vec![("step", text.as_bytes().to_vec())],
        ..message(topic, partition, text.as_bytes(), text.as_bytes())
    })
    .collect()
}

/// The texts of the steps that a partition's outputs show; fails where the topics differ.
fn steps_seen(log: &impl Log, partition: u32) -> Vec<String> {
    let signals = read_texts(log, Topic::Signals, partition);
    for topic in [
        Topic::Values,
        Topic::Bars,
        Topic::Changes,
        Topic::Checkpoints,
    ] {
        assert_eq!(
            read_texts(log, topic, partition),
            signals,
            "{topic}/{partition} against signals"
        );
    }
    signals
}

pub(crate) fn a_step_commits_its_outputs_and_its_position_together<F: Fixture>() {
    let fixture = F::create();
    let log = fixture.open();
    let inputs = fill(&log, Topic::Ticks, 1, 3);
    let mut owner = Owner::of_all(&log, Group::Engine);
    let mut lease = owner.take(1);
    assert_eq!(fence(&mut *lease), None, "nothing was ever committed");
    lease.seek(inputs[0].offset).expect("seeks");
    assert!(
        lease.settle(Duration::ZERO).expect("settles"),
        "nothing is in hand"
    );
    for input in &inputs {
        let text = format!("after {}", input.offset);
        commit(&mut *lease, input.offset + 1, outputs(1, &text));
        assert!(
            steps_seen(&log, 1).contains(&text),
            "a settled step can be read"
        );
    }
    drop((lease, owner));
    assert_eq!(
        committed(&log, Group::Engine, 1),
        Some(inputs[2].offset + 1)
    );
    let expected: Vec<_> = inputs
        .iter()
        .map(|input| format!("after {}", input.offset))
        .collect();
    assert_eq!(steps_seen(&log, 1), expected);
}

pub(crate) fn a_step_without_outputs_commits_its_position<F: Fixture>() {
    let fixture = F::create();
    let log = fixture.open();
    let inputs = fill(&log, Topic::Raw, 3, 2);
    let mut owner = Owner::of_all(&log, Group::RawIntake);
    let mut lease = owner.take(3);
    fence(&mut *lease);
    lease.seek(inputs[0].offset).expect("seeks");
    commit(&mut *lease, inputs[1].offset + 1, Vec::new());
    drop((lease, owner));
    assert_eq!(
        committed(&log, Group::RawIntake, 3),
        Some(inputs[1].offset + 1)
    );
}

pub(crate) fn a_step_dropped_in_hand_is_there_whole_or_not_at_all<F: Fixture>() {
    let fixture = F::create();
    let log = fixture.open();
    let inputs = fill(&log, Topic::Ticks, 0, 4);
    let mut expected: Vec<String> = Vec::new();
    for input in &inputs {
        let mut owner = Owner::of_all(&log, Group::Engine);
        let mut lease = owner.take(0);
        let before = fence(&mut *lease);
        lease.seek(input.offset).expect("seeks");
        let text = format!("after {}", input.offset);
        lease
            .submit(Step {
                position: input.offset + 1,
                appends: outputs(0, &text),
            })
            .expect("submitted");
        drop((lease, owner));
        let after = committed(&log, Group::Engine, 0);
        if after == Some(input.offset + 1) {
            expected.push(text);
        } else {
            assert_eq!(
                after, before,
                "the position is the one before or the one after"
            );
        }
        assert_eq!(
            steps_seen(&log, 0),
            expected,
            "the outputs agree with position {after:?}"
        );
    }
}

pub(crate) fn a_step_with_a_message_too_large_leaves_nothing<F: Fixture>() {
    let fixture = F::create();
    let log = fixture.open();
    let inputs = fill(&log, Topic::Ticks, 0, 1);
    let mut owner = Owner::of_all(&log, Group::Engine);
    let mut lease = owner.take(0);
    fence(&mut *lease);
    lease.seek(inputs[0].offset).expect("seeks");
    let mut appends = outputs(0, "beside");
    appends.push(message(
        Topic::Checkpoints,
        0,
        b"large",
        &vec![b'x'; MAX_VALUE_BYTES + 1],
    ));
    let step = Step {
        position: inputs[0].offset + 1,
        appends,
    };
    let refused = lease.submit(step).and_then(|()| settle(&mut *lease));
    assert!(
        matches!(
            refused,
            Err(LogError::TooLarge {
                topic: Topic::Checkpoints,
                ..
            })
        ),
        "{refused:?}"
    );
    drop((lease, owner));
    assert_eq!(committed(&log, Group::Engine, 0), None);
    assert_eq!(steps_seen(&log, 0), [""; 0]);
}

pub(crate) fn positions_of_partitions_and_groups_are_independent<F: Fixture>() {
    let fixture = F::create();
    let log = fixture.open();
    let mut expected = BTreeMap::new();
    for (group, base) in [(Group::Engine, 2), (Group::RawIntake, 6)] {
        let mut owner = Owner::of_all(&log, group);
        for (&partition, lease) in &mut owner.leases {
            let inputs = fill(&log, group.input(), partition, base + partition);
            assert_eq!(fence(&mut **lease), None, "{} {partition}", group.name());
            lease.seek(inputs[0].offset).expect("seeks");
            let position = inputs[inputs.len() - 1].offset + 1;
            commit(&mut **lease, position, Vec::new());
            expected.insert((group.name(), partition), position);
        }
    }
    for group in [Group::Engine, Group::RawIntake] {
        let mut owner = Owner::of_all(&log, group);
        for (&partition, lease) in &mut owner.leases {
            assert_eq!(
                fence(&mut **lease),
                expected.get(&(group.name(), partition)).copied()
            );
        }
    }
}

pub(crate) fn steps_go_on_after_reopening<F: Fixture>() {
    let fixture = F::create();
    let mut position = None;
    let mut expected = Vec::new();
    for round in 0..3 {
        let log = fixture.open();
        append(
            &log,
            (0..5)
                .map(|n| message(Topic::Ticks, 3, b"", format!("{round} {n}").as_bytes()))
                .collect(),
        );
        let mut owner = Owner::of_all(&log, Group::Engine);
        let mut lease = owner.take(3);
        assert_eq!(fence(&mut *lease), position);
        let (from, until) = (position.unwrap_or(0), after_the_last(&log, 3));
        lease.seek(from).expect("seeks");
        step_through(&mut *lease, from, until, 2, |_| ());
        expected.extend((0..5).map(|n| format!("{round} {n}")));
        assert_eq!(read_texts(&log, Topic::Signals, 3), expected);
        position = Some(until);
    }
}

/// Makes steps of at most `inputs_a_step` messages until `position` reaches `until`: each input becomes a signal
/// and a value, each step a change that names its position. Tells each position that was committed.
fn step_through(
    lease: &mut dyn Lease,
    mut position: Offset,
    until: Offset,
    inputs_a_step: usize,
    mut committed: impl FnMut(Offset),
) {
    let partition = lease.partition();
    let mut messages = Messages::new();
    let mut deadline = Instant::now() + DEADLINE;
    while position < until {
        assert!(
            Instant::now() < deadline,
            "ticks/{partition}: stands at {position}"
        );
        messages.clear();
        lease.poll(&mut messages, PLENTY, SHORT).expect("polls");
        for inputs in owned(&messages).collect::<Vec<_>>().chunks(inputs_a_step) {
            position = inputs[inputs.len() - 1].offset + 1;
            let mut appends = Vec::new();
            for input in inputs {
                appends.push(message(Topic::Signals, partition, b"S", &input.value));
                appends.push(message(Topic::Values, partition, b"", &input.value));
            }
            appends.push(message(
                Topic::Changes,
                partition,
                b"",
                position.to_string().as_bytes(),
            ));
            commit(lease, position, appends);
            committed(position);
            deadline = Instant::now() + DEADLINE;
        }
    }
}

/// The position of one who has consumed all that `ticks` holds.
fn after_the_last(log: &impl Log, partition: u32) -> Offset {
    read_all(log, Topic::Ticks, partition)
        .last()
        .expect("inputs")
        .offset
        + 1
}

/// Holds the outputs of [`step_through`] against its inputs, up to the committed position.
fn outputs_agree_with(log: &impl Log, partition: u32, position: Option<Offset>) {
    let inputs = read_all(log, Topic::Ticks, partition);
    let consumed: Vec<_> = inputs
        .into_iter()
        .filter(|input| Some(input.offset) < position)
        .collect();
    assert_eq!(
        read_texts(log, Topic::Signals, partition),
        texts(&consumed),
        "signals up to {position:?}"
    );
    assert_eq!(
        read_texts(log, Topic::Values, partition),
        texts(&consumed),
        "values up to {position:?}"
    );
    let newest = read_texts(log, Topic::Changes, partition)
        .last()
        .map(|text| text.parse().expect("an offset"));
    assert_eq!(
        newest, position,
        "the last step names the committed position"
    );
}

pub(crate) fn a_successor_shuts_its_predecessor_out<F: Fixture>() {
    let fixture = F::create();
    let log = fixture.open();
    let inputs = fill(&log, Topic::Ticks, 0, 3);
    let mut first = Owner::of_all(&log, Group::Engine);
    let mut predecessor = first.take(0);
    assert_eq!(fence(&mut *predecessor), None);
    predecessor.seek(inputs[0].offset).expect("seeks");
    commit(&mut *predecessor, inputs[0].offset + 1, outputs(0, "first"));
    // It leaves the group but does not know that its partition is no longer its own.
    drop(first);
    let mut second = Owner::of_all(&log, Group::Engine);
    let mut successor = second.take(0);
    assert_eq!(fence(&mut *successor), Some(inputs[0].offset + 1));
    let step = Step {
        position: inputs[1].offset + 1,
        appends: outputs(0, "of the predecessor"),
    };
    let refused = predecessor
        .submit(step)
        .and_then(|()| settle(&mut *predecessor));
    assert!(
        matches!(
            refused,
            Err(LogError::Lost {
                topic: Topic::Ticks,
                partition: 0,
                ..
            })
        ),
        "{refused:?}"
    );
    successor.seek(inputs[1].offset).expect("seeks");
    commit(&mut *successor, inputs[1].offset + 1, outputs(0, "second"));
    // The end of the predecessor does not disturb its successor.
    drop(predecessor);
    commit(&mut *successor, inputs[2].offset + 1, outputs(0, "third"));
    drop((successor, second));
    assert_eq!(
        committed(&log, Group::Engine, 0),
        Some(inputs[2].offset + 1)
    );
    assert_eq!(steps_seen(&log, 0), ["first", "second", "third"]);
}

pub(crate) fn steps_and_plain_appends_do_not_disturb_each_other<F: Fixture>() {
    let fixture = F::create();
    let log = fixture.open();
    fill(&log, Topic::Ticks, 0, 200);
    let until = after_the_last(&log, 0);
    let mut owner = Owner::of_all(&log, Group::Engine);
    let mut lease = owner.take(0);
    fence(&mut *lease);
    lease.seek(0).expect("seeks");
    thread::scope(|scope| {
        let appender = scope.spawn(|| {
            for n in 0..200 {
                let text = n.to_string();
                append(
                    &log,
                    vec![
                        message(Topic::Ticks, 1, b"", text.as_bytes()),
                        message(Topic::Changes, 1, b"", text.as_bytes()),
                    ],
                );
            }
        });
        step_through(&mut *lease, 0, until, 5, |_| ());
        appender.join().expect("the appender ends");
    });
    let numbers: Vec<_> = (0..200).map(|n| n.to_string()).collect();
    assert_eq!(read_texts(&log, Topic::Ticks, 1), numbers);
    assert_eq!(read_texts(&log, Topic::Changes, 1), numbers);
    outputs_agree_with(&log, 0, Some(until));
}

pub(crate) fn a_reader_beside_the_writer_sees_every_step_once_and_in_order<F: Fixture>() {
    let fixture = F::create();
    let log = fixture.open();
    let inputs = fill(&log, Topic::Ticks, 0, 300);
    let mut owner = Owner::of_all(&log, Group::Engine);
    let mut lease = owner.take(0);
    fence(&mut *lease);
    lease.seek(0).expect("seeks");
    let seen = thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let places = [Topic::Signals, Topic::Values].map(|topic| Start {
                topic,
                partition: 0,
                offset: 0,
            });
            read_count(&mut *log.read(&places).expect("a reader"), 2 * inputs.len())
        });
        step_through(&mut *lease, 0, after_the_last(&log, 0), 7, |_| ());
        reader.join().expect("the reader ends")
    });
    for topic in [Topic::Signals, Topic::Values] {
        let seen: Vec<_> = seen.iter().filter(|m| m.topic == topic).cloned().collect();
        assert_eq!(texts(&seen), texts(&inputs), "{topic}");
        assert_eq!(
            seen,
            read_all(&log, topic, 0),
            "{topic}: a later reader sees the same"
        );
    }
}

/// What a process said before it was killed.
#[derive(Default)]
struct Acknowledged {
    /// Messages that it appended.
    appended: u64,
    /// The newest position that it committed.
    position: Option<Offset>,
}

pub(crate) fn what_was_acknowledged_survives_kill_9_exactly_once<F: Fixture>(child: &str) {
    const RUNS: u64 = 6;
    let fixture = F::create();
    let mut runs: Vec<Acknowledged> = Vec::new();
    for run in 0..RUNS {
        runs.push(work_and_kill(child, &fixture.address(), run));
        let log = fixture.open();
        let present = numbers_of_runs(&log);
        for (run, acknowledged) in (0..).zip(&runs) {
            let numbers = present.get(&run).map_or(&[][..], Vec::as_slice);
            assert!(
                numbers.iter().copied().eq(0..numbers.len() as u64),
                "run {run} left {numbers:?}"
            );
            assert!(
                numbers.len() as u64 >= acknowledged.appended,
                "run {run} lost acknowledged messages"
            );
        }
        let position = committed(&log, Group::Engine, 0);
        assert!(
            position >= runs.iter().filter_map(|run| run.position).max(),
            "an acknowledged step was lost"
        );
        outputs_agree_with(&log, 0, position);
    }
    let log = fixture.open();
    assert!(
        runs.iter().any(|run| run.position.is_some()),
        "no process came as far as a step"
    );
    let mut owner = Owner::of_all(&log, Group::Engine);
    let mut lease = owner.take(0);
    let (from, until) = (fence(&mut *lease).unwrap_or(0), after_the_last(&log, 0));
    lease.seek(from).expect("seeks");
    step_through(&mut *lease, from, until, 100, |_| ());
    outputs_agree_with(&log, 0, Some(until));
}

/// The numbers that each run left in `ticks/0`, in the order of the log.
fn numbers_of_runs(log: &impl Log) -> BTreeMap<u64, Vec<u64>> {
    let mut numbers: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for text in read_texts(log, Topic::Ticks, 0) {
        let (run, n) = text.split_once(' ').expect("two numbers");
        numbers
            .entry(run.parse().expect("a run"))
            .or_default()
            .push(n.parse().expect("a number"));
    }
    numbers
}

/// Lets a process work on the log, kills it at a random instant after its first answers, and returns what it said.
fn work_and_kill(child: &str, address: &str, run: u64) -> Acknowledged {
    let mut process = Command::new(std::env::current_exe().expect("this program's path"))
        .args(["--exact", child, "--nocapture"])
        .env(CHILD_LOG, address)
        .env(CHILD_RUN, run.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts itself again");
    let mut said = Acknowledged::default();
    let mut lines = 0;
    let kill_after = rand::random_range(1..400);
    for line in BufReader::new(process.stdout.take().expect("its output")).lines() {
        let line = line.expect("text");
        if let Some((_, n)) = line.split_once("appended ") {
            said.appended = n.parse().expect("a count");
        } else if let Some((_, offset)) = line.split_once("committed ") {
            said.position = Some(offset.parse().expect("an offset"));
        } else {
            continue;
        }
        lines += 1;
        if lines == kill_after {
            process.kill().expect("killed");
        }
    }
    let status = process.wait().expect("its end");
    assert!(
        lines >= kill_after,
        "the process ended by itself after {lines} answers: {status}"
    );
    said
}

/// Appends numbers to `ticks/0` and consumes them in steps, and says so, for ever.
pub(crate) fn works_until_it_is_killed<F: Fixture>() {
    let (Some(address), Some(run)) = (std::env::var_os(CHILD_LOG), std::env::var_os(CHILD_RUN))
    else {
        return;
    };
    let run = run.into_string().expect("a number");
    let fixture = F::attach(address.to_str().expect("an address"));
    let log = fixture.open();
    let say = |what: &str, n: u64| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{what} {n}")
            .and_then(|()| out.flush())
            .expect("the parent listens");
    };
    thread::scope(|scope| {
        let engine = scope.spawn(|| {
            let mut owner = Owner::of_all(&log, Group::Engine);
            let mut lease = owner.take(0);
            let from = fence(&mut *lease).unwrap_or(0);
            lease.seek(from).expect("seeks");
            step_through(&mut *lease, from, Offset::MAX, 3, |position| {
                say("committed", position)
            });
        });
        let mut appended = 0;
        while !engine.is_finished() {
            let count = 1 + appended % 3;
            let texts = (appended..appended + count).map(|n| format!("{run} {n}"));
            append(
                &log,
                texts
                    .map(|text| message(Topic::Ticks, 0, b"", text.as_bytes()))
                    .collect(),
            );
            appended += count;
            say("appended", appended);
        }
    });
}
