//! Rows 12 and 14: brokers that are gone for a while, and a network that is slow, loses, and falls silent.

use std::time::{Duration, Instant};

use crate::{
    cluster::Cluster,
    fleet::Process,
    load::{Load, Pace},
    stage::{PATIENCE, Stage, long, until},
};

/// What a process may take more while nothing can be written: its queues have limits below that.
const QUEUES_KIB: u64 = 200 << 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn row_12_every_broker_down() {
    let cluster = Cluster::one(0);
    let stage = Stage::new(&cluster);
    let mut service = Process::start(&stage.order(&cluster.plain(), "ingest,engine,api")).await;
    let load = Load::start(vec![service.url().to_owned()], Pace::default());
    stage.goes_on(PATIENCE).await;
    let before = service.usage();

    cluster.stop(0);
    let down = Instant::now();
    until("it to say that it is not ready", async || {
        (service.ask("/readyz").await.0 == 503).then_some(())
    })
    .await;
    let refused = "a body to be refused";
    until(refused, async || (load.refused() > 0).then_some(())).await;
    let time = Duration::from_secs(if long() { 60 } else { 12 });
    while down.elapsed() < time {
        assert_eq!(service.ask("/livez").await.0, 200);
        assert_eq!(service.ask("/readyz").await.0, 503);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let after = service.usage();
    assert!(service.is_running());
    println!(
        "row 12: before {before:?}, after {:?} without brokers {after:?}",
        down.elapsed()
    );
    assert!(
        after.memory_kib < before.memory_kib + QUEUES_KIB,
        "{before:?} {after:?}"
    );

    cluster.resume(0);
    let up = Instant::now();
    stage.goes_on(PATIENCE).await;
    service.says_it_is_ready().await;
    println!(
        "row 12: ready and committed {:?} after the broker's return",
        up.elapsed()
    );
    stage.judge(load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn row_14_a_slow_network_that_loses_packets() {
    let cluster = Cluster::shared();
    let (way, desks_way) = (cluster.way(), cluster.way());
    let stage = Stage::new(cluster);
    let mut engine = stage.engine(way.addresses()).await;
    let desk = Process::start(&stage.order(desks_way.addresses(), "ingest")).await;
    let load = Load::start(vec![desk.url().to_owned()], Pace::default());
    stage.goes_on(PATIENCE).await;
    for proxy in [&way, &desks_way] {
        proxy.slow(Duration::from_millis(200), 0.05);
    }
    for _ in 0..if long() { 10 } else { 2 } {
        let took = stage.goes_on(PATIENCE).await;
        println!("row 14: committed {took:?} behind");
    }
    let lag = "an engine to tell how many messages it is behind";
    until(lag, async || {
        let (_, metrics) = engine.ask("/metrics").await;
        let mut lags = metrics.lines().filter_map(|line| {
            line.strip_prefix("wigwag_engine_lag_messages{")?
                .rsplit_once(' ')
        });
        lags.any(|(_, lag)| lag.parse::<f64>().is_ok_and(|lag| lag > 0.0))
            .then_some(())
    })
    .await;
    for proxy in [&way, &desks_way] {
        proxy.heal();
    }
    stage.goes_on(PATIENCE).await;
    assert!(engine.is_running());
    stage.judge(load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn row_14_half_open_connections() {
    let (cluster, way) = (Cluster::shared(), Cluster::shared().way());
    let stage = Stage::new(cluster);
    let mut first = stage.engine(way.addresses()).await;
    let (_desk, load) = stage.load().await;
    stage.goes_on(PATIENCE).await;
    way.half_open();
    let second = stage.engine(&cluster.plain()).await;
    let took = stage.goes_on(PATIENCE).await;
    println!("row 14: half-open; the other engine is there {took:?} after its start");
    assert_eq!(second.taken_over().len(), stage.place.partitions as usize);
    let before = first.taken_over().len();
    way.reset();
    let back = "the one that was cut off to own partitions again";
    until(back, async || {
        (first.taken_over().len() > before).then_some(())
    })
    .await;
    stage.goes_on(PATIENCE).await;
    assert!(first.is_running());
    stage.judge(load).await;
}
