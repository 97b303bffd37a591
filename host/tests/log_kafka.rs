//! The log on Kafka against a real broker: what it has in common with every log, by the suite, and what is its own.

#[path = "log_kafka/hanging.rs"]
mod hanging;
mod kafka_broker;
#[path = "log_conformance/suite.rs"]
mod suite;

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use kafka_broker as broker;
use rdkafka::{
    ClientConfig, TopicPartitionList,
    admin::{NewTopic, TopicReplication},
    producer::{BaseProducer, BaseRecord, Producer},
};
use wigwag::log::{
    Append, Bounds, Group, Lease, Log, LogError, Member, Messages, Offset, Start, Step, Topic,
    kafka::{KafkaLog, Options},
};

use suite::Fixture as _;

const PARTITIONS: u32 = suite::PARTITIONS;
const DEADLINE: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(50);

suite::conformance!(conformance, crate::Place);

/// A prefix on a broker, as a subject of the suite.
struct Place {
    address: String,
    prefix: String,
}

impl suite::Fixture for Place {
    type Log = KafkaLog;
    const KILLS: u64 = 2;

    fn create() -> Self {
        Self {
            address: broker::shared().to_owned(),
            prefix: broker::prefix(),
        }
    }

    fn attach(address: &str) -> Self {
        let (address, prefix) = address.split_once('/').expect("two parts");
        Self {
            address: address.to_owned(),
            prefix: prefix.to_owned(),
        }
    }

    fn address(&self) -> String {
        format!("{}/{}", self.address, self.prefix)
    }

    fn open(&self) -> KafkaLog {
        KafkaLog::open(options(&self.address, &self.prefix)).expect("the log opens")
    }

    fn trim(&self, _: &KafkaLog, topic: Topic, partition: u32, offset: Offset) {
        let mut below = TopicPartitionList::new();
        let (name, partition) = (format!("{}{topic}", self.prefix), partition as i32);
        below
            .add_partition_offset(&name, partition, rdkafka::Offset::Offset(offset as i64))
            .expect("an offset");
        let trimmed =
            broker::wait(broker::admin(&self.address).delete_records(&below, &broker::limits()));
        trimmed.expect("an answer").elements()[0]
            .error()
            .expect("trimmed");
    }
}

fn options(address: &str, prefix: &str) -> Options {
    Options {
        brokers: address.to_owned(),
        prefix: prefix.to_owned(),
        partitions: PARTITIONS,
        group_session_timeout: Duration::from_secs(3),
        ..Options::default()
    }
}

fn open(prefix: &str) -> KafkaLog {
    KafkaLog::open(options(broker::shared(), prefix)).expect("the log opens")
}

fn message(topic: Topic, partition: u32, value: &str) -> Append {
    Append {
        topic,
        partition,
        key: b"k".to_vec(),
        value: value.into(),
        headers: Vec::new(),
    }
}

fn append(log: &KafkaLog, appends: Vec<Append>) -> Result<(), LogError> {
    broker::wait(log.append(appends))
}

/// Tries until something comes of it.
fn until<T>(what: &str, mut tries: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(done) = tries() {
            return done;
        }
        assert!(Instant::now() < deadline, "waited {DEADLINE:?} for {what}");
    }
}

fn lease_of(member: &mut dyn Member, partition: u32) -> Box<dyn Lease> {
    until("a lease", || {
        member
            .poll(SHORT)
            .expect("the member polls")
            .filter(|lease| lease.partition() == partition)
    })
}

fn commit(lease: &mut dyn Lease, position: Offset, appends: Vec<Append>) -> Result<(), LogError> {
    lease.submit(Step { position, appends })?;
    until("a step to settle", || match lease.settle(SHORT) {
        Ok(true) => Some(Ok(())),
        Ok(false) => None,
        Err(error) => Some(Err(error)),
    })
}

fn read_texts(log: &KafkaLog, topic: Topic, partition: u32) -> Vec<String> {
    let Bounds { start, end } = log.bounds(topic, partition).expect("bounds");
    let mut reader = log
        .read(&[Start {
            topic,
            partition,
            offset: start,
        }])
        .expect("a reader");
    let mut messages = Messages::new();
    until("the end of a partition", || {
        reader.poll(&mut messages, 1 << 20, SHORT).expect("polls");
        (reader.position(topic, partition) >= end).then_some(())
    });
    messages
        .iter()
        .map(|message| String::from_utf8(message.value.to_vec()).expect("text"))
        .collect()
}

