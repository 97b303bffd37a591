//! Transactions that a broker leaves open: it closes them without markers where it ends while they are being closed.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

use wigwag::log::{Group, Lease, Log, Member, Topic, kafka::KafkaLog};

use super::{PARTITIONS, SHORT, broker, commit, lease_of, message, options, read_texts, until};

/// What each step writes to.
const TOPICS: [Topic; 3] = [Topic::Signals, Topic::Values, Topic::Checkpoints];

/// A young broker takes its time between decision and markers: about every second end of one hits a transaction there.
#[test]
fn a_broker_that_is_killed_leaves_no_transaction_open() {
    let rounds = match std::env::var_os("WIGWAG_LONG_TESTS") {
        Some(_) => 8,
        None => 1,
    };
    for round in 0..rounds {
        let mut broker = broker::Broker::start();
        let log = KafkaLog::open(options(broker.address(), "")).expect("the log opens");
        let mut member = log.join(Group::Engine).expect("joins");
        let leases: Vec<_> = (0..PARTITIONS)
            .map(|partition| lease_of(&mut *member, partition))
            .collect();
        let acknowledged: Vec<_> = leases.iter().map(|_| AtomicU64::new(0)).collect();
        let back = AtomicBool::new(false);
        thread::scope(|scope| {
            for (mut lease, count) in leases.into_iter().zip(&acknowledged) {
                let back = &back;
                scope.spawn(move || commit_until(back, &mut *lease, count));
            }
            until("steps of each partition", || {
                let all = |least| {
                    acknowledged
                        .iter()
                        .all(|count| count.load(Ordering::Relaxed) > least)
                };
                all(round).then_some(())
            });
            broker.kill();
            broker.resume();
            back.store(true, Ordering::Relaxed);
        });
        for (partition, count) in (0..).zip(&acknowledged) {
            let position = position(&mut *member, partition);
            let acknowledged = count.load(Ordering::Relaxed);
            assert!(
                (acknowledged..=acknowledged + 1).contains(&position),
                "partition {partition} is at {position} after {acknowledged} steps"
            );
            let steps: Vec<_> = (0..position).map(|step| step.to_string()).collect();
            for topic in TOPICS {
                assert_eq!(
                    read_texts(&log, topic, partition),
                    steps,
                    "{topic}/{partition}"
                );
            }
        }
    }
}

/// Commits step after step until `end`, or until one is refused; `count` is how many were acknowledged.
fn commit_until(end: &AtomicBool, lease: &mut dyn Lease, count: &AtomicU64) {
    if lease.fence().is_err() {
        return;
    }
    while !end.load(Ordering::Relaxed) {
        let step = count.load(Ordering::Relaxed);
        let appends = TOPICS.map(|topic| message(topic, lease.partition(), &step.to_string()));
        if commit(lease, step + 1, appends.into()).is_err() {
            return;
        }
        count.store(step + 1, Ordering::Relaxed);
    }
}

/// The committed position as the next owner finds it.
fn position(member: &mut dyn Member, partition: u32) -> u64 {
    until("the partition to be fenced", || {
        let mut lease = member.poll(SHORT).ok().flatten()?;
        if lease.partition() != partition {
            return None;
        }
        lease.fence().ok()?
    })
}
