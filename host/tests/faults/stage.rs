//! What most rows begin and end with: a log of their own, a desk that takes records in and that no fault touches, engines
//! behind proxies, and the judgement.

use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;

use crate::{
    cluster::Cluster,
    fleet::{Order, Process},
    history::Place,
    kafka_broker,
    load::{Load, Pace, Sent},
    oracle::{self, Verdict},
    service::wigwag,
};

/// Longer than any takeover on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Between two looks at the positions.
const LOOK_EVERY: Duration = Duration::from_millis(25);

const PARTITIONS: u32 = 4;

/// A log of a row's own.
pub(crate) struct Stage<'a> {
    cluster: &'a Cluster,
    pub(crate) place: Place,
}

impl<'a> Stage<'a> {
    pub(crate) fn new(cluster: &'a Cluster) -> Self {
        Self::with_partitions(cluster, PARTITIONS)
    }

    pub(crate) fn with_partitions(cluster: &'a Cluster, partitions: u32) -> Self {
        let place = Place::new(cluster.plain(), kafka_broker::prefix(), partitions);
        Self { cluster, place }
    }

    /// How a process with these roles is started.
    pub(crate) fn order(&self, brokers: &str, roles: &'static str) -> Order {
        Order::of(&self.place, brokers, roles)
    }

    /// Takes records in.
    pub(crate) async fn desk(&self) -> Process {
        Process::start(&self.order(&self.cluster.plain(), "ingest")).await
    }

    /// Runs strategies, and reaches the brokers through this proxy's addresses only.
    pub(crate) async fn engine(&self, brokers: &str) -> Process {
        Process::start(&self.order(brokers, "engine")).await
    }

    /// What is sent: so many symbols that each partition has some.
    pub(crate) fn pace(&self) -> Pace {
        let symbols = 8 * self.place.partitions as usize;
        Pace {
            symbols: symbols.max(Pace::default().symbols),
            ..Pace::default()
        }
    }

    /// A desk and its load.
    pub(crate) async fn load(&self) -> (Process, Load) {
        let desk = self.desk().await;
        let load = Load::start(vec![desk.url().to_owned()], self.pace());
        // Enough for every average to have its first values.
        load.goes_on(20, PATIENCE).await;
        (desk, load)
    }

    /// Waits until every partition is committed beyond where its log ends now, so that ticks must come in too. Gives the
    /// time that took.
    pub(crate) async fn goes_on(&self, within: Duration) -> Duration {
        let since = Instant::now();
        let beyond: Vec<_> = self.place.ends().iter().map(|end| end + 1).collect();
        self.reaches(&beyond, within).await;
        since.elapsed()
    }

    /// Waits until every partition is committed to these positions.
    pub(crate) async fn reaches(&self, positions: &[u64], within: Duration) {
        let until = Instant::now() + within;
        loop {
            let committed = self.place.committed();
            if committed.iter().zip(positions).all(|(at, to)| at >= to) {
                return;
            }
            if Instant::now() > until && std::env::var_os("WIGWAG_HOLD").is_some() {
                println!("HOLD {committed:?} {positions:?} {}", self.place.brokers);
                tokio::time::sleep(Duration::from_secs(500)).await;
            }
            assert!(
                Instant::now() < until,
                "committed is {committed:?} of {positions:?} after {within:?}"
            );
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until every broker holds every message again.
    pub(crate) async fn in_sync(&self, within: Duration) {
        let until = Instant::now() + within;
        loop {
            let metadata = self
                .place
                .asking()
                .fetch_metadata(None, within)
                .expect("metadata");
            let lacking = metadata
                .topics()
                .iter()
                .flat_map(|t| t.partitions())
                .filter(|p| p.isr().len() < p.replicas().len());
            let lacking = lacking.count();
            if lacking == 0 {
                return;
            }
            assert!(
                Instant::now() < until,
                "{lacking} partitions lack a replica after {within:?}"
            );
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Lets `wigwag verify` judge all of it; gives its last line.
    pub(crate) fn verify(&self) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        let log = format!("kafka://{}", self.place.brokers);
        let partitions = self.place.partitions.to_string();
        let output = wigwag(folder.path())
            .args(["verify", "--data-dir", "data", "--log", &log])
            .args([
                "--topic-prefix",
                &self.place.prefix,
                "--partitions",
                &partitions,
            ])
            .output()
            .expect("the program starts");
        let said = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {said}{errors}", output.status);
        said.lines().last().unwrap_or_default().to_owned()
    }

    /// Ends the load, waits until all is committed, and judges.
    pub(crate) async fn judge(&self, load: Load) -> (Verdict, Sent) {
        let sent = load.stop().await;
        self.reaches(&self.place.ends(), PATIENCE).await;
        let verdict = oracle::judge(&self.place, &sent);
        let verified = self.verify();
        println!(
            "{} bodies, {} sent again; {verdict:?}; {verified}",
            sent.bodies, sent.again
        );
        (verdict, sent)
    }
}

/// Asks until there is an answer, without haste: each question costs what the service needs.
pub(crate) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(
            Instant::now() < until,
            "waited {PATIENCE:?} in vain for {what}"
        );
        tokio::time::sleep(10 * LOOK_EVERY).await;
    }
}

/// Whether the long tests are wanted.
pub(crate) fn long() -> bool {
    std::env::var_os("WIGWAG_LONG_TESTS").is_some()
}
