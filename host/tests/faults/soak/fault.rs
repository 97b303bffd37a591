//! What is done at random, and taken back: rows 1 to 18 and 21 to 27 of the table of faults, those that end with an
//! operator (19, 25) and those of the embedded log (26) left out.

use std::{io::Write as _, net::TcpStream, time::Duration};

use rand::{RngExt as _, rngs::StdRng};
use rdkafka::producer::Producer as _;
use rustix::process::Signal;
use serde_json::json;
use wigwag::log::Topic;

use crate::{
    cluster::{Cluster, Way},
    fleet::{Process, SESSION},
    proxy::{Api, Side},
    rows_brokers::quota,
    rows_clock::Clock,
    rows_log::newest_damaged,
    rows_records::{bad_records, post},
    stage::{PATIENCE, Stage},
    support::{close, tick},
};

/// What is done.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    Kill,
    KillAt(Api, Side),
    Stop,
    End,
    Roll,
    Scale,
    JoinAndLeave,
    Slow,
    HalfOpen,
    Cut,
    HoldForAWhile(Api, Side),
    Zombie,
    OpenTransaction,
    TooLarge,
    Quota,
    DamagedCheckpoint,
    BrokerRestart,
    BrokerKill,
    TwoBrokersKilled,
    EveryBrokerKilled,
    BrokerReplaced,
    BadRecords,
    HotSymbol,
    Clock,
    Clients,
    Deploy,
}

/// One of each kind, and of each point of a step.
pub(super) const FAULTS: [Fault; 31] = [
    Fault::Kill,
    Fault::KillAt(Api::ADD_OFFSETS_TO_TXN, Side::Request),
    Fault::KillAt(Api::PRODUCE, Side::Request),
    Fault::KillAt(Api::PRODUCE, Side::Answer),
    Fault::KillAt(Api::END_TXN, Side::Request),
    Fault::KillAt(Api::END_TXN, Side::Answer),
    Fault::Stop,
    Fault::End,
    Fault::Roll,
    Fault::Scale,
    Fault::JoinAndLeave,
    Fault::Slow,
    Fault::HalfOpen,
    Fault::Cut,
    Fault::HoldForAWhile(Api::PRODUCE, Side::Request),
    Fault::HoldForAWhile(Api::END_TXN, Side::Answer),
    Fault::Zombie,
    Fault::OpenTransaction,
    Fault::TooLarge,
    Fault::Quota,
    Fault::DamagedCheckpoint,
    Fault::BrokerRestart,
    Fault::BrokerKill,
    Fault::TwoBrokersKilled,
    Fault::EveryBrokerKilled,
    Fault::BrokerReplaced,
    Fault::BadRecords,
    Fault::HotSymbol,
    Fault::Clock,
    Fault::Clients,
    Fault::Deploy,
];

/// To whom it is done.
pub(super) struct Scene<'a> {
    pub(super) stage: &'a Stage<'a>,
    pub(super) cluster: &'a Cluster,
    pub(super) ways: &'a [Way<'a>],
    /// One at each way.
    pub(super) engines: Vec<Process>,
    /// Touched by what happens to the brokers alone.
    pub(super) survivor: Process,
    pub(super) bursts: usize,
}

