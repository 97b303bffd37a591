//! Webhooks as their users meet them: the real program, real HTTP, and receivers that answer as receivers do, fail,
//! redirect, dawdle, vanish and come back.

#![allow(clippy::unwrap_used, reason = "tests may panic")]

mod dead_letters;
mod definitions;
mod delivery;
mod failures;
mod kafka;
#[allow(dead_code, reason = "the other tests use more of it")]
#[path = "../kafka_broker/mod.rs"]
mod kafka_broker;
mod receiver;
mod restarts;
#[path = "../support/service.rs"]
mod service;
#[allow(unreachable_pub, reason = "shared with other test binaries")]
#[path = "../support/mod.rs"]
mod support;
mod targets;
mod tls;

use std::{collections::BTreeSet, path::Path, time::Duration};

use reqwest::Method;
use serde_json::{Value, json};
use wigwag::log::{Group, Log, Messages, Start, Topic, embedded::ReadOnlyLog};

use crate::service::{Service, answer, eventually};

/// The strategy whose signals are delivered here.
const STRATEGY: &str = "ema-20";

/// A service whose webhooks may lead to this machine, and that tries again soon.
async fn start(folder: &Path, more: &[&str]) -> Service {
    let mut options = vec!["--webhook-allow", "127.0.0.1"];
    options.extend(["--webhook-retry-first", "20"]);
    options.extend(more);
    Service::start(folder, &options).await
}

/// Defines a webhook, for one strategy unless `more` says otherwise; gives its id and secret.
async fn define(service: &Service, url: &str, more: Value) -> (String, String) {
    let mut body = json!({"url": url, "strategies": [STRATEGY]});
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let request = service.request(Method::POST, "/v1/webhooks").json(&body);
    let (status, made) = answer(request).await;
    assert_eq!(status, 201, "{made}");
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    (text("id"), text("secret"))
}

/// What the service gives to an operator at this path.
async fn get(service: &Service, path: &str) -> Value {
    let (status, body) = answer(service.request(Method::GET, path)).await;
    assert_eq!(status, 200, "{path}: {body}");
    body
}

/// Sends ticks `from..to` of a walk of some symbols, and waits until the engine is through.
async fn feed(service: &Service, symbols: usize, ticks: std::ops::Range<usize>) {
    let lines = &support::walk(symbols, ticks.end)[ticks];
    let (status, body) = service.post(lines.join("\n")).await;
    assert_eq!(status, 200, "{body}");
    through(service).await;
}

/// The service's log, as anybody may look at it.
fn log_of(service: &Service) -> ReadOnlyLog {
    let folder = format!("/proc/{}/cwd/data", service.pid().as_raw_nonzero());
    ReadOnlyLog::open(Path::new(&folder), None).expect("its log")
}

/// Waits until the engine has committed all ticks: then all signals that there will be are there.
async fn through(service: &Service) {
    eventually("the engine to be through", async || {
        let log = log_of(service);
        let is_through = |partition| {
            let end = log.bounds(Topic::Ticks, partition).unwrap().end;
            end == 0 || log.committed(Group::Engine, partition).unwrap() == Some(end)
        };
        (0..log.partitions()).all(is_through).then_some(())
    })
    .await;
}

/// The signals of a strategy as they stand in the log.
fn stored(service: &Service, strategy: &str) -> Vec<String> {
    let log = log_of(service);
    let (topic, mut all) = (Topic::Signals, Vec::new());
    for partition in 0..log.partitions() {
        let bounds = log.bounds(topic, partition).unwrap();
        let start = Start {
            topic,
            partition,
            offset: bounds.start,
        };
        let mut reader = log.read(&[start]).unwrap();
        let mut messages = Messages::new();
        while reader.position(topic, partition) < bounds.end {
            messages.clear();
            reader
                .poll(&mut messages, 1 << 20, Duration::from_millis(100))
                .unwrap();
            let texts = messages
                .iter()
                .map(|m| String::from_utf8(m.value.to_vec()).unwrap());
            all.extend(texts.filter(|text| parsed(text)["strategy"] == strategy));
        }
    }
    all
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// The ids of all signals of a strategy.
fn signals(service: &Service, strategy: &str) -> BTreeSet<String> {
    let all = stored(service, strategy);
    all.iter()
        .map(|text| parsed(text)["id"].as_str().unwrap().to_owned())
        .collect()
}

/// Waits until a receiver has taken each signal of the strategy that there is, and gives their ids.
async fn all_arrive(service: &Service, receiver: &receiver::Receiver) -> BTreeSet<String> {
    let wanted = signals(service, STRATEGY);
    assert!(!wanted.is_empty(), "the walk crosses its average");
    arrive(receiver, &wanted).await;
    wanted
}

/// Waits until a receiver has taken these and no others.
async fn arrive(receiver: &receiver::Receiver, wanted: &BTreeSet<String>) {
    let what = format!("{} signals to arrive", wanted.len());
    eventually(&what, async || {
        (receiver.taken_ids() == *wanted).then_some(())
    })
    .await;
}
