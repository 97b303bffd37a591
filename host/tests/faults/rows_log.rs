//! Rows 16 to 19 and 25: the log itself refuses a message, is held up by another, damaged, cut too short, or not the one
//! expected.

use std::time::Duration;

use rdkafka::{
    admin::{NewTopic, TopicReplication},
    producer::Producer,
};
use serde_json::{Value, json};
use wigwag::log::Topic;

use crate::{
    cluster::Cluster,
    damage::on_a_thread,
    fleet::SESSION,
    kafka_broker,
    service::wigwag,
    stage::{PATIENCE, Stage, until},
};

/// Long enough for a takeover that did not wait to show.
const A_WHILE: Duration = Duration::from_secs(3);

/// Slots of `checkpoints` and the number of the picture in each, the newest first.
fn pictures(stage: &Stage<'_>, partition: u32) -> Vec<(String, u64)> {
    let mut pictures = std::collections::BTreeMap::new();
    for entry in stage.place.read(Topic::Checkpoints, partition) {
        let key = String::from_utf8(entry.key).expect("text");
        if let Some(slot) = key.strip_suffix("/manifest") {
            let manifest: Value = serde_json::from_slice(&entry.value).expect("a manifest");
            pictures.insert(slot.to_owned(), manifest["seq"].as_u64().expect("a number"));
        }
    }
    let mut pictures: Vec<_> = pictures.into_iter().collect();
    pictures.sort_by_key(|(_, seq)| std::cmp::Reverse(*seq));
    pictures
}

/// Waits until each partition has pictures to lose.
async fn several_pictures(stage: &Stage<'_>) {
    until("two checkpoints of each partition", async || {
        (0..stage.place.partitions)
            .all(|p| pictures(stage, p).len() >= 2)
            .then_some(())
    })
    .await;
}

