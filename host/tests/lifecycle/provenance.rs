//! A signal is explained by what led to it.

use serde_json::{Value, json};

use crate::{feed, service::Service, support::walk};

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_is_explained_with_its_parameters_ticks_and_values() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::start(folder.path(), &["--sync", "normal"]).await;
    let lines = walk(3, 900);
    feed(&service, &lines, 30, "S1").await;
    let page = service
        .get("/v1/signals?strategy=ma-20&symbol=S1&limit=1000")
        .await;
    let signals = page["signals"].as_array().unwrap();
    assert!(signals.len() > 5, "{page}");
    for listed in [&signals[0], &signals[signals.len() / 2]] {
        let id = listed["id"].as_str().unwrap();
        let mut signal = service.get(&format!("/v1/signals/{id}")).await;
        let provenance = signal
            .as_object_mut()
            .unwrap()
            .remove("provenance")
            .unwrap();
        assert_eq!(signal, *listed, "all else is the signal itself");
        assert_eq!(provenance["params"], json!({"period": 20}));
        let ticks = provenance["ticks"].as_array().unwrap();
        assert_eq!(ticks.len(), 20);
        let last = &ticks[19];
        for (of_tick, of_signal) in [
            ("offset", "offset"),
            ("row", "row"),
            ("close", "price"),
            ("timestamp", "timestamp"),
        ] {
            assert_eq!(last[of_tick], signal[of_signal], "{of_tick}");
        }
        // Its average is that of these very ticks.
        let closes = ticks.iter().map(|tick| tick["close"].as_f64().unwrap());
        let average = closes.sum::<f64>() / 20.0;
        let said = signal["values"]["sma"].as_f64().unwrap();
        assert!((average - said).abs() < 1e-9, "{average} and {said}");
        let values = provenance["values"].as_array().unwrap();
        assert!(!values.is_empty(), "{provenance}");
        let place = |v: &Value| (v["offset"].as_u64(), v["row"].as_u64());
        assert!(values.iter().all(|value| place(value) <= place(&signal)));
    }
}
