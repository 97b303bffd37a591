//! Rows 11, 13 and the quota of 16, long: brokers of a cluster die, one comes back as another, one is slow on purpose.

use std::{
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use crate::{
    cluster::Cluster,
    stage::{PATIENCE, Stage, long, until},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn row_11_each_broker_is_killed() {
    if !long() {
        return;
    }
    let cluster = Cluster::three(0);
    let stage = Stage::new(&cluster);
    let mut engines = [
        stage.engine(&cluster.plain()).await,
        stage.engine(&cluster.plain()).await,
    ];
    let (_desk, load) = stage.load().await;
    stage.goes_on(PATIENCE).await;
    // Each in turn: the coordinators of group and transactions, and the leader of each partition, are among them.
    for broker in 0..cluster.brokers() {
        cluster.kill(broker);
        let killed = Instant::now();
        stage.goes_on(PATIENCE).await;
        println!(
            "row 11: all partitions go on {:?} after broker {broker} was killed",
            killed.elapsed()
        );
        cluster.resume(broker);
        stage.in_sync(PATIENCE).await;
        stage.goes_on(PATIENCE).await;
    }
    assert!(engines.iter_mut().all(|engine| engine.is_running()));
    let (verdict, _) = stage.judge(load).await;
    println!("row 11: longest pauses, ms: {:?}", verdict.pauses_ms);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn row_13_a_broker_comes_back_with_another_id() {
    if !long() {
        return;
    }
    let cluster = Cluster::three(0);
    let stage = Stage::new(&cluster);
    let mut engine = stage.engine(&cluster.plain()).await;
    let (_desk, load) = stage.load().await;
    stage.goes_on(PATIENCE).await;
    cluster.kill(2);
    stage.goes_on(PATIENCE).await;
    let back = Instant::now();
    cluster.replace(2, 12);
    // What the row allows, and the start of a broker on a machine that does much else.
    stage.goes_on(Duration::from_secs(30 + 10)).await;
    println!(
        "row 13: all partitions go on {:?} after a broker's return as another",
        back.elapsed()
    );
    assert!(engine.is_running());
    stage.judge(load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn row_16_not_enough_replicas() {
    if !long() {
        return;
    }
    let cluster = Cluster::three_led_by_one();
    let stage = Stage::new(&cluster);
    let mut engine = stage.engine(&cluster.plain()).await;
    let (_desk, load) = stage.load().await;
    stage.goes_on(PATIENCE).await;
    for broker in [1, 2] {
        cluster.kill(broker);
    }
    let refused = load.refused();
    until("a body to be refused", async || {
        (load.refused() > refused).then_some(())
    })
    .await;
    // An engine that has committed all of `ticks` lacks nothing.
    let before = stage.place.committed();
    for broker in [1, 2] {
        cluster.resume(broker);
    }
    let back = Instant::now();
    stage.goes_on(PATIENCE).await;
    println!(
        "row 16: all partitions go on {:?} after the replicas' return",
        back.elapsed()
    );
    let after = stage.place.committed();
    assert!(
        before.iter().zip(&after).all(|(b, a)| b < a),
        "{before:?} {after:?}"
    );
    assert!(engine.is_running());
    stage.judge(load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn row_16_a_quota_on_what_is_produced() {
    if !long() {
        return;
    }
    let cluster = Cluster::one(0);
    let stage = Stage::new(&cluster);
    let mut engine = stage.engine(&cluster.plain()).await;
    let (_desk, load) = stage.load().await;
    let without = stage.goes_on(PATIENCE).await;
    quota(
        &cluster.plain(),
        &["--add-config", "producer_byte_rate=60000"],
    );
    let with = stage.goes_on(5 * PATIENCE).await;
    println!("row 16: committed within {without:?} without and {with:?} with a quota");
    quota(&cluster.plain(), &["--delete-config", "producer_byte_rate"]);
    stage.goes_on(5 * PATIENCE).await;
    assert!(engine.is_running());
    stage.judge(load).await;
}

/// Sets what every client may produce.
pub(crate) fn quota(brokers: &str, change: &[&str]) {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target"),
        PathBuf::from,
    );
    let set = Command::new("java")
        .args([
            "-XX:TieredStopAtLevel=1",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
            "-cp",
        ])
        .arg(target.join("kafka/libs/*"))
        .args(["kafka.admin.ConfigCommand", "--bootstrap-server", brokers])
        .args(["--alter", "--entity-type", "clients", "--entity-default"])
        .args(change)
        .output()
        .expect("java");
    assert!(
        set.status.success(),
        "{}",
        String::from_utf8_lossy(&set.stderr)
    );
}