#[test]
fn another_number_of_partitions_is_refused_with_both_numbers() {
    let prefix = broker::prefix();
    drop(open(&prefix));
    let other = Options {
        partitions: 6,
        ..options(broker::shared(), &prefix)
    };
    let Err(LogError::Mismatch(text)) = KafkaLog::open(other) else {
        panic!("6 partitions were taken for 4")
    };
    assert!(
        text.contains(&format!(
            "topic \"{prefix}ticks\" has 4 partitions and not 6"
        )),
        "{text}"
    );
    // Topics of one partition have it whatever `ticks` has.
    assert!(!text.contains("control"), "{text}");
}

#[test]
fn a_topic_that_would_forget_what_must_stay_is_refused() {
    let prefix = broker::prefix();
    let name = format!("{prefix}control");
    let topic = NewTopic::new(&name, 1, TopicReplication::Fixed(1))
        .set("message.timestamp.type", "LogAppendTime");
    let created =
        broker::wait(broker::admin(broker::shared()).create_topics([&topic], &broker::limits()));
    created
        .expect("an answer")
        .remove(0)
        .expect("the topic is created");
    let Err(LogError::Mismatch(text)) = KafkaLog::open(options(broker::shared(), &prefix)) else {
        panic!("it was taken")
    };
    assert!(
        text.contains(&format!(
            "topic \"{name}\": cleanup.policy is \"delete\" and must be compact"
        )),
        "{text}"
    );
}

#[test]
fn it_tells_how_long_a_topic_keeps_its_messages() {
    let log = open(&broker::prefix());
    let day = Duration::from_secs(24 * 60 * 60);
    assert_eq!(log.retention(Topic::Ticks).expect("told"), Some(7 * day));
    assert_eq!(log.retention(Topic::Values).expect("told"), Some(day));
}

#[test]
fn a_setting_that_a_guarantee_rests_on_is_refused_and_so_is_an_unknown_one() {
    for (name, value) in [("enable.idempotence", "false"), ("no.such.setting", "1")] {
        let extra = vec![(name.to_owned(), value.to_owned())];
        let refused = KafkaLog::open(Options {
            extra,
            ..options("127.0.0.1:1", "")
        });
        let Err(LogError::Mismatch(text)) = refused else {
            panic!("{name} was taken")
        };
        assert!(text.contains(name), "{text}");
    }
}

#[test]
fn no_broker_is_unavailable_and_names_the_address() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .expect("a port")
        .local_addr()
        .expect("its address")
        .to_string();
    let Err(LogError::Unavailable { log, detail }) = KafkaLog::open(options(&nobody, "")) else {
        panic!("it opened")
    };
    assert_eq!(log, format!("Kafka at {nobody}"));
    assert!(detail.contains("Connection refused"), "{detail}");
}

#[test]
fn an_owner_that_was_fenced_loses_its_step_and_goes_on_with_a_new_lease() {
    let prefix = broker::prefix();
    let log = open(&prefix);
    append(
        &log,
        (0..4)
            .map(|n| message(Topic::Ticks, 1, &n.to_string()))
            .collect(),
    )
    .expect("appended");
    let mut member = log.join(Group::Engine).expect("joins");
    let mut lease = lease_of(&mut *member, 1);
    assert_eq!(lease.fence().expect("fenced"), None);
    commit(&mut *lease, 1, vec![message(Topic::Signals, 1, "first")]).expect("committed");

    // As a process that was stopped, and goes on where it had just begun to take the partition over.
    let zombie: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", broker::shared())
        .set("transactional.id", format!("{prefix}engine-1"))
        .create()
        .expect("a producer");
    zombie.init_transactions(DEADLINE).expect("initialised");

    let lost =
        commit(&mut *lease, 2, vec![message(Topic::Signals, 1, "fenced")]).expect_err("fenced");
    assert!(
        matches!(
            lost,
            LogError::Lost {
                topic: Topic::Ticks,
                partition: 1,
                ..
            }
        ),
        "{lost}"
    );
    drop(lease);

    let mut lease = lease_of(&mut *member, 1);
    assert_eq!(lease.fence().expect("fenced back"), Some(1));
    lease.seek(1).expect("seeks");
    let mut messages = Messages::new();
    until("the messages after the position", || {
        lease.poll(&mut messages, 1 << 20, SHORT).expect("polls");
        (messages.len() == 3).then_some(())
    });
    assert_eq!(
        messages
            .iter()
            .map(|message| message.offset)
            .collect::<Vec<_>>(),
        [1, 2, 3]
    );
    commit(&mut *lease, 2, vec![message(Topic::Signals, 1, "second")]).expect("committed");
    assert_eq!(read_texts(&log, Topic::Signals, 1), ["first", "second"]);
}

