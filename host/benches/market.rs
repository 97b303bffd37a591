//! What it costs to read a tick and to take a body of ticks, beside serde_json on the same lines.
//!
//! `cargo bench -p wigwag --bench market`; divide by the elements: all counts are of ticks.

use std::{borrow::Cow, hint::black_box, sync::Arc, time::Duration};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde::Deserialize;
use wigwag::{
    ingest::{Content, Ingest, Options, Producer},
    log::{Append, Appended, Bounds, Group, Log, LogError, Member, Offset, Reader, Start, Topic},
    market::{Limits, partition_of, read_record},
};

const TICKS: u64 = 1000;
const NOW: f64 = 1_700_000_000.0;

/// A tick with serde_json alone, without any rule.
#[derive(Deserialize)]
#[expect(dead_code, reason = "reading is what is measured")]
struct Plain<'a> {
    #[serde(borrow)]
    stock_symbol: Cow<'a, str>,
    opening_price: f64,
    closing_price: f64,
    high: f64,
    low: f64,
    volume: f64,
    timestamp: f64,
}

/// One tick of each of 1000 symbols; prices have so many decimals.
fn lines(decimals: usize) -> Vec<String> {
    (0..TICKS)
        .map(|i| {
            let x = i as f64;
            let open = 100.0 + (x * 0.377).sin() * 50.0;
            let close = open + (x * 0.731).cos();
            let (high, low) = (open.max(close) + 0.5123, open.min(close) - 0.4871);
            let time = NOW + x / 1000.0;
            format!(
                r#"{{"stock_symbol":"SYM{i:04}","opening_price":{open:.decimals$},"closing_price":{close:.decimals$},"high":{high:.decimals$},"low":{low:.decimals$},"volume":{},"timestamp":{time:.6}}}"#,
                1000 + i * 7
            )
        })
        .collect()
}

fn read(c: &mut Criterion) {
    let usual = lines(4);
    let spaced: Vec<String> = usual
        .iter()
        .map(|line| line.replace("\":", "\": ").replace(",\"", ", \""))
        .collect();
    // As Python prints the floats of a random walk.
    let long = lines(14);
    // The symbol last: not what the scanner takes.
    let unusual: Vec<String> = usual
        .iter()
        .map(|line| {
            let (symbol, rest) = line[1..line.len() - 1].split_once(',').expect("a tick");
            format!("{{{rest},{symbol}}}")
        })
        .collect();

    let mut group = c.benchmark_group("read_1000_ticks");
    group.throughput(Throughput::Elements(TICKS));
    for (name, lines) in [
        ("usual", &usual),
        ("spaced", &spaced),
        ("14_decimals", &long),
        ("other_order", &unusual),
    ] {
        group.bench_function(format!("wigwag/{name}"), |b| {
            b.iter(|| {
                for line in lines {
                    black_box(read_record(line.as_bytes(), &Limits::none()).expect("a tick"));
                }
            });
        });
        group.bench_function(format!("serde_json/{name}"), |b| {
            b.iter(|| {
                for line in lines {
                    black_box(
                        serde_json::from_slice::<Plain<'_>>(line.as_bytes()).expect("a tick"),
                    );
                }
            });
        });
    }
    group.bench_function("partition_of", |b| {
        let symbols: Vec<&str> = usual.iter().map(|line| &line[17..24]).collect();
        b.iter(|| {
            for symbol in &symbols {
                black_box(partition_of(symbol, 12));
            }
        });
    });
    group.finish();
}

fn post(c: &mut Criterion) {
    let body = Bytes::from(lines(4).join("\n"));
    let array = Bytes::from(format!("[{}]", lines(4).join(",")));
    let one = Bytes::from(lines(4).remove(0));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let ingest = Ingest::new(Arc::new(NoLog), Options::default());
    let post = |body: &Bytes, producer| {
        let posted = ingest.post(body.clone(), Content::Auto, producer, "a bench", NOW);
        runtime.block_on(posted).expect("accepted").accepted
    };

    let mut group = c.benchmark_group("post_1000_ticks");
    group.throughput(Throughput::Elements(TICKS));
    group.bench_function("wigwag/lines", |b| {
        let producer = Producer::try_new("bench", 1).expect("a producer");
        b.iter(|| assert_eq!(post(&body, Some(producer.clone())), TICKS));
    });
    group.bench_function("wigwag/array", |b| {
        b.iter(|| assert_eq!(post(&array, None), TICKS))
    });
    group.bench_function("serde_json/lines", |b| {
        b.iter(|| {
            for line in body.split(|&byte| byte == b'\n') {
                black_box(serde_json::from_slice::<Plain<'_>>(line).expect("a tick"));
            }
        });
    });
    group.finish();
    c.bench_function("post_one_tick", |b| {
        b.iter(|| assert_eq!(post(&one, None), 1))
    });
}

/// Takes everything at once, so that only ingest is measured.
struct NoLog;

impl NoLog {
    fn nothing<T>() -> Result<T, LogError> {
        Err(LogError::Unavailable {
            log: "no log".into(),
            detail: "it only takes appends".into(),
        })
    }
}

impl Log for NoLog {
    fn partitions(&self) -> u32 {
        4
    }

    fn append(&self, appends: Vec<Append>) -> Appended {
        black_box(appends);
        Box::pin(std::future::ready(Ok(())))
    }

    fn bounds(&self, _: Topic, _: u32) -> Result<Bounds, LogError> {
        Self::nothing()
    }

    fn offset_at(&self, _: Topic, _: u32, _: i64) -> Result<Offset, LogError> {
        Self::nothing()
    }

    fn read(&self, _: &[Start]) -> Result<Box<dyn Reader>, LogError> {
        Self::nothing()
    }

    fn join(&self, _: Group) -> Result<Box<dyn Member>, LogError> {
        Self::nothing()
    }

    fn committed(&self, _: Group, _: u32) -> Result<Option<Offset>, LogError> {
        Self::nothing()
    }

    fn check(&self) -> Result<(), LogError> {
        Ok(())
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(500));
    targets = read, post
}
criterion_main!(benches);
