//! Row 24: an engine is killed at each step of an upgrade, with a shadow, a promotion and a rollback; each tick was seen by
//! exactly one version.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use reqwest::Method;
use serde_json::{Value, json};
use wigwag::{
    change::{Change, What},
    log::Topic,
};

use crate::{
    cluster::Cluster,
    fleet::{Process, SESSION},
    history::Place,
    load::{Load, Pace},
    proxy::{Api, Side},
    service::answer,
    stage::{PATIENCE, Stage, long},
};

const STRATEGY: &str = "trend";

/// What a takeover may take beyond the session time on a machine that does much else.
const TAKEOVER: Duration = Duration::from_secs(60);

/// The definitions that follow each other.
fn definitions() -> Vec<Value> {
    let of = |plugin: &str, shadow: Option<&str>| {
        let mut definition = json!({"plugin": plugin, "values_interval_ms": 0});
        if let Some(shadow) = shadow {
            definition["shadow"] = json!({ "plugin": shadow });
        }
        definition
    };
    vec![
        of("ma", Some("ema")),
        // Promotes the shadow.
        of("ema", None),
        // Rolls back, warmed up from the log.
        of("ma", None),
        of("ma", Some("rsi")),
        // Promotes, and keeps what was live as a shadow.
        of("rsi", Some("ma")),
        // Rolls back to it.
        of("ma", None),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn row_24_killed_at_each_step_of_an_upgrade() {
    let cluster = Cluster::shared();
    let stage = Stage::new(cluster);
    let desk = Process::start(&stage.order(&cluster.plain(), "ingest,api")).await;
    let mut way = cluster.way();
    let mut engine = stage.engine(way.addresses()).await;
    let load = Load::start(vec![desk.url().to_owned()], Pace::default());
    load.goes_on(20, PATIENCE).await;
    put(&desk, &json!({"plugin": "ma", "values_interval_ms": 0})).await;
    stage.goes_on(PATIENCE).await;

    let points = [
        (Api::ADD_OFFSETS_TO_TXN, Side::Request),
        (Api::PRODUCE, Side::Answer),
        (Api::END_TXN, Side::Request),
        (Api::END_TXN, Side::Answer),
    ];
    // Each definition at one of the points, or at all of them.
    let rounds = if long() { points.len() } else { 1 };
    for round in 0..rounds {
        for (n, definition) in definitions().iter().enumerate() {
            let (api, side) = points[(n + round) % points.len()];
            // The change is in the step in hand, or in the one behind it.
            let comes_first = n % 2 == 0;
            if comes_first {
                put(&desk, definition).await;
            }
            way.hold(api, side);
            way.caught(PATIENCE).await;
            if !comes_first {
                put(&desk, definition).await;
                // So long an idle turn takes at most, in which it is taken up.
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            engine.kill();
            way.cut();
            drop(way);
            way = cluster.way();
            engine = stage.engine(way.addresses()).await;
            let after = stage.goes_on(SESSION + TAKEOVER).await;
            println!("{api:?} {side:?}: goes on {after:?} after the successor's start");
        }
    }
    stage.judge(load).await;
    let mut versions = BTreeSet::new();
    for partition in 0..stage.place.partitions {
        versions.extend(each_tick_has_one_version(&stage.place, partition));
    }
    assert_eq!(versions.len(), 3, "{versions:?}");
}

async fn put(desk: &Process, definition: &Value) {
    let path = format!("/v1/strategies/{STRATEGY}");
    let request = desk.request(Method::PUT, &path).json(definition);
    let (status, body) = answer(request).await;
    assert!(matches!(status, 200 | 201), "{status}: {body}");
}

/// The versions that were live on a partition, of which each tick has the values of exactly the one that was live then.
fn each_tick_has_one_version(place: &Place, partition: u32) -> BTreeSet<String> {
    let changes = place.read(Topic::Changes, partition);
    let mut live: BTreeMap<u64, String> = BTreeMap::new();
    let mut promoted = 0;
    for entry in changes {
        let change: Change = serde_json::from_slice(&entry.value).expect("a change");
        if change.strategy != STRATEGY {
            continue;
        }
        match change.what {
            What::Start { definition, .. } => {
                live.insert(change.offset, definition.plugin);
            }
            What::Promote { definition } => {
                promoted += 1;
                live.insert(change.offset, definition.plugin);
            }
            What::Stop { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(promoted >= 2, "ticks/{partition}: {promoted} promotions");
    let mut seen = BTreeMap::new();
    for entry in place.read(Topic::Values, partition) {
        let value: Value = serde_json::from_slice(&entry.value).expect("values");
        if value["strategy"] != STRATEGY {
            continue;
        }
        let offset = value["offset"].as_u64().expect("an offset");
        let series: Vec<_> = value["series"]
            .as_object()
            .expect("series")
            .keys()
            .collect();
        let version = match series.as_slice() {
            [name] if *name == "sma" => "ma".to_owned(),
            [name] => (*name).clone(),
            other => panic!("{other:?}"),
        };
        let (_, wanted) = live.range(..=offset).next_back().expect("it was started");
        assert_eq!(version, *wanted, "ticks/{partition} offset {offset}");
        let tick = (offset, value["row"].as_u64());
        let before = seen.insert(tick, version);
        assert_eq!(before, None, "ticks/{partition} offset {offset} twice");
    }
    assert!(!seen.is_empty(), "ticks/{partition}: no values");
    for entry in place.read(Topic::Signals, partition) {
        let signal: Value = serde_json::from_slice(&entry.value).expect("a signal");
        if signal["strategy"] == STRATEGY {
            let offset = signal["offset"].as_u64().expect("an offset");
            let (_, wanted) = live.range(..=offset).next_back().expect("it was started");
            assert_eq!(
                signal["plugin"], **wanted,
                "ticks/{partition} offset {offset}"
            );
        }
    }
    live.into_values().collect()
}
