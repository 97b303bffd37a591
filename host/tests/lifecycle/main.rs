//! What becomes of plugins and strategies on a running service: taken in, tried, run, compared, promoted, rolled back,
//! explained, and who did it.

#![allow(clippy::unwrap_used, reason = "tests may panic")]

mod audit;
mod bars;
#[path = "../hostile/made.rs"]
#[allow(dead_code, reason = "shared with the hostile suite")]
mod made;
mod provenance;
mod quarantine;
#[path = "../support/service.rs"]
mod service;
mod shadow;
#[allow(unreachable_pub, reason = "shared with other test binaries")]
#[path = "../support/mod.rs"]
mod support;
mod upload;
mod versions;

use serde_json::Value;

use crate::service::{Service, eventually};

/// Sends a component.
async fn send(service: &Service, bytes: &[u8]) -> (u16, Value) {
    service.upload(bytes.to_vec()).await
}

/// Waits until a strategy is in a state on all partitions.
async fn reaches(service: &Service, id: &str, state: impl Fn(&Value) -> bool) -> Value {
    eventually(&format!("{id} to be as wanted"), async || {
        let strategy = service.get(&format!("/v1/strategies/{id}")).await;
        state(&strategy).then_some(strategy)
    })
    .await
}

fn all(strategy: &Value, status: &str) -> bool {
    let state = strategy["state"].as_array().unwrap();
    !state.is_empty() && state.iter().all(|p| p["status"] == status)
}

/// Sends ticks in bodies of so many lines, and waits until they are through.
async fn feed(service: &Service, lines: &[String], a_body: usize, symbol: &str) {
    let before = service.ticks(symbol).await;
    for lines in lines.chunks(a_body) {
        let (status, body) = service.post(lines.join("\n")).await;
        assert_eq!(status, 200, "{body}");
    }
    let name = format!("\"stock_symbol\":\"{symbol}\"");
    let of_symbol = lines.iter().filter(|line| line.contains(&name)).count() as u64;
    eventually("the ticks to be seen", async || {
        (service.ticks(symbol).await >= before + of_symbol).then_some(())
    })
    .await;
}
