//! Real `wigwag` processes over a cluster: started, stopped for a while, ended, and looked at from outside.

use std::{
    process::ExitStatus,
    time::{Duration, Instant},
};

use reqwest::{Method, RequestBuilder};
use rustix::process::{Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    history::Place,
    service::Service,
    stage::{PATIENCE, until},
};

/// After so long without a heartbeat, a member's partitions go to others. Short, and still above the pauses of a machine
/// that also compiles.
pub(crate) const SESSION: Duration = Duration::from_millis(2500);

/// What a process is started with.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    /// `HOST:PORT`, separated by commas.
    pub(crate) brokers: String,
    pub(crate) prefix: String,
    pub(crate) partitions: u32,
    pub(crate) roles: &'static str,
    pub(crate) more: Vec<String>,
    pub(crate) variables: Vec<(&'static str, String)>,
}

impl Order {
    /// A process with these roles over a log that it reaches by these addresses.
    pub(crate) fn of(place: &Place, brokers: &str, roles: &'static str) -> Self {
        Self {
            brokers: brokers.to_owned(),
            prefix: place.prefix.clone(),
            partitions: place.partitions,
            roles,
            more: Vec::new(),
            variables: Vec::new(),
        }
    }
}

/// A running process, killed when dropped.
pub(crate) struct Process {
    service: Service,
    folder: TempDir,
}

/// What a process has of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) memory_kib: u64,
    pub(crate) threads: u64,
    pub(crate) files: u64,
}

impl Process {
    /// Starts it, and waits until it listens.
    pub(crate) async fn launch(order: &Order) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let log = format!("kafka://{}", order.brokers);
        let (partitions, session) = (
            order.partitions.to_string(),
            SESSION.as_millis().to_string(),
        );
        let mut options = vec![
            "--log",
            &log,
            "--topic-prefix",
            &order.prefix,
            "--partitions",
            &partitions,
            "--session-timeout",
            &session,
            "--roles",
            order.roles,
            // Several in each run, so that takeovers use them.
            "--checkpoint-interval",
            "1000",
        ];
        options.extend(order.more.iter().map(String::as_str));
        let variables: Vec<_> = order
            .variables
            .iter()
            .map(|(k, v)| (*k, v.as_str()))
            .collect();
        let service = Service::launch(folder.path(), &options, &variables).await;
        Self { service, folder }
    }

    /// Starts it, and waits until it is ready.
    pub(crate) async fn start(order: &Order) -> Self {
        let mut process = Self::launch(order).await;
        process.service.ready().await;
        process.service.take_token(process.folder.path());
        process
    }

    pub(crate) fn url(&self) -> &str {
        &self.service.url
    }

    /// A request with the admin token, which is there once it is ready.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let token = std::fs::read_to_string(self.folder.path().join("data/admin.token"));
        let request = self.service.anonymous(method, path);
        request.bearer_auth(token.expect("a token"))
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.service.lines()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.service.pid(), signal).expect("a child of ours");
    }

    /// As `kill -9`.
    pub(crate) fn kill(self) {
        self.service.kill();
    }

    /// Asks it to end, and waits until it has.
    pub(crate) async fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.service.ended().await
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.service.is_running()
    }

    /// Status and body of this path.
    pub(crate) async fn ask(&self, path: &str) -> (u16, String) {
        let asked = self.service.anonymous(reqwest::Method::GET, path);
        let answer = asked.send().await.expect("it answers");
        let status = answer.status().as_u16();
        (status, answer.text().await.expect("a body"))
    }

    /// Writes with the admin token; gives status and answer.
    pub(crate) async fn put(&self, path: &str, body: &Value) -> (u16, Value) {
        self.service.put(path, body).await
    }

    /// Removes with the admin token; gives the status.
    pub(crate) async fn delete(&self, path: &str) -> u16 {
        let asked = self.service.request(reqwest::Method::DELETE, path);
        crate::service::answer(asked).await.0
    }

    /// Waits until it is ready.
    pub(crate) async fn says_it_is_ready(&self) {
        let (until, mut told) = (Instant::now() + PATIENCE, String::new());
        while Instant::now() < until {
            let (status, body) = self.ask("/readyz").await;
            if status == 200 {
                return;
            }
            told = body;
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        panic!("not ready after {PATIENCE:?}: {told}")
    }

    /// Waits until it is not ready, for a reason that holds this text; gives the whole reason.
    pub(crate) async fn says_it_is_not_ready(&self, because: &str) -> String {
        until(&format!("/readyz to say {because:?}"), async || {
            let (status, body) = self.ask("/readyz").await;
            (status == 503 && body.contains(because)).then_some(body)
        })
        .await
    }

    /// The partitions that it took over, in this order.
    pub(crate) fn taken_over(&self) -> Vec<u32> {
        let number = |line: &String| {
            let (_, rest) = line.split_once("partition taken over partition=")?;
            rest.split(' ').next()?.parse().ok()
        };
        self.lines().iter().filter_map(number).collect()
    }

    /// Read from `/proc`.
    pub(crate) fn usage(&self) -> Usage {
        let folder = format!("/proc/{}", self.service.pid().as_raw_nonzero());
        let status = std::fs::read_to_string(format!("{folder}/status")).unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
                .unwrap_or(0)
        };
        Usage {
            memory_kib: field("VmRSS:"),
            threads: field("Threads:"),
            files: std::fs::read_dir(format!("{folder}/fd"))
                .map_or(0, |files| files.count() as u64),
        }
    }
}
