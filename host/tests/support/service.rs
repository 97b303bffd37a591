//! The real program as a service: started on a folder, asked over HTTP, stopped or killed. Knows nothing of what is tested.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "each test binary uses a part of it, and may panic and print"
)]

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use reqwest::{Method, RequestBuilder};
use serde_json::Value;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

const TRY_EVERY: Duration = Duration::from_millis(10);

/// A command that inherits no option of ours, run where no `wigwag.toml` is.
pub(crate) fn wigwag(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wigwag"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("WIGWAG_") {
            command.env_remove(name);
        }
    }
    command.current_dir(folder);
    command
}

/// Asks until there is an answer.
pub(crate) async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < until, "waited in vain for {what}");
        tokio::time::sleep(TRY_EVERY).await;
    }
}

/// A running service, killed when dropped.
pub(crate) struct Service {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    client: reqwest::Client,
    pub(crate) url: String,
    pub(crate) ingest_url: Option<String>,
    /// The admin token of this run; empty where tokens are configured.
    pub(crate) token: String,
}

impl Service {
    /// Starts it on `folder/data`, and waits until it is ready.
    pub(crate) async fn start(folder: &Path, options: &[&str]) -> Self {
        let service = Self::launch(folder, options, &[]).await;
        service.ready().await;
        service
    }

