//! Plugins whose results depend on more than their ticks, or that attack in snapshots: refused when they are tried.

use crate::{
    cases,
    made::{Made, Signals},
    stage::Expect,
    support,
};

/// Puts out a value for each wanted row: what `value`, an f64, is at that row, of which local 3 is the address in
/// memory of the row's number. Locals 4 to 7 are its own.
fn values(name: &str, value: &str) -> Made {
    let each = format!(
        "(local.set 1 (i32.const 0))
         (block (loop
           (br_if 1 (i32.ge_u (local.get 1) (i32.load offset=68 (local.get 0))))
           (f64.store offset=33000 (i32.shl (local.get 1) (i32.const 3)) {value})
           (local.set 1 (i32.add (local.get 1) (i32.const 1)))
           (br 0)))
         (i32.store (i32.const 1240) (i32.const 33000))
         (i32.store (i32.const 1244) (i32.load offset=68 (local.get 0)))
         (return (i32.const 1200))"
    );
    Made::new(name)
        .series()
        .fields("(global $n (mut i32) (i32.const 0)) (global $last (mut f64) (f64.const 0))")
        .each_batch(&each)
}

/// A count of calls.
const COUNT: &str = "(global.set $n (i32.add (global.get $n) (i32.const 1)))";

fn counting(each: &str) -> Made {
    Made::new("counts")
        .fields("(global $n (mut i32) (i32.const 0))")
        .each_batch(each)
}

/// A signal at the first row of each call.
fn signal_each_call() -> Made {
    let mut made = counting("").output(&Signals::default());
    made =
        made.each_batch("(if (i32.load offset=4 (local.get 0)) (then (return (i32.const 2048))))");
    made
}

cases! {
    a_signal_for_each_batch: signal_each_call().component() => Expect::Refused("conformance", "a batch for each tick changes its results");
    a_value_that_counts_calls: values("counts", "(f64.convert_i32_u (global.get $n))").define_symbols("").component() => Expect::Runs;
    a_value_of_the_number_of_rows: values("rows", "(f64.convert_i32_u (i32.load offset=4 (local.get 0)))").component() => Expect::Refused("conformance", "value 0 was");
    a_value_of_what_is_wanted: values("wanted", "(f64.convert_i32_u (i32.load offset=68 (local.get 0)))").component() => Expect::Refused("conformance", "value 0 was");
    a_value_of_an_address: values("address", "(f64.convert_i32_u (local.get 0))").component() => Expect::Refused("conformance", "value 0 was");
    a_value_of_memory_that_was_never_written: values("unwritten", "(f64.convert_i32_u (i32.load (i32.load (local.get 0))))").component() => Expect::Refused("conformance", "value 0 was");
    a_value_of_the_last_tick_of_any_symbol: values("across", "(f64.load (i32.add (i32.load offset=40 (local.get 0)) (i32.shl (i32.load (i32.add (i32.load offset=64 (local.get 0)) (i32.shl (local.get 1) (i32.const 2)))) (i32.const 3))))").component() => Expect::Runs;
    a_state_that_no_snapshot_has: values("forgets", &format!("(block (result f64) {COUNT} (f64.convert_i32_u (global.get $n)))")).component() => Expect::Refused("conformance", "changes its results");
    a_snapshot_that_changes_the_state: values("disturbed", "(global.get $last)").snapshot_shared("(global.set $last (f64.add (global.get $last) (f64.const 1))) (i32.const 728)").component() => Expect::Refused("conformance", "taking snapshots changes its results");
    an_infinite_value_for_each_row: values("infinite", "(f64.const inf)").component() => Expect::Refused("conformance", "an infinite value");
    a_trap_at_the_first_tick: counting("(if (i32.load offset=4 (local.get 0)) (then unreachable))").component() => Expect::Refused("conformance", "trapped");
    a_first_tick_without_end: counting("(if (i32.load offset=4 (local.get 0)) (then (loop (br 0))))").component() => Expect::Refused("conformance", "");
    a_snapshot_without_end: Made::new("x").snapshot("(loop (br 0)) unreachable").component() => Expect::Refused("conformance", "in one call");
    a_snapshot_of_too_few_states: Made::new("x").snapshot("(i32.const 720)").component() => Expect::Refused("conformance", "snapshot gave 0 states");
    a_snapshot_of_a_hundred_megabytes: Made::new("x").bytes(728, &[0, 0, 0, 0, 0, 0, 0x40, 6]).component() => Expect::Refused("conformance", "trapped");
    a_snapshot_of_ten_megabytes: Made::new("x").memory("200").bytes(728, &[0, 0, 0, 0, 0, 0, 0x9c, 0]).component() => Expect::Refused("conformance", "a state of 10223616 bytes");
    a_snapshot_outside_of_memory: Made::new("x").snapshot("(i32.const -4)").component() => Expect::Refused("conformance", "trapped");
    a_restore_that_refuses_its_own: Made::new("x").snapshot_shared("(i32.const 1500)").bytes(1500, &[16, 0, 0, 0, 1, 0, 0, 0])
        .restore("(i32.const 740)").bytes(740, &[1]).component() => Expect::Refused("conformance", "restore refused its own snapshot");
    a_restore_without_end: Made::new("x").restore("(loop (br 0)) unreachable").component() => Expect::Refused("conformance", "restore: used more than its 10000000 fuel");
}

/// A plugin never gets another's state, and refuses it without harm where it does.
#[test]
fn another_plugins_state_is_refused() {
    let prepared = |name: &str| {
        let plugin = support::plugin(name);
        let mut instance = plugin.instantiate().unwrap();
        let params = plugin
            .description()
            .resolve(&serde_json::Map::new())
            .unwrap();
        instance
            .configure(&plugin.description().arguments(&params))
            .unwrap();
        instance.define_symbols(0, &["A"]).unwrap();
        instance
    };
    for (from, into) in [("ma", "rsi"), ("rsi", "ma"), ("ema", "rsi")] {
        let state = prepared(from).snapshot(&[0]).unwrap().remove(0);
        let foreign = [state, vec![0xff; 9_000]].concat();
        let refused = prepared(into).restore(&[(0, &foreign)]).unwrap_err();
        assert_eq!(refused.cause(), "nonsense", "{from} into {into}: {refused}");
    }
}
