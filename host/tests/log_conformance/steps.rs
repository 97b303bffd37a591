//! Claims about groups, leases and steps.

use super::*;

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
pub(crate) fn outputs(partition: u32, text: &str) -> Vec<Append> {
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
pub(crate) fn steps_seen(log: &impl Log, partition: u32) -> Vec<String> {
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

/// Who does not join hears of a position too; a broker tells it a moment after the commit was answered.
fn is_told_as_committed(log: &impl Log, partition: u32, position: Offset) {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let told = log.committed(Group::Engine, partition).expect("an answer");
        if told == Some(position) {
            return;
        }
        assert!(told < Some(position), "{told:?} was never committed");
        assert!(Instant::now() < deadline, "{told:?} is not {position}");
        thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn a_step_commits_its_outputs_and_its_position_together<F: Fixture>() {
    let fixture = F::create();
    let log = fixture.open();
    let inputs = fill(&log, Topic::Ticks, 1, 3);
    let mut owner = Owner::of_all(&log, Group::Engine);
    let mut lease = owner.take(1);
    assert_eq!(fence(&mut *lease), None, "nothing was ever committed");
    assert_eq!(log.committed(Group::Engine, 1).expect("an answer"), None);
    lease.seek(inputs[0].offset).expect("seeks");
    assert!(
        lease.settle(Duration::ZERO).expect("settles"),
        "nothing is in hand"
    );
    for input in &inputs {
        let text = format!("after {}", input.offset);
        commit(&mut *lease, input.offset + 1, outputs(1, &text));
        is_told_as_committed(&log, 1, input.offset + 1);
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
    for (group, base) in [
        (Group::Engine, 2),
        (Group::RawIntake, 6),
        (Group::Notify, 9),
    ] {
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
    for group in Group::ALL {
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
pub(crate) fn step_through(
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
pub(crate) fn after_the_last(log: &impl Log, partition: u32) -> Offset {
    read_all(log, Topic::Ticks, partition)
        .last()
        .expect("inputs")
        .offset
        + 1
}

/// Holds the outputs of [`step_through`] against its inputs, up to the committed position.
pub(crate) fn outputs_agree_with(log: &impl Log, partition: u32, position: Option<Offset>) {
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
