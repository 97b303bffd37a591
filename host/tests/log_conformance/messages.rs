//! Claims about appending and reading.

use super::*;

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
    // Above it where what ends the step was written after the end was asked for.
    assert!(reader.position(Topic::Changes, 0) >= end);
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
    fixture.trim(&log, Topic::Ticks, 0, cut);
    // A reader made before may have fetched ahead.
    let mut early = reader_at(&log, Topic::Ticks, 0, all[16].offset);
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
