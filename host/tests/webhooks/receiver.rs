//! A receiver: a real HTTP server on this machine that answers as it is told and remembers what it got.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Bytes,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use serde_json::Value;
use tokio::{net::TcpListener, runtime::Runtime};

use crate::service::eventually;

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    pub(crate) at: Instant,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// What it was answered; 0 where it was left waiting.
    pub(crate) status: u16,
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn id(&self) -> String {
        self.header("webhook-id").to_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// What to answer.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Status(u16),
    With(u16, &'static str, String),
    /// Nothing, for longer than anybody waits.
    Never,
}

type Rule = Box<dyn FnMut(&Got, usize) -> Answer + Send>;

struct State {
    got: Vec<Got>,
    rule: Rule,
}

/// See the file's head. Stops listening when dropped.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
    runtime: Option<Runtime>,
}

impl Receiver {
    /// One that takes everything.
    pub(crate) async fn start() -> Self {
        Self::ruled(|_, _| Answer::Status(204)).await
    }

    /// One that answers by a rule, which is told the request and how many came before.
    pub(crate) async fn ruled(rule: impl FnMut(&Got, usize) -> Answer + Send + 'static) -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), rule).await
    }

    /// One at an address.
    pub(crate) async fn at(
        address: SocketAddr,
        rule: impl FnMut(&Got, usize) -> Answer + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let listener = listener.into_std().expect("a listener");
        let (got, rule) = (Vec::new(), Box::new(rule) as Rule);
        let state = Arc::new(Mutex::new(State { got, rule }));
        let app = router(state.clone());
        // On threads of its own: with them all connections end.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("threads");
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).expect("a listener");
            drop(axum::serve(listener, app).await);
        });
        Self {
            address,
            state,
            runtime: Some(runtime),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// Answers by another rule from now on.
    pub(crate) fn rule(&self, rule: impl FnMut(&Got, usize) -> Answer + Send + 'static) {
        lock(&self.state).rule = Box::new(rule);
    }

    /// All requests, in the order in which they came.
    pub(crate) fn got(&self) -> Vec<Got> {
        lock(&self.state).got.clone()
    }

    /// The ids of those that it took.
    pub(crate) fn taken_ids(&self) -> BTreeSet<String> {
        let got = self.got();
        let taken = got.iter().filter(|got| (200..300).contains(&got.status));
        taken.map(Got::id).collect()
    }

    /// Waits for so many requests, and gives all.
    pub(crate) async fn gets(&self, count: usize) -> Vec<Got> {
        eventually(&format!("{count} requests"), async || {
            let got = self.got();
            (got.len() >= count).then_some(got)
        })
        .await
    }

    /// Vanishes: nobody listens any more, and open connections end.
    pub(crate) async fn vanish(mut self) -> SocketAddr {
        self.end();
        let address = self.address;
        eventually("the port to be closed", async || {
            tokio::net::TcpStream::connect(address).await.err()
        })
        .await;
        address
    }

    fn end(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.end();
    }
}

pub(crate) fn router_of(rule: impl FnMut(&Got, usize) -> Answer + Send + 'static) -> Router {
    let (got, rule) = (Vec::new(), Box::new(rule) as Rule);
    router(Arc::new(Mutex::new(State { got, rule })))
}

fn router(state: Arc<Mutex<State>>) -> Router {
    Router::new().fallback(move |headers: HeaderMap, body: Bytes| {
        let answer = {
            let mut state = lock(&state);
            let mut got = Got {
                at: Instant::now(),
                headers,
                body,
                status: 0,
            };
            let before = state.got.len();
            let answer = (state.rule)(&got, before);
            got.status = match &answer {
                Answer::Status(status) | Answer::With(status, ..) => *status,
                Answer::Never => 0,
            };
            state.got.push(got);
            answer
        };
        respond(answer)
    })
}

async fn respond(answer: Answer) -> Response {
    let code = |status| StatusCode::from_u16(status).unwrap();
    match answer {
        Answer::Status(status) => code(status).into_response(),
        Answer::With(status, name, value) => (code(status), [(name, value)]).into_response(),
        Answer::Never => {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            StatusCode::NO_CONTENT.into_response()
        }
    }
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
