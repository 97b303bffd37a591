//! Row 28: everything at random from a seed, for as many minutes as `WIGWAG_SOAK_MINUTES` says, over three brokers; then the
//! judgement, `wigwag verify`, and whether the process that lived through all of it grew. The same seed gives the same
//! faults in the same order; what the processes do between them is theirs.

mod fault;

use std::time::{Duration, Instant};

use rand::{SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};

use self::fault::{FAULTS, Scene};
use crate::{
    cluster::Cluster,
    fleet::{Process, Usage},
    load::{Load, Pace},
    stage::{PATIENCE, Stage, long},
};

const ENGINES: usize = 3;

/// So that each of them, and the survivor, has some at most times.
const PARTITIONS: u32 = 8;

/// Above what a fault may cost: several are about the limits of a commit, which are 10 s.
const GOES_ON_WITHIN: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn row_28_everything_at_random() {
    let wanted = number::<f64>("WIGWAG_SOAK_MINUTES").or_else(|| long().then_some(1.0));
    let Some(minutes) = wanted else {
        return;
    };
    let seed = number("WIGWAG_SOAK_SEED").unwrap_or_else(rand::random::<u64>);
    println!("soak: WIGWAG_SOAK_SEED={seed} WIGWAG_SOAK_MINUTES={minutes}");
    let mut rng = StdRng::seed_from_u64(seed);

    let cluster = Cluster::three(ENGINES);
    let stage = Stage::with_partitions(&cluster, PARTITIONS);
    let ways: Vec<_> = (0..ENGINES).map(|_| cluster.way()).collect();
    let mut engines = Vec::new();
    for way in &ways {
        engines.push(stage.engine(way.addresses()).await);
    }
    let survivor = Process::start(&stage.order(&cluster.plain(), "ingest,engine,api")).await;
    let load = Load::start(
        vec![survivor.url().to_owned()],
        Pace {
            every: Duration::from_millis(100),
            ..stage.pace()
        },
    );
    stage.goes_on(PATIENCE).await;

    let mut scene = Scene {
        stage: &stage,
        cluster: &cluster,
        ways: &ways,
        engines,
        survivor,
        bursts: 0,
    };
    let (since, mut usages, mut faults) = (Instant::now(), Vec::new(), 0);
    let mut longest = Duration::ZERO;
    'soak: loop {
        // Each once in every round, so that none is left out by chance.
        let mut round = FAULTS;
        round.shuffle(&mut rng);
        for fault in round {
            if since.elapsed().as_secs_f64() > minutes * 60.0 {
                break 'soak;
            }
            let at = since.elapsed().as_secs_f64();
            println!("soak: {at:>6.1} s: {fault:?}");
            scene.commit(fault, &mut rng).await;
            faults += 1;
            let took = stage.goes_on(GOES_ON_WITHIN).await;
            longest = longest.max(took);
            println!("soak: went on within {took:?}");
            usages.push(scene.survivor.usage());
        }
    }
    assert!(scene.survivor.is_running());
    assert!(scene.engines.iter_mut().all(Process::is_running));
    let (verdict, sent) = stage.judge(load).await;
    println!("soak: {}", stage.verify());
    println!(
        "soak: {faults} faults in {:?}, went on within {longest:?}; {} ticks, {} signals, {} bodies sent again: none missing, none twice, same bytes",
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
