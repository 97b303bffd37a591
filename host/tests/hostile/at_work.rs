//! Plugins that behave when they are tried, and attack at a certain tick: they skip it, and are quarantined when they do it
//! again and again.

use serde_json::json;

use crate::{
    cases,
    made::{Made, NOTHING, Signals, begin, trigger},
    service::answer,
    stage::{Expect, check_memory, check_quarantine, run, with_room, with_service},
    support::MISBEHAVE,
};

fn evil(body: &str) -> Vec<u8> {
    Made::new("evil").evil(body).component()
}

fn output(change: impl FnOnce(&mut Signals)) -> Vec<u8> {
    let mut signals = Signals::default();
    change(&mut signals);
    Made::new("evil").output(&signals).component()
}

fn forged(offset: u32, word: u32) -> Vec<u8> {
    output(|s| s.forged.push((offset, word)))
}

/// Logs so many lines of so many bytes from an address at the trigger, and then says nothing.
fn logs(lines: u32, level: u32, address: u32, bytes: u32) -> Made {
    Made::new("logs").memory("40").evil(&format!(
        "(loop (call $log (i32.const {level}) (i32.const {address}) (i32.const {bytes}))
           (local.set 2 (i32.add (local.get 2) (i32.const 1)))
           (br_if 0 (i32.lt_u (local.get 2) (i32.const {lines}))))
         (i32.const {NOTHING})"
    ))
}

cases! {
    a_good_signal: output(|_| ()) => Expect::Runs;
    a_tick_without_end: evil("(loop (br 0)) unreachable") => Expect::Quarantined("fuel", "used more than its 10000000 fuel");
    a_tick_that_traps: evil("unreachable") => Expect::Quarantined("trap", "trapped");
    a_division_by_zero: evil("(i32.div_u (i32.const 1) (i32.const 0))") => Expect::Quarantined("trap", "divide by zero");
    a_read_outside_of_memory: evil("(i32.load (i32.const -4))") => Expect::Quarantined("trap", "out of bounds");
    a_write_outside_of_memory: evil("(i32.store (i32.const -4) (i32.const 7)) (i32.const 0)") => Expect::Quarantined("trap", "out of bounds");
    a_call_of_nothing: Made::new("evil").fields("(table $t 1 funcref) (type $f (func (result i32)))").evil("(call_indirect $t (type $f) (i32.const 0))").component() => Expect::Quarantined("trap", "uninitialized");
    a_call_without_end: Made::new("evil").fields("(func $deep (result i32) (i32.add (call $deep) (i32.const 1)))").evil("(call $deep)").component() => Expect::Quarantined("trap", "call stack exhausted");
    memory_without_end: evil("(loop (br_if 0 (i32.ne (memory.grow (i32.const 4)) (i32.const -1)))) unreachable") => Expect::Quarantined("memory", "bytes of memory");
    a_table_without_end: Made::new("evil").fields("(table $t 1 funcref)").evil("(loop (br_if 0 (i32.ne (table.grow $t (ref.null func) (i32.const 100000)) (i32.const -1)))) unreachable").component() => Expect::Quarantined("memory", "bytes of memory");
    an_answer_outside_of_memory: evil("(i32.const 0x7ffffff8)") => Expect::Quarantined("trap", "");
    an_answer_at_an_odd_address: evil("(i32.const 2049)") => Expect::Quarantined("trap", "");
    a_row_out_of_range: output(|s| s.row = vec![1_000_000]) => Expect::Quarantined("nonsense", "a signal at row 1000000 of 1");
    rows_that_fall: output(|s| { s.row = vec![1, 0]; s.opinion = vec![0, 0]; s.strength = vec![0.1, 0.1]; }) => Expect::Quarantined("nonsense", "a signal at row 1 of 1");
    an_opinion_that_there_is_none_of: output(|s| s.opinion = vec![7]) => Expect::Quarantined("nonsense", "opinion 7 of 1");
    columns_of_different_lengths: output(|s| s.strength = vec![0.5, 0.5]) => Expect::Quarantined("nonsense", "columns of 1 rows");
    too_strong: output(|s| s.strength = vec![1.000_000_1]) => Expect::Quarantined("nonsense", "a strength of 1.0000001");
    a_strength_that_is_no_number: output(|s| s.strength = vec![f64::NAN]) => Expect::Quarantined("nonsense", "a strength of NaN");
    a_strength_below_nothing: output(|s| s.strength = vec![-0.1]) => Expect::Quarantined("nonsense", "a strength of -0.1");
    an_infinite_strength: output(|s| s.strength = vec![f64::INFINITY]) => Expect::Quarantined("nonsense", "a strength of inf");
    values_of_no_series: output(|s| s.values = vec![1.0]) => Expect::Quarantined("nonsense", "and 1 values of 0 series");
    a_flood_of_signals: output(|s| { s.row = vec![0; 500]; s.opinion = vec![0; 500]; s.strength = vec![0.5; 500]; }) => Expect::Quarantined("nonsense", "500 signals");
    more_opinions_than_signals: output(|s| s.sides = vec![0; 3]) => Expect::Quarantined("nonsense", "3 opinions");
    no_reason: output(|s| s.reason = Vec::new()) => Expect::Quarantined("nonsense", "a reason of 0 bytes");
    a_long_reason: output(|s| s.reason = vec![b'x'; 201]) => Expect::Quarantined("nonsense", "a reason of 201 bytes");
    a_reason_of_two_lines: output(|s| s.reason = b"one\ntwo".to_vec()) => Expect::Quarantined("nonsense", "one line");
    a_reason_that_colours_a_terminal: output(|s| s.reason = b"\x1b[31mred".to_vec()) => Expect::Quarantined("nonsense", "one line");
    a_reason_that_is_no_text: output(|s| s.reason = b"\xc3\x28".to_vec()) => Expect::Quarantined("trap", "utf-8");
    a_side_that_there_is_none_of: output(|s| s.sides = vec![9]) => Expect::Quarantined("trap", "");
    rows_outside_of_memory: forged(0, 0x7fff_fff0) => Expect::Quarantined("trap", "");
    rows_at_an_odd_address: forged(0, 2305) => Expect::Quarantined("trap", "");
    rows_of_sixteen_gigabytes: forged(4, u32::MAX) => Expect::Quarantined("trap", "");
    strengths_outside_of_memory: forged(16, 0x7fff_fff0) => Expect::Quarantined("trap", "");
    opinions_outside_of_memory: forged(32, 0x7fff_fff0) => Expect::Quarantined("trap", "");
    values_without_end: forged(44, 1 << 28) => Expect::Quarantined("trap", "");
    a_log_of_no_level: logs(1, 9, 16, 4).component() => Expect::Quarantined("trap", "");
    a_log_outside_of_memory: logs(1, 1, 0x7fff_fff0, 4).component() => Expect::Quarantined("trap", "");
    a_log_that_is_no_text: logs(1, 1, 1500, 2).bytes(1500, b"\xff\xff").component() => Expect::Quarantined("trap", "utf-8");
    a_log_of_megabytes: logs(10, 1, 2_000_000, 500_000).component() => Expect::Runs;
    a_flood_of_logs: logs(10_000, 1, 16, 4).component() => Expect::Runs;
}

