//! What newcomers get wrong, each made once, and the message with its cure. The table of `docs/plugin-guide.md` is the list.

use std::path::Path;

use crate::{
    desk::{Desk, Said, is_long_run},
    guide,
    process::Service,
};

/// The guide's message for a mistake, in parts that must be printed in this order.
fn message(mistake: &str) -> Vec<String> {
    let rows = guide::table("| mistake | message |");
    let row = rows.iter().find(|row| row[0] == mistake);
    let row = row.unwrap_or_else(|| panic!("the guide has no mistake {mistake:?}"));
    row[1]
        .split("` ... `")
        .map(|part| part.trim_matches('`').to_owned())
        .collect()
}

/// It is refused with the guide's message.
fn refused(said: &Said, mistake: &str) {
    // In prose, commands stand without their quotes.
    let text = said.text.replace('`', "");
    assert!(!said.is_done, "{mistake}: it was done: {text}");
    let mut rest = text.as_str();
    for part in message(mistake) {
        let at = rest.find(&part);
        let at = at.unwrap_or_else(|| panic!("{mistake}: no {part:?} in:\n{text}"));
        rest = &rest[at + part.len()..];
    }
}

fn made(language: &str) -> (tempfile::TempDir, Desk) {
    let home = tempfile::tempdir().unwrap();
    Desk::at(home.path()).done(&["plugin", "new", "mine", "--lang", language]);
    let desk = Desk::at(home.path().join("mine"));
    (home, desk)
}

#[test]
fn the_target_is_not_installed() {
    let (_home, desk) = made("rust");
    // A compiler that has no library for it.
    std::fs::create_dir(desk.folder.join("bin")).unwrap();
    desk.write("bin/rustc", "#!/bin/sh\necho /nowhere\n");
    desk.shell("chmod +x bin/rustc");
    let mut build = desk.wigwag(&["plugin", "build"]);
    let mut path = desk.folder.join("bin").into_os_string();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap());
    refused(
        &crate::desk::said(build.env("PATH", path)),
        "the target is not installed",
    );
}

#[test]
fn another_target_and_another_version_of_the_contract() {
    let (_home, desk) = made("c");
    desk.write("core.wasm", wat::parse_str("(module)").unwrap());
    refused(
        &desk.say(&["plugin", "check", "core.wasm"]),
        "compiled for another target",
    );
    let component =
        r#"(component (instance $i) (export "wigwag:plugin/strategy@2.0.0" (instance $i)))"#;
    desk.write("two.wasm", wat::parse_str(component).unwrap());
    refused(
        &desk.say(&["plugin", "check", "two.wasm"]),
        "a contract of another version, in the component",
    );
    desk.edit(
        "wit/plugin.wit",
        "wigwag:plugin@1.0.0;",
        "wigwag:plugin@2.0.0;",
    );
    refused(
        &desk.say(&["plugin", "build"]),
        "a contract of another version, in the folder",
    );
}

/// A plugin that does what it is told.
const MISBEHAVE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/misbehave.wasm"));

