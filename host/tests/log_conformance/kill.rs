//! The claim about `kill -9`, and the process that is killed.

use super::*;
use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
};

/// Tells a process of this test binary on which log to work until it is killed.
const CHILD_LOG: &str = "WIGWAG_TEST_LOG";
/// Tells it how many were killed before it.
const CHILD_RUN: &str = "WIGWAG_TEST_RUN";

/// What a process said before it was killed.
#[derive(Default)]
struct Acknowledged {
    /// Messages that it appended.
    appended: u64,
    /// The newest position that it committed.
    position: Option<Offset>,
}

pub(crate) fn what_was_acknowledged_survives_kill_9_exactly_once<F: Fixture>(child: &str) {
    let kills = if std::env::var_os("WIGWAG_LONG_TESTS").is_some() {
        6
    } else {
        F::KILLS
    };
    let fixture = F::create();
    let mut runs: Vec<Acknowledged> = Vec::new();
    for run in 0..kills {
        runs.push(work_and_kill(child, &fixture.address(), run));
        let log = fixture.open();
        let present = numbers_of_runs(&log);
        for (run, acknowledged) in (0..).zip(&runs) {
            let numbers = present.get(&run).map_or(&[][..], Vec::as_slice);
            assert!(
                numbers.iter().copied().eq(0..numbers.len() as u64),
                "run {run} left {numbers:?}"
            );
            assert!(
                numbers.len() as u64 >= acknowledged.appended,
                "run {run} lost acknowledged messages"
            );
        }
        let position = committed(&log, Group::Engine, 0);
        assert!(
            position >= runs.iter().filter_map(|run| run.position).max(),
            "an acknowledged step was lost"
        );
        outputs_agree_with(&log, 0, position);
    }
    let log = fixture.open();
    assert!(
        runs.iter().any(|run| run.position.is_some()),
        "no process came as far as a step"
    );
    let mut owner = Owner::of_all(&log, Group::Engine);
    let mut lease = owner.take(0);
    let (from, until) = (fence(&mut *lease).unwrap_or(0), after_the_last(&log, 0));
    lease.seek(from).expect("seeks");
    step_through(&mut *lease, from, until, 100, |_| ());
    outputs_agree_with(&log, 0, Some(until));
}

/// The numbers that each run left in `ticks/0`, in the order of the log.
fn numbers_of_runs(log: &impl Log) -> BTreeMap<u64, Vec<u64>> {
    let mut numbers: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for text in read_texts(log, Topic::Ticks, 0) {
        let (run, n) = text.split_once(' ').expect("two numbers");
        numbers
            .entry(run.parse().expect("a run"))
            .or_default()
            .push(n.parse().expect("a number"));
    }
    numbers
}

/// Lets a process work on the log, kills it at a random instant after its first answers, and returns what it said.
fn work_and_kill(child: &str, address: &str, run: u64) -> Acknowledged {
    let mut process = Command::new(std::env::current_exe().expect("this program's path"))
        .args(["--exact", child, "--nocapture"])
        .env(CHILD_LOG, address)
        .env(CHILD_RUN, run.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts itself again");
    let mut said = Acknowledged::default();
    let mut lines = 0;
    let kill_after = rand::random_range(1..400);
    for line in BufReader::new(process.stdout.take().expect("its output")).lines() {
        let line = line.expect("text");
        if let Some((_, n)) = line.split_once("appended ") {
            said.appended = n.parse().expect("a count");
        } else if let Some((_, offset)) = line.split_once("committed ") {
            said.position = Some(offset.parse().expect("an offset"));
        } else {
            continue;
        }
        lines += 1;
        if lines == kill_after {
            process.kill().expect("killed");
        }
    }
    let status = process.wait().expect("its end");
    assert!(
        lines >= kill_after,
        "the process ended by itself after {lines} answers: {status}"
    );
    said
}

/// Appends numbers to `ticks/0` and consumes them in steps, and says so, for ever.
pub(crate) fn works_until_it_is_killed<F: Fixture>() {
    let (Some(address), Some(run)) = (std::env::var_os(CHILD_LOG), std::env::var_os(CHILD_RUN))
    else {
        return;
    };
    let run = run.into_string().expect("a number");
    let fixture = F::attach(address.to_str().expect("an address"));
    let log = fixture.open();
    let say = |what: &str, n: u64| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{what} {n}")
            .and_then(|()| out.flush())
            .expect("the parent listens");
    };
    thread::scope(|scope| {
        let engine = scope.spawn(|| {
            let mut owner = Owner::of_all(&log, Group::Engine);
            let mut lease = owner.take(0);
            let from = fence(&mut *lease).unwrap_or(0);
            lease.seek(from).expect("seeks");
            step_through(&mut *lease, from, Offset::MAX, 3, |position| {
                say("committed", position)
            });
        });
        let mut appended = 0;
        while !engine.is_finished() {
            let count = 1 + appended % 3;
            let texts = (appended..appended + count).map(|n| format!("{run} {n}"));
            append(
                &log,
                texts
                    .map(|text| message(Topic::Ticks, 0, b"", text.as_bytes()))
                    .collect(),
            );
            appended += count;
            say("appended", appended);
        }
    });
}
