//! `/v1/signals`: what is listed, in which order, and how a list goes on.

use std::collections::BTreeSet;

use wigwag::{market::Side, view::Limits};

use crate::server::{
    PARTITIONS, START, Server, Settings, Sketch, TestLog, appends, eventually, ids, refused,
    single, sketches,
};

/// Signals as numbers that are hard to foresee: times that come again, late ones, all partitions.
fn scattered(count: u64) -> Vec<Sketch> {
    let mut state = 7_u64;
    let mut random = move |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    (0..count)
        .map(|n| Sketch {
            symbol: ["AAPL", "MSFT", "TSLA", "X"][random(4) as usize],
            strategy: ["ma-20", "ema-20", "rsi-14"][random(3) as usize],
            side: [Side::Buy, Side::Sell][random(2) as usize],
            strength: random(5) as f64 / 4.0,
            second: (n / 50 + random(30)) as f64 / 4.0,
            partition: random(PARTITIONS.into()) as u32,
            offset: n / 100,
            row: n as u32 % 100,
            n: random(2) as u32,
        })
        .collect()
}

/// Ids in the order of the list: all fields descending.
fn listed(sketches: &[Sketch]) -> Vec<String> {
    let mut sorted: Vec<_> = sketches.to_vec();
    let key = |s: &Sketch| (s.second, s.partition, s.offset, s.row, s.strategy, s.n);
    sorted.sort_by(|a, b| key(b).partial_cmp(&key(a)).unwrap());
    sorted.iter().map(|s| s.signal().id).collect()
}

/// Asserts that a list is that of all of these.
fn assert_same(found: &[String], sketches: &[Sketch]) {
    let expected = listed(sketches);
    let differs = found.iter().zip(&expected).position(|(a, b)| a != b);
    assert_eq!(
        (found.len(), differs),
        (expected.len(), None),
        "length, and where they differ"
    );
}

