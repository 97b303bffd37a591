//! An upgrade in the shadow, its report, its promotion, and the way back.

use serde_json::{Value, json};

use crate::{
    all, feed, reaches,
    service::{Service, answer, eventually, wigwag},
    support::walk,
};

/// Since which offset it runs on each partition.
fn since(strategy: &Value) -> Vec<Option<u64>> {
    let state = strategy["state"].as_array().unwrap().iter();
    state.map(|p| p["since_offset"].as_u64()).collect()
}

/// What it was changed to runs on all partitions, where what ran before did so since other offsets.
async fn runs_anew(service: &Service, plugin: &str, before: &[Option<u64>]) -> Vec<Option<u64>> {
    let is_new = |s: &Value| {
        let since = since(s);
        let mut pairs = since.iter().zip(before);
        all(s, "live") && s["plugin"] == plugin && pairs.all(|(now, before)| now > before)
    };
    since(&reaches(service, "trend", is_new).await)
}

fn shadow_runs(strategy: &Value) -> bool {
    strategy["shadow"].is_object() && all(&strategy["shadow"], "live")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_is_compared_promoted_and_rolled_back_and_all_of_it_can_be_verified() {
    let folder = tempfile::tempdir().unwrap();
    let options = ["--sync", "normal", "--partitions", "2"];
    let mut service = Service::start(folder.path(), &options).await;
    let path = "/v1/strategies/trend";
    let lines = walk(5, 4_000);
    let mut parts = lines.chunks(1_000);
    let mut next = async |service: &Service| {
        feed(service, parts.next().unwrap(), 100, "S1").await;
    };
    let (status, first) = service.put(path, &json!({"plugin": "ma"})).await;
    assert_eq!(status, 201, "{first}");
    let started = reaches(&service, "trend", |s| all(s, "live")).await;
    let started = since(&started);
    next(&service).await;
    let (status, body) = service
        .put(path, &json!({"plugin": "ma", "shadow": {"plugin": "ma"}}))
        .await;
    assert_eq!(
        (status, &body["stage"]),
        (422, &json!("definition")),
        "{body}"
    );
    let wrong = json!({"plugin": "ma", "shadow": {"plugin": "ema", "params": {"period": 0}}});
    let (status, body) = service.put(path, &wrong).await;
    assert_eq!(
        (status, &body["errors"][0]["field"]),
        (422, &json!("shadow.params.period")),
        "{body}"
    );

    let asked = service.anonymous(reqwest::Method::GET, "/v1/strategies/trend/shadow");
    assert_eq!(answer(asked).await.0, 404);
    let with_shadow = json!({"plugin": "ma", "shadow": {"plugin": "ema"}});
    let (status, body) = service.put(path, &with_shadow).await;
    assert_eq!(status, 200, "{body}");
    reaches(&service, "trend", |s| all(s, "live") && shadow_runs(s)).await;
    next(&service).await;
    let report = service.get("/v1/strategies/trend/shadow").await;
    check_report(&service, &report).await;

    // The same call without the shadow, and with the shadow's definition, promotes it.
    let (status, body) = service.put(path, &json!({"plugin": "ema"})).await;
    assert_eq!((status, &body["version"]), (200, &json!(3)), "{body}");
    let promoted = runs_anew(&service, "ema", &started).await;
    let now = service.get(path).await;
    assert!(now["shadow"].is_null(), "{now}");
    next(&service).await;
    let (status, body) = service
        .put(path, &json!({"plugin": first["plugin_digest"]}))
        .await;
    assert_eq!(status, 200, "{body}");
    let rolled_back = runs_anew(&service, "ma", &promoted).await;
    next(&service).await;

    // Each tick was seen by one version only.
    let page = service.get("/v1/signals?strategy=trend&limit=1000").await;
    let signals = page["signals"].as_array().unwrap();
    let mut of_each = [0; 3];
    for signal in signals {
        let partition = signal["partition"].as_u64().unwrap() as usize;
        let offset = signal["offset"].as_u64();
        let (n, plugin) = match offset {
            _ if offset < promoted[partition] => (0, "ma"),
            _ if offset < rolled_back[partition] => (1, "ema"),
            _ => (2, "ma"),
        };
        assert_eq!(signal["plugin"], plugin, "{signal}");
        of_each[n] += 1;
    }
    assert!(of_each.iter().all(|count| *count > 10), "{of_each:?}");
    service.end_after(std::time::Duration::ZERO, rustix::process::Signal::TERM);
    assert!(service.ended().await.success());
    let verify = wigwag(folder.path())
        .args(["verify", "--data-dir", "data"])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&verify.stdout).into_owned();
    assert!(verify.status.success(), "{told}");
}

/// It counts what the topics hold, and names the first difference.
async fn check_report(service: &Service, report: &Value) {
    let counted = |name: &str| report[name].as_u64().unwrap();
    assert!(
        counted("only_live") > 0 && counted("only_shadow") > 0,
        "{report}"
    );
    let partitions = report["partitions"].as_array().unwrap();
    assert_eq!(partitions.len(), 2);
    let from: Vec<u64> = partitions
        .iter()
        .map(|p| p["from"].as_u64().unwrap())
        .collect();
    // Report and signals are read one after the other, while the last of them may still be on their way.
    eventually("a report of all signals", async || {
        let report = service.get("/v1/strategies/trend/shadow").await;
        let page = service.get("/v1/signals?strategy=trend&limit=1000").await;
        let live = page["signals"].as_array().unwrap().iter().filter(|s| {
            s["offset"].as_u64().unwrap() >= from[s["partition"].as_u64().unwrap() as usize]
        });
        let compared =
            ["same", "different", "only_live"].map(|name| report[name].as_u64().unwrap());
        (compared.iter().sum::<u64>() == live.count() as u64).then_some(())
    })
    .await;
    let differences = report["differences"].as_array().unwrap();
    assert!(!differences.is_empty());
    for difference in differences {
        assert!(difference["live"] != difference["shadow"], "{difference}");
    }
    let time = |d: &Value| d["timestamp"].as_f64().unwrap();
    assert!(differences.is_sorted_by(|a, b| time(a) >= time(b)));
    let of_one = |d: &Value| d["partition"] == differences[0]["partition"];
    assert!(!differences.iter().all(of_one), "of all partitions");
}
