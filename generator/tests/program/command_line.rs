use crate::{end, run, start_with};

#[tokio::test]
async fn what_is_refused_ends_with_64_and_says_why() {
    let ended = run("--rate fast").await;
    assert_eq!(ended.status.code(), Some(64));
    assert!(
        ended.stderr.contains("rate is fast ticks a second; use 0"),
        "{}",
        ended.stderr
    );
    let ended = run("--speed 2").await;
    assert_eq!(ended.status.code(), Some(64));
    assert!(
        ended
            .stderr
            .contains("speed is 2, but there is no --replay"),
        "{}",
        ended.stderr
    );
}

#[tokio::test]
async fn the_environment_gives_options_too() {
    let ended = end(start_with(
        "--to - --count 3 --rate 0",
        &[("WIGWAG_GENERATOR_SYMBOLS", "ZZZ")],
    ))
    .await;
    assert!(ended.lines()[0].starts_with("{\"stock_symbol\":\"ZZZ\""));
    let ended = end(start_with("--to -", &[("WIGWAG_GENERATOR_SHARE", "3/2")])).await;
    assert_eq!(ended.status.code(), Some(64));
    assert!(
        ended.stderr.contains("share is \"3/2\"; use I/N"),
        "{}",
        ended.stderr
    );
}

#[tokio::test]
async fn help_and_version_go_to_standard_output() {
    for (argument, shown) in [
        ("--help", "--start-time"),
        ("--version", "wigwag-generator 0."),
    ] {
        let ended = run(argument).await;
        assert!(ended.status.success() && String::from_utf8(ended.stdout).unwrap().contains(shown));
    }
}
