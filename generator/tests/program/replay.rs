use std::{fs, time::Duration};

use tokio::time::Instant;

use crate::{START, run};

#[tokio::test]
async fn what_was_recorded_comes_back_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let recorded = run(&format!(
        "--to - --start-time {START} --rate 0 --count 2000"
    ))
    .await
    .stdout;
    let file = dir.path().join("recorded.ndjson");
    fs::write(&file, &recorded).unwrap();
    let replayed = run(&format!("--to - --replay {}", file.display())).await;
    assert!(replayed.status.success(), "{}", replayed.stderr);
    assert!(replayed.stdout == recorded);
    let part = run(&format!("--to - --replay {} --count 7", file.display())).await;
    assert_eq!(part.lines(), replayed.lines()[..7]);
}

#[tokio::test]
async fn a_speed_factor_keeps_the_distances() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ticks.csv");
    let rows = "2026-01-05T14:30:00Z,A,1,1,1,1,5\n2026-01-05T14:30:02Z,A,1,1,1,1,6\n";
    fs::write(
        &file,
        format!("time,symbol,open,high,low,close,volume\n{rows}"),
    )
    .unwrap();
    let begun = Instant::now();
    let ended = run(&format!("--to - --replay {} --speed 4", file.display())).await;
    assert_eq!(ended.lines().len(), 2);
    assert!(
        begun.elapsed() >= Duration::from_millis(500),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn a_bad_line_ends_it_after_those_before() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ticks.csv");
    fs::write(
        &file,
        "time,symbol,open,high,low,close,volume\n1,A,1,1,1,1,5\n2,A,1,1,1,0,6\n3,A,1,1,1,1,5\n",
    )
    .unwrap();
    let ended = run(&format!("--to - --replay {}", file.display())).await;
    assert_eq!(ended.status.code(), Some(1));
    assert_eq!(ended.lines().len(), 1);
    let message = format!(
        "{} line 3: field closing_price is 0; prices must be positive",
        file.display()
    );
    assert!(ended.stderr.contains(&message), "{}", ended.stderr);
}

#[tokio::test]
async fn files_of_a_symbol_each_come_as_one_market_by_time() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, rows: &str| {
        let path = dir.path().join(name);
        fs::write(
            &path,
            format!("Date,Open,High,Low,Close,Adj Close,Volume\n{rows}"),
        )
        .unwrap();
        path.display().to_string()
    };
    let aapl = write(
        "AAPL.csv",
        "2000-01-03,1,1,1,1,1,5\n2000-01-05,2,2,2,2,2,5\n",
    );
    // The newest day first.
    let ibm = write(
        "IBM.csv",
        "2000-01-04,4,4,4,4,4,5\n2000-01-03,3,3,3,3,3,5\n",
    );
    let opens = |ended: &crate::Ended| -> Vec<f64> {
        assert!(ended.status.success(), "{}", ended.stderr);
        let lines = ended.lines().into_iter();
        let lines = lines.map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines
            .map(|line| line["opening_price"].as_f64().unwrap())
            .collect()
    };
    let merged = run(&format!("--to - --replay {aapl} {ibm}")).await;
    assert_eq!(opens(&merged), [1.0, 4.0, 3.0, 2.0]);
    let sorted = run(&format!("--to - --sort --replay {aapl} --replay {ibm}")).await;
    assert_eq!(opens(&sorted), [1.0, 3.0, 4.0, 2.0]);
    let first: serde_json::Value = serde_json::from_str(sorted.lines()[0]).unwrap();
    assert_eq!(first["stock_symbol"], "AAPL");
    assert_eq!(first["timestamp"], 946_857_600.0);
    let unnamed = write("prices.csv", "2000-01-03,1,1,1,1,1,5\n");
    let refused = run(&format!("--to - --replay {unnamed}")).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        refused
            .stderr
            .contains("name the file by its symbol such as AAPL.csv"),
        "{}",
        refused.stderr
    );
}
