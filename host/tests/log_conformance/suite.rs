//! The claims, each a function over a [`Fixture`]; [`conformance!`] makes tests of them. Nothing here knows how
//! offsets are numbered (there may be gaps), when a compacted topic forgets, or how long a rebalance takes.

mod kill;
mod messages;
mod sole;
mod steps;

pub(crate) use {kill::*, messages::*, sole::*, steps::*};

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
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
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
/// A poll's timeout where something is expected.
pub(crate) const SHORT: Duration = Duration::from_millis(100);
/// What is asked of a poll where the amount does not matter.
pub(crate) const PLENTY: usize = 4 << 20;

/// Storage for one log, empty when created. It outlives the log, so that a log can be opened again on what an
/// earlier one left.
pub(crate) trait Fixture {
    /// The implementation.
    type Log: Log;
    /// How often a process that works on it is killed: one small case where each takes seconds.
    const KILLS: u64 = 6;

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
            a_sole_writer_shuts_out_the_one_before,
            of_sole_writers_at_once_each_knows_what_the_others_wrote,
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
pub(crate) struct Message {
    pub(crate) topic: Topic,
    pub(crate) partition: u32,
    pub(crate) offset: Offset,
    pub(crate) timestamp_ms: i64,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
}

/// A member with all the leases that it was given; drops the leases first.
pub(crate) struct Owner {
    pub(crate) leases: BTreeMap<u32, Box<dyn Lease>>,
    pub(crate) member: Box<dyn Member>,
}

impl Owner {
    /// Joins and waits until the leases of all partitions have come.
    pub(crate) fn of_all(log: &impl Log, group: Group) -> Self {
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

    pub(crate) fn take(&mut self, partition: u32) -> Box<dyn Lease> {
        self.leases
            .remove(&partition)
            .expect("the partition's lease")
    }
}

pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
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

pub(crate) fn message(topic: Topic, partition: u32, key: &[u8], value: &[u8]) -> Append {
    Append {
        topic,
        partition,
        key: key.to_vec(),
        value: value.to_vec(),
        headers: Vec::new(),
    }
}

pub(crate) fn append(log: &impl Log, appends: Vec<Append>) {
    wait(log.append(appends)).expect("appended");
}

/// Appends the numbers from 0 on, and returns what can then be read.
pub(crate) fn fill(log: &impl Log, topic: Topic, partition: u32, count: u32) -> Vec<Message> {
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

pub(crate) fn bounds(log: &impl Log, topic: Topic, partition: u32) -> Bounds {
    log.bounds(topic, partition).expect("bounds")
}

pub(crate) fn reader_at(
    log: &impl Log,
    topic: Topic,
    partition: u32,
    offset: Offset,
) -> Box<dyn Reader> {
    log.read(&[Start {
        topic,
        partition,
        offset,
    }])
    .expect("a reader")
}

pub(crate) fn owned(messages: &Messages) -> impl Iterator<Item = Message> {
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
pub(crate) fn read_to(
    reader: &mut dyn Reader,
    topic: Topic,
    partition: u32,
    end: Offset,
) -> Vec<Message> {
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
pub(crate) fn read_all(log: &impl Log, topic: Topic, partition: u32) -> Vec<Message> {
    let Bounds { start, end } = bounds(log, topic, partition);
    read_to(
        &mut *reader_at(log, topic, partition, start),
        topic,
        partition,
        end,
    )
}

/// Reads on until that many messages have come.
pub(crate) fn read_count(reader: &mut dyn Reader, count: usize) -> Vec<Message> {
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

pub(crate) fn texts(messages: &[Message]) -> Vec<&str> {
    messages
        .iter()
        .map(|m| std::str::from_utf8(&m.value).expect("text"))
        .collect()
}

/// Reads values as text.
pub(crate) fn read_texts(log: &impl Log, topic: Topic, partition: u32) -> Vec<String> {
    texts(&read_all(log, topic, partition))
        .into_iter()
        .map(str::to_owned)
        .collect()
}

/// Waits for the step in hand.
pub(crate) fn settle(lease: &mut dyn Lease) -> Result<(), LogError> {
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

pub(crate) fn commit(lease: &mut dyn Lease, position: Offset, appends: Vec<Append>) {
    lease.submit(Step { position, appends }).expect("submitted");
    settle(lease).expect("settled");
}

pub(crate) fn fence(lease: &mut dyn Lease) -> Option<Offset> {
    lease.fence().expect("fenced")
}

/// Joins alone, fences a partition and leaves.
pub(crate) fn committed(log: &impl Log, group: Group, partition: u32) -> Option<Offset> {
    fence(&mut *Owner::of_all(log, group).take(partition))
}
