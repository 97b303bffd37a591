//! A real Kafka broker for tests. It ends with the process that started it, however that ends: it watches a pipe.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
};
use tempfile::TempDir;

/// A broker of one test.
pub(crate) struct Broker {
    directory: TempDir,
    child: Option<Child>,
    address: String,
}

/// The broker that the tests of this process share; each takes a prefix of its own.
pub(crate) fn shared() -> &'static str {
    static ADDRESS: OnceLock<String> = OnceLock::new();
    ADDRESS.get_or_init(|| {
        let (mut child, address) = run(&["--until-eof"]);
        // A static is never dropped: the pipe stays open as long as the process lives.
        std::mem::forget(child.stdin.take());
        address
    })
}

/// A prefix that no other test, and no other run, has.
pub(crate) fn prefix() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!(
        "t{}-{}.",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    )
}

/// A client for what only operators do.
pub(crate) fn admin(address: &str) -> AdminClient<DefaultClientContext> {
    ClientConfig::new()
        .set("bootstrap.servers", address)
        .create()
        .expect("an admin client")
}

/// Waits for an answer of that client.
pub(crate) fn wait<F: Future>(answer: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(answer)
}

/// Its limits.
pub(crate) fn limits() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(std::time::Duration::from_secs(20)))
}

impl Broker {
    /// Starts one on an empty directory.
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let (child, address) = run(&["--until-eof", "--dir", text(directory.path())]);
        Self {
            directory,
            child: Some(child),
            address,
        }
    }

    /// `HOST:PORT`; the same after [`Broker::resume`].
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Stops it in order; its data stay.
    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.stdin.take());
            child.wait().expect("the broker ends");
        }
    }

    /// `kill -9`; its data stay.
    pub(crate) fn kill(&mut self) {
        let written = std::fs::read_to_string(self.directory.path().join("pid")).expect("a PID");
        let pid = written
            .trim()
            .parse()
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.expect("a PID"), rustix::process::Signal::KILL)
            .expect("it is killed");
        self.stop();
    }

    /// Starts it again on its data and its port.
    pub(crate) fn resume(&mut self) {
        let port = self.address.rsplit(':').next().expect("a port");
        let (child, address) = run(&[
            "--until-eof",
            "--dir",
            text(self.directory.path()),
            "--port",
            port,
        ]);
        assert_eq!(address, self.address);
        self.child = Some(child);
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.stop();
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path that is text")
}

/// Runs the script until it says the address. It ends when its standard input does.
pub(crate) fn run(options: &[&str]) -> (Child, String) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/kafka/broker");
    let mut child = Command::new(&script)
        .arg("run")
        .args(options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", script.display()));
    let mut address = String::new();
    BufReader::new(child.stdout.take().expect("a pipe"))
        .read_line(&mut address)
        .expect("the broker's address");
    assert!(
        !address.is_empty(),
        "the broker did not start; it says why above"
    );
    (child, address.trim_end().to_owned())
}
