//! One broker or three, with ways in for processes that are to be cut off one by one. Knows nothing of the service.

use std::{
    net::TcpListener,
    ops::Deref,
    path::PathBuf,
    process::Child,
    sync::{
        Condvar, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{kafka_broker, proxy::Proxy};

/// Ways in that the shared broker has: as many processes can be cut off at a time.
const SHARED_WAYS: usize = 8;

/// Where brokers and proxies listen: below the ports from which the system takes those of outgoing connections.
const PORTS: std::ops::Range<u16> = 12_000..20_000;

/// A running cluster.
pub(crate) struct Cluster {
    brokers: Vec<Node>,
    proxies: Mutex<Vec<Proxy>>,
    returned: Condvar,
}

/// A proxy, while it is a test's own.
pub(crate) struct Way<'a> {
    cluster: &'a Cluster,
    proxy: Option<Proxy>,
}

/// One broker.
struct Node {
    id: AtomicU32,
    options: Vec<String>,
    port: u16,
    /// Holds a folder for each id. None where nobody stops it: it ends with this process and removes what it wrote.
    directory: Option<TempDir>,
    child: Mutex<Option<Child>>,
}

impl Cluster {
    /// The broker that rows share, each with a prefix of its own.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(1, 1, SHARED_WAYS, false))
    }

    /// One broker that can be stopped.
    pub(crate) fn one(ways: usize) -> Self {
        Self::start(1, 1, ways, true)
    }

    /// Three brokers that can be stopped; topics have three replicas of which two must hold a message.
    pub(crate) fn three(ways: usize) -> Self {
        Self::start(3, 3, ways, true)
    }

    /// The same with one controller, the first: it sees the two others go, and takes them for gone.
    pub(crate) fn three_led_by_one() -> Self {
        Self::start(3, 1, 0, true)
    }

    fn start(count: usize, controllers: usize, ways: usize, stoppable: bool) -> Self {
        let controllers: Vec<_> = (0..controllers).map(|_| free_port()).collect();
        let voters: Vec<_> = (1..)
            .zip(&controllers)
            .map(|(id, port)| format!("{id}@127.0.0.1:{}", port.1))
            .collect();
        let voters = voters.join(",");
        let mut entries: Vec<Vec<(TcpListener, u16)>> = (0..ways).map(|_| Vec::new()).collect();
        let mut brokers = Vec::new();
        for id in (1..).take(count) {
            let mut options = vec!["--voters".into(), voters.clone()];
            if count > 1 {
                for setting in [
                    "default.replication.factor=3",
                    "offsets.topic.replication.factor=3",
                    "transaction.state.log.replication.factor=3",
                    "transaction.state.log.min.isr=2",
                    "min.insync.replicas=2",
                    "broker.session.timeout.ms=3000",
                    "broker.heartbeat.interval.ms=500",
                    "controller.quorum.election.timeout.ms=1000",
                    "controller.quorum.fetch.timeout.ms=2000",
                ] {
                    options.extend(["--set".into(), setting.into()]);
                }
            }
            for entry in &mut entries {
                let (bound, advertised) = free_port();
                let inner = free_port().1;
                options.extend(["--way".into(), format!("{inner}:{advertised}")]);
                entry.push((bound, inner));
            }
            let directory = stoppable.then(|| tempfile::tempdir().expect("a directory"));
            brokers.push(Node {
                id: AtomicU32::new(id),
                options,
                port: free_port().1,
                directory,
                child: Mutex::new(None),
            });
        }
        drop(controllers);
        // A broker of three answers when a majority of the controllers is there.
        std::thread::scope(|scope| {
            for broker in &brokers {
                scope.spawn(|| broker.start());
            }
        });
        Self {
            brokers,
            proxies: Mutex::new(entries.into_iter().map(Proxy::start).collect()),
            returned: Condvar::new(),
        }
    }

    /// For clients that no fault is to touch.
    pub(crate) fn plain(&self) -> String {
        let ports: Vec<_> = self
            .brokers
            .iter()
            .map(|b| format!("127.0.0.1:{}", b.port))
            .collect();
        ports.join(",")
    }

    /// A way in of one's own; waits for one where all are in use.
    pub(crate) fn way(&self) -> Way<'_> {
        let mut proxies = self.proxies.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(proxy) = proxies.pop() {
                return Way {
                    cluster: self,
                    proxy: Some(proxy),
                };
            }
            proxies = self
                .returned
                .wait(proxies)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// How many brokers there are.
    pub(crate) fn brokers(&self) -> usize {
        self.brokers.len()
    }

    /// Stops a broker in order; its data stay.
    pub(crate) fn stop(&self, broker: usize) {
        self.brokers[broker].stop();
    }

    /// As `kill -9`.
    pub(crate) fn kill(&self, broker: usize) {
        let node = &self.brokers[broker];
        let directory = node.data().expect("one that can be stopped");
        let pid = std::fs::read_to_string(directory.join("pid")).expect("its process");
        let pid = Pid::from_raw(pid.trim().parse().expect("a number")).expect("not 0");
        kill_process(pid, Signal::KILL).expect("killed");
        node.stop();
    }

    /// Puts a broker with another id and without data in a stopped one's place.
    pub(crate) fn replace(&self, broker: usize, id: u32) {
        self.brokers[broker].id.store(id, Ordering::Relaxed);
        self.brokers[broker].start();
    }

    /// The id of a broker.
    pub(crate) fn id(&self, broker: usize) -> u32 {
        self.brokers[broker].id.load(Ordering::Relaxed)
    }

    /// Starts several again at a time: each may wait for a majority of the controllers.
    pub(crate) fn resume_all(&self, brokers: &[usize]) {
        std::thread::scope(|scope| {
            for &broker in brokers {
                scope.spawn(move || self.resume(broker));
            }
        });
    }

    /// Starts a broker again, on its data and its ports.
    pub(crate) fn resume(&self, broker: usize) {
        self.brokers[broker].start();
    }
}

