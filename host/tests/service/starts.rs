//! How a service starts, is refused to start, and ends.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::{
    START,
    market::{SYMBOLS, bodies},
    plugins::upload,
    process::{Service, eventually, wigwag},
    support::{self, tick},
};

#[test]
fn a_wrong_option_ends_with_64_and_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("other.toml");
    std::fs::write(&file, "lisen = 1\n").unwrap();
    #[expect(clippy::type_complexity, reason = "a table of one test")]
    let cases: [(&[&str], Option<(&str, &str)>, &str); 7] = [
        (&["--lisen", "x"], None, "--lisen"),
        (&["--listen", "nowhere"], None, "--listen"),
        (&["--partitions", "0"], None, "--partitions"),
        (&["--log-level", "wigwag=loud"], None, "--log-level"),
        (&[], Some(("WIGWAG_LISEN", "x")), "WIGWAG_LISEN"),
        (&["--config", "other.toml"], None, "\"lisen\""),
        (&["--config", "absent.toml"], None, "absent.toml"),
    ];
    for (options, variable, wanted) in cases {
        let output = wigwag(folder.path())
            .arg("serve")
            .args(options)
            .envs(variable)
            .output()
            .expect("the program starts");
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{options:?}: {told}");
        assert!(told.contains(wanted), "{options:?}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_service_on_the_same_folder_is_refused_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::start(folder.path(), &[]).await;
    let output = wigwag(folder.path())
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir", "data"])
        .output()
        .expect("the program starts");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("data") && told.contains("another"), "{told}");
    // The first goes on, and its token too.
    assert_eq!(service.post(tick("A", START, 10.0)).await.0, 200);
    assert_eq!(upload(&service, support::MISBEHAVE).await.0, 201);
    assert_eq!(
        std::fs::read_to_string(folder.path().join("data/admin.token")).unwrap(),
        service.token
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_asked_to_end_under_load_is_gone_within_two_seconds_and_leaves_nothing_to_replay()
{
    let folder = tempfile::tempdir().unwrap();
    let mut service = Service::start(folder.path(), &[]).await;
    let client = reqwest::Client::new();
    let (url, bodies) = (format!("{}/ingest", service.url), bodies(2000));
    let mut asked = None;
    let mut accepted = 0;
    for (n, body) in bodies.iter().enumerate() {
        if n == 200 {
            service.end_after(Duration::ZERO, Signal::TERM);
            asked = Some(Instant::now());
        }
        match client.post(&url).body(body.clone()).send().await {
            Ok(answer) if answer.status() == 200 => accepted = n + 1,
            _ => break,
        }
    }
    let asked = asked.expect("it took two hundred bodies");
    let status = service.ended().await;
    assert!(
        asked.elapsed() < Duration::from_secs(2),
        "{:?}",
        asked.elapsed()
    );
    assert_eq!(status.code(), Some(0));
    assert!((200..bodies.len()).contains(&accepted), "{accepted}");

    let service = Service::start(folder.path(), &[]).await;
    let lines = service.lines();
    let taken: Vec<_> = lines
        .iter()
        .filter(|l| l.contains("partition taken over"))
        .collect();
    assert_eq!(taken.len(), 4, "{lines:#?}");
    let field = |line: &str, name: &str| {
        let (_, rest) = line.split_once(&format!(" {name}=")).expect("the field");
        rest.split(' ')
            .next()
            .expect("a value")
            .parse::<u64>()
            .expect("a number")
    };
    for line in &taken {
        assert_eq!(
            field(line, "position"),
            field(line, "replayed_from"),
            "{line}"
        );
    }
    assert!(taken.iter().any(|line| field(line, "position") > 0));
    // What was not yet seen by the engine is now, and what was answered is there.
    let of_each = (accepted * 100 / SYMBOLS) as u64;
    eventually("the rest", async || {
        (service.ticks("S0").await >= of_each).then_some(())
    })
    .await;
}
