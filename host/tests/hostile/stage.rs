//! One running service for all cases, each on symbols of its own: what is sent is uploaded, defined and fed, the answers
//! are compared with what is expected, and a neighbour's signals with those of a run without it.

use std::{
    path::Path,
    process::{ChildStdin, Command, Stdio},
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use wigwag::{
    engine::Outputs,
    log::{Messages, Topic},
};

use crate::{
    made::trigger,
    service::{Service, answer, eventually},
    support,
};

/// Memory and tables that an instance may have, so that growth ends soon.
const PLUGIN_MEMORY_MIB: &str = "16";

/// What the service may ever have, whatever runs on it: its own, and two instances that are as large as they may be, with
/// what is copied out of them.
const MOST_MEMORY_KIB: u64 = 450 << 10;

/// What happens to a component.
pub(crate) enum Expect {
    /// The upload is refused at this stage, for this reason.
    Refused(&'static str, &'static str),
    /// It is taken and runs on, whatever comes.
    Runs,
    /// It is taken, skips the rows at which it fails with this cause and reason, and is quarantined.
    Quarantined(&'static str, &'static str),
}

/// The service, the runtime that all requests go by, and its folder.
struct Shared {
    runtime: Runtime,
    service: Service,
    #[expect(dead_code, reason = "its end is seen by whoever reads from it")]
    watch: ChildStdin,
    _folder: tempfile::TempDir,
}

fn shared(dear: bool) -> &'static Shared {
    static USUAL: OnceLock<Shared> = OnceLock::new();
    static DEAR: OnceLock<Shared> = OnceLock::new();
    let start = |options: &[&str]| {
        let folder = tempfile::tempdir().expect("a folder");
        let runtime = Runtime::new().expect("a runtime");
        let service = runtime.block_on(Service::start(folder.path(), options));
        Shared {
            watch: watch(&service, folder.path()),
            runtime,
            service,
            _folder: folder,
        }
    };
    let mut options = vec![
        "--partitions",
        "2",
        "--sync",
        "normal",
        "--plugin-memory",
        PLUGIN_MEMORY_MIB,
    ];
    match dear {
        false => USUAL.get_or_init(|| start(&options)),
        true => DEAR.get_or_init(|| {
            options.extend(["--plan-cores", "100"]);
            start(&options)
        }),
    }
}

/// Nothing drops what all cases share: this ends the service, and removes its folder, when the process of the tests ends.
#[expect(
    clippy::zombie_processes,
    reason = "it ends after the process that would wait for it"
)]
fn watch(service: &Service, folder: &Path) -> ChildStdin {
    let mut watcher = Command::new("sh")
        .args(["-c", "read _; kill -9 $1; sleep 1; rm -r $2", "sh"])
        .arg(service.pid().as_raw_nonzero().to_string())
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a shell");
    watcher.stdin.take().expect("piped")
}

/// A service that plans for cores without end.
pub(crate) fn with_room<T>(work: impl AsyncFnOnce(&Service) -> T) -> T {
    let shared = shared(true);
    shared.runtime.block_on(work(&shared.service))
}

/// Work with the service that the cases share.
pub(crate) fn with_service<T>(work: impl AsyncFnOnce(&Service) -> T) -> T {
    let shared = shared(false);
    shared.runtime.block_on(work(&shared.service))
}

/// One case from its upload to its end.
pub(crate) fn judge(name: &str, bytes: Vec<u8>, expect: &Expect) {
    with_service(async |service| {
        let (status, body) = service.upload(bytes).await;
        match expect {
            Expect::Refused(stage, reason) => {
                assert_eq!(
                    (status, body["stage"].as_str()),
                    (422, Some(*stage)),
                    "{body}"
                );
                let detail = body["detail"].as_str().unwrap_or_default();
                assert!(detail.contains(reason), "{detail:?} lacks {reason:?}");
            }
            Expect::Runs => {
                assert!(matches!(status, 200 | 201), "{status}: {body}");
                let state = run(service, name, &digest(&body), &json!({})).await;
                assert!(!is_quarantined(&state), "{state}");
                assert_eq!(failures(&state), Vec::<&Value>::new(), "{state}");
            }
            Expect::Quarantined(cause, reason) => {
                assert!(matches!(status, 200 | 201), "{status}: {body}");
                let state = run(service, name, &digest(&body), &json!({})).await;
                check_quarantine(&state, cause, reason);
            }
        }
        check_memory(service);
    });
}

fn digest(body: &Value) -> String {
    body["digest"].as_str().expect("a digest").to_owned()
}

/// That it is quarantined for these failures, and shows the ticks that led to them.
pub(crate) fn check_quarantine(state: &Value, cause: &str, reason: &str) {
    assert!(is_quarantined(state), "{state}");
    let failures = failures(state);
    assert!(!failures.is_empty(), "{state}");
    for failure in failures {
        assert_eq!(failure["cause"], cause, "{failure}");
        let detail = failure["detail"].as_str().expect("text");
        assert!(detail.contains(reason), "{detail:?} lacks {reason:?}");
        assert_eq!(failure["record"]["closing_price"], trigger(), "{failure}");
    }
}