/// A partition that has just come is sought while the client still asks the broker about it. More lies there than the
/// client fetches ahead, and nothing is polled for longer than the client waits before it asks again: what the
/// answers change is seen.
#[test]
fn a_lease_that_is_sought_at_once_passes_nothing_over() {
    const MESSAGES: u64 = 24;
    let prefix = broker::prefix();
    let log = open(&prefix);
    for partition in 0..PARTITIONS {
        for _ in 0..MESSAGES {
            append(
                &log,
                vec![message(Topic::Ticks, partition, &"x".repeat(800_000))],
            )
            .expect("appended");
        }
    }
    for round in 0..3 {
        let mut member = log.join(Group::Engine).expect("joins");
        let mut leases = Vec::new();
        while leases.len() < PARTITIONS as usize {
            let mut lease = until("a lease", || member.poll(SHORT).expect("polls"));
            lease.seek(0).expect("seeks");
            leases.push(lease);
        }
        thread::sleep(Duration::from_millis(700));
        for lease in &mut leases {
            let mut seen = Vec::new();
            let mut messages = Messages::new();
            append(&log, vec![message(Topic::Ticks, lease.partition(), "last")]).expect("appended");
            until("the last message", || {
                messages.clear();
                lease.poll(&mut messages, 1 << 20, SHORT).expect("polls");
                seen.extend(messages.iter().map(|message| message.offset));
                let last = MESSAGES + round;
                (seen.last() >= Some(&last)).then_some(())
            });
            assert_eq!(
                seen,
                (0..=MESSAGES + round).collect::<Vec<_>>(),
                "partition {} in round {round}",
                lease.partition()
            );
        }
    }
}

#[test]
fn an_open_transaction_of_another_does_not_hide_the_end() {
    let prefix = broker::prefix();
    let log = open(&prefix);
    append(&log, vec![message(Topic::Signals, 0, "before")]).expect("appended");
    let other: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", broker::shared())
        .set("transactional.id", format!("{prefix}other"))
        .create()
        .expect("a producer");
    other.init_transactions(DEADLINE).expect("initialised");
    other.begin_transaction().expect("begun");
    let name = format!("{prefix}signals");
    other
        .send(
            BaseRecord::<(), str>::to(&name)
                .partition(0)
                .payload("aborted"),
        )
        .map_err(|(error, _)| error)
        .expect("sent");
    other.flush(DEADLINE).expect("flushed");
    append(&log, vec![message(Topic::Signals, 0, "after")]).expect("appended");

    // "before", "aborted" and "after" are there; only the first can be read yet.
    let end = log.bounds(Topic::Signals, 0).expect("bounds").end;
    assert_eq!(end, 3);
    let mut reader = log
        .read(&[Start {
            topic: Topic::Signals,
            partition: 0,
            offset: 0,
        }])
        .expect("a reader");
    let mut messages = Messages::new();
    until("the first message", || {
        reader.poll(&mut messages, 1 << 20, SHORT).expect("polls");
        (!messages.is_empty()).then_some(())
    });
    reader
        .poll(&mut messages, 1 << 20, Duration::from_millis(300))
        .expect("polls");
    assert_eq!((messages.len(), reader.position(Topic::Signals, 0)), (1, 1));

    other.abort_transaction(DEADLINE).expect("aborted");
    until("the end", || {
        reader.poll(&mut messages, 1 << 20, SHORT).expect("polls");
        (reader.position(Topic::Signals, 0) >= end).then_some(())
    });
    let values: Vec<_> = messages.iter().map(|message| message.value).collect();
    assert_eq!(values, [&b"before"[..], b"after"]);
}

