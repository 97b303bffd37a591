//! Each template, from an empty folder to signals of a running service, by the commands of its README.

use std::time::Duration;

use serde_json::Value;

use crate::{
    desk::{Desk, is_long_run},
    process::Service,
};

/// A language, and the commands that its README has beside those of `wigwag`.
struct Way {
    language: &'static str,
    /// The file that is the author's, and how its comments begin.
    own: (&'static str, &'static str),
    setup: &'static str,
    test: &'static str,
}

const RUST: Way = Way {
    language: "rust",
    own: ("src/lib.rs", "//"),
    setup: "true",
    test: "cargo test",
};

const C: Way = Way {
    language: "c",
    own: ("strategy.c", "/*"),
    setup: "true",
    test: "mkdir -p build && cc -o build/test test.c strategy.c && build/test",
};

const PYTHON: Way = Way {
    language: "python",
    own: ("strategy.py", "#"),
    setup: "python3 -m venv .venv && .venv/bin/pip install -r requirements.txt",
    test: "python3 -m unittest",
};

const JAVASCRIPT: Way = Way {
    language: "javascript",
    own: ("strategy.js", "//"),
    setup: "npm install",
    test: "npm test",
};

#[tokio::test(flavor = "multi_thread")]
async fn rust_goes_from_an_empty_folder_to_live_signals() {
    goes_live(&RUST).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c_goes_from_an_empty_folder_to_live_signals() {
    goes_live(&C).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn python_goes_from_an_empty_folder_to_live_signals() {
    if is_long_run() {
        goes_live(&PYTHON).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn javascript_goes_from_an_empty_folder_to_live_signals() {
    if is_long_run() {
        goes_live(&JAVASCRIPT).await;
    }
}

/// What the templates make of the ticks that come with them: the same in each language, to the last bit.
const TESTED: &str = include_str!("tested.txt");

async fn goes_live(way: &Way) {
    let home = tempfile::tempdir().unwrap();
    let name = format!("mine-in-{}", way.language);
    let made = Desk::at(home.path()).done(&["plugin", "new", &name, "--lang", way.language]);
    assert!(made.contains(&format!("cd {name}")), "{made}");

    let desk = Desk::at(home.path().join(&name));
    let readme = std::fs::read_to_string(desk.folder.join("README.md")).unwrap();
    assert!(
        !readme.contains("{{") && readme.contains(way.test),
        "{readme}"
    );
    assert!(
        way.setup == "true" || readme.contains(way.setup),
        "{readme}"
    );
    let own = own_lines(&desk, way);
    assert!(
        (10..=20).contains(&own.len()),
        "{} lines: {own:#?}",
        own.len()
    );
    desk.shell(way.setup);
    desk.shell(way.test);
    desk.done(&["plugin", "build"]);
    let checked = desk.done(&["plugin", "check"]);
    assert!(
        checked.contains(&format!("{name} 0.1.0: Signals where")),
        "{checked}"
    );
    assert!(
        checked.contains("parameter period: 20, 1 to 10000"),
        "{checked}"
    );
    let tested = desk.done(&["plugin", "test", "--params", r#"{"period":10}"#]);
    for line in TESTED.lines() {
        assert!(tested.contains(line), "no line {line:?} in:\n{tested}");
    }

    // The service keeps its data in the home folder, where it is found from the plugin's.
    let service = Service::start(home.path(), &[]).await;
    let sending = tokio::spawn(send_ticks(service.url.clone()));
    let push = [
        "plugin",
        "push",
        "--params",
        r#"{"period":3}"#,
        "--signals",
        "3",
        "--within",
        "60",
    ];
    let pushed = tokio::task::block_in_place(|| desk.done(&push));
    sending.abort();
    assert!(
        pushed.contains(&format!("uploaded {name} 0.1.0, sha256:")),
        "{pushed}"
    );
    assert!(
        pushed.contains(&format!("started strategy {name}: {name} with")),
        "{pushed}"
    );
    let signals = pushed
        .lines()
        .filter(|line| line.contains(" its average ("));
    assert_eq!(signals.count(), 3, "{pushed}");

    let (plugins, strategies) = tokio::task::block_in_place(|| {
        (
            desk.done(&["plugin", "list"]),
            desk.done(&["strategy", "list"]),
        )
    });
    assert!(plugins.contains(&name), "{plugins}");
    let line = strategies
        .lines()
        .find(|line| line.starts_with(&name))
        .unwrap();
    assert!(
        line.contains("live") && line.contains(r#"{"period":3}"#),
        "{line}"
    );
    tokio::task::block_in_place(|| {
        let set = desk.done(&["strategy", "set", &name, "--params", r#"{"period":4}"#]);
        assert!(set.contains(r#"{"period":4}"#), "{set}");
        desk.done(&["strategy", "remove", &name]);
    });
    let left: Value = service.get("/v1/strategies").await;
    assert!(!left.to_string().contains(&name), "{left}");
}

/// The strategy's own lines: what is comment, test, or no more than a bracket is none.
fn own_lines(desk: &Desk, way: &Way) -> Vec<String> {
    let (file, comment) = way.own;
    let text = std::fs::read_to_string(desk.folder.join(file)).unwrap();
    let code = text.split("#[cfg(test)]").next().unwrap();
    let says = |line: &&str| {
        let is_text = line.trim_start().starts_with(comment) || line.starts_with("\"\"\"");
        line.contains(char::is_alphanumeric) && !is_text
    };
    code.lines().filter(says).map(str::to_owned).collect()
}

/// A market that crosses its averages, until it is stopped.
async fn send_ticks(url: String) {
    let client = reqwest::Client::new();
    for n in 0_u32.. {
        let close = 100.0 + f64::from(n * n % 17) / 10.0;
        let time = 1_700_000_000.0 + f64::from(n);
        let line = format!(
            r#"{{"stock_symbol":"AAPL","opening_price":{close},"closing_price":{close},"high":{close},"low":{close},"volume":1,"timestamp":{time}}}"#
        );
        let sent = client
            .post(format!("{url}/ingest"))
            .header("Content-Type", "application/x-ndjson");
        sent.body(line).send().await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