/// Damages the newest checkpoint of each partition, each in another way.
pub(crate) fn newest_damaged(stage: &Stage<'_>) {
    let producer = stage.place.producer(&[]);
    for partition in 0..stage.place.partitions {
        let Some((slot, seq)) = pictures(stage, partition).into_iter().next() else {
            continue;
        };
        let (chunk, manifest) = (format!("{slot}/0"), format!("{slot}/manifest"));
        let write = |key: &str, value, seq| {
            let place = &stage.place;
            place.write(&producer, Topic::Checkpoints, partition, key, value, seq)
        };
        match partition % 4 {
            0 => write(&chunk, Some(&b"damaged"[..]), Some(seq)),
            1 => write(&chunk, None, Some(seq)),
            2 => {
                let older =
                    json!({"schema": 0, "seq": seq, "position": 1, "chunks": 1, "sha256": ""})
                        .to_string();
                write(&manifest, Some(older.as_bytes()), Some(seq));
            }
            _ => write(&manifest, Some(&b"damaged"[..]), Some(seq)),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn row_16_a_message_too_large_for_the_broker() {
    let cluster = Cluster::shared();
    let stage = Stage::new(cluster);
    let mut engine = stage.engine(&cluster.plain()).await;
    let (_desk, load) = stage.load().await;
    stage.goes_on(PATIENCE).await;
    stage
        .place
        .set(Topic::Values, "max.message.bytes", Some("100"));
    let why = engine.says_it_is_not_ready("stands still").await;
    println!("row 16: {why}");
    stage.place.set(Topic::Values, "max.message.bytes", None);
    stage.goes_on(PATIENCE).await;
    assert!(engine.is_running());
    stage.judge(load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn row_17_an_open_transaction_of_another() {
    let cluster = Cluster::shared();
    let stage = Stage::new(cluster);
    let first = stage.engine(&cluster.plain()).await;
    let (_desk, load) = stage.load().await;
    stage.goes_on(PATIENCE).await;

    let id = format!("{}another", stage.place.prefix);
    let other = stage.place.producer(&[("transactional.id", &id)]);
    other.init_transactions(PATIENCE).expect("initialised");
    other.begin_transaction().expect("begun");
    for partition in 0..stage.place.partitions {
        stage.place.write(
            &other,
            Topic::Signals,
            partition,
            "S0",
            Some(b"of another"),
            None,
        );
        stage.place.write(
            &other,
            Topic::Checkpoints,
            partition,
            "0/manifest",
            Some(b"of another"),
            None,
        );
    }
    // It goes on: its steps are behind the open transaction, where no reader sees them yet.
    stage.goes_on(PATIENCE).await;
    first.kill();
    let second = stage.engine(&cluster.plain()).await;
    tokio::time::sleep(SESSION + A_WHILE).await;
    let early = second.taken_over();
    assert!(
        early.is_empty(),
        "{early:?} taken over from what could not be read yet"
    );
    other.abort_transaction(PATIENCE).expect("aborted");
    stage.goes_on(PATIENCE).await;
    stage.judge(load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn row_18_the_newest_checkpoint_is_damaged() {
    let cluster = Cluster::shared();
    let stage = Stage::new(cluster);
    let first = stage.engine(&cluster.plain()).await;
    let (_desk, load) = stage.load().await;
    several_pictures(&stage).await;
    first.kill();

    newest_damaged(&stage);
    let second = stage.engine(&cluster.plain()).await;
    stage.goes_on(PATIENCE).await;
    let passed = second
        .lines()
        .iter()
        .filter(|line| line.contains("checkpoint passed over"))
        .count();
    assert!(passed >= 3, "{passed} were passed over");
    stage.judge(load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn row_18_no_checkpoint_is_left() {
    let cluster = Cluster::shared();
    let stage = Stage::new(cluster);
    let first = stage.engine(&cluster.plain()).await;
    let (_desk, load) = stage.load().await;
    several_pictures(&stage).await;
    first.kill();
    drop(load.stop().await);

    let committed = stage.place.committed();
    let producer = stage.place.producer(&[]);
    for partition in 0..stage.place.partitions {
        for (slot, seq) in pictures(&stage, partition) {
            stage.place.write(
                &producer,
                Topic::Checkpoints,
                partition,
                &format!("{slot}/0"),
                Some(b"damaged"),
                Some(seq),
            );
        }
        stage.place.trim(Topic::Ticks, partition, 1);
    }
    let second = stage.engine(&cluster.plain()).await;
    let why = second
        .says_it_is_not_ready("no usable checkpoint at or below the committed offset")
        .await;
    println!("{why}");
    assert_eq!(
        stage.place.committed(),
        committed,
        "it went on from nothing"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn row_19_retention_went_past_what_replay_needs() {
    let cluster = Cluster::shared();
    let stage = Stage::new(cluster);
    let first = stage.engine(&cluster.plain()).await;
    let (_desk, load) = stage.load().await;
    several_pictures(&stage).await;
    first.kill();
    // What comes now is beyond every checkpoint, and is removed.
    load.goes_on(10, PATIENCE).await;
    drop(load.stop().await);
    let committed = stage.place.committed();
    for (partition, end) in (0..).zip(stage.place.ends()) {
        stage.place.trim(Topic::Ticks, partition, end);
    }
    let second = stage.engine(&cluster.plain()).await;
    let why = second.says_it_is_not_ready("gone").await;
    println!("{why}");
    assert_eq!(
        stage.place.committed(),
        committed,
        "it passed over what is gone"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn row_25_topics_with_another_number_of_partitions() {
    let cluster = Cluster::shared();
    let stage = Stage::new(cluster);
    let names = [Topic::Signals, Topic::Values].map(|topic| stage.place.topic(topic));
    let topics = names
        .each_ref()
        .map(|name| NewTopic::new(name, 3, TopicReplication::Fixed(1)));
    let admin = kafka_broker::admin(&stage.place.brokers);
    let created =
        on_a_thread(|| kafka_broker::wait(admin.create_topics(&topics, &kafka_broker::limits())));
    assert!(created.expect("an answer").iter().all(Result::is_ok));

    let folder = tempfile::tempdir().unwrap();
    let log = format!("kafka://{}", cluster.plain());
    let options = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--log",
        &log,
        "--partitions",
        "4",
        "--topic-prefix",
        &stage.place.prefix,
    ];
    let ended = wigwag(folder.path())
        .args(options)
        .output()
        .expect("the program runs");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(!ended.status.success(), "it started: {said}");
    for name in &names {
        assert!(
            said.contains(&format!("topic \"{name}\" has 3 partitions and not 4")),
            "{said}"
        );
    }
}
