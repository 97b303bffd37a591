//! A service without an engine, and the messages that an engine would write.

use std::{
    path::Path,
    sync::{Arc, atomic::AtomicBool, atomic::Ordering},
    time::{Duration, Instant},
};

use reqwest::{Method, RequestBuilder};
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};
use wigwag::{
    control::Control,
    http::{self, Access, App, Closing, IngestApp, Scope, TokenConfig, Tokens},
    ingest::{self, Ingest},
    log::{
        Append, Log, Offset, Topic,
        embedded::{EmbeddedLog, Options, Sync},
    },
    market::Side,
    metrics,
    notify::{Targets, Webhooks},
    plugin::Digest,
    signal::{SCHEMA, Signal},
    view::{Limits, View},
};

use crate::support;

/// Time of the first of everything, seconds since the epoch.
pub(crate) const START: f64 = 1_700_000_000.0;

/// Partitions of each log here.
pub(crate) const PARTITIONS: u32 = 4;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Tokens, one of each scope; each is its own name.
pub(crate) const TOKENS: [(&str, Scope); 3] = [
    ("the-admin", Scope::Admin),
    ("the-feed", Scope::Ingest),
    ("the-deployer", Scope::Plugins),
];

/// What a test may want otherwise.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) view: Limits,
    pub(crate) http: http::Limits,
    pub(crate) closed_reads: bool,
    pub(crate) open_ingest: bool,
    pub(crate) hosts: Vec<String>,
    /// Reads that stand still do not end.
    pub(crate) engine_ready: Arc<AtomicBool>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            view: Limits::default(),
            http: http::Limits::default(),
            closed_reads: false,
            open_ingest: true,
            hosts: Vec::new(),
            engine_ready: Arc::new(AtomicBool::new(true)),
        }
    }
}

/// A log in a folder of its own.
pub(crate) struct TestLog {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) embedded: Arc<EmbeddedLog>,
    _folder: TempDir,
}

impl TestLog {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder for tests");
        let options = Options {
            partitions: PARTITIONS,
            sync: Sync::Normal,
            ..Options::default()
        };
        let embedded = Arc::new(EmbeddedLog::open(folder.path(), options).expect("a new log"));
        Self {
            log: embedded.clone(),
            embedded,
            _folder: folder,
        }
    }

    /// Writes messages as an engine would.
    pub(crate) async fn append(&self, appends: Vec<Append>) {
        self.log.append(appends).await.expect("the log takes it");
    }
}