#[test]
fn what_a_plugin_logs_is_bounded_and_cleaned_and_readable() {
    let text = b"\x1b]0;owned\x07 line\none";
    begin("logs-much");
    let made = logs(300, 2, 1500, text.len() as u32).bytes(1500, text);
    with_service(async |service| {
        let (status, body) = service.upload(made.component()).await;
        assert_eq!(status, 201, "{body}");
        let digest = body["digest"].as_str().unwrap();
        run(service, "logs-much", digest, &json!({})).await;
        let path = "/v1/strategies/h-logs-much/logs?limit=1000";
        let logs = crate::service::eventually("the lines", async || {
            let (status, logs) = answer(service.anonymous(reqwest::Method::GET, path)).await;
            (status == 200 && logs["lines"][0].is_object()).then_some(logs)
        })
        .await;
        let lines = logs["lines"].as_array().unwrap();
        // Six times 300 lines: a burst of 50 and what time lets through.
        assert!((50..200).contains(&lines.len()), "{} lines", lines.len());
        for line in lines {
            assert_eq!(line["level"], "warn");
            assert_eq!(line["message"], " ]0;owned  line one", "{line}");
        }
        let left_out: u64 = lines.iter().map(|l| l["left_out"].as_u64().unwrap()).sum();
        assert!(left_out > 0);
        check_memory(service);
    });
}

/// Each way of `misbehave`, which is a plugin of a real toolchain.
#[test]
fn a_plugin_that_misbehaves_in_each_way_is_quarantined_for_it() {
    begin("misbehaves");
    with_service(async |service| {
        let (status, body) = service.upload(MISBEHAVE.to_vec()).await;
        assert!(matches!(status, 200 | 201), "{body}");
        for (how, cause, reason) in [
            ("panic", "trap", "the close is Panic"),
            ("loop", "fuel", "fuel"),
            ("memory", "memory", "bytes of memory"),
            ("recursion", "trap", "call stack exhausted"),
            ("strength", "nonsense", "a strength of 7"),
            ("not-a-number", "nonsense", "a strength of NaN"),
            ("infinite", "nonsense", "an infinite value"),
            ("flood", "nonsense", "signals"),
            ("reason", "nonsense", "a reason of"),
        ] {
            let name = format!("misbehaves-{how}");
            // What another was provoked by is among the ticks on which it is tried.
            begin(&name);
            let state = run(
                service,
                &name,
                "misbehave",
                &json!({ "how": how, "at": trigger() }),
            )
            .await;
            check_quarantine(&state, cause, reason);
        }
        check_memory(service);
    });
}

#[test]
fn a_dear_strategy_is_refused_by_its_price() {
    with_service(async |service| {
        let (status, body) = service.upload(MISBEHAVE.to_vec()).await;
        assert!(matches!(status, 200 | 201), "{body}");
        let dear = json!({"plugin": "misbehave", "params": {"how": "dear"}});
        let (status, body) = service.put("/v1/strategies/h-dear", &dear).await;
        assert_eq!(
            (status, body["stage"].as_str()),
            (422, Some("admission")),
            "{body}"
        );
        let detail = body["detail"].as_str().unwrap();
        for part in [
            "fuel for each tick",
            "--plan-ticks",
            "--plan-cores allows 1",
        ] {
            assert!(detail.contains(part), "{part}: {detail}");
        }
    });
}

#[test]
fn a_slow_plugin_below_its_limit_changes_nothing_for_the_others() {
    begin("slow");
    with_room(async |service| {
        let (status, body) = service.upload(MISBEHAVE.to_vec()).await;
        assert!(matches!(status, 200 | 201), "{body}");
        run(service, "slow", "misbehave", &json!({"how": "dear"})).await;
        check_memory(service);
    });
}
