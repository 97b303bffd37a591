//! `/v1/ws`: several subscriptions on one socket, with the events, filters and places of `/v1/stream`.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures_util::{SinkExt, StreamExt};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest, protocol::CloseFrame},
};
use wigwag::{http, market::Side};

use crate::{
    server::{Server, Settings, Sketch, TestLog, appends, eventually, refused, single, sketches},
    streams::{ticks, value},
    symbols::bar,
};

/// A client of a socket.
struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    async fn open(server: &Server) -> Self {
        Self::open_with(server, &[]).await.unwrap()
    }

    async fn open_with(server: &Server, headers: &[(&'static str, &str)]) -> Result<Self, Error> {
        let address = format!("{}/v1/ws", server.url.replace("http:", "ws:"));
        let mut request = address.into_client_request()?;
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        Ok(Self(connect_async(request).await?.0))
    }

    async fn say(&mut self, order: Value) {
        self.0.send(Message::text(order.to_string())).await.unwrap();
    }

    /// Subscribes, and waits until it is answered.
    async fn subscribe(&mut self, id: &str, query: Value, last: Option<&str>) -> Value {
        self.say(json!({"op": "subscribe", "id": id, "query": query, "last_event_id": last}))
            .await;
        self.until(|m| m["event"] == "subscribed" && m["subscription"] == id)
            .await
    }

    /// The next message.
    async fn next(&mut self) -> Value {
        let next = tokio::time::timeout(Duration::from_secs(30), self.0.next());
        let message = next
            .await
            .expect("a message in time")
            .expect("an open socket");
        serde_json::from_str(message.unwrap().to_text().unwrap()).unwrap()
    }

    async fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let message = self.next().await;
            if wanted(&message) {
                return message;
            }
        }
    }

    /// The next that tells something.
    async fn news(&mut self) -> Value {
        self.until(|m| m["event"] != "heartbeat").await
    }

    async fn closed(&mut self) -> Option<CloseFrame> {
        loop {
            let next = tokio::time::timeout(Duration::from_secs(30), self.0.next());
            match next.await.expect("the end in time") {
                Some(Ok(Message::Close(frame))) => return frame,
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }
}

fn id_of(message: &Value) -> String {
    message["data"]["id"].as_str().unwrap().to_owned()
}

fn place_of(message: &Value) -> String {
    message["id"].as_str().unwrap().to_owned()
}

fn ids(sketches: &[Sketch], wanted: impl Fn(&Sketch) -> bool) -> BTreeSet<String> {
    let wanted = sketches.iter().filter(|sketch| wanted(sketch));
    wanted.map(|sketch| sketch.signal().id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_socket_has_several_subscriptions_that_come_and_go() {
    let (log, _folder, server) = single(Settings::default()).await;
    let mut client = Client::open(&server).await;
    let first = client.next().await;
    assert_eq!(first, json!({"event": "heartbeat", "data": {}}));
    let told = client
        .subscribe("apple", json!({"symbol": "AAPL"}), None)
        .await;
    assert_eq!(
        told,
        json!({"event": "subscribed", "subscription": "apple", "id": "0.0.0.0", "data": {}})
    );
    let sells = json!({"types": "signal", "strategy": "rsi-14", "side": "sell"});
    client.subscribe("sells", sells, None).await;
    let some = sketches(0, 300);
    log.append(appends(&some)).await;
    let apples = ids(&some, |s| s.symbol == "AAPL");
    let sold = ids(&some, |s| (s.strategy, s.side) == ("rsi-14", Side::Sell));
    let mut seen: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for _ in 0..apples.len() + sold.len() {
        let message = client.news().await;
        assert_eq!(message["event"], "signal");
        let name = message["subscription"].as_str().unwrap().to_owned();
        assert!(seen.entry(name).or_default().insert(id_of(&message)));
    }
    assert_eq!(seen["apple"], apples);
    assert_eq!(seen["sells"], sold);

    client
        .say(json!({"op": "unsubscribe", "id": "apple"}))
        .await;
    let answer = client.news().await;
    let ended = json!({"event": "unsubscribed", "subscription": "apple", "data": {}});
    assert_eq!(answer, ended);
    let more = sketches(300, 300);
    log.append(appends(&more)).await;
    for _ in 0..ids(&more, |s| (s.strategy, s.side) == ("rsi-14", Side::Sell)).len() {
        assert_eq!(client.news().await["subscription"], "sells");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_goes_on_at_its_place_on_any_replica() {
    let (log, _folder, first) = single(Settings::default()).await;
    let other = tempfile::tempdir().unwrap();
    let second = Server::start(&log, other.path(), Settings::default()).await;
    let mut client = Client::open(&first).await;
    let wanted = json!({"symbol": "TSLA"});
    let mut place = place_of(&client.subscribe("t", wanted.clone(), None).await);
    let all = sketches(0, 3_000);
    let expected = ids(&all, |s| s.symbol == "TSLA");
    let mut seen = BTreeSet::new();
    for (n, some) in all.chunks(500).enumerate() {
        log.append(appends(some)).await;
        for _ in 0..50 {
            let message = client.until(|m| m["event"] == "signal").await;
            assert!(seen.insert(id_of(&message)), "{message} came twice");
            place = place_of(&message);
        }
        client = Client::open([&second, &first][n % 2]).await;
        client.subscribe("t", wanted.clone(), Some(&place)).await;
    }
    while seen.len() < expected.len() {
        let message = client.until(|m| m["event"] == "signal").await;
        assert!(seen.insert(id_of(&message)), "{message} came twice");
    }
    assert_eq!(seen, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn values_bars_and_ticks_come_over_it_as_over_the_other_stream() {
    let (log, _folder, server) = single(Settings::default()).await;
    let mut client = Client::open(&server).await;
    let chart = json!({"types": "value,bar,tick", "symbol": "AAPL"});
    client.subscribe("chart", chart, None).await;
    let mut events = server
        .get("/v1/stream?types=bar&symbol=AAPL")
        .send()
        .await
        .unwrap();
    let heartbeat = events.chunk().await.unwrap().unwrap();
    assert!(heartbeat.starts_with(b"event: heartbeat"));
    log.append(vec![
        value("ma-20", "AAPL", 1),
        value("ma-20", "MSFT", 2),
        bar("AAPL", "1s", 3),
        bar("MSFT", "1s", 4),
        bar("AAPL", "1m", 5),
        ticks("AAPL", 0..2),
        ticks("MSFT", 0..2),
    ])
    .await;
    let mut seen = Vec::new();
    for _ in 0..4 {
        let Value::Object(message) = client.news().await else {
            panic!("a message is an object")
        };
        assert!(!message.contains_key("id"), "only signals have a place");
        assert_eq!(message["subscription"], "chart");
        assert_eq!(message["data"]["symbol"], "AAPL");
        seen.push((
            message["event"].clone(),
            message["data"]["interval"].clone(),
        ));
    }
    seen.sort_by_key(|(event, interval)| format!("{event}{interval}"));
    assert_eq!(
        seen,
        [
            (json!("bar"), json!("1m")),
            (json!("bar"), json!("1s")),
            (json!("tick"), Value::Null),
            (json!("value"), Value::Null)
        ]
    );
    let mut text = String::new();
    while text.matches("event: bar").count() < 2 {
        text.push_str(std::str::from_utf8(&events.chunk().await.unwrap().unwrap()).unwrap());
    }
    assert!(!text.contains("MSFT"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_client_misses_no_signal_and_gets_the_newest_of_the_rest() {
    let (log, _folder, server) = single(Settings::default()).await;
    let mut slow = Client::open(&server).await;
    slow.subscribe("all", json!({"types": "signal,value"}), None)
        .await;
    let mut quick = Client::open(&server).await;
    quick.subscribe("t", json!({"symbol": "TSLA"}), None).await;
    // More than sockets and the memory for recent signals hold together.
    let all = sketches(0, 60_000);
    for (n, some) in all.chunks(5_000).enumerate() {
        let first = n as u64 * 2_000;
        log.append(
            (first..first + 2_000)
                .map(|n| value("ma-20", "AAPL", n))
                .collect(),
        )
        .await;
        log.append(appends(some)).await;
        for _ in 0..ids(some, |s| s.symbol == "TSLA").len() {
            quick.until(|m| m["event"] == "signal").await;
        }
    }
    let (mut signals, mut values, mut newest) = (BTreeSet::new(), 0, None);
    while signals.len() < all.len() || newest != Some(23_999) {
        let message = slow.news().await;
        if message["event"] == "signal" {
            assert!(signals.insert(id_of(&message)));
        } else {
            let offset = message["data"]["offset"].as_u64();
            assert!(newest < offset, "{offset:?} came after {newest:?}");
            newest = offset;
            values += 1;
        }
    }
    assert_eq!(signals, ids(&all, |_| true));
    assert!(values < 24_000, "it did not lag");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_order_is_answered_and_the_socket_stays() {
    let (_log, _folder, server) = single(Settings::default()).await;
    let mut client = Client::open(&server).await;
    let wrong = [
        (json!("hello"), "the message is no order"),
        (json!({"op": "dance"}), "unknown variant `dance`"),
        (json!({"op": "subscribe"}), "missing field `id`"),
        (json!({"op": "subscribe", "id": ""}), "id has 0 bytes"),
        (
            json!({"op": "subscribe", "id": "a", "more": 1}),
            "unknown field `more`",
        ),
        (
            json!({"op": "subscribe", "id": "a", "query": {"types": "signals"}}),
            "types has \"signals\"",
        ),
        (
            json!({"op": "subscribe", "id": "a", "query": {"symbol": "a b"}}),
            "a b",
        ),
        (
            json!({"op": "subscribe", "id": "a", "query": {"side": "up"}}),
            "side is \"up\"",
        ),
        (
            json!({"op": "subscribe", "id": "a", "query": {"bogus": 1}}),
            "unknown field `bogus`",
        ),
        (
            json!({"op": "subscribe", "id": "a", "last_event_id": "x"}),
            "event id \"x\"",
        ),
        (
            json!({"op": "unsubscribe", "id": "a"}),
            "subscription \"a\" is not here",
        ),
    ];
    for (order, told) in wrong {
        client.say(order.clone()).await;
        let answer = client.news().await;
        assert_eq!(answer["event"], "error", "{order}");
        let detail = answer["data"]["detail"].as_str().unwrap();
        assert!(detail.contains(told), "{order}: {detail}");
    }
    client.0.send(Message::binary(vec![1, 2])).await.unwrap();
    assert_eq!(client.news().await["event"], "error");
    for n in 0..32 {
        client.subscribe(&n.to_string(), json!({}), None).await;
    }
    client
        .say(json!({"op": "subscribe", "id": "one more"}))
        .await;
    let answer = client.news().await;
    let detail = answer["data"]["detail"].as_str().unwrap();
    assert!(detail.contains("32 subscriptions"), "{detail}");
    client
        .subscribe("31", json!({"symbol": "AAPL"}), None)
        .await;
    // What is longer than any order ends the socket.
    client
        .0
        .send(Message::text("x".repeat(20_000)))
        .await
        .unwrap();
    client.closed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_open_it_is_refused() {
    let settings = Settings {
        closed_reads: true,
        http: http::Limits {
            streams: 1,
            ..http::Limits::default()
        },
        ..Settings::default()
    };
    let (_log, _folder, server) = single(settings).await;
    let status = |opened: Result<Client, Error>| match opened {
        Err(Error::Http(answer)) => answer.status().as_u16(),
        Err(error) => panic!("{error}"),
        Ok(_) => 101,
    };
    let token = ("authorization", "Bearer the-admin");
    assert_eq!(status(Client::open_with(&server, &[]).await), 401);
    // A browser would send the cookie along from any page, and no rule of origins guards a socket.
    let foreign = ("origin", "http://evil.example");
    assert_eq!(
        status(Client::open_with(&server, &[token, foreign]).await),
        403
    );
    refused(
        server
            .request(Method::GET, "/v1/ws")
            .bearer_auth("the-admin"),
        400,
        "this address is a WebSocket",
    )
    .await;
    let own = ("origin", &*server.url);
    let open = Client::open_with(&server, &[token, own]).await.unwrap();
    assert_eq!(status(Client::open_with(&server, &[token]).await), 503);
    drop(open);
    eventually("a free place", async || {
        Client::open_with(&server, &[token]).await.ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_are_told_when_the_service_stops() {
    let log = TestLog::new();
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&log, folder.path(), Settings::default()).await;
    let mut clients = Vec::new();
    for _ in 0..10 {
        let mut client = Client::open(&server).await;
        client
            .subscribe("all", json!({"types": "signal,tick"}), None)
            .await;
        clients.push(client);
    }
    let took = server.stop().await;
    assert!(took < Duration::from_secs(1), "{took:?}");
    for client in &mut clients {
        let frame = client.closed().await.expect("a reason");
        assert_eq!(u16::from(frame.code), 1001);
        assert_eq!(&*frame.reason, "the service is stopping");
    }
}
