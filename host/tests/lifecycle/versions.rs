//! Names and versions lead to digests: the newest of a name, the newest of a version, and the way back.

use serde_json::{Value, json};

use crate::{
    made::{Made, begin},
    send,
    service::{Service, answer},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_name_a_version_and_a_digest_each_lead_to_a_plugin() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::start(folder.path(), &["--sync", "normal"]).await;
    begin("versions");
    let of = |version: &'static str, help: &str| {
        let made = Made::new("twin").version(version).help(help);
        made.component()
    };
    let mut digests = Vec::new();
    for (version, help) in [
        ("1.0.0", "First."),
        ("1.1.0", "Second."),
        ("1.0.0", "Once more."),
    ] {
        let (status, body) = send(&service, &of(version, help)).await;
        assert_eq!(status, 201, "{body}");
        digests.push(body["digest"].as_str().unwrap().to_owned());
    }
    let plugin = service.get("/v1/plugins/twin").await;
    assert_eq!(plugin["digest"], digests[2], "the newest");
    let versions: Vec<(&str, &str)> = (plugin["versions"].as_array().unwrap().iter())
        .map(|v| {
            (
                v["version"].as_str().unwrap(),
                v["digest"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        versions,
        [
            ("1.0.0", &*digests[2]),
            ("1.1.0", &*digests[1]),
            ("1.0.0", &*digests[0])
        ]
    );
    for (reference, digest) in [
        ("twin", &digests[2]),
        ("twin@1.1.0", &digests[1]),
        ("twin@1.0.0", &digests[2]),
        (&*digests[0], &digests[0]),
    ] {
        let found = service.get(&format!("/v1/plugins/{reference}")).await;
        assert_eq!(found["digest"], **digest, "{reference}");
        let body = json!({ "plugin": reference });
        let (_, strategy) = service.put("/v1/strategies/mine", &body).await;
        assert_eq!(strategy["plugin_digest"], **digest, "{reference}");
    }
    let body = json!({"plugin": "twin@2.0.0"});
    let (status, body) = service.put("/v1/strategies/mine", &body).await;
    assert_eq!(status, 422);
    let detail = body["detail"].as_str().unwrap();
    assert!(
        detail.contains("plugin is \"twin@2.0.0\", which is not here; upload it first"),
        "{detail}"
    );

    // Removed and sent again, it is there again, and alone.
    for path in ["/v1/strategies/mine", "/v1/plugins/twin"] {
        let asked = service.request(reqwest::Method::DELETE, path);
        assert_eq!(answer(asked).await.0, 204, "{path}");
    }
    let asked = service.anonymous(reqwest::Method::GET, "/v1/plugins/twin");
    assert_eq!(answer(asked).await.0, 404);
    let (status, again) = send(&service, &of("1.1.0", "Second.")).await;
    assert_eq!(
        (status, &again["digest"]),
        (201, &Value::from(&*digests[1]))
    );
    assert_eq!(again["versions"].as_array().unwrap().len(), 1);
    assert_eq!(again["fuel_per_tick"], plugin["fuel_per_tick"]);
}