impl Node {
    fn data(&self) -> Option<PathBuf> {
        let id = self.id.load(Ordering::Relaxed).to_string();
        Some(self.directory.as_ref()?.path().join(id))
    }

    fn start(&self) {
        let port = self.port.to_string();
        let id = self.id.load(Ordering::Relaxed).to_string();
        let mut options = vec!["--until-eof", "--port", &port, "--node", &id];
        let directory = self.data();
        if let Some(directory) = &directory {
            options.extend(["--dir", directory.to_str().expect("text")]);
        }
        options.extend(self.options.iter().map(String::as_str));
        let (mut child, _) = kafka_broker::run(&options);
        if directory.is_none() {
            // It ends with this process, whose end closes the pipe.
            std::mem::forget(child.stdin.take());
        }
        *self.child.lock().unwrap_or_else(PoisonError::into_inner) = Some(child);
    }

    fn stop(&self) {
        let child = self
            .child
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(mut child) = child {
            drop(child.stdin.take());
            child.wait().expect("the broker ends");
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for broker in &self.brokers {
            broker.stop();
        }
    }
}

impl Deref for Way<'_> {
    type Target = Proxy;

    fn deref(&self) -> &Proxy {
        self.proxy.as_ref().expect("there until dropped")
    }
}

impl Drop for Way<'_> {
    fn drop(&mut self) {
        if let Some(proxy) = self.proxy.take() {
            proxy.reset();
            let proxies = &self.cluster.proxies;
            proxies
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(proxy);
            self.cluster.returned.notify_one();
        }
    }
}

/// A port that nobody has, and the socket that keeps it so.
pub(crate) fn free_port() -> (TcpListener, u16) {
    loop {
        let port = rand::random_range(PORTS);
        if let Ok(bound) = TcpListener::bind(("127.0.0.1", port)) {
            return (bound, port);
        }
    }
}
