//! A stream across the end of the service that gave it.

use std::{collections::BTreeSet, time::Duration};

use reqwest::Method;

use crate::{
    market::{bodies, settled},
    process::Service,
};

/// A client of `/v1/stream`.
struct Stream {
    response: reqwest::Response,
    text: String,
}

impl Stream {
    async fn open(service: &Service, last: Option<&str>) -> Self {
        let mut request = service.anonymous(Method::GET, "/v1/stream");
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let response = request.send().await.expect("it answers");
        assert_eq!(response.status(), 200);
        Self {
            response,
            text: String::new(),
        }
    }

    /// Name, id and data of the next event.
    async fn next(&mut self) -> (String, String, String) {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    let line = event.lines().find_map(|line| line.strip_prefix(name));
                    line.unwrap_or_default().to_owned()
                };
                let event = (field("event: "), field("id: "), field("data: "));
                self.text = rest.to_owned();
                return event;
            }
            let chunk = tokio::time::timeout(Duration::from_secs(30), self.response.chunk()).await;
            let chunk = chunk
                .expect("an event in time")
                .expect("a stream")
                .expect("an open stream");
            self.text
                .push_str(std::str::from_utf8(&chunk).expect("text"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_on_after_a_killed_service_without_a_lost_or_repeated_signal() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::start(folder.path(), &[]).await;
    let mut stream = Stream::open(&service, None).await;
    let (name, first, _) = stream.next().await;
    assert_eq!(name, "heartbeat");
    let bodies = bodies(60);
    for body in &bodies[..30] {
        assert_eq!(service.post(body.clone()).await.0, 200);
    }
    // Leaves in the midst of what there is.
    let (mut last, mut seen) = (first, Vec::new());
    while seen.len() < 100 {
        let (name, id, data) = stream.next().await;
        if name == "signal" {
            seen.push(data);
            last = id;
        }
    }
    service.kill();

    let service = Service::start(folder.path(), &[]).await;
    for body in &bodies[30..] {
        assert_eq!(service.post(body.clone()).await.0, 200);
    }
    settled(&service).await;
    let all: BTreeSet<String> = service.signals(1000).await.into_iter().collect();
    assert!(all.len() > 200, "{}", all.len());
    let mut stream = Stream::open(&service, Some(&last)).await;
    while seen.len() < all.len() {
        let (name, _, data) = stream.next().await;
        match &*name {
            "signal" => seen.push(data),
            name => assert_eq!(name, "heartbeat"),
        }
    }
    let once: BTreeSet<String> = seen.iter().cloned().collect();
    assert_eq!(once.len(), seen.len(), "a signal came twice");
    assert!(once == all, "the stream and the list differ");
}
