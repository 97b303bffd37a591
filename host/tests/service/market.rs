//! A small market in bodies of a hundred ticks, and when all of it has been seen.

use reqwest::Method;
use serde_json::Value;

use crate::{
    START,
    process::{Service, answer, eventually},
    support::{self, tick},
};

pub(crate) const SYMBOLS: usize = 8;

/// Time of the last ticks of [`bodies`]: late enough that each has values, and of the same day.
pub(crate) const LAST: f64 = START + 6_000.0;

/// Bodies of 100 ticks of some symbols, and one with the last tick of each.
pub(crate) fn bodies(count: usize) -> Vec<String> {
    let lines = support::walk(SYMBOLS, count * 100);
    let last = (0..SYMBOLS).map(|symbol| tick(&format!("S{symbol}"), LAST, 100.0));
    let last = last.collect::<Vec<_>>().join("\n");
    lines
        .chunks(100)
        .map(|lines| lines.join("\n"))
        .chain([last])
        .collect()
}

/// Waits until the last tick of each symbol and what it led to are seen.
pub(crate) async fn settled(service: &Service) {
    for symbol in 0..SYMBOLS {
        let path = format!("/v1/symbols/S{symbol}");
        eventually("the last tick's values", async || {
            let (_, summary) = answer(service.anonymous(Method::GET, &path)).await;
            let newest = summary["indicators"].as_array()?;
            let done = |v: &Value| v["timestamp"] == LAST;
            (summary["timestamp"] == LAST && newest.len() >= 3 && newest.iter().all(done))
                .then_some(())
        })
        .await;
    }
}

pub(crate) fn ids(signals: &[String]) -> Vec<String> {
    let id = |signal: &String| {
        serde_json::from_str::<Value>(signal).unwrap()["id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    signals.iter().map(id).collect()
}