fn is_quarantined(strategy: &Value) -> bool {
    let state = strategy["state"].as_array().expect("a list");
    state.iter().any(|p| p["status"] == "quarantined")
}

fn failures(strategy: &Value) -> Vec<&Value> {
    let state = strategy["state"].as_array().expect("a list").iter();
    state
        .flat_map(|p| p["failures"].as_array().expect("a list"))
        .collect()
}

/// Defines a strategy of a plugin on a symbol of its own, feeds it ticks of which some are triggers, waits until they
/// are through, and compares what the neighbours say. Gives what the strategy is doing then.
pub(crate) async fn run(service: &Service, name: &str, plugin: &str, params: &Value) -> Value {
    let symbol = symbol();
    let id = format!("h-{name}");
    let path = format!("/v1/strategies/{id}");
    let definition = json!({
        "plugin": plugin,
        "params": params,
        "symbols": [symbol],
        "values_interval_ms": 0,
    });
    put(service, &path, &definition).await;
    let lines = ticks(&symbol);
    for lines in lines.chunks(30) {
        let (status, body) = service.post(lines.join("\n")).await;
        assert_eq!(status, 200, "{body}");
    }
    check_neighbours(service, &symbol, &lines).await;
    // What is known of a strategy follows the log: all of it, once a later change is known.
    let mark = format!("/v1/strategies/mark-{name}");
    put(
        service,
        &mark,
        &json!({"plugin": "ma", "symbols": [symbol]}),
    )
    .await;
    let state = service.get(&path).await;
    for path in [&path, &mark] {
        let (status, body) = answer(service.request(Method::DELETE, path)).await;
        assert_eq!(status, 204, "{body}");
    }
    state
}

/// Defines a strategy, and waits until it runs.
async fn put(service: &Service, path: &str, definition: &Value) {
    let (status, body) = service.put(path, definition).await;
    assert!(matches!(status, 200 | 201), "{status}: {body}");
    eventually("the strategy to run", async || {
        let state = service.get(path).await;
        let state = state["state"].as_array().expect("a list").clone();
        let all_run = state.iter().all(|p| p["status"] != "starting");
        all_run.then_some(())
    })
    .await;
}

fn symbol() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("H{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Ticks of a case, and the triggers among them.
pub(crate) const TICKS: usize = 170;
pub(crate) const TRIGGERS: usize = TICKS / TRIGGER_EVERY;
const TRIGGER_EVERY: usize = 25;

/// A walk of one symbol with triggers in it.
fn ticks(symbol: &str) -> Vec<String> {
    let of = |n: usize| {
        let close = match (n + 1).is_multiple_of(TRIGGER_EVERY) {
            true => trigger(),
            false => support::close(3, n),
        };
        support::tick(symbol, 1_700_000_000.0 + n as f64 * 0.5, close)
    };
    (0..TICKS).map(of).collect()
}

/// The built-ins say of a symbol what they say without anyone beside them.
async fn check_neighbours(service: &Service, symbol: &str, lines: &[String]) {
    static EXPECTED: Mutex<()> = Mutex::new(());
    let expected = {
        let _one_at_a_time = EXPECTED.lock().unwrap_or_else(PoisonError::into_inner);
        let mut partition = support::built_ins();
        let (mut outputs, mut messages) = (Outputs::default(), Messages::new());
        let value = lines.join("\n");
        messages.push(Topic::Ticks, 0, 0, 0, b"", value.as_bytes(), []);
        partition.feed(messages.iter(), &mut outputs);
        said(
            support::signals(&outputs)
                .iter()
                .map(|text| serde_json::from_str(text).expect("a signal is JSON")),
        )
    };
    assert!(expected.len() > 10, "{} signals", expected.len());
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let path = format!("/v1/signals?symbol={symbol}&limit=1000");
        let page = service.get(&path).await;
        let signals = page["signals"].as_array().expect("a list").clone();
        let of_built_ins = |s: &Value| {
            let strategy = s["strategy"].as_str().expect("text");
            ["ma-20", "ema-20", "rsi-14"].contains(&strategy)
        };
        let seen = said(signals.into_iter().filter(of_built_ins));
        if seen == expected {
            return;
        }
        assert!(
            Instant::now() < until,
            "the neighbours say of {symbol}\n{seen:#?}\nand alone\n{expected:#?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What signals say, without where their ticks stand, in one order.
fn said(signals: impl Iterator<Item = Value>) -> Vec<String> {
    let mut said: Vec<String> = signals
        .map(|s| {
            let parts = [
                "strategy",
                "timestamp",
                "side",
                "strength",
                "price",
                "reason",
                "values",
            ];
            parts.map(|part| s[part].to_string()).join(" ")
        })
        .collect();
    said.sort();
    said
}

/// The service has never had more memory than it may.
pub(crate) fn check_memory(service: &Service) {
    let status = format!("/proc/{}/status", service.pid().as_raw_nonzero());
    let status = std::fs::read_to_string(status).expect("of a running process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let most: u64 = line
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .expect("a number");
    assert!(most < MOST_MEMORY_KIB, "it had {most} KiB");
}
