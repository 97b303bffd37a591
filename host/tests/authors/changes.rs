//! What an author changes of a strategy that runs: only what they say, and nothing that another changed meanwhile.

use serde_json::{Value, json};

use crate::{
    desk::Desk,
    made::{Made, begin},
    process::Service,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_change_keeps_what_it_does_not_name() {
    let home = tempfile::tempdir().unwrap();
    let service = Service::start(home.path(), &[]).await;
    let desk = Desk::at(home.path());
    let (path, definition) = (
        "/v1/strategies/mine",
        json!({
            "plugin": "ma", "params": {"period": 7}, "symbols": ["A", "B"], "values_interval_ms": 500,
            "shadow": {"plugin": "ema", "params": {"period": 9}},
        }),
    );
    assert_eq!(service.put(path, &definition).await.0, 201);
    let set = async |arguments: &[&str]| {
        let all = [&["strategy", "set", "mine"], arguments].concat();
        let said = tokio::task::block_in_place(|| desk.done(&all));
        (said, service.get(path).await)
    };
    let (_, changed) = set(&["--symbols", "A"]).await;
    assert_eq!(changed["symbols"], json!(["A"]));
    assert_eq!(
        (&changed["params"], &changed["values_interval_ms"]),
        (&json!({"period": 7}), &json!(500))
    );
    assert_eq!(changed["shadow"]["params"]["period"], 9, "{changed}");
    let (said, stopped) = set(&["--disabled"]).await;
    assert!(said.contains("stopped strategy mine"), "{said}");
    assert_eq!(stopped["enabled"], false);
    assert!(stopped["shadow"].is_object(), "{stopped}");
    let (said, promoted) = set(&["--plugin", "ema", "--params", r#"{"period":9}"#]).await;
    assert!(said.contains("the shadow of mine ends"), "{said}");
    assert_eq!(
        (
            &promoted["plugin"],
            &promoted["shadow"],
            &promoted["enabled"]
        ),
        (&json!("ema"), &Value::Null, &json!(true))
    );

    for id in ["..", ".hidden", "Mine", "a/b"] {
        let said = tokio::task::block_in_place(|| desk.say(&["strategy", "remove", id]));
        let message = format!("id is {id:?}; use 1 to 64 characters from a-z 0-9 . _ -");
        assert!(
            !said.is_done && said.text.contains(&message),
            "{}",
            said.text
        );
    }
}

/// A plugin loses a parameter between two pushes.
#[tokio::test(flavor = "multi_thread")]
async fn a_push_goes_on_with_the_parameters_that_are_left() {
    let home = tempfile::tempdir().unwrap();
    let service = Service::start(home.path(), &[]).await;
    let desk = Desk::at(home.path());
    let push = |file: &str, more: &[&str]| {
        let all = ["plugin", "push", file, "--id", "mine", "--signals", "0"];
        tokio::task::block_in_place(|| desk.done(&[&all[..], more].concat()))
    };
    let said = push("ma", &["--params", r#"{"period":7}"#]);
    assert!(said.contains("started strategy mine: ma with"), "{said}");
    begin("changes");
    desk.write("plain.wasm", Made::new("plain").component());
    let said = push("plain.wasm", &[]);
    assert!(
        said.contains("parameter period is no more, and left out"),
        "{said}"
    );
    assert!(
        said.contains("changed strategy mine: plain with {}"),
        "{said}"
    );

    desk.write("next.wasm", Made::new("plain").version("1.1.0").component());
    push("next.wasm", &[]);
    let listed = tokio::task::block_in_place(|| desk.done(&["plugin", "list"]));
    let plain = service.get("/v1/plugins/plain").await;
    for version in plain["versions"].as_array().unwrap() {
        let digest = version["digest"].as_str().unwrap();
        assert!(listed.contains(digest), "{digest}: {listed}");
    }
    let back = ["strategy", "set", "mine", "--plugin", "plain@1.0.0"];
    tokio::task::block_in_place(|| desk.done(&back));
    let strategy = service.get("/v1/strategies/mine").await;
    assert_eq!(strategy["plugin_digest"], plain["versions"][1]["digest"]);
}
