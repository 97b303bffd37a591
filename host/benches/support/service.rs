//! The real binary as a process of its own, and a client that costs little: prepared requests over connections that
//! stay open.

use std::{
    cell::{Cell, RefCell},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant, SystemTime},
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::Market;

pub(crate) const NDJSON: &str = "application/x-ndjson";

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// One thread for the client: the service has the other core.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(future)
}

/// A running `wigwag serve`.
pub(crate) struct Service {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) started: Instant,
}

impl Service {
    /// Starts it on a data folder; does not wait for anything.
    pub(crate) fn spawn(data: &Path, options: &[&str]) -> Self {
        let address = free_address();
        let log = std::fs::File::create(data.with_extension("log")).expect("a log file");
        let started = Instant::now();
        let child = Command::new(env!("CARGO_BIN_EXE_wigwag"))
            .args(["serve", "--listen", &address.to_string(), "--data-dir"])
            .arg(data)
            .args(options)
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the service starts");
        Self {
            child,
            address,
            started,
        }
    }

    /// Starts it and waits until it is ready.
    pub(crate) async fn start(data: &Path, options: &[&str]) -> Self {
        let service = Self::spawn(data, options);
        service.answers("/readyz").await;
        service
    }

    /// Waits until this path is answered with 200; how long after the start that was.
    pub(crate) async fn answers(&self, path: &str) -> Duration {
        let request = get(path, self.address);
        while self.started.elapsed() < PATIENCE {
            if let Ok(mut connection) = Connection::open(self.address).await
                && connection
                    .send(&request)
                    .await
                    .is_ok_and(|status| status == 200)
            {
                return self.started.elapsed();
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("{path} of {} is not answered; see its log", self.address);
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Memory that is resident, in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.pid());
        let status = std::fs::read_to_string(path).expect("the process lives");
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().nth(1));
        1024 * kilobytes
            .and_then(|k| k.parse::<u64>().ok())
            .expect("a number of kB")
    }

    /// The sum of a counter over its labels, from `/metrics`.
    pub(crate) async fn counter(&self, name: &str) -> u64 {
        let mut connection = Connection::open(self.address).await.expect("it listens");
        let status = connection.send(&get("/metrics", self.address)).await;
        assert_eq!(status.expect("an answer"), 200);
        let text = String::from_utf8_lossy(connection.body());
        let lines = text.lines().filter(|line| line.starts_with(name));
        let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        values.sum::<f64>() as u64
    }

    /// Stops it in order.
    pub(crate) fn stop(mut self) {
        self.end(Signal::TERM);
    }

    /// As `kill -9`.
    pub(crate) fn kill(mut self) {
        self.end(Signal::KILL);
    }

    fn end(&mut self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let (Ok(None), Some(pid)) = (self.child.try_wait(), pid) {
            let _ = kill_process(pid, signal);
            drop(self.child.wait());
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.end(Signal::KILL);
    }
}

/// A folder of this benchmark on the disk that the build is on, empty.
pub(crate) fn folder(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("bench")
        .join(name);
    if path.exists() {
        std::fs::remove_dir_all(&path).expect("the last run's folder can be removed");
    }
    std::fs::create_dir_all(&path).expect("a folder can be made");
    path
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it has an address")
}

/// A connection that stays open.
pub(crate) struct Connection {
    stream: TcpStream,
    answer: Vec<u8>,
    head: usize,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            answer: Vec::with_capacity(1024),
            head: 0,
        })
    }

    /// Sends a request and reads the whole answer, whose length it must give; returns its status.
    pub(crate) async fn send(&mut self, request: &[u8]) -> std::io::Result<u16> {
        self.stream.write_all(request).await?;
        self.answer.clear();
        loop {
            if self.stream.read_buf(&mut self.answer).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let Some(head) = self.answer.windows(4).position(|w| w == b"\r\n\r\n") else {
                continue;
            };
            self.head = head + 4;
            let text = String::from_utf8_lossy(&self.answer[..head]).to_ascii_lowercase();
            let length = text
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.and_then(|l| l.parse().ok()).unwrap_or(0);
            while self.answer.len() < self.head + length {
                if self.stream.read_buf(&mut self.answer).await? == 0 {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
            }
            let status = text
                .split(' ')
                .nth(1)
                .and_then(|status| status.parse().ok());
            return status.ok_or_else(|| std::io::ErrorKind::InvalidData.into());
        }
    }

    /// The body of the last answer.
    pub(crate) fn body(&self) -> &[u8] {
        &self.answer[self.head..]
    }

    /// For an answer that does not end.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.stream
    }
}

pub(crate) fn get(path: &str, address: SocketAddr) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").into_bytes()
}