    /// Starts it with these variables, and waits until it listens.
    pub(crate) async fn launch(
        folder: &Path,
        options: &[&str],
        variables: &[(&str, &str)],
    ) -> Self {
        let data = folder.join("data");
        share_compiled(&data);
        let mut child = wigwag(folder)
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir", "data"])
            .args(options)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let (stderr, written) = (child.stderr.take().expect("piped"), lines.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                written
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(line);
            }
        });
        let mut service = Self {
            child,
            lines,
            client: reqwest::Client::new(),
            url: String::new(),
            ingest_url: None,
            token: String::new(),
        };
        service.url = service.address("listening").await;
        if options.contains(&"--ingest-listen") {
            service.ingest_url = Some(service.address("listening for records").await);
        }
        service.take_token(folder);
        service
    }

    /// Takes the token that it wrote, where it had to wait for its log first.
    pub(crate) fn take_token(&mut self, folder: &Path) {
        if let Ok(token) = std::fs::read_to_string(folder.join("data/admin.token")) {
            self.token = token;
        }
    }

    /// Waits until it is ready.
    pub(crate) async fn ready(&self) {
        let until = Instant::now() + PATIENCE;
        loop {
            let asked = self.client.get(format!("{}/readyz", self.url));
            let (status, told) = match asked.send().await {
                Ok(answer) => (answer.status().as_u16(), answer.text().await),
                Err(error) => (0, Ok(error.to_string())),
            };
            if status == 200 {
                return;
            }
            assert!(
                Instant::now() < until,
                "waited in vain for readiness: {status} {told:?}"
            );
            tokio::time::sleep(TRY_EVERY).await;
        }
    }

    async fn address(&mut self, of: &str) -> String {
        let start = format!("INFO {of} address=\"");
        let until = Instant::now() + PATIENCE;
        loop {
            let found = self.lines().iter().find_map(|line| {
                let (_, rest) = line.split_once(&start)?;
                Some(format!("http://{}", rest.trim_end_matches('"')))
            });
            if let Some(url) = found {
                return url;
            }
            let ended = self.child.try_wait().expect("a child of ours");
            assert!(
                ended.is_none() && Instant::now() < until,
                "it does not listen: {:#?}",
                self.lines()
            );
            tokio::time::sleep(TRY_EVERY).await;
        }
    }

    /// What it has logged.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// A request with the admin token.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.anonymous(method, path).bearer_auth(&self.token)
    }

    /// A request without a token.
    pub(crate) fn anonymous(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    /// What it gives at this path, with status 200.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, body) = answer(self.anonymous(Method::GET, path)).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> (u16, Value) {
        answer(self.request(Method::PUT, path).json(body)).await
    }

    /// Sends a component, and gives what becomes of it: status and body as of a quick upload, however long it takes.
    pub(crate) async fn upload(&self, bytes: impl Into<reqwest::Body>) -> (u16, Value) {
        let request = self.request(Method::POST, "/v1/plugins");
        let request = request.header("Content-Type", "application/wasm");
        let (status, body) = answer(request.body(bytes)).await;
        if status != 202 {
            return (status, body);
        }
        let digest = body["digest"].as_str().expect("a digest").to_owned();
        eventually("the upload", async || {
            let path = format!("/v1/plugins/uploads/{digest}");
            let (_, told) = answer(self.anonymous(Method::GET, &path)).await;
            match told["state"].as_str().expect("a state") {
                "working" => None,
                "done" => Some((201, told["plugin"].clone())),
                _ => {
                    let status = told["problem"]["status"].as_u64().expect("a status");
                    Some((status as u16, told["problem"].clone()))
                }
            }
        })
        .await
    }

    /// Sends records, one or more lines of them.
    pub(crate) async fn post(&self, lines: impl Into<reqwest::Body>) -> (u16, Value) {
        let request = self.anonymous(Method::POST, "/ingest");
        answer(
            request
                .header("Content-Type", "application/x-ndjson")
                .body(lines),
        )
        .await
    }

    /// All signals, newest first, each as the text that the service gives, through pages of so many.
    pub(crate) async fn signals(&self, page: usize) -> Vec<String> {
        #[derive(serde::Deserialize)]
        struct Page {
            signals: Vec<Box<serde_json::value::RawValue>>,
            next_cursor: Option<String>,
        }
        let (mut all, mut cursor) = (Vec::new(), String::new());
        loop {
            let path = format!("/v1/signals?limit={page}{cursor}");
            let answer = self.anonymous(Method::GET, &path).send().await;
            let bytes = answer.expect("it answers").bytes().await.expect("a body");
            let page: Page = serde_json::from_slice(&bytes)
                .unwrap_or_else(|e| panic!("{path}: {e}: {}", String::from_utf8_lossy(&bytes)));
            all.extend(page.signals.iter().map(|s| s.get().to_owned()));
            match page.next_cursor {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return all,
            }
        }
    }

    /// Ticks of a symbol that counted.
    pub(crate) async fn ticks(&self, symbol: &str) -> u64 {
        let (_, session) =
            answer(self.anonymous(Method::GET, &format!("/v1/symbols/{symbol}"))).await;
        session["ticks"].as_u64().unwrap_or(0)
    }

    /// Its process.
    pub(crate) fn pid(&self) -> rustix::process::Pid {
        let pid = i32::try_from(self.child.id()).expect("small");
        rustix::process::Pid::from_raw(pid).expect("not 0")
    }

    /// Whether it runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child of ours").is_none()
    }

    /// Sends a signal such as `SIGTERM` once the time is over.
    pub(crate) fn end_after(&self, time: Duration, signal: rustix::process::Signal) {
        let pid = self.pid();
        std::thread::spawn(move || {
            std::thread::sleep(time);
            rustix::process::kill_process(pid, signal).ok();
        });
    }

    /// Waits until it has ended.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child of ours") {
                return status;
            }
            assert!(Instant::now() < until, "it does not end");
            tokio::time::sleep(TRY_EVERY).await;
        }
    }

    /// As `kill -9`.
    pub(crate) fn kill(mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            for line in self.lines() {
                println!("{line}");
            }
        }
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

/// Plugins are compiled once for all tests.
fn share_compiled(data: &Path) {
    let shared = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("compiled");
    std::fs::create_dir_all(&shared).expect("a folder for tests");
    std::fs::create_dir_all(data).expect("a folder for tests");
    let link = data.join("compiled");
    if !link.exists() {
        std::os::unix::fs::symlink(shared, link).expect("a new folder");
    }
}
