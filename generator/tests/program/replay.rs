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
