//! Rows 1 to 7: an engine is killed at each point of its step, stopped for a while, shut out, or asked to end. And desks, which
//! take records in, are killed under a producer.

use std::time::{Duration, Instant};

use rdkafka::{
    ClientConfig,
    error::RDKafkaErrorCode,
    producer::{BaseProducer, BaseRecord, Producer},
};
use rustix::process::Signal;
use wigwag::log::Topic;

use crate::{
    cluster::Cluster,
    fleet::SESSION,
    proxy::{Api, Side},
    stage::{PATIENCE, Stage, long, until},
};

/// What a takeover may take beyond the session time on a machine that does much else.
const TAKEOVER: Duration = Duration::from_secs(60);

/// Kills an engine whose every step hangs at this point. With `late`, what hung is delivered after its death.
async fn killed_at(api: Api, side: Side, late: bool) {
    let (cluster, way) = (Cluster::shared(), Cluster::shared().way());
    let stage = Stage::new(cluster);
    let first = stage.engine(way.addresses()).await;
    let (_desk, load) = stage.load().await;
    stage.goes_on(PATIENCE).await;

    way.hold(api, side);
    way.caught(PATIENCE).await;
    // It commits nothing more; what it has is in its last step.
    first.kill();
    let killed = Instant::now();
    if !late {
        way.cut();
    }
    let _second = stage.engine(&cluster.plain()).await;
    let after = stage.goes_on(SESSION + TAKEOVER).await;
    println!(
        "{api:?} {side:?}: all partitions go on {after:?} after the successor's start, {:?} after the death",
        killed.elapsed()
    );
    if late {
        way.release();
        stage.goes_on(PATIENCE).await;
    }
    stage.judge(load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn row_01_killed_before_anything_was_produced() {
    killed_at(Api::ADD_OFFSETS_TO_TXN, Side::Request, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn row_02_killed_after_producing() {
    killed_at(Api::PRODUCE, Side::Answer, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn row_03_killed_between_offsets_and_commit() {
    killed_at(Api::END_TXN, Side::Request, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn row_04_killed_before_the_answer_of_its_commit() {
    killed_at(Api::END_TXN, Side::Answer, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn row_15_a_commit_of_the_dead_that_arrives_after_the_takeover() {
    killed_at(Api::END_TXN, Side::Request, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn row_15_a_commit_answer_that_comes_after_its_limit() {
    let (cluster, way) = (Cluster::shared(), Cluster::shared().way());
    let stage = Stage::new(cluster);
    let mut engine = stage.engine(way.addresses()).await;
    let (_desk, load) = stage.load().await;
    stage.goes_on(PATIENCE).await;
    let before = engine.taken_over().len();

    way.hold(Api::END_TXN, Side::Answer);
    way.caught(PATIENCE).await;
    // It gives each step up, without knowing whether it counts, and takes its partitions over anew.
    engine
        .says_it_is_not_ready("it is not known whether it was committed")
        .await;
    way.release();
    stage.goes_on(PATIENCE).await;
    assert!(engine.is_running());
    assert!(
        engine.taken_over().len() > before,
        "it took nothing over anew"
    );
    stage.judge(load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn row_04_a_desk_is_killed_before_its_answer() {
    let cluster = Cluster::shared();
    let stage = Stage::new(cluster);
    let _engine = stage.engine(&cluster.plain()).await;
    let (mut desk, load) = stage.load().await;
    for _ in 0..if long() { 10 } else { 3 } {
        let next = stage.desk().await;
        load.send_to(&[desk.url(), next.url()]);
        load.goes_on(5, PATIENCE).await;
        desk.kill();
        load.goes_on(20, PATIENCE).await;
        desk = next;
    }
    stage.goes_on(PATIENCE).await;
    let (_, sent) = stage.judge(load).await;
    assert!(sent.again > 0, "no body was under way");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn row_05_stopped_for_twice_the_session_time() {
    let (cluster, way) = (Cluster::shared(), Cluster::shared().way());
    let stage = Stage::new(cluster);
    let mut first = stage.engine(way.addresses()).await;
    let (_desk, load) = stage.load().await;
    stage.goes_on(PATIENCE).await;

    // In the middle of its commits.
    way.hold(Api::END_TXN, Side::Request);
    way.caught(PATIENCE).await;
    first.signal(Signal::STOP);
    let stopped = Instant::now();
    let second = stage.engine(&cluster.plain()).await;
    stage.goes_on(SESSION + TAKEOVER).await;
    println!(
        "all partitions go on {:?} after the stop",
        stopped.elapsed()
    );
    tokio::time::sleep_until((stopped + 2 * SESSION).into()).await;
    let before = first.taken_over().len();
    way.release();
    first.signal(Signal::CONT);
    let rejoined = "the stopped one to own partitions again";
    until(rejoined, async || {
        (first.taken_over().len() > before).then_some(())
    })
    .await;
    stage.goes_on(PATIENCE).await;
    assert!(first.is_running());
    assert!(!second.taken_over().is_empty());
    stage.judge(load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn row_06_a_zombie_initialises_its_producer_after_the_new_owner() {
    let cluster = Cluster::shared();
    let stage = Stage::new(cluster);
    let mut engine = stage.engine(&cluster.plain()).await;
    let (_desk, load) = stage.load().await;
    stage.goes_on(PATIENCE).await;

    let signals = stage.place.topic(Topic::Signals);
    for partition in 0..stage.place.partitions {
        let zombie: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", cluster.plain())
            .set(
                "transactional.id",
                format!("{}engine-{partition}", stage.place.prefix),
            )
            .create()
            .expect("a producer");
        zombie.init_transactions(PATIENCE).expect("initialised");
        zombie.begin_transaction().expect("begun");
        // The owner may have shut it out again before it wrote.
        let record = BaseRecord::<str, str>::to(&signals)
            .partition(partition as i32)
            .key("S0")
            .payload("of a zombie");
        zombie
            .send(record)
            .map_err(|(error, _)| error)
            .expect("queued");
        drop(zombie.flush(Duration::from_secs(5)));
        stage.goes_on(PATIENCE).await;
        let refused = zombie
            .commit_transaction(PATIENCE)
            .expect_err("the zombie commits nothing");
        println!(
            "the zombie of {partition} was refused: {:?}",
            refused.rdkafka_error_code()
        );
        assert_ne!(
            refused.rdkafka_error_code(),
            Some(RDKafkaErrorCode::OperationTimedOut)
        );
    }
    assert!(engine.is_running());
    stage.judge(load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn row_07_asked_to_end_under_load() {
    let cluster = Cluster::shared();
    let stage = Stage::new(cluster);
    let mut first = stage.engine(&cluster.plain()).await;
    let second = stage.engine(&cluster.plain()).await;
    let (_desk, load) = stage.load().await;
    stage.goes_on(PATIENCE).await;
    let both = "both to own partitions";
    until(both, async || {
        (!second.taken_over().is_empty()).then_some(())
    })
    .await;

    let asked = Instant::now();
    let status = first.terminate().await;
    let gone = asked.elapsed();
    let after = stage.goes_on(PATIENCE).await;
    assert!(status.success(), "{status}");
    println!("gone after {gone:?}; all partitions go on {after:?} after that");
    // It is held to 2 s by its own deadlines; the rest is the machine's.
    assert!(gone < Duration::from_secs(4), "gone after {gone:?}");
    stage.judge(load).await;
}