/// Pages of a path, so many signals each, until the end.
async fn pages(server: &Server, path: &str, limit: usize) -> Vec<String> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = server.json(&format!("{path}limit={limit}{cursor}")).await;
        let found = ids(&page["signals"]);
        match page["next_cursor"].as_str() {
            Some(next) => {
                assert_eq!(found.len(), limit, "a page that is not the last is full");
                cursor = format!("&cursor={next}");
                all.extend(found);
            }
            None => {
                assert!(found.len() <= limit);
                all.extend(found);
                return all;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_any_size_and_filter_list_what_a_sorted_list_of_all_has() {
    let (log, _folder, server) = single(Settings::default()).await;
    let all = scattered(5_000);
    for some in all.chunks(700) {
        log.append(appends(some)).await;
    }
    server.has_signals(all.len()).await;
    assert_eq!(pages(&server, "/v1/signals?", 1000).await, listed(&all));
    assert_eq!(pages(&server, "/v1/signals?", 311).await, listed(&all));
    let since = START + 10.0;
    type Wanted = fn(&Sketch) -> bool;
    let until = START + 20.0;
    let filters: [(String, Wanted); 12] = [
        ("min_strength=0.5".into(), |s| s.strength >= 0.5),
        ("min_strength=0".into(), |_| true),
        ("min_strength=0.75&side=buy".into(), |s| {
            s.strength >= 0.75 && s.side == Side::Buy
        }),
        (format!("until={until}"), |s| s.second < 20.0),
        (format!("since={since}&until={until}"), |s| {
            (10.0..20.0).contains(&s.second)
        }),
        ("symbol=X".into(), |s| s.symbol == "X"),
        ("strategy=rsi-14".into(), |s| s.strategy == "rsi-14"),
        ("side=sell".into(), |s| s.side == Side::Sell),
        (format!("since={since}"), |s| s.second >= 10.0),
        ("since=2023-11-14T22:13:30Z".into(), |s| s.second >= 10.0),
        ("symbol=AAPL&strategy=ma-20&side=buy".into(), |s| {
            (s.symbol, s.strategy, s.side) == ("AAPL", "ma-20", Side::Buy)
        }),
        ("symbol=NOWHERE".into(), |_| false),
    ];
    for (filter, wanted) in filters {
        let some: Vec<_> = all.iter().filter(|s| wanted(s)).copied().collect();
        let path = format!("/v1/signals?{filter}&");
        assert_eq!(pages(&server, &path, 97).await, listed(&some), "{filter}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_grows_while_it_is_read_gives_each_earlier_signal_once() {
    let (log, _folder, server) = single(Settings::default()).await;
    let all = scattered(3_000);
    let (before, meanwhile) = all.split_at(2_000);
    log.append(appends(before)).await;
    server.has_signals(before.len()).await;
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    for some in meanwhile.chunks(100) {
        let page = server.json(&format!("/v1/signals?limit=250{cursor}")).await;
        seen.extend(ids(&page["signals"]));
        let Some(next) = page["next_cursor"].as_str() else {
            break;
        };
        cursor = format!("&cursor={next}");
        let total = server.all_signals().await.len() + some.len();
        log.append(appends(some)).await;
        server.has_signals(total).await;
    }
    let once: BTreeSet<_> = seen.iter().collect();
    assert_eq!(once.len(), seen.len(), "a signal came twice");
    let missing: Vec<_> = listed(before)
        .into_iter()
        .filter(|id| !once.contains(id))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_goes_on_at_the_same_place_on_another_replica() {
    let (log, _folder, first) = single(Settings::default()).await;
    let all = scattered(2_000);
    for some in all.chunks(100) {
        log.append(appends(some)).await;
    }
    first.has_signals(all.len()).await;
    // Reads all at once what the first read in small pieces, and so in another order of arrival.
    let other = tempfile::tempdir().unwrap();
    let second = Server::start(&log, other.path(), Settings::default()).await;
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    for server in [&first, &second].into_iter().cycle() {
        let page = server.json(&format!("/v1/signals?limit=77{cursor}")).await;
        seen.extend(ids(&page["signals"]));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_same(&seen, &all);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_is_given_by_its_id_with_the_bytes_that_stand_in_the_log() {
    let (log, _folder, server) = single(Settings::default()).await;
    let all = scattered(3_000);
    log.append(appends(&all)).await;
    server.has_signals(all.len()).await;
    for sketch in all.iter().step_by(250) {
        let path = format!("/v1/signals/{}", sketch.signal().id);
        let text = server
            .get(&path)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        // Behind its own bytes stands what led to it: nothing here, where there are no ticks.
        let explained = ",\"provenance\":{\"params\":null,\"ticks\":[],\"values\":[]}}";
        let own = text.strip_suffix(explained).unwrap_or(&text);
        assert_eq!(
            format!("{own}}}").into_bytes(),
            sketch.append().value,
            "{text}"
        );
    }
    let list = server
        .get("/v1/signals?limit=1000")
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let newest = listed(&all)[0].clone();
    let newest = all.iter().find(|s| s.signal().id == newest).unwrap();
    let bytes = String::from_utf8(newest.append().value).unwrap();
    assert!(list.contains(&bytes), "the list has other bytes");
    for missing in [
        "ma-20:0:0:0:9",
        "ma-20:9:0:0:0",
        "never:0:0:0:0",
        "ma-20:0:18446744073709551615:0:0",
    ] {
        refused(server.get(&format!("/v1/signals/{missing}")), 404, missing).await;
    }
    refused(server.get("/v1/signals/ma-20:0:0"), 400, "\"ma-20:0:0\"").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_parameter_is_refused_by_name_value_and_rule() {
    let (_log, _folder, server) = single(Settings::default()).await;
    for (query, field, wanted) in [
        (
            "limit=0",
            "limit",
            "limit is \"0\"; use a whole number from 1 to 1000",
        ),
        ("limit=1001", "limit", "limit is \"1001\""),
        ("limit=ten", "limit", "limit is \"ten\""),
        ("side=hold", "side", "side is \"hold\"; use buy or sell"),
        (
            "min_strength=1.5",
            "min_strength",
            "min_strength is \"1.5\"; use a number from 0 to 1",
        ),
        (
            "min_strength=NaN",
            "min_strength",
            "min_strength is \"NaN\"",
        ),
        ("until=now", "until", "until is \"now\""),
        ("since=yesterday", "since", "since is \"yesterday\""),
        ("since=NaN", "since", "since is \"NaN\""),
        ("symbol=aapl", "symbol", "symbol \"aapl\" is not one"),
        (
            "cursor=123",
            "cursor",
            "cursor \"123\" is not one that this API gave out",
        ),
        ("simbol=AAPL", "simbol", "unknown field `simbol`"),
    ] {
        let problem = refused(server.get(&format!("/v1/signals?{query}")), 400, wanted).await;
        assert_eq!(problem["type"], "urn:wigwag:problem:bad-query", "{query}");
        assert_eq!(problem["errors"][0]["field"], field, "{query}");
    }
    refused(
        server.get("/v1/signals?limit=1&limit=2"),
        400,
        "duplicate field `limit`",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_goes_on_where_it_stopped_and_repeats_nothing() {
    let log = TestLog::new();
    let folder = tempfile::tempdir().unwrap();
    let all = sketches(0, 3_000);
    for (n, some) in all.chunks(1_000).enumerate() {
        let server = Server::start(&log, folder.path(), Settings::default()).await;
        assert_eq!(
            server.all_signals().await.len(),
            n * 1_000,
            "what was there before"
        );
        log.append(appends(some)).await;
        server.has_signals((n + 1) * 1_000).await;
        server.stop().await;
    }
    let server = Server::start(&log, folder.path(), Settings::default()).await;
    assert_same(&server.all_signals().await, &all);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_keeps_the_newest_within_its_bound() {
    let few = Limits {
        signals: 2_000,
        ..Limits::default()
    };
    let settings = Settings {
        view: few,
        ..Settings::default()
    };
    let log = TestLog::new();
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&log, folder.path(), settings.clone()).await;
    let all = sketches(0, 12_000);
    for some in all.chunks(500) {
        log.append(appends(some)).await;
    }
    let newest = all.last().unwrap().signal().id;
    eventually("the newest signal", async || {
        let (status, _) = crate::server::answer(server.get(&format!("/v1/signals/{newest}"))).await;
        (status == 200).then_some(())
    })
    .await;
    // And what was read at once with the last of them.
    let kept = server.all_signals().await;
    assert!((2_000..9_000).contains(&kept.len()), "{}", kept.len());
    for partition in 0..PARTITIONS {
        let of_this: Vec<_> = all
            .iter()
            .filter(|s| s.partition == partition)
            .copied()
            .collect();
        let kept = kept
            .iter()
            .filter(|id| id.split(':').nth(1) == Some(&partition.to_string()));
        let kept: Vec<_> = kept.cloned().collect();
        // Partitions are read at their own paces: what was read last is kept, without a gap.
        let Some(oldest) = kept.last() else { continue };
        let mut in_order = of_this.iter().map(|s| s.signal().id);
        let from = in_order.position(|id| id == *oldest).unwrap();
        assert_same(&kept, &of_this[from..from + kept.len()]);
    }
    server.stop().await;
    // One that was away for longer than its bound begins with what it can hold.
    log.append(appends(&sketches(12_000, 12_000))).await;
    let server = Server::start(&log, folder.path(), settings).await;
    assert_same(&server.all_signals().await, &sketches(22_000, 2_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_store_is_made_anew_from_the_log() {
    let log = TestLog::new();
    let folder = tempfile::tempdir().unwrap();
    let all = sketches(0, 500);
    log.append(appends(&all)).await;
    Server::start(&log, folder.path(), Settings::default())
        .await
        .stop()
        .await;
    std::fs::write(folder.path().join("view.db"), b"no database").unwrap();
    let server = Server::start(&log, folder.path(), Settings::default()).await;
    assert_same(&server.all_signals().await, &all);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_no_signal_is_left_out_and_stops_nothing() {
    let (log, _folder, server) = single(Settings::default()).await;
    let all = sketches(0, 20);
    let mut messages = appends(&all);
    messages[7].value = b"{\"not\": \"a signal\"}".to_vec();
    log.append(messages).await;
    server.has_signals(19).await;
}
