//! Several replicas that change plugins and strategies of one log at once, and a log that does not always answer. Knows
//! nothing of HTTP and of engines.

#![allow(clippy::unwrap_used, reason = "tests may panic")]

mod support;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use serde_json::{Value, json};
use support::MISBEHAVE;
use tempfile::TempDir;
use wigwag::{
    control::{Actor, Admission, Control, ControlError, Precondition, StrategyRequest},
    log::{
        Append, Appended, Bounds, Group, Log, LogError, Member, Messages, Offset, Reader,
        SoleWriter, Start, Topic,
        embedded::{EmbeddedLog, Options, Sync},
    },
    plugin::BUILT_IN,
};

/// The embedded log, whose readers of `control` fail when they are told to.
struct Shaky {
    log: EmbeddedLog,
    fails: Arc<AtomicBool>,
    /// Where readers of `control` began.
    begun: Mutex<Vec<Offset>>,
    _folder: TempDir,
}

struct ShakyReader(Box<dyn Reader>, Arc<AtomicBool>);

impl Shaky {
    fn new() -> Arc<Self> {
        let folder = tempfile::tempdir().unwrap();
        let options = Options {
            partitions: 1,
            sync: Sync::Normal,
            ..Options::default()
        };
        Arc::new(Self {
            log: EmbeddedLog::open(folder.path(), options).unwrap(),
            fails: Arc::default(),
            begun: Mutex::default(),
            _folder: folder,
        })
    }
}

impl Reader for ShakyReader {
    fn poll(
        &mut self,
        into: &mut Messages,
        max_bytes: usize,
        timeout: Duration,
    ) -> Result<(), LogError> {
        if self.1.swap(false, Ordering::AcqRel) {
            return Err(LogError::Unavailable {
                log: "the shaky log".to_owned(),
                detail: "it shakes".to_owned(),
            });
        }
        self.0.poll(into, max_bytes, timeout)
    }

    fn position(&self, topic: Topic, partition: u32) -> Offset {
        self.0.position(topic, partition)
    }
}

impl Log for Shaky {
    fn partitions(&self) -> u32 {
        self.log.partitions()
    }

    fn append(&self, appends: Vec<Append>) -> Appended {
        self.log.append(appends)
    }

    fn bounds(&self, topic: Topic, partition: u32) -> Result<Bounds, LogError> {
        self.log.bounds(topic, partition)
    }

    fn offset_at(
        &self,
        topic: Topic,
        partition: u32,
        timestamp_ms: i64,
    ) -> Result<Offset, LogError> {
        self.log.offset_at(topic, partition, timestamp_ms)
    }

    fn read(&self, starts: &[Start]) -> Result<Box<dyn Reader>, LogError> {
        let reader = self.log.read(starts)?;
        let of_control = starts.iter().filter(|start| start.topic == Topic::Control);
        let of_control: Vec<_> = of_control.map(|start| start.offset).collect();
        if of_control.is_empty() {
            return Ok(reader);
        }
        self.begun.lock().unwrap().extend(of_control);
        Ok(Box::new(ShakyReader(reader, self.fails.clone())))
    }

    fn join(&self, group: Group) -> Result<Box<dyn Member>, LogError> {
        self.log.join(group)
    }

    fn sole_writer(&self) -> Result<Box<dyn SoleWriter>, LogError> {
        self.log.sole_writer()
    }

    fn committed(&self, group: Group, partition: u32) -> Result<Option<Offset>, LogError> {
        self.log.committed(group, partition)
    }

    fn check(&self) -> Result<(), LogError> {
        self.log.check()
    }
}

/// A replica that plans for cores without end.
async fn replica(log: &Arc<Shaky>) -> Arc<Control> {
    let control = Control::start(log.clone(), support::runtime().clone()).unwrap();
    let control = Arc::new(control.admitting(Admission {
        ticks_per_second: 1.0,
        cores: 1e9,
    }));
    control.caught_up().await;
    control
}

fn me() -> Actor {
    Actor {
        name: "me".to_owned(),
        address: Some([127, 0, 0, 1].into()),
    }
}

fn ma(period: u64) -> StrategyRequest {
    request("ma", json!({ "period": period }))
}

fn request(plugin: &str, params: Value) -> StrategyRequest {
    let Value::Object(params) = params else {
        panic!("an object")
    };
    StrategyRequest::of(plugin, params)
}

async fn upload(control: &Control, name: &str) {
    let (_, bytes) = BUILT_IN.iter().find(|(n, _)| *n == name).unwrap();
    let bytes = Bytes::from_static(bytes);
    control.upload(bytes, &me()).await.unwrap();
}

