//! Tokens as an operator changes them under a running service.

use reqwest::Method;

use crate::process::{Service, answer, eventually};

/// A file that names one token, whose text is its name.
fn token_file(path: &std::path::Path, name: &str) {
    use sha2::Digest as _;
    let digest = hex::encode(sha2::Sha256::digest(name));
    let text =
        format!("[[tokens]]\nname = \"{name}\"\nsha256 = \"{digest}\"\nscopes = [\"admin\"]\n");
    std::fs::write(path, text).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_rotated_in_their_file_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens.toml");
    token_file(&file, "first");
    let service = Service::start(folder.path(), &["--config", "tokens.toml"]).await;
    let status = async |token: &str| {
        let asked = service.anonymous(Method::GET, "/v1/audit");
        answer(asked.bearer_auth(token)).await.0
    };
    assert_eq!((status("first").await, status("second").await), (200, 401));

    // What cannot be used changes nothing, and is told.
    std::fs::write(
        &file,
        "[[tokens]]\nname = \"second\"\nsha256 = \"x\"\nscopes = []\n",
    )
    .unwrap();
    eventually("the complaint", async || {
        let lines = service.lines();
        lines
            .iter()
            .any(|line| line.contains("the tokens stay as they were"))
            .then_some(())
    })
    .await;
    assert_eq!(status("first").await, 200);

    token_file(&file, "second");
    eventually("the second token", async || {
        (status("second").await == 200).then_some(())
    })
    .await;
    assert_eq!(status("first").await, 401);
    let (_, metrics) = answer(service.anonymous(Method::GET, "/metrics")).await;
    let metrics = metrics.as_str().unwrap();
    for shown in [
        "wigwag_http_token{name=\"first\"} 0",
        "wigwag_http_token{name=\"second\"} 1",
    ] {
        assert!(metrics.contains(shown), "{shown}: {metrics}");
    }
}
