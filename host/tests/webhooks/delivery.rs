//! What arrives: each signal that is wanted, signed, in the form that is wanted.

use std::{
    collections::BTreeSet,
    io::Write,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::{
    STRATEGY, all_arrive, arrive, define, feed, get, parsed,
    receiver::{Got, Receiver},
    service::{Service, eventually},
    signals, start, stored,
};

/// The page that tells how to check a signature.
const PAGE: &str = include_str!("../../../docs/webhooks.md");

#[tokio::test(flavor = "multi_thread")]
async fn each_signal_arrives_once_with_its_own_bytes_in_the_order_of_its_symbol() {
    let folder = tempfile::tempdir().unwrap();
    let service = start(folder.path(), &[]).await;
    let receiver = Receiver::start().await;
    let (id, _) = define(&service, &receiver.url(), json!({})).await;
    feed(&service, 3, 0..900).await;
    let wanted = all_arrive(&service, &receiver).await;
    let got = receiver.got();
    assert_eq!(
        got.len(),
        wanted.len(),
        "each arrives once where nothing fails"
    );
    let stored = stored(&service, STRATEGY);
    for got in &got {
        let body = String::from_utf8(got.body.to_vec()).unwrap();
        let data = body
            .split_once(r#""data":"#)
            .unwrap()
            .1
            .strip_suffix('}')
            .unwrap();
        assert!(
            stored.iter().any(|signal| signal == data),
            "{body} holds no stored signal"
        );
        assert_eq!(got.json()["type"], "signal");
        assert_eq!(got.header("content-type"), "application/json");
    }
    for symbol in ["S0", "S1", "S2"] {
        let of = |got: &&Got| got.json()["data"]["symbol"] == symbol;
        let times = got
            .iter()
            .filter(of)
            .map(|got| got.json()["data"]["timestamp"].as_f64().unwrap());
        assert!(times.is_sorted(), "{symbol} is out of order");
    }
    let webhook = eventually("all to be recorded", async || {
        let webhook = get(&service, &format!("/v1/webhooks/{id}")).await;
        (webhook["delivered"] == wanted.len()).then_some(webhook)
    })
    .await;
    assert_eq!(
        (&webhook["state"], &webhook["due"], &webhook["dead"]),
        (&json!("live"), &json!(0), &json!(0))
    );
    let deliveries = get(&service, &format!("/v1/webhooks/{id}/deliveries?limit=1")).await;
    let attempt = &deliveries["attempts"][0];
    assert!(wanted.contains(attempt["signal"].as_str().unwrap()));
    assert_eq!(
        (&attempt["status"], &attempt["attempt"], &attempt["result"]),
        (&json!(204), &json!(1), &json!("delivered"))
    );
    assert!(attempt["duration_ms"].as_u64().unwrap() < 15_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_lets_through_what_it_names_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let service = start(folder.path(), &[]).await;
    let (symbols, side, all) = (
        Receiver::start().await,
        Receiver::start().await,
        Receiver::start().await,
    );
    define(
        &service,
        &symbols.url(),
        json!({"symbols": ["S1"], "strategies": null}),
    )
    .await;
    define(&service, &side.url(), json!({"side": "sell"})).await;
    define(&service, &all.url(), json!({"strategies": null})).await;
    feed(&service, 3, 0..600).await;
    let mut all_stored = Vec::new();
    for strategy in ["ma-20", "ema-20", "rsi-14"] {
        all_stored.extend(stored(&service, strategy).iter().map(|text| parsed(text)));
    }
    let ids = |wanted: &dyn Fn(&Value) -> bool| {
        let wanted = all_stored.iter().filter(|signal| wanted(signal));
        wanted
            .map(|signal| signal["id"].as_str().unwrap().to_owned())
            .collect::<BTreeSet<_>>()
    };
    let sells = ids(&|s| s["strategy"] == STRATEGY && s["side"] == "sell");
    let of_s1 = ids(&|s| s["symbol"] == "S1");
    assert!(!sells.is_empty() && !of_s1.is_empty() && of_s1.len() < all_stored.len());
    for (receiver, wanted) in [(&symbols, &of_s1), (&side, &sells), (&all, &ids(&|_| true))] {
        arrive(receiver, wanted).await;
        assert_eq!(receiver.got().len(), wanted.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_gets_what_is_committed_after_it_was_defined() {
    let folder = tempfile::tempdir().unwrap();
    let service = start(folder.path(), &[]).await;
    feed(&service, 1, 0..400).await;
    let before = signals(&service, STRATEGY);
    assert!(!before.is_empty());
    let receiver = Receiver::start().await;
    define(&service, &receiver.url(), json!({})).await;
    feed(&service, 1, 400..800).await;
    let later: BTreeSet<_> = signals(&service, STRATEGY)
        .difference(&before)
        .cloned()
        .collect();
    assert!(!later.is_empty());
    arrive(&receiver, &later).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slack_reads_a_line_for_people() {
    let folder = tempfile::tempdir().unwrap();
    let service = start(folder.path(), &[]).await;
    let receiver = Receiver::start().await;
    define(&service, &receiver.url(), json!({"format": "slack"})).await;
    feed(&service, 1, 0..300).await;
    let got = receiver.gets(1).await.remove(0);
    let body = got.json();
    assert_eq!(body.as_object().unwrap().len(), 1, "{body}");
    let text = body["text"].as_str().unwrap();
    assert!(
        text.starts_with("*BUY* S0 at ") || text.starts_with("*SELL* S0 at "),
        "{text}"
    );
    assert!(text.contains("(ema-20, strength "), "{text}");
}

/// Runs the page's own lines with what a receiver got; gives what they print.
fn check_in_python(secret: &str, got: &Got, body: &[u8]) -> String {
    let (_, rest) = PAGE.split_once("```python\n").expect("the page has them");
    let (code, _) = rest.split_once("```").unwrap();
    let program = format!(
        "{code}\nimport sys\nprint(verify(sys.argv[1], dict(zip(sys.argv[2::2], sys.argv[3::2])), sys.stdin.buffer.read()))\n"
    );
    let mut command = Command::new("python3");
    command.args(["-c", &program, secret]);
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        command.args([name, got.header(name)]);
    }
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is here");
    child.stdin.take().unwrap().write_all(body).unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

async fn one_request(service: &Service) -> (String, Got) {
    let receiver = Receiver::start().await;
    let (_, secret) = define(service, &receiver.url(), json!({})).await;
    feed(service, 1, 0..300).await;
    (secret, receiver.gets(1).await.remove(0))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_signature_is_good_by_the_lines_of_the_documentation_and_of_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let service = start(folder.path(), &[]).await;
    let (secret, got) = one_request(&service).await;
    assert_eq!(check_in_python(&secret, &got, &got.body), "True");
    assert_eq!(check_in_python(&secret, &got, b"{}"), "False");
    assert_eq!(check_in_python("whsec_AAAA", &got, &got.body), "False");
    let mut old = got.clone();
    old.headers
        .insert("webhook-timestamp", "1700000000".parse().unwrap());
    assert_eq!(
        check_in_python(&secret, &old, &old.body),
        "False",
        "an old request is a repeat"
    );
}
