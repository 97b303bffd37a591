use std::time::Duration;

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Child,
    time::{Instant, timeout},
};

use crate::{PATIENCE, start, terminate};

/// Starts a server and waits until it says where it is.
async fn serve(args: &str) -> (Child, String) {
    let mut child = start(&format!("--listen 127.0.0.1:0 {args}"));
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    loop {
        let line = timeout(PATIENCE, log.next_line())
            .await
            .unwrap()
            .unwrap()
            .expect("a line with the address");
        if let Some((_, url)) = line.split_once("url=") {
            // The rest is read on, lest the program stalls.
            tokio::spawn(async move { while let Ok(Some(_)) = log.next_line().await {} });
            return (child, url.trim_matches('"').to_owned());
        }
    }
}

async fn get(url: &str) -> String {
    reqwest::get(url)
        .await
        .unwrap()
        .error_for_status()
        .unwrap()
        .text()
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_show_one_market() {
    let options = "--rate 4 --seed 9";
    let ((_one, first), (_other, second)) = (serve(options).await, serve(options).await);
    let (mut seen, deadline) = (Vec::new(), Instant::now() + PATIENCE);
    while seen.len() < 3 {
        assert!(
            Instant::now() < deadline,
            "no stretch without a tick in between: {seen:?}"
        );
        let (before, between, after) = (get(&first).await, get(&second).await, get(&first).await);
        if before == after {
            assert_eq!(between, before);
            if seen.last() != Some(&before) {
                seen.push(before);
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let times: Vec<f64> = seen
        .iter()
        .map(|json| {
            serde_json::from_str::<Value>(json).unwrap()["timestamp"]
                .as_f64()
                .unwrap()
        })
        .collect();
    assert!(times.is_sorted(), "{times:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_serves_health_and_json_and_ends_when_told_to() {
    let (child, url) = serve("").await;
    assert_eq!(get(&format!("{url}healthz")).await, "ok\n");
    let answer = reqwest::get(&url).await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/json");
    assert_eq!(answer.headers()["cache-control"], "no-store");
    assert!(answer.json::<Value>().await.unwrap().is_object());
    assert_eq!(
        reqwest::get(format!("{url}nothing"))
            .await
            .unwrap()
            .status(),
        404
    );
    let (ended, took) = terminate(child).await;
    assert!(
        ended.status.success() && took < Duration::from_secs(2),
        "{took:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_market_that_is_not_open_yet_says_so() {
    let (_child, url) = serve("--start-time 2199-01-01").await;
    let answer = reqwest::get(&url).await.unwrap();
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["retry-after"], "1");
    assert_eq!(
        answer.json::<Value>().await.unwrap()["detail"],
        "the start time is in the future"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_in_use_is_named() {
    let (_child, url) = serve("").await;
    let address = url.trim_start_matches("http://").trim_end_matches('/');
    let ended = crate::run(&format!("--listen {address}")).await;
    assert_eq!(ended.status.code(), Some(1));
    assert!(
        ended
            .stderr
            .contains(&format!("listen address {address}: Address already in use")),
        "{}",
        ended.stderr
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_replica_says_its_name_in_a_header_alone() {
    let (_one, first) = serve("--name generator-1 --start-time 0 --rate 1").await;
    let (_other, second) = serve("--name generator-2 --start-time 0 --rate 1").await;
    for (url, name) in [(first, "generator-1"), (second, "generator-2")] {
        for path in ["", "healthz"] {
            let answer = reqwest::get(format!("{url}{path}")).await.unwrap();
            assert_eq!(answer.headers()["served-by"], name);
            assert!(!answer.text().await.unwrap().contains(name));
        }
    }
}
