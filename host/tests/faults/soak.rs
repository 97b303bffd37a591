//! Row 28: faults at random from a seed, for as many minutes as `WIGWAG_SOAK_MINUTES` says, then the judgement, and whether
//! the process that lived through all of it grew. The same seed gives the same faults in the same order; what the
//! processes do between them is theirs.

use std::time::{Duration, Instant};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use rdkafka::producer::Producer;
use rustix::process::Signal;

use crate::{
    cluster::{Cluster, Way},
    fleet::{Process, SESSION, Usage},
    load::{Load, Pace},
    proxy::{Api, Side},
    stage::{PATIENCE, Stage},
};

const ENGINES: usize = 3;

/// Above what a fault may cost: several are about the limits of a commit, which are 10 s.
const GOES_ON_WITHIN: Duration = Duration::from_secs(120);

/// What is done.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Kill,
    KillAt(Api, Side),
    Stop,
    End,
    Slow,
    HalfOpen,
    Cut,
    HoldForAWhile(Api, Side),
    Zombie,
    Guest,
    BrokerRestart,
    BrokerKill,
}

impl Fault {
    fn any(rng: &mut StdRng) -> Self {
        let apis = [Api::ADD_OFFSETS_TO_TXN, Api::PRODUCE, Api::END_TXN];
        let api = apis[rng.random_range(0..apis.len())];
        let side = if rng.random_bool(0.5) {
            Side::Request
        } else {
            Side::Answer
        };
        match rng.random_range(0..12) {
            0 => Self::Kill,
            1 | 2 => Self::KillAt(api, side),
            3 => Self::Stop,
            4 => Self::End,
            5 => Self::Slow,
            6 => Self::HalfOpen,
            7 => Self::Cut,
            8 => Self::HoldForAWhile(api, side),
            9 => Self::Zombie,
            10 => Self::Guest,
            _ if rng.random_bool(0.5) => Self::BrokerRestart,
            _ => Self::BrokerKill,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn row_28_everything_at_random() {
    let Some(minutes) = number::<f64>("WIGWAG_SOAK_MINUTES") else {
        return;
    };
    let seed = number("WIGWAG_SOAK_SEED").unwrap_or_else(rand::random::<u64>);
    println!("soak: WIGWAG_SOAK_SEED={seed} WIGWAG_SOAK_MINUTES={minutes}");
    let mut rng = StdRng::seed_from_u64(seed);

    let cluster = Cluster::one(ENGINES);
    let stage = Stage::new(&cluster);
    let ways: Vec<Way<'_>> = (0..ENGINES).map(|_| cluster.way()).collect();
    let mut engines = Vec::new();
    for way in &ways {
        engines.push(stage.engine(way.addresses()).await);
    }
    let mut survivor = Process::start(&stage.order(&cluster.plain(), "ingest,api")).await;
    let load = Load::start(
        vec![survivor.url().to_owned()],
        Pace {
            every: Duration::from_millis(50),
            ..Pace::default()
        },
    );
    stage.goes_on(PATIENCE).await;

    let (since, mut usages, mut faults) = (Instant::now(), Vec::new(), 0);
    while since.elapsed().as_secs_f64() < minutes * 60.0 {
        let fault = Fault::any(&mut rng);
        let on = rng.random_range(0..ENGINES);
        let time = SESSION.mul_f64(rng.random_range(0.1..2.0));
        println!(
            "soak: {:>6.1} s: {fault:?} on engine {on} for {time:?}",
            since.elapsed().as_secs_f64()
        );
        commit(&stage, &cluster, fault, &ways[on], &mut engines[on], time).await;
        faults += 1;
        let took = stage.goes_on(GOES_ON_WITHIN).await;
        println!("soak: went on within {took:?}");
        usages.push(survivor.usage());
    }
    assert!(survivor.is_running());
    assert!(engines.iter_mut().all(Process::is_running));
    let (verdict, sent) = stage.judge(load).await;
    println!(
        "soak: {faults} faults in {:?}; {} ticks, {} signals, {} bodies sent again: none missing, none twice, same bytes",
        since.elapsed(),
        verdict.ticks,
        verdict.signals,
        sent.again
    );
    flat(&usages);
}

/// A variable that holds a number.
fn number<T: std::str::FromStr>(variable: &str) -> Option<T> {
    let text = std::env::var_os(variable)?.into_string().ok()?;
    let Ok(number) = text.parse() else {
        panic!("{variable} is {text:?}; use a number")
    };
    Some(number)
}

/// Does one, and takes it back.
async fn commit(
    stage: &Stage<'_>,
    cluster: &Cluster,
    fault: Fault,
    way: &Way<'_>,
    engine: &mut Process,
    time: Duration,
) {
    match fault {
        Fault::Kill => replace(stage, way, engine).await,
        Fault::KillAt(api, side) => {
            way.hold(api, side);
            // It may own nothing at this moment.
            if !way.is_caught(time).await {
                println!("soak: nothing was held");
            }
            replace(stage, way, engine).await;
        }
        Fault::Stop => {
            engine.signal(Signal::STOP);
            tokio::time::sleep(time).await;
            engine.signal(Signal::CONT);
        }
        Fault::End => {
            assert!(engine.terminate().await.success());
            *engine = stage.engine(way.addresses()).await;
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
            for partition in 0..stage.place.partitions {
                let id = format!("{}engine-{partition}", stage.place.prefix);
                let zombie = stage.place.producer(&[("transactional.id", &id)]);
                zombie.init_transactions(PATIENCE).expect("initialised");
            }
        }
        Fault::Guest => {
            let guest = stage.engine(&cluster.plain()).await;
            tokio::time::sleep(time).await;
            guest.kill();
        }
        Fault::BrokerRestart => {
            cluster.stop(0);
            tokio::time::sleep(time).await;
            cluster.resume(0);
        }
        Fault::BrokerKill => {
            cluster.kill(0);
            tokio::time::sleep(time).await;
            cluster.resume(0);
        }
    }
}

/// Kills a process and starts another in its place.
async fn replace(stage: &Stage<'_>, way: &Way<'_>, engine: &mut Process) {
    engine.signal(Signal::KILL);
    way.reset();
    *engine = stage.engine(way.addresses()).await;
}

/// The second half has no more than the first, but for what caches and allocators move.
fn flat(usages: &[Usage]) {
    let (first, second) = usages.split_at(usages.len() / 2);
    let most = |of: &[Usage], what: fn(&Usage) -> u64| of.iter().map(what).max().unwrap_or(0);
    let memory: fn(&Usage) -> u64 = |usage| usage.memory_kib;
    let figures = [
        ("memory, KiB", memory, 64 << 10),
        ("threads", |usage| usage.threads, 8),
        ("files", |usage| usage.files, 16),
    ];
    for (name, what, slack) in figures {
        let (first, second) = (most(first, what), most(second, what));
        println!("soak: most {name}: {first} in the first half, {second} in the second");
        assert!(
            second <= first + slack,
            "{name} grew from {first} to {second}"
        );
    }
}