/// A replica of the API over a log. Stopped when dropped.
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) client: reqwest::Client,
    pub(crate) view: View,
    pub(crate) control: Arc<Control>,
    stop: Option<oneshot::Sender<()>>,
    served: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts one whose view is kept in `folder`, and waits until it is ready.
    pub(crate) async fn start(log: &TestLog, folder: &Path, settings: Settings) -> Self {
        let server = Self::start_unready(log, folder, settings).await;
        server.caught_up().await;
        eventually("control", async || {
            server.control.is_caught_up().then_some(())
        })
        .await;
        server
    }

    pub(crate) async fn start_unready(log: &TestLog, folder: &Path, settings: Settings) -> Self {
        let log = log.log.clone();
        let tokens = TOKENS.map(|(name, scope)| TokenConfig {
            name: name.into(),
            sha256: Digest::of(name.as_bytes()).to_string(),
            scopes: vec![scope],
        });
        let access = Arc::new(Access {
            tokens: Tokens::try_new(&tokens).expect("good tokens").into(),
            closed_reads: settings.closed_reads,
            open_ingest: settings.open_ingest,
            hosts: settings.hosts,
        });
        let view = View::open(folder, settings.view, log.clone(), 0).expect("a view");
        let control =
            Arc::new(Control::start(log.clone(), support::runtime().clone()).expect("threads"));
        let webhooks =
            Webhooks::start(log.clone(), Targets::default(), || START).expect("a thread");
        let options = ingest::Options::default();
        let closing = Closing::default();
        let ready = settings.engine_ready;
        let router = http::router(App {
            ingest: Some(IngestApp {
                ingest: Ingest::new(log.clone(), options),
                access: access.clone(),
                limits: settings.http,
                clock: || START + 1e6,
            }),
            view: Some(view.clone()),
            control: control.clone(),
            webhooks: Arc::new(webhooks),
            log,
            outlasts_log: false,
            ready: Arc::new(move || match ready.load(Ordering::Relaxed) {
                true => Ok(()),
                false => Err("the engine has 0 of 4 partitions".into()),
            }),
            access,
            limits: settings.http,
            metrics: metrics::install(),
            closing: closing.clone(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(http::serve(listener, router, closing, async {
            drop(stopped.await);
        }));
        Self {
            url,
            client: reqwest::Client::new(),
            view,
            control,
            stop: Some(stop),
            served: Some(served),
        }
    }

    /// Stops as the service does, and tells how long it took.
    pub(crate) async fn stop(mut self) -> Duration {
        let started = Instant::now();
        drop(self.stop.take());
        if let Some(served) = self.served.take() {
            served.await.expect("it does not panic");
        }
        let view = self.view.clone();
        tokio::task::spawn_blocking(move || view.stop())
            .await
            .expect("it does not panic");
        started.elapsed()
    }

    /// Waits until the view has read what the log held when it was opened.
    pub(crate) async fn caught_up(&self) {
        eventually("the view", async || self.view.check().ok()).await;
    }

    /// Waits until the list of signals has so many.
    pub(crate) async fn has_signals(&self, count: usize) {
        eventually("the signals", async || {
            (self.all_signals().await.len() == count).then_some(())
        })
        .await;
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    /// What it gives at this path, with status 200.
    pub(crate) async fn json(&self, path: &str) -> Value {
        let (status, body) = answer(self.get(path)).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// Ids of all signals, newest first, in the order of their pages.
    pub(crate) async fn all_signals(&self) -> Vec<String> {
        let (mut all, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.json(&format!("/v1/signals?limit=1000{cursor}")).await;
            all.extend(ids(&page["signals"]));
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return all,
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Its thread would follow a log whose folder is gone.
        let view = self.view.clone();
        std::thread::spawn(move || view.stop());
    }
}

/// A log and one replica over it.
pub(crate) async fn single(settings: Settings) -> (TestLog, TempDir, Server) {
    let log = TestLog::new();
    let folder = tempfile::tempdir().expect("a folder for tests");
    let server = Server::start(&log, folder.path(), settings).await;
    (log, folder, server)
}

/// Asks until there is an answer.
pub(crate) async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < until, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Status and body; a body that is not JSON as text.
pub(crate) async fn answer(request: RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.expect("it answers");
    let status = answer.status().as_u16();
    let text = answer.text().await.expect("a body");
    (
        status,
        serde_json::from_str(&text).unwrap_or(Value::String(text)),
    )
}

/// Asserts that a request is refused with this status, as problem details that hold this text.
pub(crate) async fn refused(request: RequestBuilder, status: u16, wanted: &str) -> Value {
    let answer = request.send().await.expect("it answers");
    let found = answer.status().as_u16();
    let content_type = answer.headers().get("content-type").cloned();
    let text = answer.text().await.expect("a body");
    assert_eq!(found, status, "{text}");
    assert_eq!(
        content_type.as_ref().map(|c| c.as_bytes()),
        Some(&b"application/problem+json"[..])
    );
    let problem: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(problem["status"], status, "{text}");
    for field in ["type", "title", "detail"] {
        assert!(
            problem[field].as_str().is_some_and(|text| !text.is_empty()),
            "{field}: {text}"
        );
    }
    let detail = problem["detail"].as_str().expect("checked above");
    assert!(detail.contains(wanted), "{wanted}: {text}");
    problem
}

/// Ids of a list of signals.
pub(crate) fn ids(signals: &Value) -> Vec<String> {
    let signals = signals.as_array().expect("a list").iter();
    signals
        .map(|s| s["id"].as_str().expect("text").to_owned())
        .collect()
}

/// A signal as the engine writes it, of the `n`-th second.
#[derive(Clone, Copy)]
pub(crate) struct Sketch {
    pub(crate) symbol: &'static str,
    pub(crate) strategy: &'static str,
    pub(crate) side: Side,
    pub(crate) strength: f64,
    pub(crate) second: f64,
    pub(crate) partition: u32,
    pub(crate) offset: Offset,
    pub(crate) row: u32,
    pub(crate) n: u32,
}

impl Default for Sketch {
    fn default() -> Self {
        Self {
            symbol: "AAPL",
            strategy: "ma-20",
            side: Side::Buy,
            strength: 0.1 + 0.2,
            second: 0.0,
            partition: 0,
            offset: 0,
            row: 0,
            n: 0,
        }
    }
}

impl Sketch {
    pub(crate) fn signal(&self) -> Signal {
        let Self {
            symbol,
            strategy,
            partition,
            offset,
            row,
            n,
            ..
        } = *self;
        Signal {
            schema: SCHEMA,
            id: format!("{strategy}:{partition}:{offset}:{row}:{n}"),
            strategy: strategy.into(),
            plugin: "ma".into(),
            plugin_digest: "0123456789abcdef".repeat(4),
            params_digest: "fedcba9876543210".repeat(4),
            symbol: symbol.into(),
            side: self.side,
            strength: self.strength,
            price: 101.25,
            timestamp: START + self.second,
            bar: None,
            reason: "close crossed \"above\" the average, 20 ticks".into(),
            values: Map::from_iter([("ma".to_owned(), json!(100.1))]),
            partition,
            offset,
            row,
            n,
        }
    }

    pub(crate) fn append(&self) -> Append {
        Append {
            topic: Topic::Signals,
            partition: self.partition,
            key: self.symbol.into(),
            value: serde_json::to_vec(&self.signal()).expect("JSON"),
            headers: vec![],
        }
    }
}

/// So many signals of the `first`-th second and on, turn by turn over partitions, symbols and strategies.
pub(crate) fn sketches(first: u64, count: u64) -> Vec<Sketch> {
    let of = |n: u64| Sketch {
        symbol: ["AAPL", "MSFT", "TSLA"][(n % 3) as usize],
        strategy: ["ma-20", "rsi-14"][(n / 3 % 2) as usize],
        side: [Side::Buy, Side::Sell][(n / 5 % 2) as usize],
        strength: 0.1 + 0.2,
        second: (n / 4) as f64,
        partition: (n % u64::from(PARTITIONS)) as u32,
        offset: n / 40,
        row: (n % 40) as u32,
        n: 0,
    };
    (first..first + count).map(of).collect()
}

/// The messages of signals.
pub(crate) fn appends(sketches: &[Sketch]) -> Vec<Append> {
    sketches.iter().map(Sketch::append).collect()
}
