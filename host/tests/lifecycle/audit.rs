//! Who did what stands in the audit log, whatever was answered.

use reqwest::Method;
use serde_json::{Value, json};
use wigwag::plugin::Digest;

use crate::{
    send,
    service::{Service, answer},
    support::MISBEHAVE,
};

#[tokio::test(flavor = "multi_thread")]
async fn each_upload_change_and_removal_is_kept_with_who_and_from_where() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = ["root", "dev"].map(|name| {
        let scope = if name == "root" { "admin" } else { "plugins" };
        let sha256 = Digest::of(name.as_bytes());
        format!("[[tokens]]\nname = \"{name}\"\nsha256 = \"{sha256}\"\nscopes = [\"{scope}\"]\n")
    });
    std::fs::write(folder.path().join("wigwag.toml"), tokens.concat()).unwrap();
    let mut service = Service::start(folder.path(), &["--sync", "normal"]).await;
    service.token = "dev".to_owned();
    assert_eq!(send(&service, b"no plugin").await.0, 422);
    assert_eq!(send(&service, MISBEHAVE).await.0, 201);
    assert_eq!(send(&service, MISBEHAVE).await.0, 200);
    let path = "/v1/strategies/mine";
    let wrong = json!({"plugin": "misbehave", "params": {"at": -1}});
    assert_eq!(service.put(path, &wrong).await.0, 422);
    assert_eq!(
        service.put(path, &json!({"plugin": "misbehave"})).await.0,
        201
    );
    let delete = |path: &str| service.request(Method::DELETE, path);
    assert_eq!(answer(delete("/v1/plugins/misbehave")).await.0, 409);
    assert_eq!(answer(delete(path)).await.0, 204);
    assert_eq!(answer(delete("/v1/plugins/misbehave")).await.0, 204);

    let (status, body) = answer(service.request(Method::GET, "/v1/audit")).await;
    assert_eq!(status, 403, "{body}");
    service.token = "root".to_owned();
    // The built-ins and their strategies came first.
    let (mut entries, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1/audit?limit=3{cursor}");
        let (status, page) = answer(service.request(Method::GET, &path)).await;
        assert_eq!(status, 200, "{page}");
        entries.extend(page["entries"].as_array().unwrap().clone());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let digest = Digest::of(MISBEHAVE).to_string();
    let of_no_plugin = Digest::of(b"no plugin").to_string();
    let expected = [
        ("plugin.remove", "misbehave", true, "removed"),
        ("strategy.remove", "mine", true, "removed"),
        ("plugin.remove", "misbehave", false, "is run by mine"),
        (
            "strategy.put",
            "mine",
            true,
            "defined: version 1, misbehave",
        ),
        (
            "strategy.put",
            "mine",
            false,
            "refused at definition: plugin \"misbehave\": parameter \"at\" is -1",
        ),
        ("plugin.upload", "misbehave", true, "here already"),
        ("plugin.upload", "misbehave", true, "taken in"),
        ("plugin.upload", &of_no_plugin, false, "refused at check"),
    ];
    for (entry, (action, subject, done, answer)) in entries.iter().zip(expected) {
        let said = (&entry["action"], &entry["subject"], &entry["done"]);
        assert_eq!(
            said,
            (&json!(action), &json!(subject), &json!(done)),
            "{entry}"
        );
        assert!(
            entry["answer"].as_str().unwrap().contains(answer),
            "{answer}: {entry}"
        );
        assert_eq!(
            (&entry["who"], &entry["from"]),
            (&json!("dev"), &json!("127.0.0.1"))
        );
        assert!(entry["time"].as_f64().unwrap() > 1.7e9, "{entry}");
    }
    assert_eq!(entries[6]["digest"], digest);
    let built_in: Vec<&Value> = entries[8..].iter().collect();
    assert_eq!(built_in.len(), 6, "{built_in:?}");
    assert!(
        built_in
            .iter()
            .all(|e| e["who"] == "built-in" && e["from"].is_null())
    );
}
