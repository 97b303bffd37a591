//! A plugin of a real toolchain that asks its system for what plugins do not get.

use serde_json::json;

use crate::{
    made::{begin, trigger},
    stage::{check_memory, check_quarantine, run, with_service},
    support::MISBEHAVE,
};

#[test]
fn time_randomness_and_the_environment_are_always_the_same() {
    begin("wasi");
    with_service(async |service| {
        let (status, body) = service.upload(MISBEHAVE.to_vec()).await;
        assert!(matches!(status, 200 | 201), "{body}");
        for how in ["clock", "random", "environment", "sleep"] {
            let state = run(
                service,
                &format!("asks-{how}"),
                "misbehave",
                &json!({ "how": how, "at": trigger() }),
            )
            .await;
            let failed = state["state"].to_string();
            assert!(!failed.contains("closing_price"), "{how}: {state}");
        }
        // What it says of them stands in its signals' reasons: one for all runs.
        let page = service
            .get("/v1/signals?strategy=h-asks-clock&limit=100")
            .await;
        let signals = page["signals"].as_array().unwrap();
        assert!(signals.len() >= 5, "{page}");
        let said = signals.iter().map(|s| s["reason"].as_str().unwrap());
        let said: Vec<_> = said
            .filter(|reason| *reason != "another ten ticks")
            .collect();
        assert_eq!(said, ["it is 0 s since the epoch"; 6]);
        check_memory(service);
    });
}

#[test]
fn files_and_the_network_are_not_there() {
    begin("wasi");
    with_service(async |service| {
        let (status, body) = service.upload(MISBEHAVE.to_vec()).await;
        assert!(matches!(status, 200 | 201), "{body}");
        for how in ["file", "network", "thread"] {
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
