//! Rows 8 to 10: members come and go. How long each partition stands still is measured by when the brokers appended what
//! the engines put out, and printed.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use crate::{
    cluster::Cluster,
    fleet::Process,
    stage::{PATIENCE, Stage, long, until},
};

/// Ten times what is seen on a machine that also compiles.
const PAUSE: i64 = 20_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn row_08_a_rolling_restart_of_every_replica() {
    let cluster = Cluster::shared();
    let stage = Stage::new(cluster);
    let mut engines = Vec::new();
    for _ in 0..3 {
        engines.push(stage.engine(&cluster.plain()).await);
    }
    let (_desk, load) = stage.load().await;
    stage.goes_on(PATIENCE).await;
    for engine in &mut engines {
        assert!(engine.terminate().await.success());
        *engine = stage.engine(&cluster.plain()).await;
        stage.goes_on(PATIENCE).await;
    }
    let (verdict, _) = stage.judge(load).await;
    println!(
        "row 8: longest pause of each partition, ms: {:?}",
        verdict.pauses_ms
    );
    assert!(
        verdict.pauses_ms.iter().all(|&pause| pause < PAUSE),
        "{:?}",
        verdict.pauses_ms
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn row_09_partitions_that_do_not_move_never_pause() {
    // Nine processes on one machine: long, and its figures mean something only there.
    if !long() {
        return;
    }
    let cluster = Cluster::shared();
    let stage = Stage::with_partitions(cluster, 12);
    let first = stage.engine(&cluster.plain()).await;
    let (_desk, load) = stage.load().await;
    stage.goes_on(PATIENCE).await;
    let mut others: Vec<Process> = Vec::new();
    for _ in 0..7 {
        others.push(stage.engine(&cluster.plain()).await);
    }
    until("each of eight to own partitions", async || {
        others
            .iter()
            .all(|p| !p.taken_over().is_empty())
            .then_some(())
    })
    .await;
    stage.goes_on(PATIENCE).await;
    let mut moved: BTreeSet<u32> = others.iter().flat_map(Process::taken_over).collect();
    for mut other in others.drain(2..) {
        assert!(other.terminate().await.success());
    }
    stage.goes_on(PATIENCE).await;
    moved.extend(others.iter().flat_map(Process::taken_over));
    let (verdict, _) = stage.judge(load).await;
    let (mut stayed, mut went) = (Vec::new(), Vec::new());
    for (number, pause) in (0..).zip(&verdict.pauses_ms) {
        match moved.contains(&number) {
            true => went.push(*pause),
            false => stayed.push(*pause),
        }
    }
    println!("row 9: longest pause, ms, of partitions that stayed {stayed:?}, that moved {went:?}");
    assert!(
        !stayed.is_empty() && !went.is_empty(),
        "{} takeovers",
        first.taken_over().len()
    );
    assert!(stayed.iter().all(|&pause| pause < 5_000), "{stayed:?}");
    assert!(went.iter().all(|&pause| pause < PAUSE), "{went:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn row_10_joining_and_leaving_all_the_time() {
    let cluster = Cluster::shared();
    let stage = Stage::new(cluster);
    let _stays = stage.engine(&cluster.plain()).await;
    let (_desk, load) = stage.load().await;
    stage.goes_on(PATIENCE).await;
    let time = Duration::from_secs(if long() { 60 } else { 8 });
    let (since, mut joined) = (Instant::now(), 0);
    let mut clock = tokio::time::interval(Duration::from_millis(500));
    while since.elapsed() < time {
        let mut guest = stage.engine(&cluster.plain()).await;
        joined += 1;
        clock.tick().await;
        match joined % 2 {
            0 => guest.kill(),
            _ => assert!(guest.terminate().await.success()),
        }
    }
    stage.goes_on(PATIENCE).await;
    let (verdict, _) = stage.judge(load).await;
    println!(
        "row 10: {joined} joined and left in {:?}; longest pauses, ms: {:?}",
        since.elapsed(),
        verdict.pauses_ms
    );
}
