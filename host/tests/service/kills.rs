//! A service that is killed at any instant.

use std::{collections::BTreeSet, time::Duration};

use rustix::process::Signal;

use crate::{
    market::{SYMBOLS, bodies, ids, settled},
    process::Service,
};

/// Copies `ticks`, message for message, to a new log.
async fn copy_ticks(from: &std::path::Path, to: &std::path::Path) {
    use wigwag::log::{
        Append, Log, Messages, Start, Topic,
        embedded::{EmbeddedLog, Options},
    };
    std::fs::create_dir_all(to).unwrap();
    let open = |path| {
        EmbeddedLog::open(
            path,
            Options {
                partitions: 4,
                ..Options::default()
            },
        )
        .expect("the log opens")
    };
    let (from, to) = (open(from), open(to));
    for partition in 0..from.partitions() {
        let end = from.bounds(Topic::Ticks, partition).unwrap().end;
        let start = Start {
            topic: Topic::Ticks,
            partition,
            offset: 0,
        };
        let mut reader = from.read(&[start]).unwrap();
        let mut messages = Messages::new();
        while reader.position(Topic::Ticks, partition) < end {
            reader
                .poll(&mut messages, 1 << 20, Duration::from_secs(1))
                .unwrap();
            let name = |name: &str| {
                ["Producer-Id", "Sequence", "Part"]
                    .into_iter()
                    .find(|n| *n == name)
                    .expect("known")
            };
            let appends = messages.iter().map(|m| Append {
                topic: Topic::Ticks,
                partition,
                key: m.key.to_vec(),
                value: m.value.to_vec(),
                headers: m
                    .headers
                    .iter()
                    .map(|(n, v)| (name(n), v.to_vec()))
                    .collect(),
            });
            to.append(appends.collect()).await.unwrap();
            messages.clear();
        }
        assert_eq!(to.bounds(Topic::Ticks, partition).unwrap().end, end);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_killed_at_any_instant_counts_each_tick_once_and_gives_the_signals_of_one_that_was_not()
 {
    const KILLS: usize = 5;
    let folder = tempfile::tempdir().unwrap();
    let options = ["--checkpoint-interval", "100", "--checkpoint-rows", "1000"];
    let mut service = Service::start(folder.path(), &options).await;
    let mut kills = 0;
    let mut killing = false;
    let bodies = bodies(400);
    let client = reqwest::Client::new();
    let (mut n, mut resent) = (0, 0);
    // Goes on until all kills have happened, each under load.
    while n < bodies.len() {
        if !killing && kills < KILLS && n >= (kills + 1) * bodies.len() / (KILLS + 2) {
            let time = Duration::from_micros(rand::random_range(0..20_000));
            service.end_after(time, Signal::KILL);
            killing = true;
        }
        let request = client
            .post(format!("{}/ingest", service.url))
            .header("Producer-Id", "feed")
            .header("Sequence", n + 1)
            .body(bodies[n].clone());
        match request.send().await {
            Ok(answer) if answer.status() == 200 => n += 1,
            Ok(answer) => assert_eq!(answer.status(), 503),
            Err(_) => {
                assert!(killing, "it went away by itself");
                service.ended().await;
                service = Service::start(folder.path(), &options).await;
                (killing, kills, resent) = (false, kills + 1, resent + 1);
            }
        }
    }
    if killing {
        service.ended().await;
        service = Service::start(folder.path(), &options).await;
        kills += 1;
    }
    assert_eq!(kills, KILLS);
    let of_each = ((bodies.len() - 1) * 100 / SYMBOLS + 1) as u64;
    settled(&service).await;
    for symbol in 0..SYMBOLS {
        assert_eq!(
            service.ticks(&format!("S{symbol}")).await,
            of_each,
            "S{symbol}"
        );
    }

    // One without faults, on the same ticks.
    let calm = tempfile::tempdir().unwrap();
    service.end_after(Duration::ZERO, Signal::TERM);
    assert!(service.ended().await.success());
    copy_ticks(&folder.path().join("data"), &calm.path().join("data")).await;
    let undisturbed = Service::start(calm.path(), &[]).await;
    let service = Service::start(folder.path(), &options).await;
    settled(&undisturbed).await;
    settled(&service).await;
    let signals = service.signals(997).await;
    assert!(signals.len() > 1000);
    assert!(
        signals == undisturbed.signals(1000).await,
        "the signals differ"
    );
    assert_eq!(
        ids(&signals).into_iter().collect::<BTreeSet<_>>().len(),
        signals.len()
    );
    println!("{} signals, {resent} bodies sent again", signals.len());
}
