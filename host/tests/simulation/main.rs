//! Exactly once, by simulation: the real engine (owners, takeovers, plugins as components) on a model of a Kafka cluster,
//! driven on one thread by a seed that crashes, pauses, duplicates and delays at every step. What is seen at the end
//! must be what one process without faults makes of the same input.
//!
//! `WIGWAG_SEED=n cargo test -p wigwag --test simulation` runs one seed (`n..m`: several), and tells the story of the
//! first that fails.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod client;
mod cluster;
mod commit;
mod deployment;
mod fault;
mod group;
mod market;
mod node;
mod oracle;
mod partition_log;
mod planted;
mod seeds;
#[allow(unreachable_pub, reason = "shared with other test binaries")]
#[path = "../support/mod.rs"]
mod support;
mod transactions;
mod world;

use std::{collections::BTreeSet, sync::OnceLock};

use fault::Fault;
use planted::Planted;
use seeds::{Seeds, run_seeds};
use world::Plan;

/// Steps of one seed.
const STEPS: usize = 300;

/// Seeds of a usual run, and of a long one.
const SEEDS: u64 = 600;
const LONG_SEEDS: u64 = 30_000;

#[test]
fn under_any_faults_readers_see_what_one_process_without_faults_would_have_made() {
    let ran;
    let found = match seeds::wanted() {
        None if std::env::var_os("WIGWAG_LONG_TESTS").is_none() => without_bugs(),
        wanted => {
            ran = run_seeds(wanted.unwrap_or(0..LONG_SEEDS), None);
            &ran
        }
    };
    println!("{found}");
    assert!(found.failed.is_none(), "{}", found.failed.as_ref().unwrap());
    if found.ran >= SEEDS {
        let struck: BTreeSet<Fault> = found.story.faults.iter().copied().collect();
        assert_eq!(struck, BTreeSet::from(Fault::ALL));
        assert!(found.story.takeovers as u64 > 5 * found.ran, "{found}");
        let promotions = found.story.judged.promotions;
        println!("{promotions} promotions");
        assert!(
            20 * promotions as u64 > found.ran,
            "{promotions} promotions"
        );
        let of_bars = found.story.judged.signals_of_bars;
        assert!(of_bars as u64 > found.ran, "{of_bars} signals of bars");
    }
}

#[test]
fn a_seed_replays_exactly() {
    for seed in 0..10 {
        let plan = Plan {
            seed,
            steps: STEPS,
            planted: None,
            traced: true,
        };
        let (first, second) = (world::run(plan).0.lines, world::run(plan).0.lines);
        assert!(first.len() > 100, "{} lines", first.len());
        assert!(first == second, "seed {seed}");
    }
}

/// The usual seeds, run once.
fn without_bugs() -> &'static Seeds {
    static SEEDS_RUN: OnceLock<Seeds> = OnceLock::new();
    SEEDS_RUN.get_or_init(|| run_seeds(0..SEEDS, None))
}

/// A test for each planted bug: found in these seeds, in which nothing is found without it.
macro_rules! planted_bugs {
    ($($name:ident: $planted:ident within $seeds:literal,)*) => {
        $(
            #[test]
            fn $name() {
                println!("{}", is_found(Planted::$planted, $seeds));
            }
        )*
    };
}

planted_bugs! {
    a_fence_that_shuts_nobody_out_is_found: NoFence within 600,
    a_step_of_an_old_epoch_that_is_committed_is_found: OldEpoch within 100,
    a_restore_bounded_by_the_last_stable_offset_is_found: LastStableOffset within 600,
    a_state_not_rolled_back_after_an_aborted_step_is_found: StateKept within 100,
    a_sequence_table_of_another_offset_is_found: SequencesAhead within 100,
    a_checkpoint_above_the_committed_position_that_is_taken_is_found: CheckpointAhead within 100,
    a_replay_that_does_not_obey_the_recorded_skips_is_found: SkipsNotObeyed within 100,
    a_commit_repeated_after_its_answer_was_lost_is_found: LostAnswerRepeated within 100,
}

/// Says with which seed.
fn is_found(planted: Planted, within: u64) -> String {
    let found = run_seeds(0..within.min(SEEDS), Some(planted));
    let Some(failed) = found.failed else {
        panic!("{planted:?} is not found in {within} seeds");
    };
    let clean = &without_bugs().failed;
    assert!(clean.is_none(), "{}", clean.as_ref().unwrap());
    let (seed, why) = (failed.seed, failed.why);
    format!("{planted:?}: seed {seed} of {within}: {why}")
}