impl Scene<'_> {
    /// Does one, and takes it back.
    pub(super) async fn commit(&mut self, fault: Fault, rng: &mut StdRng) {
        let on = rng.random_range(0..self.engines.len());
        let broker = rng.random_range(0..self.cluster.brokers());
        let time = SESSION.mul_f64(rng.random_range(0.1..2.0));
        let way = &self.ways[on];
        match fault {
            Fault::Kill => self.replace(on).await,
            Fault::KillAt(api, side) => {
                way.hold(api, side);
                // It may own nothing at this moment.
                if !way.is_caught(time).await {
                    println!("soak: nothing was held");
                }
                self.replace(on).await;
            }
            Fault::Stop => {
                self.engines[on].signal(Signal::STOP);
                tokio::time::sleep(time).await;
                self.engines[on].signal(Signal::CONT);
            }
            Fault::End => self.restart(on).await,
            Fault::Roll => {
                for on in 0..self.engines.len() {
                    self.restart(on).await;
                }
            }
            Fault::Scale => {
                let mut guests = Vec::new();
                for _ in 0..3 {
                    guests.push(self.guest().await);
                }
                tokio::time::sleep(time).await;
                for mut guest in guests {
                    assert!(guest.terminate().await.success());
                }
            }
            Fault::JoinAndLeave => {
                for killed in [false, true, false, true] {
                    let mut guest = self.guest().await;
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    match killed {
                        true => guest.kill(),
                        false => assert!(guest.terminate().await.success()),
                    }
                }
            }
            Fault::Slow => {
                way.slow(Duration::from_millis(200), 0.05);
                tokio::time::sleep(2 * time).await;
                way.heal();
            }
            Fault::HalfOpen => {
                way.half_open();
                tokio::time::sleep(2 * time).await;
                way.reset();
            }
            Fault::Cut => {
                way.cut();
                tokio::time::sleep(time).await;
                way.reset();
            }
            Fault::HoldForAWhile(api, side) => {
                way.hold(api, side);
                tokio::time::sleep(time).await;
                way.heal();
            }
            Fault::Zombie => {
                for partition in 0..self.stage.place.partitions {
                    let id = format!("{}engine-{partition}", self.stage.place.prefix);
                    let zombie = self.stage.place.producer(&[("transactional.id", &id)]);
                    zombie.init_transactions(PATIENCE).expect("initialised");
                }
            }
            Fault::OpenTransaction => self.open_transaction(time).await,
            Fault::TooLarge => {
                let set = |value| {
                    let place = &self.stage.place;
                    place.set(Topic::Values, "max.message.bytes", value);
                };
                set(Some("100"));
                tokio::time::sleep(time).await;
                set(None);
            }
            Fault::Quota => {
                let brokers = self.cluster.plain();
                quota(&brokers, &["--add-config", "producer_byte_rate=60000"]);
                tokio::time::sleep(time).await;
                quota(&brokers, &["--delete-config", "producer_byte_rate"]);
            }
            Fault::DamagedCheckpoint => {
                newest_damaged(self.stage);
                self.replace(on).await;
            }
            Fault::BrokerRestart => {
                self.cluster.stop(broker);
                self.return_of(&[broker], time).await;
            }
            Fault::BrokerKill => {
                self.cluster.kill(broker);
                self.return_of(&[broker], time).await;
            }
            Fault::TwoBrokersKilled => {
                let two = [broker, (broker + 1) % self.cluster.brokers()];
                two.iter().for_each(|&broker| self.cluster.kill(broker));
                self.return_of(&two, time).await;
            }
            Fault::EveryBrokerKilled => {
                let all: Vec<_> = (0..self.cluster.brokers()).collect();
                all.iter().for_each(|&broker| self.cluster.kill(broker));
                self.return_of(&all, 2 * time).await;
            }
            Fault::BrokerReplaced => {
                self.cluster.kill(broker);
                let id = self.cluster.id(broker);
                self.cluster.replace(broker, id + 10);
                self.stage.goes_on(PATIENCE).await;
                // No partition is assigned to the new one, so that the old one must come back.
                self.cluster.stop(broker);
                self.cluster.replace(broker, id);
                self.stage.in_sync(PATIENCE).await;
            }
            Fault::BadRecords => bad_records(self.stage, self.survivor.url()).await,
            Fault::HotSymbol => self.burst().await,
            Fault::Clock => self.clock(on, time).await,
            Fault::Clients => self.clients(time).await,
            Fault::Deploy => self.deploy(rng).await,
        }
    }

    async fn guest(&self) -> Process {
        self.stage.engine(&self.cluster.plain()).await
    }

    /// Kills a process and starts another in its place.
    async fn replace(&mut self, on: usize) {
        self.engines[on].signal(Signal::KILL);
        self.ways[on].reset();
        self.engines[on] = self.stage.engine(self.ways[on].addresses()).await;
    }

    /// Ends a process in order, and starts another in its place.
    async fn restart(&mut self, on: usize) {
        assert!(self.engines[on].terminate().await.success());
        self.engines[on] = self.stage.engine(self.ways[on].addresses()).await;
    }

    /// Starts brokers again, and waits until each has what the others have.
    async fn return_of(&self, brokers: &[usize], after: Duration) {
        tokio::time::sleep(after).await;
        self.cluster.resume_all(brokers);
        self.stage.in_sync(PATIENCE).await;
    }

    /// Another's transaction, open over the death of an engine.
    async fn open_transaction(&mut self, time: Duration) {
        let place = &self.stage.place;
        let id = format!("{}another", place.prefix);
        let other = place.producer(&[("transactional.id", &id)]);
        other.init_transactions(PATIENCE).expect("initialised");
        other.begin_transaction().expect("begun");
        for partition in 0..place.partitions {
            for (topic, key) in [(Topic::Signals, "S0"), (Topic::Checkpoints, "0/manifest")] {
                place.write(&other, topic, partition, key, Some(b"of another"), None);
            }
        }
        self.engines[0].signal(Signal::KILL);
        tokio::time::sleep(SESSION + time).await;
        other.abort_transaction(PATIENCE).expect("aborted");
        self.replace(0).await;
    }

    /// Half of the traffic, and more, in one symbol.
    async fn burst(&mut self) {
        const TICKS: usize = 5_000;
        let n = self.bursts * TICKS;
        self.bursts += 1;
        let of = |n: usize| tick("HOT", 1_700_000_000.0 + n as f64 * 0.01, close(1, n));
        let lines: Vec<_> = (n..n + TICKS).map(of).collect();
        let (status, answer) = post(self.survivor.url(), lines.join("\n")).await;
        assert_eq!(status, 200, "{answer}");
    }

    /// An engine whose wall clock jumps.
    async fn clock(&mut self, on: usize, time: Duration) {
        let clock = Clock::new();
        let mut order = self.stage.order(self.ways[on].addresses(), "engine");
        order.variables = clock.variables();
        assert!(self.engines[on].terminate().await.success());
        self.engines[on] = Process::start(&order).await;
        for to in ["+1h", "-1h"] {
            clock.jump(to);
            tokio::time::sleep(time).await;
        }
        self.restart(on).await;
    }

    /// A hundred clients that read nothing, and vanish.
    async fn clients(&self, time: Duration) {
        let address = self.survivor.url().trim_start_matches("http://");
        let ask = |_| {
            let mut client = TcpStream::connect(address).expect("it takes connections");
            let request = format!(
                "GET /v1/stream?types=signal,value,tick HTTP/1.1\r\nHost: {address}\r\n\r\n"
            );
            client.write_all(request.as_bytes()).expect("asked");
            client
        };
        let clients: Vec<_> = (0..100).map(ask).collect();
        tokio::time::sleep(2 * time).await;
        drop(clients);
    }

    /// A strategy is started, replaced or removed, and an engine dies of it.
    async fn deploy(&mut self, rng: &mut StdRng) {
        for _ in 0..2 {
            let body = json!({"plugin": "ma", "params": {"period": rng.random_range(2..50)}});
            let (status, answer) = self.survivor.put("/v1/strategies/soak", &body).await;
            assert!(matches!(status, 200 | 201), "{status} {answer}");
        }
        self.replace(0).await;
        if rng.random_bool(0.5) {
            let status = self.survivor.delete("/v1/strategies/soak").await;
            assert_eq!(status, 204);
        }
    }
}
