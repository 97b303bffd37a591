//! The embedded log at its limits: a full disk, a full queue, old messages; and what other programs see of it.

use crate::{
    directory::{Directory, options},
    suite::*,
};
use rusqlite::OpenFlags;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{process::Command, time::Duration, time::Instant};
use wigwag::log::{
    Append, Bounds, Group, Log, LogError, Step, Topic,
    embedded::{EmbeddedLog, Options},
};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Appends messages of 100 kB until one is refused; returns how many were answered.
fn append_until_refused(log: &EmbeddedLog) -> usize {
    for answered in 0..10_000 {
        match wait(log.append(vec![
            message(Topic::Raw, 0, b"", &[b'r'; 100_000]),
            message(Topic::Rejects, 1, b"", b"beside"),
        ])) {
            Ok(()) => {}
            Err(LogError::Unavailable { log, .. }) => {
                assert!(log.contains("log.db"), "{log}");
                return answered;
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    panic!("never refused")
}

/// Appends until one is taken again.
fn append_until_taken(log: &EmbeddedLog) {
    let deadline = Instant::now() + DEADLINE;
    while wait(log.append(vec![message(Topic::Raw, 0, b"", &[b's'; 100_000])])).is_err() {
        assert!(Instant::now() < deadline, "never taken again");
    }
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn at_the_file_limit_nothing_is_half_written_and_room_makes_it_go_on() {
    let directory = Directory::create();
    let limited = Options {
        file_bytes: Some(4 << 20),
        ..options()
    };
    let log = directory.try_open(limited).expect("opens");
    let inputs = fill(&log, Topic::Ticks, 0, 2);
    let mut owner = Owner::of_all(&log, Group::Engine);
    let mut lease = owner.take(0);
    fence(&mut *lease);
    commit(&mut *lease, inputs[0].offset + 1, outputs(0, "first"));

    let answered = append_until_refused(&log);
    assert!(answered > 20, "{answered}");
    log.check()
        .expect_err("a log that takes nothing is not well");
    assert_eq!(read_all(&log, Topic::Raw, 0).len(), answered);
    assert_eq!(read_all(&log, Topic::Rejects, 1).len(), answered);
    let mut appends = outputs(0, "second");
    appends.push(message(Topic::Checkpoints, 0, b"large", &[b'x'; 500_000]));
    lease
        .submit(Step {
            position: inputs[1].offset + 1,
            appends,
        })
        .expect("submitted");
    let refused = settle(&mut *lease);
    assert!(
        matches!(refused, Err(LogError::Unavailable { .. })),
        "{refused:?}"
    );
    drop((lease, owner));
    assert_eq!(
        committed(&log, Group::Engine, 0),
        Some(inputs[0].offset + 1)
    );
    assert_eq!(steps_seen(&log, 0), ["first"]);

    log.trim(Topic::Raw, 0, answered as u64 / 2)
        .expect("trimming takes no room");
    append_until_taken(&log);
    until("it never was well again", || log.check().is_ok());
    drop(log);
    let log = directory.try_open(limited).expect("opens");
    assert_eq!(read_all(&log, Topic::Rejects, 1).len(), answered);
    assert_eq!(steps_seen(&log, 0), ["first"]);
}

const CHILD: &str = "WIGWAG_TEST_LIMITED_LOG";

/// A process may write files of 3 MB only, then again larger ones: real write errors, in the middle of the WAL.
#[test]
fn a_failing_disk_refuses_appends_until_it_works_again() {
    let directory = Directory::create();
    let output = Command::new("sh")
        // By default the signal of a file that grows too large ends a process.
        .args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"])
        .arg(std::env::current_exe().expect("this program's path"))
        .args([
            "--exact",
            "limits::the_process_whose_disk_fails",
            "--nocapture",
        ])
        .env(CHILD, directory.address())
        .output()
        .expect("starts itself again");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let (_, rest) = text
        .split_once("answered ")
        .expect("how many were answered");
    let answered: usize = rest
        .split_whitespace()
        .next()
        .expect("a number")
        .parse()
        .expect("a number");
    let log = directory.open();
    assert!(answered > 10, "{answered}");
    assert_eq!(read_all(&log, Topic::Rejects, 1).len(), answered);
    let raw = read_all(&log, Topic::Raw, 0);
    assert_eq!((raw.len(), raw[answered].value[0]), (answered + 1, b's'));
}

/// Does nothing unless the test above started it.
#[test]
fn the_process_whose_disk_fails() {
    let Some(address) = std::env::var_os(CHILD) else {
        return;
    };
    let log = Directory::attach(address.to_str().expect("a path")).open();
    let all = getrlimit(Resource::Fsize);
    setrlimit(
        Resource::Fsize,
        Rlimit {
            current: Some(3 << 20),
            ..all
        },
    )
    .expect("limited");
    let answered = append_until_refused(&log);
    log.check()
        .expect_err("a log that takes nothing is not well");
    assert_eq!(read_all(&log, Topic::Rejects, 1).len(), answered);
    setrlimit(Resource::Fsize, all).expect("no longer limited");
    append_until_taken(&log);
    log.check().expect("it is well again");
    println!("answered {answered}");
}

#[test]
fn a_full_queue_refuses_at_once_and_loses_nothing_that_it_took() {
    let directory = Directory::create();
    let log = directory
        .try_open(Options {
            queue_bytes: 10_000,
            ..options()
        })
        .expect("opens");
    // Another program holds the file's write lock: the writer waits.
    let other = directory.sqlite();
    other.execute_batch("BEGIN IMMEDIATE").expect("locked");
    let mut taken = Vec::new();
    let refused = loop {
        let asked = Instant::now();
        let mut answer = log.append(vec![message(Topic::Raw, 0, b"", &[b'x'; 1000])]);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match answer.as_mut().poll(&mut context) {
            std::task::Poll::Pending => taken.push(answer),
            std::task::Poll::Ready(answer) => break (answer, asked.elapsed()),
        }
        assert!(taken.len() < 100, "never refused");
    };
    assert!(
        matches!(refused.0, Err(LogError::Unavailable { .. })),
        "{:?}",
        refused.0
    );
    assert!(
        refused.1 < Duration::from_secs(1),
        "refused after {:?}",
        refused.1
    );
    other.execute_batch("ROLLBACK").expect("unlocked");
    let count = taken.len();
    taken
        .into_iter()
        .for_each(|answer| wait(answer).expect("appended"));
    assert_eq!(read_all(&log, Topic::Raw, 0).len(), count);
    append(&log, vec![message(Topic::Raw, 0, b"", &[b'x'; 20_000])]);
}

#[test]
fn what_is_too_old_is_removed_above_no_floor() {
    let directory = Directory::create();
    let log = directory.open();
    for topic in [Topic::Raw, Topic::Ticks, Topic::Signals] {
        for _ in 0..200 {
            append(&log, vec![message(topic, 0, b"", b"two\nlines")]);
        }
    }
    append(
        &log,
        vec![
            message(Topic::Control, 0, b"a", b"1"),
            message(Topic::Control, 0, b"b", b""),
        ],
    );
    drop(log);
    // All but the newest 50 were appended 8 days ago: raw and ticks forget them, signals do not.
    for topic in ["raw", "ticks", "signals"] {
        let age = 8 * DAY_MS;
        directory
            .sqlite()
            .execute(
                &format!("UPDATE {topic}_0 SET time_ms = time_ms - {age} WHERE offset < 150"),
                (),
            )
            .expect("aged");
    }
    directory
        .sqlite()
        .execute(
            &format!(
                "UPDATE control_0 SET time_ms = time_ms - {} WHERE value = x''",
                2 * DAY_MS
            ),
            (),
        )
        .expect("aged");
    let cleaned = Options {
        cleanup_interval: Duration::from_millis(500),
        ..options()
    };
    let log = directory.try_open(cleaned).expect("opens");
    log.set_floor(Topic::Ticks, 0, 70).expect("a floor");
    let rows = |table: &str| -> u64 {
        directory
            .sqlite()
            .query_row(&format!("SELECT count(*) FROM {table}"), (), |row| {
                row.get(0)
            })
            .expect("counts")
    };
    until("raw's rows stay", || rows("raw_0") == 50);
    until("ticks' rows stay", || rows("ticks_0") == 130);
    until("the removed key's row stays", || rows("control_0") == 1);
    assert_eq!(rows("signals_0"), 200);
    let ends = |log: &EmbeddedLog| {
        assert_eq!(
            bounds(log, Topic::Raw, 0),
            Bounds {
                start: 150,
                end: 200
            }
        );
        assert_eq!(
            bounds(log, Topic::Ticks, 0),
            Bounds {
                start: 70,
                end: 200
            }
        );
        assert_eq!(
            bounds(log, Topic::Signals, 0),
            Bounds { start: 0, end: 200 }
        );
        assert_eq!(bounds(log, Topic::Control, 0), Bounds { start: 0, end: 2 });
    };
    ends(&log);
    assert_eq!(read_all(&log, Topic::Raw, 0).len(), 50);
    drop(log);
    let log = directory.open();
    ends(&log);
    append(&log, vec![message(Topic::Control, 0, b"c", b"1")]);
    assert_eq!(
        read_all(&log, Topic::Control, 0)
            .iter()
            .map(|m| m.offset)
            .collect::<Vec<_>>(),
        [0, 2]
    );
}

#[test]
fn a_compacted_topic_keeps_one_row_a_key() {
    let directory = Directory::create();
    let log = directory.open();
    for n in 0..50 {
        let value = vec![b'0' + n % 10; 100_000];
        append(
            &log,
            vec![message(Topic::Checkpoints, 1, &[b'a' + n % 3], &value)],
        );
    }
    let read = read_all(&log, Topic::Checkpoints, 1);
    assert_eq!(
        read.iter().map(|m| m.offset).collect::<Vec<_>>(),
        [47, 48, 49]
    );
    let refused = wait(log.append(vec![message(Topic::Checkpoints, 1, b"", b"no key")]));
    assert!(
        refused
            .expect_err("no key")
            .to_string()
            .contains("checkpoints/1")
    );
    let file = directory.file("log.db").metadata().expect("the file").len();
    assert!(file < 2 << 20, "{file} bytes for three messages");
}

#[test]
fn append_times_never_fall_when_the_clock_does() {
    let directory = Directory::create();
    fill(&directory.open(), Topic::Ticks, 0, 1);
    directory
        .sqlite()
        .execute("UPDATE ticks_0 SET time_ms = time_ms + 3600000", ())
        .expect("set ahead");
    let log = directory.open();
    append(&log, vec![message(Topic::Signals, 1, b"", b"later")]);
    let ahead: i64 = directory
        .sqlite()
        .query_row("SELECT time_ms FROM ticks_0", (), |row| row.get(0))
        .expect("the time");
    let later = read_all(&log, Topic::Signals, 1)[0].timestamp_ms;
    assert_eq!(later, ahead, "an hour ahead as the newest before it");
}

#[test]
fn any_sqlite_tool_can_read_the_topics_meanwhile() {
    let directory = Directory::create();
    let log = directory.open();
    let headers = vec![("Producer-Id", b"p 1".to_vec())];
    append(
        &log,
        vec![Append {
            headers,
            ..message(Topic::Ticks, 2, b"AAPL", b"{\"a\":1}\n{\"a\":2}")
        }],
    );
    append(
        &log,
        (0..3)
            .map(|n| message(Topic::Values, 3, b"k", format!("v{n}").as_bytes()))
            .collect(),
    );
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let tool =
        rusqlite::Connection::open_with_flags(directory.file("log.db"), flags).expect("opens");
    let line = |sql: &str| -> String { tool.query_row(sql, (), |row| row.get(0)).expect("a row") };
    assert_eq!(
        line("SELECT concat_ws('|', partition, offset, count, key, headers, value) FROM ticks"),
        "2|0|1|AAPL|Producer-Id=p 1\n|{\"a\":1}\n{\"a\":2}"
    );
    assert_eq!(
        line(
            "SELECT concat_ws('|', partition, offset, count, key, headers, value) FROM \"values\""
        ),
        "3|0|3|k\nk\nk||v0\nv1\nv2"
    );
    assert!(line("SELECT time FROM ticks").starts_with("20"));
    assert_eq!(
        tool.query_row("SELECT count(*) FROM ticks", (), |row| row.get(0)),
        Ok(1)
    );
}