async fn put(control: &Control, id: &str, request: StrategyRequest) -> String {
    let me = me();
    let put = control.put_strategy(id, request, Precondition::Any, &me);
    put.await.unwrap().0.etag
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_replicas_that_change_one_strategy_at_once_one_is_told() {
    let log = Shaky::new();
    let (one, other) = (replica(&log).await, replica(&log).await);
    upload(&one, "ma").await;
    let mut etag = put(&one, "mine", ma(10)).await;
    for round in 0..20 {
        let change = async |control: &Control, period: u64| {
            let condition = Precondition::Exists(vec![etag.clone()]);
            control
                .put_strategy("mine", ma(period), condition, &me())
                .await
        };
        // That one has not read of the other's definition yet is no reason to refuse.
        let (a, b) = tokio::join!(change(&one, 20 + round), change(&other, 200 + round));
        let winner = match (a, b) {
            (Ok((winner, _)), Err(error)) | (Err(error), Ok((winner, _))) => {
                assert!(
                    matches!(error, ControlError::Precondition { .. }),
                    "{error}"
                );
                winner
            }
            (a, b) => panic!("round {round}: {a:?} and {b:?}"),
        };
        assert_eq!(winner.version, round + 2);
        etag = winner.etag;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_one_replica_removes_is_run_by_no_strategy_of_another() {
    let log = Shaky::new();
    let (one, other) = (replica(&log).await, replica(&log).await);
    upload(&one, "ma").await;
    put(&one, "first", ma(10)).await;
    put(&other, "first", ma(11)).await;
    for round in 0..10 {
        let id = format!("s{round}");
        let me = me();
        one.remove_strategy("first", Precondition::Any, &me)
            .await
            .unwrap();
        let (removed, defined) = tokio::join!(
            one.remove_plugin("ma", &me),
            other.put_strategy(&id, ma(12), Precondition::Any, &me)
        );
        match (removed, defined) {
            (Ok(()), Err(error)) => {
                assert!(error.to_string().contains("is not here"), "{error}");
                upload(&one, "ma").await;
            }
            (Err(error), Ok(_)) => {
                assert!(
                    error.to_string().contains(&format!("run by {id}")),
                    "{error}"
                );
                let removed = other.remove_strategy(&id, Precondition::Any, &me);
                removed.await.unwrap();
            }
            (removed, defined) => panic!("round {round}: {removed:?} and {defined:?}"),
        }
        put(&one, "first", ma(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_goes_on_where_it_was_and_shows_nothing_of_long_ago() {
    let log = Shaky::new();
    let control = replica(&log).await;
    upload(&control, "ma").await;
    for period in 1..=5 {
        put(&control, "mine", ma(period)).await;
    }
    let end = log.bounds(Topic::Control, 0).unwrap().end;
    log.fails.store(true, Ordering::Release);
    // It is read on: what comes later is seen.
    put(&control, "mine", ma(6)).await;
    while log.fails.load(Ordering::Acquire) {
        tokio::task::yield_now().await;
    }
    put(&control, "mine", ma(7)).await;
    let begun = log.begun.lock().unwrap().clone();
    assert_eq!((begun.len(), begun[0]), (2, 0), "{begun:?}");
    assert!(begun[1] >= end, "{begun:?}, where {end} was read");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_tried_for_long_keeps_no_other_change_waiting() {
    let log = Shaky::new();
    let control = replica(&log).await;
    upload(&control, "ma").await;
    let misbehave = Bytes::from_static(MISBEHAVE);
    control.upload(misbehave, &me()).await.unwrap();
    put(&control, "mine", ma(10)).await;
    let me = me();
    // One after the other: each takes a hundred thousand steps for each of the ticks on which it is tried.
    let dear = (0..8).map(|n| {
        let (control, me) = (&control, &me);
        async move {
            let request = request("misbehave", json!({"how": "dear", "at": n}));
            let id = format!("dear-{n}");
            control
                .put_strategy(&id, request, Precondition::Any, me)
                .await
        }
    });
    let mut dear = Box::pin(futures_util::future::join_all(dear));
    // On their way.
    let under_way = tokio::time::timeout(Duration::from_millis(20), &mut dear);
    assert!(under_way.await.is_err());
    tokio::select! {
        biased;
        _ = &mut dear => panic!("the removal waited for all of them"),
        removed = control.remove_strategy("mine", Precondition::Any, &me) => removed.unwrap(),
    }
    for defined in dear.await {
        defined.unwrap();
    }
}