/// Fences and commits one step after the other as long as the lease holds, and counts them.
fn work(
    mut lease: Box<dyn Lease>,
    steps: &AtomicU64,
    stop: &dyn Fn() -> bool,
) -> (u32, Option<LogError>) {
    let partition = lease.partition();
    let result = (|| {
        let mut position = lease.fence()?.unwrap_or(0);
        while !stop() {
            position += 1;
            commit(
                &mut *lease,
                position,
                vec![message(Topic::Signals, partition, &position.to_string())],
            )?;
            steps.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    })();
    (partition, result.err())
}

#[test]
fn partitions_that_stay_go_on_while_members_come_and_go() {
    let prefix = broker::prefix();
    let log = open(&prefix);
    let mut first = log.join(Group::Engine).expect("joins");
    let mut leases: Vec<_> = (0..PARTITIONS)
        .map(|_| until("a lease", || first.poll(SHORT).expect("polls")))
        .collect();
    leases.sort_by_key(|lease| lease.partition());
    let steps: Vec<_> = (0..PARTITIONS).map(|_| AtomicU64::new(0)).collect();
    let count = || -> Vec<_> { steps.iter().map(|n| n.load(Ordering::Relaxed)).collect() };
    let stopped = AtomicBool::new(false);
    let stop = || stopped.load(Ordering::Relaxed);
    // Steps of each partition: when the second begins to join, when it has its partitions, when it leaves, and when
    // the first has them again.
    let mut marks = Vec::new();
    let (kept, moved): (Vec<_>, Vec<_>) = thread::scope(|scope| {
        let workers: Vec<_> = leases
            .into_iter()
            .zip(&steps)
            .map(|(lease, steps)| scope.spawn(move || work(lease, steps, &stop)))
            .collect();
        until("every partition's first step", || {
            thread::sleep(SHORT);
            count().iter().all(|&n| n > 0).then_some(())
        });
        marks.push(count());
        let mut second = log.join(Group::Engine).expect("joins");
        let taken: BTreeSet<_> = (0..2)
            .map(|_| {
                let mut lease = until("a lease for the second", || {
                    second.poll(SHORT).expect("polls")
                });
                lease.fence().expect("fenced");
                lease.partition()
            })
            .collect();
        marks.push(count());
        // The first gets back what the second leaves.
        drop(second);
        marks.push(count());
        let back: BTreeSet<_> = (0..2)
            .map(|_| {
                let mut lease = until("a lease given back", || first.poll(SHORT).expect("polls"));
                lease.fence().expect("fenced");
                lease.partition()
            })
            .collect();
        marks.push(count());
        assert_eq!(taken, back);
        stopped.store(true, Ordering::Relaxed);
        workers
            .into_iter()
            .map(|worker| worker.join().expect("a worker ends"))
            .partition(|(_, error)| error.is_none())
    });
    assert_eq!(kept.len(), 2, "{moved:?}");
    for (partition, _) in &kept {
        let of: Vec<_> = marks.iter().map(|mark| mark[*partition as usize]).collect();
        assert!(
            of[0] < of[1] && of[2] < of[3],
            "partition {partition} stood still while others moved: {of:?} steps"
        );
    }
    for (_, error) in &moved {
        assert!(matches!(error, Some(LogError::Lost { .. })), "{error:?}");
    }
    for partition in 0..PARTITIONS {
        let seen = read_texts(&log, Topic::Signals, partition);
        let expected: Vec<_> = (1..=seen.len()).map(|n| n.to_string()).collect();
        assert_eq!(
            seen, expected,
            "signals/{partition} has each step once and in order"
        );
    }
}

#[test]
fn a_broker_that_stops_and_comes_back_is_unavailable_and_then_goes_on() {
    let mut broker = broker::Broker::start();
    let log = KafkaLog::open(options(broker.address(), "")).expect("the log opens");
    let mut member = log.join(Group::Engine).expect("joins");
    let mut lease = lease_of(&mut *member, 0);
    lease.fence().expect("fenced");
    commit(&mut *lease, 1, vec![message(Topic::Signals, 0, "before")]).expect("committed");
    let mut reader = log
        .read(&[Start {
            topic: Topic::Signals,
            partition: 0,
            offset: 0,
        }])
        .expect("a reader");
    log.check().expect("it answers");

    broker.stop();
    let down = until("the check to notice", || {
        thread::sleep(SHORT);
        log.check().err()
    });
    assert!(down.to_string().contains(broker.address()), "{down}");
    let refused = log.append(vec![
        message(Topic::Ticks, 0, "lost"),
        message(Topic::Ticks, 0, "lost too"),
    ]);
    commit(&mut *lease, 2, vec![message(Topic::Signals, 0, "lost")]).expect_err("nobody is there");
    let refused = broker::wait(refused).expect_err("nobody is there");
    assert!(matches!(refused, LogError::Unavailable { .. }), "{refused}");
    drop(lease);

    broker.resume();
    until("the check to notice", || {
        thread::sleep(SHORT);
        log.check().ok()
    });
    append(&log, vec![message(Topic::Ticks, 0, "after")]).expect("appended");
    assert_eq!(read_texts(&log, Topic::Ticks, 0), ["after"]);
    let position = until("a new lease to be fenced", || {
        let mut lease = member
            .poll(SHORT)
            .ok()
            .flatten()
            .filter(|lease| lease.partition() == 0)?;
        let position = lease.fence().ok()?;
        commit(&mut *lease, 2, vec![message(Topic::Signals, 0, "after")]).ok()?;
        Some(position)
    });
    assert_eq!(position, Some(1));
    let mut messages = Messages::new();
    until("the messages", || {
        // A reader may say that the log was away, and then goes on.
        let _ = reader.poll(&mut messages, 1 << 20, SHORT);
        (messages.len() >= 2).then_some(())
    });
    let values: Vec<_> = messages.iter().map(|message| message.value).collect();
    assert_eq!(values, [&b"before"[..], b"after"]);
}

/// Tells a process of this test binary where it is to be the zombie.
const ZOMBIE: &str = "WIGWAG_TEST_ZOMBIE";

/// What [`an_owner_that_was_stopped_and_goes_on_repeats_nothing`] stops; does nothing by itself.
#[test]
fn the_process_that_is_stopped() {
    let Some(place) = std::env::var_os(ZOMBIE) else {
        return;
    };
    let log = <Place as suite::Fixture>::attach(&place.to_string_lossy()).open();
    let mut member = log.join(Group::Engine).expect("joins");
    let mut lease = lease_of(&mut *member, 0);
    lease.fence().expect("fenced");
    commit(
        &mut *lease,
        1,
        vec![message(Topic::Signals, 0, "1 by the zombie")],
    )
    .expect("committed");
    println!("committed");
    std::io::stdin()
        .read_line(&mut String::new())
        .expect("told to go on");
    match commit(
        &mut *lease,
        2,
        vec![message(Topic::Signals, 0, "2 by the zombie")],
    ) {
        Err(LogError::Lost { .. }) => println!("lost"),
        other => println!("{other:?}"),
    }
}

#[test]
fn an_owner_that_was_stopped_and_goes_on_repeats_nothing() {
    let place = <Place as suite::Fixture>::create();
    let log = place.open();
    append(
        &log,
        (0..3)
            .map(|n| message(Topic::Ticks, 0, &n.to_string()))
            .collect(),
    )
    .expect("appended");
    let mut zombie = Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", "the_process_that_is_stopped", "--nocapture"])
        .env(ZOMBIE, <Place as suite::Fixture>::address(&place))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this binary runs");
    let mut said = BufReader::new(zombie.stdout.take().expect("a pipe"))
        .lines()
        .map(|line| line.expect("text"));
    assert!(
        said.any(|line| line.ends_with("committed")),
        "the zombie commits first"
    );
    let id = zombie.id().to_string();
    let signal = |name: &str| {
        let sent = Command::new("kill")
            .args([name, &id])
            .status()
            .expect("kill runs");
        assert!(sent.success(), "kill {name}");
    };

    signal("-STOP");
    let mut member = log.join(Group::Engine).expect("joins");
    let mut lease = lease_of(&mut *member, 0);
    assert_eq!(lease.fence().expect("fenced"), Some(1));
    commit(
        &mut *lease,
        2,
        vec![message(Topic::Signals, 0, "2 by the successor")],
    )
    .expect("committed");
    signal("-CONT");
    zombie
        .stdin
        .take()
        .expect("a pipe")
        .write_all(b"go on\n")
        .expect("told");
    assert_eq!(
        said.find(|line| line == "lost" || line.starts_with("Ok") || line.starts_with("Err"))
            .as_deref(),
        Some("lost")
    );
    zombie.wait().expect("the zombie ends");

    // While the zombie was back the partition may have moved to it and again to us; a lease is given once the one before
    // is dropped.
    let mut held = Some(lease);
    until("the third step", || {
        let mut lease = held.take().unwrap_or_else(|| {
            let mut lease = lease_of(&mut *member, 0);
            assert_eq!(lease.fence().expect("fenced again"), Some(2));
            lease
        });
        let appends = vec![message(Topic::Signals, 0, "3 by the successor")];
        match commit(&mut *lease, 3, appends) {
            Ok(()) => Some(()),
            Err(LogError::Lost { .. }) => None,
            Err(error) => panic!("{error}"),
        }
    });
    let seen = read_texts(&log, Topic::Signals, 0);
    assert_eq!(
        seen,
        [
            "1 by the zombie",
            "2 by the successor",
            "3 by the successor"
        ]
    );
}
