//! Runs seeds in as many processes as there are processors, up to the first that fails, and tells that one's story.

use std::{
    fmt,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::{
    STEPS, deployment,
    planted::Planted,
    world::{Plan, Story, run},
};

/// What came of a range of seeds.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Seeds {
    /// The lowest that failed.
    pub(crate) failed: Option<Failed>,
    pub(crate) ran: u64,
    /// All stories in one, without their lines.
    pub(crate) story: Story,
    pub(crate) elapsed: Duration,
}

/// A seed that failed, with the fewest steps with which it does.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Failed {
    pub(crate) seed: u64,
    steps: usize,
    pub(crate) why: String,
    lines: Vec<String>,
}

/// The seeds that are wanted alone: `n`, or `n..m`.
pub(crate) fn wanted() -> Option<Range<u64>> {
    let wanted = std::env::var_os("WIGWAG_SEED")?;
    let wanted = wanted.to_str().unwrap();
    let number = |text: &str| text.parse().expect("WIGWAG_SEED is n or n..m");
    Some(match wanted.split_once("..") {
        Some((first, end)) => number(first)..number(end),
        None => number(wanted)..number(wanted) + 1,
    })
}

pub(crate) fn run_seeds(seeds: Range<u64>, planted: Option<Planted>) -> Seeds {
    // What is compiled is kept on disk, for all of them.
    deployment::plugins();
    let started = Instant::now();
    let folder = tempfile::tempdir().expect("a folder");
    let processes = std::thread::available_parallelism().map_or(1, usize::from);
    let running: Vec<_> = (0..processes as u64)
        .map(|number| {
            let share = Share {
                first: seeds.start + number,
                end: seeds.end,
                step: processes,
                planted,
                result: folder.path().join(number.to_string()),
            };
            (share.start(), share.result)
        })
        .collect();
    let mut all = Seeds::default();
    for (mut process, result) in running {
        let ended = process.wait().expect("it ends");
        assert!(ended.success(), "a process of seeds {seeds:?}: {ended}");
        let result = std::fs::read(result).expect("a result");
        all.add(serde_json::from_slice(&result).expect("it is whole"));
    }
    all.elapsed = started.elapsed();
    if planted.is_none() {
        all.failed = all.failed.map(shortened);
    }
    all
}

impl Seeds {
    fn add(&mut self, other: Self) {
        self.ran += other.ran;
        self.story.steps += other.story.steps;
        self.story.takeovers += other.story.takeovers;
        self.story.judged.promotions += other.story.judged.promotions;
        self.story.judged.signals_of_bars += other.story.judged.signals_of_bars;
        self.story.faults.extend(other.story.faults);
        let failed = self.failed.take().into_iter().chain(other.failed);
        self.failed = failed.min_by_key(|failed| failed.seed);
    }
}

/// Every so many of a range of seeds, for one process. Threads of one would wait for each other most of the time: an instance
/// that comes or goes is a change of the address space.
#[derive(Serialize, Deserialize)]
struct Share {
    first: u64,
    end: u64,
    step: usize,
    planted: Option<Planted>,
    /// Where it writes what came of them.
    result: PathBuf,
}

/// Tells a process of this test binary its share.
const SHARE: &str = "WIGWAG_TEST_SEEDS";

/// A process that [`run_seeds`] starts; does nothing by itself.
#[test]
fn the_process_of_some_seeds() {
    let Some(share) = std::env::var_os(SHARE) else {
        return;
    };
    let share: Share = serde_json::from_str(share.to_str().unwrap()).expect("a share");
    let seeds = share.run();
    std::fs::write(&share.result, serde_json::to_vec(&seeds).unwrap()).expect("written");
}

impl Share {
    fn start(&self) -> Child {
        Command::new(std::env::current_exe().expect("a path"))
            .args(["--exact", "seeds::the_process_of_some_seeds"])
            .env(SHARE, serde_json::to_string(self).unwrap())
            .stdout(Stdio::null())
            .spawn()
            .expect("it starts")
    }

    /// Up to the first that fails.
    fn run(&self) -> Seeds {
        let mut all = Seeds::default();
        for seed in (self.first..self.end).step_by(self.step) {
            let (story, ended) = run_one(plan(seed, STEPS, self.planted));
            all.add(Seeds {
                failed: ended.err().map(|why| Failed {
                    seed,
                    steps: STEPS,
                    why,
                    lines: Vec::new(),
                }),
                ran: 1,
                story: Story {
                    lines: Vec::new(),
                    ..story
                },
                elapsed: Duration::ZERO,
            });
            if all.failed.is_some() {
                break;
            }
        }
        all
    }
}

const fn plan(seed: u64, steps: usize, planted: Option<Planted>) -> Plan {
    Plan {
        seed,
        steps,
        planted,
        traced: false,
    }
}

/// A panic of the engine is a failure of the seed too.
fn run_one(plan: Plan) -> (Story, Result<(), String>) {
    catch_unwind(AssertUnwindSafe(|| run(plan))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text
            .or(panic.downcast_ref::<&str>().copied())
            .unwrap_or("?");
        (Story::default(), Err(format!("panicked: {text}")))
    })
}

/// The same seed with as few steps as fail, and with its story.
fn shortened(failed: Failed) -> Failed {
    let seed = failed.seed;
    let fails = |steps: &usize| run_one(plan(seed, *steps, None)).1.is_err();
    let steps = (0..STEPS).step_by(10).find(fails).unwrap_or(STEPS);
    let (story, ended) = run_one(Plan {
        traced: true,
        ..plan(seed, steps, None)
    });
    Failed {
        seed,
        steps,
        why: ended.err().unwrap_or(failed.why),
        lines: story.lines,
    }
}

impl fmt::Display for Seeds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Story {
            steps,
            faults,
            takeovers,
            ..
        } = &self.story;
        let (ran, faults) = (self.ran, faults.len());
        let a_minute = ran as f64 * 60.0 / self.elapsed.as_secs_f64();
        write!(
            f,
            "{ran} seeds, {a_minute:.0} a minute: {steps} steps, {faults} faults, {takeovers} takeovers"
        )
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            seed,
            steps,
            why,
            lines,
        } = self;
        for line in lines {
            writeln!(f, "{line}")?;
        }
        writeln!(f, "seed {seed}, after {steps} steps: {why}")?;
        write!(
            f,
            "again: WIGWAG_SEED={seed} cargo test -p wigwag --test simulation"
        )
    }
}
