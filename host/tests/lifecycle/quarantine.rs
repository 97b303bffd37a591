//! A strategy that fails again and again stands still for everyone to see, until it is defined again.

use serde_json::json;

use crate::{
    all, feed, reaches, send,
    service::{Service, eventually},
    support::{MISBEHAVE, provoking},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_quarantined_strategy_that_is_defined_again_tries_again() {
    let folder = tempfile::tempdir().unwrap();
    let options = ["--sync", "normal", "--partitions", "1"];
    let service = Service::start(folder.path(), &options).await;
    assert_eq!(send(&service, MISBEHAVE).await.0, 201);
    let (path, definition) = (
        "/v1/strategies/bad",
        json!({"plugin": "misbehave", "params": {"how": "panic"}}),
    );
    assert_eq!(service.put(path, &definition).await.0, 201);
    reaches(&service, "bad", |s| all(s, "live")).await;
    feed(
        &service,
        &provoking(400, &[101, 141, 181, 221, 261, 301]),
        100,
        "S1",
    )
    .await;
    let strategy = reaches(&service, "bad", |s| all(s, "quarantined")).await;
    let state = &strategy["state"][0];
    assert_eq!(state["since_offset"], 2, "{state}");
    assert_eq!(
        (&state["row"], &state["skipped_rows"]),
        (&json!(62), &json!(5))
    );
    let reason = state["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("failed at 5 of 10000 rows, the last: trapped: "),
        "{reason}"
    );
    let failures = state["failures"].as_array().unwrap();
    assert_eq!(failures.len(), 5);
    assert_eq!(failures[4]["offset"], 2);
    assert_eq!(failures[4]["record"]["stock_symbol"], "S1");
    let metrics = service
        .anonymous(reqwest::Method::GET, "/metrics")
        .send()
        .await
        .unwrap();
    let metrics = metrics.text().await.unwrap();
    let line = "wigwag_engine_quarantined_strategies{partition=\"0\"} 1";
    assert!(metrics.contains(line), "{metrics}");
    let told =
        |line: &String| line.contains("strategy quarantined") && line.contains("failed at 5");
    assert!(service.lines().iter().any(told));

    assert_eq!(service.put(path, &definition).await.0, 200);
    let strategy = reaches(&service, "bad", |s| all(s, "live")).await;
    assert_eq!(strategy["state"][0]["failures"], json!([]));
    let lines = provoking(800, &[]);
    feed(&service, &lines[400..], 100, "S1").await;
    eventually("signals of the last ticks", async || {
        let page = service.get("/v1/signals?strategy=bad&limit=1").await;
        (page["signals"][0]["offset"].as_u64()? >= 7).then_some(())
    })
    .await;
}
