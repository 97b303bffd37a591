//! What it costs to follow the log into the view: CPU time of the whole process, reading included, for signals (with
//! and without the removal of old ones) and for ticks.

use std::{error::Error, path::Path, sync::Arc, time::Duration};

use wigwag::{
    log::{
        Append, Log, Topic,
        embedded::{EmbeddedLog, Options},
    },
    market::{Record, Side, Tick},
    signal::{SCHEMA, Signal},
    view::{Limits, View},
};

const SIGNALS: u64 = 400_000;
const TICKS: u64 = 2_000_000;
const SYMBOLS: u64 = 1_000;
const PARTITIONS: u64 = 4;

fn main() -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let dir = tempfile::tempdir()?;
    let log: Arc<dyn Log> = Arc::new(EmbeddedLog::open(
        &dir.path().join("signals"),
        Options::default(),
    )?);
    for first in (0..SIGNALS).step_by(20_000) {
        runtime.block_on(log.append((first..first + 20_000).map(signal).collect()))?;
    }
    let kept = Limits::default();
    let few = Limits {
        signals: 50_000,
        ..kept
    };
    report(
        "signal, none removed",
        SIGNALS,
        &log,
        &dir.path().join("kept"),
        kept,
    )?;
    // A new store begins with what fits, so the limit must be lower than what the log grows by meanwhile.
    let view = View::open(&dir.path().join("few"), few, log.clone(), i64::MAX)?;
    wait(&view);
    let before = cpu();
    for first in (0..SIGNALS).step_by(20_000) {
        runtime.block_on(log.append((first..first + 20_000).map(signal).collect()))?;
    }
    let appended = cpu() - before;
    view.stop();
    show(
        "signal, one removed for each, appending included",
        SIGNALS,
        appended,
    );

    let log: Arc<dyn Log> = Arc::new(EmbeddedLog::open(
        &dir.path().join("ticks"),
        Options::default(),
    )?);
    for first in (0..TICKS).step_by(100_000) {
        let messages = (first..first + 100_000).step_by(1_000).map(ticks);
        runtime.block_on(log.append(messages.collect()))?;
    }
    report("tick", TICKS, &log, &dir.path().join("sessions"), kept)
}

fn report(
    what: &str,
    count: u64,
    log: &Arc<dyn Log>,
    dir: &Path,
    limits: Limits,
) -> Result<(), Box<dyn Error>> {
    let before = cpu();
    let view = View::open(dir, limits, log.clone(), 0)?;
    wait(&view);
    show(what, count, cpu() - before);
    view.stop();
    Ok(())
}

fn wait(view: &View) {
    while view.check().is_err() {
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[expect(clippy::print_stdout, reason = "a benchmark prints")]
fn show(what: &str, count: u64, cpu: Duration) {
    let each = cpu.as_secs_f64() * 1e6 / count as f64;
    println!("{each:6.3} µs of CPU a {what}");
}

/// CPU time of this process.
fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(
        time.tv_sec.cast_unsigned(),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

fn signal(n: u64) -> Append {
    let partition = u32::try_from(n % PARTITIONS).expect("small");
    let strategy = ["ma-20", "ema-20", "rsi-14"][(n / 7 % 3) as usize];
    let symbol = format!("S{}", n.wrapping_mul(2_654_435_761) % SYMBOLS);
    let mut values = serde_json::Map::new();
    values.insert("ma".into(), (100.0 + n as f64 / 7.0).into());
    let signal = Signal {
        schema: SCHEMA,
        id: format!("{strategy}:{partition}:{}:{}:0", n / 1_000, n % 1_000),
        strategy: strategy.into(),
        plugin: "ma".into(),
        plugin_digest: "0123456789abcdef".repeat(4),
        params_digest: "fedcba9876543210".repeat(4),
        symbol: symbol.clone(),
        side: Side::Buy,
        strength: 0.5,
        price: 101.25,
        timestamp: 1_700_000_000.0 + (n / 1_000) as f64,
        bar: None,
        reason: "close crossed above the moving average of 20".into(),
        values,
        partition,
        offset: n / 1_000,
        row: u32::try_from(n % 1_000).expect("small"),
        n: 0,
    };
    Append {
        topic: Topic::Signals,
        partition,
        key: symbol.into_bytes(),
        value: serde_json::to_vec(&signal).expect("a signal is JSON"),
        headers: vec![],
    }
}

fn ticks(first: u64) -> Append {
    let mut value = Vec::new();
    for n in first..first + 1_000 {
        let close = 100.0 + (n % 977) as f64 / 100.0;
        let tick = Tick {
            symbol: format!("S{}", n % SYMBOLS).into(),
            time: 1_700_000_000.0 + (n / SYMBOLS) as f64 * 0.1,
            open: close,
            high: close + 0.5,
            low: close - 0.5,
            close,
            volume: 100.0,
        };
        Record::Tick(tick).write_json(&mut value);
        value.push(b'\n');
    }
    Append {
        topic: Topic::Ticks,
        partition: u32::try_from(first / 1_000 % PARTITIONS).expect("small"),
        key: b"S0".to_vec(),
        value,
        headers: vec![],
    }
}