#[test]
fn a_tick_that_goes_wrong() {
    let (_home, desk) = made("c");
    desk.write("misbehave.wasm", MISBEHAVE);
    desk.write(
        "ticks.csv",
        "open,high,low,close,volume\n1,1,1,1,1\n666,666,666,666,1\n2,2,2,2,1\n",
    );
    for (how, mistake) in [
        ("panic", "a panic in `on_tick`"),
        ("loop", "too slow"),
        ("memory", "too much memory"),
    ] {
        let params = format!(r#"{{"how":"{how}"}}"#);
        let said = desk.say(&["plugin", "test", "misbehave.wasm", "--params", &params]);
        refused(&said, mistake);
        assert!(
            said.text.contains(r#""closing_price":666"#),
            "it names the tick: {}",
            said.text
        );
    }
}

#[test]
fn a_parameter_out_of_its_range_and_a_file_that_is_too_large() {
    let (_home, desk) = made("c");
    let said = desk.say(&["plugin", "test", "ma", "--params", r#"{"period":0}"#]);
    refused(&said, "a parameter out of its range");
    desk.write("large.wasm", vec![0; (32 << 20) + 1]);
    refused(&desk.say(&["plugin", "check", "large.wasm"]), "too large");
}

#[test]
fn a_trial_over_nothing_says_so() {
    let (_home, desk) = made("c");
    let of = |period: u32| {
        let params = format!(r#"{{"period":{period}}}"#);
        desk.done(&["plugin", "test", "ma", "--params", &params])
    };
    let said = of(20);
    assert!(
        said.contains("conformance  holds on 600 made-up ticks, for 48"),
        "{said}"
    );
    let said = of(10_000);
    assert!(
        said.contains("conformance  holds over nothing: no value"),
        "{said}"
    );
}

#[test]
fn what_plugins_do_not_get() {
    let (_home, desk) = made("c");
    let code = "wigwag_value(out, 0, state->ema);";
    for (use_of_it, mistake) in [
        ("state->ema += (double)time(NULL);", "asks for the clock"),
        ("if (fopen(\"levels.txt\", \"r\")) return;", "opens a file"),
        ("puts(\"a tick\");", "prints"),
    ] {
        let template = std::fs::read_to_string(desk.folder.join("strategy.c")).unwrap();
        let headers = "#include \"wigwag.h\"\n#include <stdio.h>\n#include <time.h>";
        desk.edit("strategy.c", "#include \"wigwag.h\"", headers);
        desk.edit("strategy.c", code, &format!("{use_of_it} {code}"));
        refused(&desk.say(&["plugin", "build"]), mistake);
        desk.write("strategy.c", template);
    }
    // In Rust it compiles, and is seen in what the component imports.
    if is_long_run() {
        let (_home, desk) = made("rust");
        let clock = "let ema = state.ema.update(tick.close() + std::time::SystemTime::now().elapsed().map_or(0.0, |t| t.as_secs_f64()));";
        desk.edit(
            "src/lib.rs",
            "let ema = state.ema.update(tick.close());",
            clock,
        );
        let checked = desk.done(&["plugin", "check"]);
        assert!(checked.contains("warning: it can ask for the clock (wasi:clocks): it always shows the same time in here; read the time of the tick"), "{checked}");
    }
}

#[test]
fn not_a_plugins_folder_and_no_tool() {
    let (home, desk) = made("javascript");
    refused(
        &Desk::at(home.path()).say(&["plugin", "build"]),
        "not a plugin's folder",
    );
    let mut build = desk.wigwag(&["plugin", "build"]);
    refused(
        &crate::desk::said(build.env("PATH", "/nowhere")),
        "a tool is not installed",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_service_and_no_token() {
    let home = tempfile::tempdir().unwrap();
    let desk = Desk::at(home.path());
    refused(
        &desk.say(&["plugin", "list"]),
        "no service has ever run here",
    );
    let gone = desk.say(&["plugin", "list", "--url", "http://127.0.0.1:1"]);
    refused(&gone, "the service is not running");

    let service = Service::start(home.path(), &[]).await;
    tokio::task::block_in_place(|| {
        let push = ["plugin", "push", "ma", "--signals", "0"];
        let token = Path::new("data/admin.token");
        assert!(desk.folder.join(token).is_file());
        let stale = desk.say(&[&push[..], &["--token", "of-yesterday"]].concat());
        refused(&stale, "a token of an earlier start");
        std::fs::remove_file(desk.folder.join(token)).unwrap();
        refused(&desk.say(&push), "no token");
        let said = desk.done(&[&push[..], &["--token", &service.token, "--id", "again"]].concat());
        assert!(said.contains("started strategy again: ma with"), "{said}");
    });
    service.kill();
    let gone = desk.say(&["strategy", "list"]);
    assert!(
        gone.text
            .contains("the service does not answer at http://127.0.0.1:"),
        "{}",
        gone.text
    );
}
