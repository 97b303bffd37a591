//! Transactions that a broker leaves open: it closes them without markers where it ends while they are being closed.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use rdkafka::{
    ClientConfig,
    producer::{BaseProducer, Producer as _},
};
use wigwag::log::{Group, Lease, Log, Member, Topic, kafka::KafkaLog};

use super::{PARTITIONS, SHORT, broker, commit, lease_of, message, options, read_texts, until};

/// What each step writes to.
const TOPICS: [Topic; 3] = [Topic::Signals, Topic::Values, Topic::Checkpoints];

/// Longer than a step is tried: the next owner finds its transaction open, and aborts it.
const LONGER_THAN_A_STEP: Duration = Duration::from_secs(11);

/// A young broker takes its time between decision and markers: about every second end of one hits a transaction there.
#[test]
fn a_broker_that_is_killed_leaves_no_transaction_open() {
    each_step_is_whole_after(|broker| {
        broker.kill();
        broker.resume();
    });
}

/// Whoever initialises a producer and goes before it has looked for what is open makes the coordinator forget what was decided.
#[test]
fn what_a_coordinator_has_forgotten_is_read_in_its_log() {
    each_step_is_whole_after(|broker| {
        broker.kill();
        broker.resume();
        for partition in 0..PARTITIONS {
            let producer: BaseProducer = ClientConfig::new()
                .set("bootstrap.servers", broker.address())
                .set("transactional.id", format!("engine-{partition}"))
                .create()
                .expect("a producer");
            producer
                .init_transactions(Duration::from_secs(30))
                .expect("it is initialised");
        }
    });
}

/// One that ends in order still takes the next transaction while it writes no more markers, so that the undoing of that one
/// would undo both.
#[test]
fn a_broker_that_ends_leaves_no_transaction_to_be_undone_with_the_next() {
    each_step_is_whole_after(|broker| {
        broker.stop();
        thread::sleep(LONGER_THAN_A_STEP);
        broker.resume();
    });
}

fn each_step_is_whole_after(fault: impl Fn(&mut broker::Broker)) {
    let rounds = match std::env::var_os("WIGWAG_LONG_TESTS") {
        Some(_) => 8,
        None => 1,
    };
    for round in 0..rounds {
        // On a machine that has no time for it a member loses its partitions before there is a fault.
        let tried = (0..3).any(|_| each_step_is_whole(round, &fault));
        assert!(tried, "a member does not keep its partitions");
    }
}

/// False where it did not come to the fault, since the member lost a partition before each had more than `least` steps.
fn each_step_is_whole(least: u64, fault: impl Fn(&mut broker::Broker)) -> bool {
    let mut broker = broker::Broker::start();
    let log = KafkaLog::open(options(broker.address(), "")).expect("the log opens");
    let mut member = log.join(Group::Engine).expect("joins");
    let leases: Vec<_> = (0..PARTITIONS)
        .map(|partition| lease_of(&mut *member, partition))
        .collect();
    let acknowledged: Vec<_> = leases.iter().map(|_| AtomicU64::new(0)).collect();
    let back = AtomicBool::new(false);
    let came_to_it = thread::scope(|scope| {
        let committing: Vec<_> = (leases.into_iter().zip(&acknowledged))
            .map(|(mut lease, count)| {
                let back = &back;
                scope.spawn(move || commit_until(back, &mut *lease, count))
            })
            .collect();
        let all_have_steps = until("steps of each partition", || {
            let enough = |count: &AtomicU64| count.load(Ordering::Relaxed) > least;
            let one_ended = committing.iter().any(|thread| thread.is_finished());
            (acknowledged.iter().all(enough) || one_ended).then_some(!one_ended)
        });
        if all_have_steps {
            fault(&mut broker);
        }
        back.store(true, Ordering::Relaxed);
        all_have_steps
    });
    if !came_to_it {
        return false;
    }
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
    true
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
