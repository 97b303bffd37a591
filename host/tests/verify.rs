//! `wigwag verify` over logs that the real service wrote: it says "same" of what is the same, names what was changed,
//! and admits what it cannot tell.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[allow(dead_code, reason = "a part of it is used here")]
mod kafka_broker;
#[path = "support/service.rs"]
mod process;
#[path = "verify/stored.rs"]
mod stored;
mod support;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Output,
    sync::OnceLock,
    time::Duration,
};

use process::{Service, answer, eventually, wigwag};
use reqwest::Method;
use rustix::process::Signal;
use serde_json::{Value, json};
use stored::{Message, carry_over, committed, messages, replace};
use support::{MISBEHAVE, tick, walk};
use tempfile::TempDir;
use wigwag::log::{
    Append, Log, Topic,
    embedded::{EmbeddedLog, Options},
    kafka::{self, KafkaLog},
};

const PARTITIONS: u32 = 4;

const SYMBOLS: usize = 12;

/// Time of the first tick, as `walk` has it.
const START: f64 = 1_700_000_000.0;

/// What `verify` said.
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    fn lines(&self) -> Vec<Value> {
        let lines = self.out.lines().map(serde_json::from_str);
        lines
            .map(|line| line.unwrap_or_else(|e| panic!("{e}: {self:?}")))
            .collect()
    }

    /// Signals that were the same.
    fn same(&self) -> usize {
        let of = |line: &Value| {
            let signals = line["signals"].as_object().unwrap();
            signals.values().map(|n| n.as_u64().unwrap()).sum::<u64>()
        };
        usize::try_from(self.lines().iter().map(of).sum::<u64>()).unwrap()
    }
}

impl std::fmt::Debug for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit {}\n{}{}", self.code, self.out, self.err)
    }
}

