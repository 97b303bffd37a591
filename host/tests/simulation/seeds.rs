//! Runs seeds on as many threads as there are processors, each seed on one, up to the first that fails, and tells that
//! one's story.

use std::{
    fmt,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    STEPS, deployment,
    planted::Planted,
    world::{Plan, Story, run},
};

/// What came of a range of seeds.
#[derive(Debug, Default)]
pub(crate) struct Seeds {
    /// The lowest that failed.
    pub(crate) failed: Option<Failed>,
    pub(crate) ran: u64,
    /// All stories in one, without their lines.
    pub(crate) story: Story,
    pub(crate) elapsed: Duration,
}

/// A seed that failed, with the fewest steps with which it does.
#[derive(Debug)]
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
    deployment::plugins();
    let started = Instant::now();
    let (next, end) = (AtomicU64::new(seeds.start), AtomicU64::new(seeds.end));
    let all = Mutex::new(Seeds::default());
    let worker = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            // Past a failed seed none is run; all below it are.
            if seed >= end.load(Ordering::Relaxed) {
                return;
            }
            let (story, ended) = run_one(plan(seed, STEPS, planted));
            let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
            all.ran += 1;
            all.story.steps += story.steps;
            all.story.takeovers += story.takeovers;
            all.story.judged.promotions += story.judged.promotions;
            all.story.judged.signals_of_bars += story.judged.signals_of_bars;
            all.story.faults.extend(story.faults);
            if let Err(why) = ended {
                end.fetch_min(seed, Ordering::Relaxed);
                if all.failed.as_ref().is_none_or(|failed| failed.seed > seed) {
                    all.failed = Some(Failed {
                        seed,
                        steps: STEPS,
                        why,
                        lines: Vec::new(),
                    });
                }
            }
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..threads {
            scope.spawn(worker);
        }
    });
    let mut all = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    all.elapsed = started.elapsed();
    if planted.is_none() {
        all.failed = all.failed.map(shortened);
    }
    all
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