/// A POST of records.
pub(crate) fn post(content_type: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST /ingest HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Sends all requests over so many connections, each as soon as its last one was answered with 200.
pub(crate) async fn send_all(address: SocketAddr, connections: usize, requests: &[Vec<u8>]) {
    let next = Cell::new(0);
    let one = async || {
        let mut connection = Connection::open(address).await.expect("it listens");
        while let Some(request) = requests.get(next.replace(next.get() + 1)) {
            let status = connection.send(request).await.expect("an answer");
            let body = String::from_utf8_lossy(connection.body());
            assert_eq!(status, 200, "{body}");
        }
    };
    futures_util::future::join_all((0..connections).map(|_| one())).await;
}

#[expect(clippy::disallowed_methods, reason = "ticks are of now")]
pub(crate) fn now() -> f64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.expect("after 1970").as_secs_f64()
}

/// Milliseconds, sorted.
pub(crate) struct Latencies {
    /// From the answer to the POST of the tick until its signal arrived on a stream.
    pub(crate) answered: Vec<f64>,
    /// The same from the time at which it was to be posted.
    pub(crate) posted: Vec<f64>,
}

/// Posts ticks at this rate for some time, a hundred times a second, and listens for their signals.
pub(crate) async fn latencies(
    service: &Service,
    rate: usize,
    symbols: usize,
    warm_up: Duration,
    time: Duration,
) -> Latencies {
    const EVERY: Duration = Duration::from_millis(10);
    const CONNECTIONS: usize = 16;
    let ticks = rate / 100;
    let posts = ((time + warm_up).as_millis() / EVERY.as_millis()) as usize;
    let mut market = Market::starting_at(now() - 60.0, symbols, rate as f64);
    let requests: Vec<_> = (0..posts)
        .map(|_| market.messages(1, ticks).swap_remove(0))
        .collect();
    let first = first_time(&requests[0]);
    let requests: Vec<_> = requests.iter().map(|body| post(NDJSON, body)).collect();

    let mut stream = Connection::open(service.address)
        .await
        .expect("it listens")
        .into_stream();
    let subscribe = get("/v1/stream", service.address);
    tokio::io::AsyncWriteExt::write_all(&mut stream, &subscribe)
        .await
        .expect("it listens");

    let begun = Instant::now();
    let at = |n: usize| begun + EVERY * n as u32;
    let answered = RefCell::new(vec![None::<Instant>; posts]);
    let send = async |lane: usize| {
        let mut connection = Connection::open(service.address).await.expect("it listens");
        for n in (lane..posts).step_by(CONNECTIONS) {
            tokio::time::sleep_until(at(n).into()).await;
            let status = connection.send(&requests[n]).await.expect("an answer");
            assert_eq!(status, 200);
            answered.borrow_mut()[n] = Some(Instant::now());
        }
    };
    let all = futures_util::future::join_all((0..CONNECTIONS).map(send));
    let mut arrived = Vec::new();
    let listen = async {
        let mut buffer: Vec<u8> = Vec::with_capacity(1 << 20);
        loop {
            if stream
                .read_buf(&mut buffer)
                .await
                .expect("the stream goes on")
                == 0
            {
                return;
            }
            let now = Instant::now();
            let Some(end) = buffer.iter().rposition(|&b| b == b'\n') else {
                continue;
            };
            for line in buffer[..end].split(|&b| b == b'\n') {
                if let Some(time) = signal_time(line) {
                    // The tick's post, from its place in time.
                    let tick = ((time - first) * rate as f64).round() as usize;
                    arrived.push((tick / ticks, now));
                }
            }
            buffer.drain(..=end);
        }
    };
    tokio::select! {
        () = listen => panic!("the stream ended"),
        _ = async { all.await; tokio::time::sleep(Duration::from_millis(500)).await } => {}
    }
    let answered = answered.borrow();
    let skipped = (warm_up.as_millis() / EVERY.as_millis()) as usize;
    let after = |since: &dyn Fn(usize) -> Instant| {
        let counted = arrived.iter().filter(|(post, _)| *post >= skipped);
        let mut millis: Vec<f64> = counted
            .map(|&(post, at)| at.saturating_duration_since(since(post)).as_secs_f64() * 1e3)
            .collect();
        millis.sort_by(f64::total_cmp);
        millis
    };
    Latencies {
        answered: after(&|post| answered[post].expect("all are answered")),
        posted: after(&at),
    }
}

/// The time of a signal in a line of a stream.
fn signal_time(line: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(line.strip_prefix(b"data: {\"schema\"")?).ok()?;
    let (_, rest) = text.split_once("\"timestamp\":")?;
    rest.split(',').next()?.parse().ok()
}

fn first_time(body: &str) -> f64 {
    let (_, rest) = body.split_once("\"timestamp\":").expect("a tick");
    rest.split('}')
        .next()
        .and_then(|time| time.parse().ok())
        .expect("a time")
}