fn said(output: Output) -> Said {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said {
        code: output.status.code().unwrap(),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

fn verify(folder: &Path, options: &[&str]) -> Said {
    let mut command = wigwag(folder);
    said(command.arg("verify").args(options).output().unwrap())
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(future)
}

/// The changes of all partitions, of one strategy and kind.
fn changes(data: &Path, strategy: &str, kind: &str) -> Vec<Value> {
    let of = |partition| messages(data, Topic::Changes, partition);
    let all = (0..PARTITIONS).flat_map(of);
    let all = all.map(|m| serde_json::from_slice::<Value>(&m.value).unwrap());
    all.filter(|c| c["strategy"] == strategy && c["kind"] == kind)
        .collect()
}

async fn changed(data: &Path, strategy: &str, kind: &str, times: usize) {
    eventually("changes", async || {
        (changes(data, strategy, kind).len() >= times).then_some(())
    })
    .await;
}

/// Waits until each partition has a checkpoint at or above its offset here.
async fn pictured(data: &Path, offsets: &[usize]) {
    let newest = |partition| {
        let all = messages(data, Topic::Checkpoints, partition).into_iter();
        let manifests = all.filter(|m| m.key.ends_with(b"/manifest"));
        let position =
            |m: Message| serde_json::from_slice::<Value>(&m.value).unwrap()["position"].as_u64();
        manifests.filter_map(position).max()
    };
    eventually("checkpoints", async || {
        let all = (0..)
            .zip(offsets)
            .all(|(p, offset)| newest(p) >= Some(*offset as u64));
        all.then_some(())
    })
    .await;
}

async fn post(service: &Service, lines: &[String]) {
    for lines in lines.chunks(100) {
        assert_eq!(service.post(lines.join("\n")).await.0, 200);
    }
}

/// Ticks in which S1 is at 666, where `misbehave` misbehaves, at some places.
fn provoke(lines: &mut [String], at: &[usize]) {
    for &n in at {
        assert_eq!(n % SYMBOLS, 1);
        lines[n] = tick("S1", START + n as f64 * 0.1, 666.0);
    }
}

/// A folder in which a service ran, with strategies that were started, replaced and stopped under way, rows that one
/// skipped, and its quarantine.
fn written() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    FOLDER
        .get_or_init(|| {
            let folder = tempfile::tempdir().unwrap();
            std::thread::scope(|scope| {
                let path = folder.path();
                scope.spawn(move || run(write(path))).join().unwrap();
            });
            folder
        })
        .path()
}

async fn write(folder: &Path) {
    let data = folder.join("data");
    let mut lines = walk(SYMBOLS, 3600);
    provoke(&mut lines, &[1201, 1405]);
    provoke(&mut lines, &[2005, 2017, 2029, 2041, 2053]);
    let options = ["--checkpoint-interval", "100"];
    let mut service = Service::start(folder, &options).await;
    post(&service, &lines[..1200]).await;
    let wasm = service.request(Method::POST, "/v1/plugins").body(MISBEHAVE);
    assert_eq!(
        answer(wasm.header("Content-Type", "application/wasm"))
            .await
            .0,
        201
    );
    let late = |period: u32| json!({"plugin": "ma", "params": {"period": period}});
    assert_eq!(service.put("/v1/strategies/late", &late(5)).await.0, 201);
    let bad = json!({"plugin": "misbehave", "params": {"how": "panic"}});
    assert_eq!(service.put("/v1/strategies/bad", &bad).await.0, 201);
    let bars = json!({"plugin": "ma", "params": {"period": 5}, "input": {"bars": "1s"}});
    assert_eq!(service.put("/v1/strategies/bars", &bars).await.0, 201);
    changed(&data, "late", "start", 4).await;
    changed(&data, "bad", "start", 4).await;
    changed(&data, "bars", "start", 4).await;
    post(&service, &lines[1200..2000]).await;
    assert_eq!(service.put("/v1/strategies/late", &late(7)).await.0, 200);
    changed(&data, "late", "start", 8).await;
    post(&service, &lines[2000..2800]).await;
    let gone = answer(service.request(Method::DELETE, "/v1/strategies/late")).await;
    assert_eq!(gone.0, 204);
    changed(&data, "late", "stop", 8).await;
    let stopped: Vec<_> = (0..PARTITIONS)
        .map(|p| messages(&data, Topic::Ticks, p).len())
        .collect();
    post(&service, &lines[2800..3200]).await;
    // One that holds no strategy which is still to be warmed up, and behind which ticks come.
    pictured(&data, &stopped).await;
    post(&service, &lines[3200..]).await;
    committed(&data, PARTITIONS).await;
    service.end_after(Duration::ZERO, Signal::TERM);
    service.ended().await;
}

/// A copy of that folder.
fn copy() -> TempDir {
    let (from, to) = (written().join("data"), tempfile::tempdir().unwrap());
    let data = to.path().join("data");
    std::fs::create_dir(&data).unwrap();
    for file in ["log.db", "log.db-wal", "log.lock"] {
        if from.join(file).exists() {
            std::fs::copy(from.join(file), data.join(file)).unwrap();
        }
    }
    let compiled = std::fs::read_link(from.join("compiled")).unwrap();
    std::os::unix::fs::symlink(compiled, data.join("compiled")).unwrap();
    to
}

/// All signals of the log.
fn signals(data: &Path) -> Vec<(u32, Value)> {
    let of = |partition| {
        let all = messages(data, Topic::Signals, partition).into_iter();
        all.map(move |m| (partition, serde_json::from_slice(&m.value).unwrap()))
    };
    (0..PARTITIONS).flat_map(of).collect()
}

#[test]
fn what_a_service_wrote_is_the_same_whatever_was_started_replaced_stopped_and_skipped() {
    let data = written().join("data");
    assert_eq!(changes(&data, "bad", "skip").len(), 5);
    assert_eq!(changes(&data, "bad", "quarantine").len(), 1);
    let said = verify(written(), &["--json"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(said.err, "");
    let lines = said.lines();
    assert_eq!(lines.len(), 4);
    let stored = signals(&data);
    let warmed = changes(&data, "bars", "start");
    let bars = |start: &Value| start["warmed_bars"]["end"].as_u64().unwrap();
    assert!(warmed.iter().any(|start| bars(start) > 100), "{warmed:?}");
    for strategy in ["ma-20", "ema-20", "rsi-14", "late", "bad", "bars"] {
        let wanted = stored
            .iter()
            .filter(|(_, s)| s["strategy"] == strategy)
            .count();
        let of = |line: &Value| line["signals"][strategy].as_u64().unwrap_or(0);
        let found: u64 = lines.iter().map(of).sum();
        assert!(found > 20, "{strategy}: {found}");
        assert_eq!(found, wanted as u64, "{strategy}");
    }
    assert_eq!(said.same(), stored.len());
    let ticks: u64 = lines
        .iter()
        .map(|line| line["ticks"].as_u64().unwrap())
        .sum();
    assert_eq!(ticks, 3600);

    let said = verify(written(), &[]);
    assert_eq!(said.code, 0, "{said:?}");
    let last = said.out.lines().last().unwrap();
    let wanted = format!(
        "same: {} signals of 3600 ticks in 4 partitions, ",
        stored.len()
    );
    assert!(last.starts_with(&wanted), "{said:?}");
}

#[test]
fn the_first_difference_is_named_with_both_records() {
    let place = |m: &Message| -> Value {
        let s: Value = serde_json::from_slice(&m.value).unwrap();
        json!([
            s["strategy"],
            s["symbol"],
            s["partition"],
            s["offset"],
            s["row"],
            s["n"]
        ])
    };
    let text = |m: &Message| String::from_utf8(m.value.clone()).unwrap();
    let forged = |forge: &dyn Fn(&mut Vec<Message>)| {
        let folder = copy();
        let data = folder.path().join("data");
        let mut all = messages(&data, Topic::Signals, 2);
        let before = all.clone();
        forge(&mut all);
        replace(&data, Topic::Signals, 2, &all);
        let said = verify(folder.path(), &["--json"]);
        assert_eq!(said.code, 1, "{said:?}");
        let lines = said.lines();
        let results: Vec<_> = lines
            .iter()
            .map(|l| l["result"].as_str().unwrap())
            .collect();
        assert_eq!(results, ["same", "same", "differs", "same"]);
        let d = lines[2]["difference"].clone();
        let found = json!([
            d["strategy"],
            d["symbol"],
            d["partition"],
            d["offset"],
            d["row"],
            d["n"]
        ]);
        let shown = verify(folder.path(), &["--partition", "2"]);
        assert_eq!(shown.code, 1, "{shown:?}");
        for record in [&d["recomputed"], &d["stored"]["value"]] {
            let record = record.as_str().unwrap_or("none");
            assert!(shown.out.contains(record), "{record}: {shown:?}");
        }
        (before, d, found)
    };
    const AT: usize = 50;

    let (before, d, found) = forged(&|all| {
        let value = &mut all[AT].value;
        let digit = value.iter().rposition(|b| b.is_ascii_digit()).unwrap();
        let price = value.windows(8).position(|w| w == b"\"price\":").unwrap();
        assert!(price < digit);
        let last = price + 8;
        value[last] = if value[last] == b'9' {
            b'8'
        } else {
            value[last] + 1
        };
    });
    assert_eq!((&d["kind"], found), (&json!("changed"), place(&before[AT])));
    assert_eq!(d["recomputed"], text(&before[AT]));
    assert_ne!(d["stored"]["value"], d["recomputed"]);
    assert_eq!(d["stored"]["offset"], AT);

    let (before, d, found) = forged(&|all| all[AT].key = b"OTHER".to_vec());
    assert_eq!((&d["kind"], found), (&json!("changed"), place(&before[AT])));
    assert_eq!(d["stored"]["key"], "OTHER");

    let (before, d, found) = forged(&|all| drop(all.remove(AT)));
    assert_eq!((&d["kind"], found), (&json!("missing"), place(&before[AT])));
    assert_eq!(d["recomputed"], text(&before[AT]));

    // The last one of all, and all of one strategy.
    let (before, d, found) = forged(&|all| drop(all.pop()));
    assert_eq!(
        (&d["kind"], found),
        (&json!("missing"), place(before.last().unwrap()))
    );
    assert_eq!(d["stored"], Value::Null);
    let (_, d, _) = forged(&|all| all.retain(|m| !text(m).contains("\"strategy\":\"rsi-14\"")));
    assert_eq!(
        (&d["kind"], &d["strategy"]),
        (&json!("missing"), &json!("rsi-14"))
    );

    // Once more at once, and long after.
    for to in [AT + 1, 10_000] {
        let (before, d, found) = forged(&|all| {
            let twice = all[AT].clone();
            all.insert(to.min(all.len()), twice);
        });
        assert_eq!(
            (&d["kind"], found),
            (&json!("repeated"), place(&before[AT]))
        );
        assert_eq!(d["stored"]["value"], text(&before[AT]));
    }

    let (_, d, _) = forged(&|all| {
        let mut extra = all[AT].clone();
        let signal: Value = serde_json::from_str(&text(&extra)).unwrap();
        let strategy = signal["strategy"].as_str().unwrap();
        extra.value = text(&extra).replace(strategy, "own").into_bytes();
        all.insert(AT, extra);
    });
    assert_eq!(
        (&d["kind"], d["recomputed"].is_null()),
        (&json!("extra"), true)
    );

    // Two of one strategy and symbol change places.
    let (before, d, found) = forged(&|all| {
        let other = (AT + 1..).find(|&n| place(&all[n])[0] == place(&all[AT])[0]);
        all.swap(AT, other.unwrap());
    });
    assert_eq!((&d["kind"], found), (&json!("missing"), place(&before[AT])));
}

#[test]
fn a_damaged_row_cannot_be_told_about() {
    let folder = copy();
    let data = folder.path().join("data");
    let log = rusqlite::Connection::open(data.join("log.db")).unwrap();
    let sql =
        "UPDATE signals_1 SET value = CAST(replace(CAST(value AS TEXT), 'buy', 'sel') AS BLOB)";
    assert!(log.execute(sql, ()).unwrap() > 0);
    drop(log);
    let said = verify(folder.path(), &[]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(
        said.out.contains("signals/1 offset 0") && said.out.contains("CRC-32"),
        "{said:?}"
    );
    assert!(said.out.contains("partition 0: same"), "{said:?}");
}

#[test]
fn a_copy_without_its_newest_commits_is_refused() {
    let folder = copy();
    let data = folder.path().join("data");
    let log = rusqlite::Connection::open(data.join("log.db")).unwrap();
    let sql =
        "UPDATE positions SET position = position - 1 WHERE consumers = 'engine' AND partition = 2";
    assert_eq!(log.execute(sql, ()).unwrap(), 1);
    drop(log);
    let said = verify(folder.path(), &[]);
    assert_eq!((said.code, &*said.out), (2, ""), "{said:?}");
    assert!(said.err.contains("offsets where"), "{said:?}");
}

#[test]
fn a_range_is_compared_from_and_to_offsets_and_times() {
    let data = written().join("data");
    let ticks = messages(&data, Topic::Ticks, 1);
    let stored: Vec<u64> = signals(&data)
        .iter()
        .filter(|(partition, _)| *partition == 1)
        .map(|(_, signal)| signal["offset"].as_u64().unwrap())
        .collect();
    let between = |from: u64, to: u64| stored.iter().filter(|o| (from..to).contains(o)).count();
    let end = ticks.len() as u64;
    let compared = |options: &[&str]| {
        let options = [&["--json", "--partition", "1"], options].concat();
        let said = verify(written(), &options);
        assert_eq!(said.code, 0, "{said:?}");
        let line = said.lines().remove(0);
        let of = |name: &str| line[name].as_u64().unwrap();
        (of("from"), of("to"), of("replayed_from"), said.same())
    };
    let (third, last) = (end / 3, end - 2);
    let (from, to, begun, same) =
        compared(&["--from", &third.to_string(), "--to", &last.to_string()]);
    assert_eq!((from, to, same), (third, last, between(third, last)));
    assert!(begun <= third && same > 100);
    let (from, to, begun, same) = compared(&["--from", &last.to_string()]);
    assert_eq!((from, to, same), (last, end, between(last, end)));
    assert!(begun > 0, "a checkpoint is used where there is one");

    // Appended at this time or later.
    let ms = ticks[third as usize].time_ms;
    let first = ticks.iter().position(|m| m.time_ms >= ms).unwrap() as u64;
    let at = format!("@{}.{:03}", ms / 1000, ms % 1000);
    let (from, to, _, same) = compared(&["--from", &at]);
    assert_eq!((from, to, same), (first, end, between(first, end)));
    let (from, to, _, same) = compared(&["--to", &at]);
    assert_eq!((from, to, same), (0, first, between(0, first)));

    let above = verify(
        written(),
        &["--partition", "1", "--to", &(end + 1).to_string()],
    );
    assert_eq!(above.code, 2, "{above:?}");
    let wanted = format!(
        "--to {0} is offset {0}, above the committed position {end}",
        end + 1
    );
    assert!(above.out.contains(&wanted), "{above:?}");
}

#[test]
fn ticks_that_are_gone_are_told_about_from_the_oldest_checkpoint_on_or_not_at_all() {
    let folder = copy();
    let data = folder.path().join("data");
    let end = messages(&data, Topic::Ticks, 3).len() as u64;
    let log = EmbeddedLog::open(&data, Options::default()).unwrap();
    log.trim(Topic::Ticks, 3, 2).unwrap();
    drop(log);
    let said = verify(folder.path(), &["--json", "--partition", "3"]);
    assert_eq!(said.code, 0, "{said:?}");
    let oldest = said.lines()[0]["from"].as_u64().unwrap();
    assert!((2..end).contains(&oldest), "{said:?}");
    let stored = signals(&data);
    let kept = stored.iter().filter(|(partition, signal)| {
        *partition == 3 && signal["offset"].as_u64().unwrap() >= oldest
    });
    assert_eq!(said.same(), kept.count());

    let said = verify(folder.path(), &["--from", "2", "--partition", "3"]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(
        said.out.contains(&format!("use --from {oldest} or more")),
        "{said:?}"
    );

    let log = rusqlite::Connection::open(data.join("log.db")).unwrap();
    log.execute("DELETE FROM checkpoints_3", ()).unwrap();
    drop(log);
    // It says how much there was.
    std::fs::remove_file(data.join("log.lock")).unwrap();
    let said = verify(folder.path(), &[]);
    assert_eq!(said.code, 2, "{said:?}");
    let wanted = "ticks/3: the first ticks are gone, and there is no usable checkpoint";
    assert!(said.out.contains(wanted), "{said:?}");
    assert!(said.out.contains("partition 0: same"), "{said:?}");
}

#[test]
fn bars_that_are_gone_are_missed_where_a_strategy_was_warmed_up_with_them() {
    let folder = copy();
    let data = folder.path().join("data");
    let started = changes(&data, "bars", "start");
    let of = |partition: u64| started.iter().find(|c| c["partition"] == partition);
    let partition = (0..u64::from(PARTITIONS))
        .find(|p| of(*p).is_some_and(|c| c["warmed_bars"]["end"].as_u64() > Some(1)))
        .unwrap();
    let at = of(partition).unwrap()["offset"].as_u64().unwrap();
    let log = EmbeddedLog::open(&data, Options::default()).unwrap();
    log.trim(Topic::Bars, partition as u32, 1).unwrap();
    drop(log);
    let number = partition.to_string();
    let said = verify(folder.path(), &["--json", "--partition", &number]);
    assert_eq!(said.code, 0, "{said:?}");
    let replayed_from = said.lines()[0]["replayed_from"].as_u64().unwrap();
    assert!(replayed_from > at, "{replayed_from} and {at}: {said:?}");
    let said = verify(folder.path(), &["--partition", &number, "--from", "0"]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.out.contains("the first bars are gone"), "{said:?}");
}

#[test]
fn a_plugin_or_a_change_that_is_gone_is_missed_by_name() {
    let folder = copy();
    let data = folder.path().join("data");
    let log = rusqlite::Connection::open(data.join("log.db")).unwrap();
    let start = changes(&data, "bad", "start").remove(0);
    let digest = start["definition"]["plugin_digest"].as_str().unwrap();
    let sql = "DELETE FROM control_0 WHERE CAST(key AS TEXT) LIKE ?1";
    assert!(log.execute(sql, [format!("plugin/{digest}%")]).unwrap() > 0);
    drop(log);
    let said = verify(folder.path(), &[]);
    assert_eq!(said.code, 2, "{said:?}");
    let wanted = format!("strategy \"bad\": plugin sha256:{digest} is not in the topic control");
    assert!(said.out.contains(&wanted), "{said:?}");

    let folder = copy();
    let data = folder.path().join("data");
    let mut all = messages(&data, Topic::Changes, 0);
    all.remove(1);
    replace(&data, Topic::Changes, 0, &all);
    let said = verify(folder.path(), &["--partition", "0"]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(
        said.out
            .contains("changes/0: those with the numbers 1 to 1 are gone"),
        "{said:?}"
    );
}

#[test]
fn a_signal_behind_the_committed_position_is_one_too_many() {
    let folder = copy();
    let data = folder.path().join("data");
    let mut all = messages(&data, Topic::Signals, 1);
    let last: Value = serde_json::from_slice(&all.last().unwrap().value).unwrap();
    let mut ahead = all.last().unwrap().clone();
    let text = String::from_utf8(ahead.value).unwrap();
    let before = last["offset"].as_u64().unwrap();
    let forms = |offset: u64| [format!("\"offset\":{offset},"), format!(":1:{offset}:")];
    let text =
        forms(before)
            .iter()
            .zip(forms(before + 1_000_000))
            .fold(text, |text, (from, to)| {
                assert!(text.contains(from), "{from}: {text}");
                text.replace(from, &to)
            });
    ahead.value = text.into_bytes();
    all.push(ahead);
    replace(&data, Topic::Signals, 1, &all);
    let said = verify(folder.path(), &["--json"]);
    assert_eq!(said.code, 1, "{said:?}");
    let difference = said.lines()[1]["difference"].clone();
    assert_eq!(difference["kind"], "extra", "{said:?}");
    assert_eq!(difference["offset"], before + 1_000_000);
}

#[test]
fn without_a_committed_position_nothing_can_be_told() {
    let folder = copy();
    let log = rusqlite::Connection::open(folder.path().join("data/log.db")).unwrap();
    assert!(log.execute("DELETE FROM positions", ()).unwrap() > 0);
    drop(log);
    // It says how much there was.
    std::fs::remove_file(folder.path().join("data/log.lock")).unwrap();
    let said = verify(folder.path(), &[]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(
        said.out.contains("the engine has no committed position"),
        "{said:?}"
    );
}

#[test]
fn a_failure_that_is_not_recorded_is_named_and_the_others_are_compared() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    run(async {
        // At one tick a second it has its price.
        let mut service = Service::start(folder.path(), &["--plan-ticks", "1"]).await;
        let wasm = service.request(Method::POST, "/v1/plugins").body(MISBEHAVE);
        assert_eq!(
            answer(wasm.header("Content-Type", "application/wasm"))
                .await
                .0,
            201
        );
        let dear = json!({"plugin": "misbehave", "params": {"how": "dear"}});
        assert_eq!(service.put("/v1/strategies/dear", &dear).await.0, 201);
        changed(&data, "dear", "start", 4).await;
        post(&service, &walk(SYMBOLS, 1200)).await;
        committed(&data, PARTITIONS).await;
        service.end_after(Duration::ZERO, Signal::TERM);
        service.ended().await;
    });
    assert_eq!(verify(folder.path(), &[]).code, 0);
    let said = verify(folder.path(), &["--json", "--plugin-fuel", "100000"]);
    assert_eq!(said.code, 2, "{said:?}");
    let others = signals(&data)
        .into_iter()
        .filter(|(_, s)| s["strategy"] != "dear");
    assert_eq!(said.same(), others.count());
    let with_dear: BTreeSet<_> = signals(&data)
        .into_iter()
        .filter(|(_, s)| s["strategy"] == "dear")
        .map(|(partition, _)| partition)
        .collect();
    for line in said.lines() {
        let partition = line["partition"].as_u64().unwrap() as u32;
        if with_dear.contains(&partition) {
            let why = line["unknown"][0].as_str().unwrap();
            let wanted = format!("strategy \"dear\" fails at ticks/{partition} offset 0, row 0");
            assert!(why.starts_with(&wanted) && why.contains("fuel"), "{why}");
        }
    }
}

#[test]
fn it_looks_at_a_service_that_runs_and_does_not_disturb_it() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    run(async {
        let service = Service::start(folder.path(), &[]).await;
        let lines = walk(SYMBOLS, 60_000);
        let (path, stop) = (folder.path().to_owned(), tokio::sync::Notify::new());
        let sent = async {
            for (n, lines) in lines.chunks(100).enumerate() {
                assert_eq!(service.post(lines.join("\n")).await.0, 200);
                if n == 5 {
                    stop.notify_one();
                }
            }
        };
        let looked = async {
            stop.notified().await;
            let (mut same, mut seen) = (0, Vec::new());
            for _ in 0..3 {
                let path = path.clone();
                let said = tokio::task::spawn_blocking(move || verify(&path, &["--json"]));
                let said = said.await.unwrap();
                assert_eq!(said.code, 0, "{said:?}");
                assert!(said.same() >= same);
                same = said.same();
                seen.push(same);
            }
            seen
        };
        let ((), seen) = tokio::join!(sent, looked);
        assert!(seen[2] > 0, "{seen:?}");
        committed(&data, PARTITIONS).await;
        let said = verify(folder.path(), &["--json"]);
        assert_eq!(
            (said.code, said.same()),
            (0, signals(&data).len()),
            "{said:?}"
        );
        assert_eq!(service.post(tick("S1", START + 6001.0, 10.0)).await.0, 200);
    });
}

#[test]
fn a_folder_that_nobody_may_write_is_read_and_left_as_it_was() {
    use std::os::unix::{fs::PermissionsExt, process::CommandExt};
    let folder = copy();
    let data = folder.path().join("data");
    let listed = || -> Vec<PathBuf> {
        let mut all: Vec<_> = std::fs::read_dir(&data)
            .unwrap()
            .map(|f| f.unwrap().path())
            .collect();
        all.sort();
        all
    };
    carry_over(&data);
    assert!(!data.join("log.db-wal").exists());
    let before = listed();
    let allow = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    for file in ["log.db", "log.lock"] {
        allow(&data.join(file), 0o444);
    }
    for path in [&data, folder.path()] {
        allow(path, 0o555);
    }
    let mut command = wigwag(folder.path());
    command.args(["verify", "--json"]);
    if rustix::process::geteuid().is_root() {
        // Whom no permission holds back.
        command.uid(65534).gid(65534);
    }
    let said = said(command.output().unwrap());
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(said.same(), signals_of_copy());
    assert_eq!(listed(), before);
    for path in [folder.path(), &data] {
        allow(path, 0o755);
    }
}

fn signals_of_copy() -> usize {
    signals(&written().join("data")).len()
}

#[test]
fn wrong_options_end_with_64_and_their_value() {
    let folder = copy();
    std::fs::write(folder.path().join("other.toml"), "lisen = 1\n").unwrap();
    #[expect(clippy::type_complexity, reason = "a table of one test")]
    let cases: [(&[&str], Option<(&str, &str)>, &str); 8] = [
        (&["--frm", "1"], None, "--frm"),
        (&["--from", "yesterday"], None, "'yesterday'"),
        (&["--to", "1.5"], None, "'1.5'"),
        (
            &["--from", "9", "--to", "8"],
            None,
            "--from is 9, after --to, which is 8",
        ),
        (
            &["--partition", "9"],
            None,
            "--partition is 9; the log has 0 to 3",
        ),
        (&["--log", "sqlite"], None, "'sqlite'"),
        (&[], Some(("WIGWAG_FROM", "1")), "WIGWAG_FROM"),
        (&["--config", "other.toml"], None, "\"lisen\""),
    ];
    for (options, variable, wanted) in cases {
        let mut command = wigwag(folder.path());
        command.arg("verify").args(options).envs(variable);
        let said = said(command.output().unwrap());
        assert_eq!((said.code, &*said.out), (64, ""), "{options:?}: {said:?}");
        assert!(said.err.contains(wanted), "{options:?}: {said:?}");
    }
}

#[test]
fn the_service_own_file_and_variables_are_taken_and_a_missing_log_is_said() {
    let folder = copy();
    let file = "listen = \"127.0.0.1:1\"\ndata-dir = \"nowhere\"\n";
    std::fs::write(folder.path().join("wigwag.toml"), file).unwrap();
    let said_of = |variable: Option<(&str, &str)>| {
        let mut command = wigwag(folder.path());
        said(command.arg("verify").envs(variable).output().unwrap())
    };
    let missing = said_of(None);
    assert_eq!(missing.code, 2, "{missing:?}");
    assert!(missing.err.contains("nowhere/log.db"), "{missing:?}");
    assert_eq!(said_of(Some(("WIGWAG_DATA_DIR", "data"))).code, 0);
    let mismatch = verify(folder.path(), &["--data-dir", "data", "--partitions", "5"]);
    assert_eq!(mismatch.code, 2, "{mismatch:?}");
    assert!(
        mismatch.err.contains("has 4 partitions, 5 are configured"),
        "{mismatch:?}"
    );
}

#[test]
fn on_kafka_the_same_is_same_and_a_doubled_signal_is_seen() {
    let address = format!("kafka://{}", kafka_broker::shared());
    let prefix = kafka_broker::prefix();
    let folder = tempfile::tempdir().unwrap();
    let options = [
        "--log",
        &address,
        "--topic-prefix",
        &prefix,
        "--partitions",
        "4",
    ];
    let settings = kafka::Options {
        brokers: kafka_broker::shared().to_owned(),
        prefix: prefix.clone(),
        partitions: 4,
        ..kafka::Options::default()
    };
    let json = [&options[..], &["--json"]].concat();
    run(async {
        let service = Service::start(folder.path(), &options).await;
        post(&service, &walk(SYMBOLS, 3600)).await;
        eventually("ticks", async || {
            (service.ticks("S0").await >= 300).then_some(())
        })
        .await;
        // While it runs and holds its partitions.
        eventually("all ticks to be committed", async || {
            let said = verify(folder.path(), &json);
            assert_eq!(said.code, 0, "{said:?}");
            let ticks: u64 = said
                .lines()
                .iter()
                .map(|l| l["ticks"].as_u64().unwrap())
                .sum();
            (ticks == 3600 && said.same() > 100).then_some(())
        })
        .await;
        drop(service);
    });
    let log = KafkaLog::open(settings).unwrap();
    let mut stored = wigwag::log::Messages::new();
    let start = wigwag::log::Start {
        topic: Topic::Signals,
        partition: 1,
        offset: 0,
    };
    let mut reader = log.read(&[start]).unwrap();
    while stored.is_empty() {
        reader.poll(&mut stored, 1, Duration::from_secs(1)).unwrap();
    }
    let first = stored.iter().next().unwrap();
    let twice = Append {
        topic: Topic::Signals,
        partition: 1,
        key: first.key.to_vec(),
        value: first.value.to_vec(),
        headers: Vec::new(),
    };
    run(log.append(vec![twice])).unwrap();
    let said = verify(folder.path(), &json);
    assert_eq!(said.code, 1, "{said:?}");
    let line = said.lines().remove(1);
    assert_eq!(line["difference"]["kind"], "repeated", "{said:?}");
    assert_eq!(
        line["difference"]["stored"]["value"],
        std::str::from_utf8(first.value).unwrap()
    );

    // Nothing is made where nothing is.
    let other = kafka_broker::prefix();
    let options = ["--log", &address, "--topic-prefix", &other];
    for _ in 0..2 {
        let said = verify(folder.path(), &options);
        assert_eq!(said.code, 2, "{said:?}");
        assert!(
            said.err
                .contains(&format!("topic \"{other}raw\" does not exist")),
            "{said:?}"
        );
    }
}
