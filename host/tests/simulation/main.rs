//! Exactly once, by simulation: the real engine (owners, takeovers, plugins as components) on a model of a Kafka cluster,
//! driven on one thread by a seed that crashes, pauses, duplicates and delays at every step. What is seen at the end
//! must be what one process without faults makes of the same input.
//!
//! `WIGWAG_SEED=n cargo test -p wigwag --test simulation` runs one seed and tells its story.

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

use std::collections::BTreeSet;

use fault::Fault;
use planted::Planted;
use seeds::{Seeds, run_seeds};

/// Steps of one seed.
const STEPS: usize = 300;

/// Seeds of a usual run, and of a long one.
const SEEDS: u64 = 600;
const LONG_SEEDS: u64 = 60_000;

#[test]
fn under_any_faults_readers_see_what_one_process_without_faults_would_have_made() {
    let seeds = match seeds::one() {
        Some(seed) => seed..seed + 1,
        None if std::env::var_os("WIGWAG_LONG_TESTS").is_some() => 0..LONG_SEEDS,
        None => 0..SEEDS,
    };
    let whole = seeds.end - seeds.start > 1;
    let Seeds {
        failed,
        ran,
        story,
        elapsed,
    } = run_seeds(seeds, None);
    let a_minute = ran as f64 * 60.0 / elapsed.as_secs_f64();
    println!(
        "{ran} seeds, {a_minute:.0} a minute: {} steps, {} faults, {} takeovers",
        story.steps,
        story.faults.len(),
        story.takeovers
    );
    assert!(failed.is_none(), "{}", failed.unwrap());
    if whole {
        let struck: BTreeSet<Fault> = story.faults.iter().copied().collect();
        assert_eq!(struck, BTreeSet::from(Fault::ALL));
        assert!(
            story.takeovers as u64 > 5 * ran,
            "{} takeovers",
            story.takeovers
        );
    }
}

/// A test for each planted bug: found in these seeds, in which nothing is found without it.
macro_rules! planted_bugs {
    ($($name:ident: $planted:ident within $seeds:literal,)*) => {
        $(
            #[test]
            fn $name() {
                is_found(Planted::$planted, $seeds);
            }
        )*
    };
}

planted_bugs! {
    a_fence_that_shuts_nobody_out_is_found: NoFence within 200,
    a_step_of_an_old_epoch_that_is_committed_is_found: OldEpoch within 200,
    a_restore_bounded_by_the_last_stable_offset_is_found: LastStableOffset within 1500,
    a_state_not_rolled_back_after_an_aborted_step_is_found: StateKept within 200,
    a_sequence_table_of_another_offset_is_found: SequencesAhead within 200,
    a_checkpoint_above_the_committed_position_that_is_taken_is_found: CheckpointAhead within 500,
    a_replay_that_does_not_obey_the_recorded_skips_is_found: SkipsNotObeyed within 500,
    a_commit_repeated_after_its_answer_was_lost_is_found: LostAnswerRepeated within 200,
}

fn is_found(planted: Planted, within: u64) {
    let found = run_seeds(0..within, Some(planted));
    let Some(failed) = found.failed else {
        panic!("{planted:?} is not found in {within} seeds");
    };
    println!(
        "{planted:?}: seed {} of {within}: {}",
        failed.seed, failed.why
    );
    let clean = run_seeds(0..failed.seed + 1, None);
    assert!(clean.failed.is_none(), "{}", clean.failed.unwrap());
}
