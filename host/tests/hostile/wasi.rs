//! A plugin of a real toolchain that asks its system for what plugins do not get.

use serde_json::json;

use crate::{
    made::{begin, trigger},
    service::{Service, eventually},
    stage::{TICKS, TRIGGERS, check_memory, check_quarantine, run, with_service},
    support::MISBEHAVE,
};

/// What it says of them stands in its signals' reasons, one at each trigger.
#[test]
fn time_randomness_and_the_environment_are_always_the_same() {
    with_service(async |service| {
        let (status, body) = service.upload(MISBEHAVE.to_vec()).await;
        assert!(matches!(status, 200 | 201), "{body}");
        let clock = said(service, "clock", "clock", TRIGGERS).await;
        assert_eq!(clock, ["it is 0 s since the epoch"; TRIGGERS]);
        let environment = said(service, "environment", "environment", TRIGGERS).await;
        assert_eq!(environment, ["0 variables and 0 arguments"; TRIGGERS]);
        // Each of an instance's numbers is another, and they are those of any other instance.
        let random = said(service, "random", "random", TRIGGERS).await;
        assert!(random.iter().all(|reason| reason.starts_with("it is ")));
        let again = said(service, "random", "random-again", TRIGGERS).await;
        assert_eq!(random, again);
        said(service, "sleep", "sleep", 0).await;
        check_memory(service);
    });
}

/// Asks in one way, and gives what it says at the triggers, so many reasons in their order.
async fn said(service: &Service, how: &str, name: &str, count: usize) -> Vec<String> {
    // What another was provoked by is among the ticks on which it is tried.
    begin(name);
    let id = format!("asks-{name}");
    let params = json!({ "how": how, "at": trigger() });
    let state = run(service, &id, "misbehave", &params).await;
    let failed = state["state"].to_string();
    assert!(!failed.contains("closing_price"), "{name}: {state}");
    let path = format!("/v1/signals?strategy=h-{id}&limit=100");
    let signals = eventually("its signals", async || {
        let page = service.get(&path).await;
        let signals = page["signals"].as_array().unwrap().clone();
        (signals.len() >= TICKS / 10 + count).then_some(signals)
    })
    .await;
    let reasons = signals.iter().rev().map(|s| s["reason"].as_str().unwrap());
    let reasons: Vec<_> = reasons
        .filter(|reason| *reason != "another ten ticks")
        .map(str::to_owned)
        .collect();
    assert_eq!(reasons.len(), count, "{name}: {reasons:?}");
    reasons
}

#[test]
fn files_and_the_network_are_not_there() {
    begin("wasi");
    with_service(async |service| {
        let (status, body) = service.upload(MISBEHAVE.to_vec()).await;
        assert!(matches!(status, 200 | 201), "{body}");
        for how in ["file", "network", "thread"] {
            // What another was provoked by is among the ticks on which it is tried.
            begin(how);
            let state = run(
                service,
                &format!("opens-{how}"),
                "misbehave",
                &json!({ "how": how, "at": trigger() }),
            )
            .await;
            check_quarantine(&state, "trap", "");
        }
        check_memory(service);
    });
}
