//! Plugins whose results depend on more than their ticks, or that attack in snapshots: refused when they are tried.

use crate::{
    cases,
    made::{Made, Signals},
    stage::Expect,
    support,
};

/// Puts out a value for each wanted row: what `value`, an f64, is at that row. Its globals are its own: `$n` and `$last`
/// stand still, `$rows` counts the rows of the calls before.
fn values(name: &str, value: &str) -> Made {
    values_behind("", name, value)
}

/// The same, behind something that each call does first.
fn values_behind(first: &str, name: &str, value: &str) -> Made {
    let each = format!(
        "{first}
         (local.set 1 (i32.const 0))
         (block (loop
           (br_if 1 (i32.ge_u (local.get 1) (i32.load offset=68 (local.get 0))))
           (f64.store offset=33000 (i32.shl (local.get 1) (i32.const 3)) {value})
           (local.set 1 (i32.add (local.get 1) (i32.const 1)))
           (br 0)))
         (global.set $rows (i32.add (global.get $rows) (i32.load offset=4 (local.get 0))))
         (i32.store (i32.const 1240) (i32.const 33000))
         (i32.store (i32.const 1244) (i32.load offset=68 (local.get 0)))
         (return (i32.const 1200))"
    );
    Made::new(name)
        .series()
        .fields(
            "(global $n (mut i32) (i32.const 0)) (global $last (mut f64) (f64.const 0))
             (global $rows (mut i32) (i32.const 0))",
        )
        .each_batch(&each)
}

/// The number of a wanted row, among all rows that ever came.
const ROW: &str = "(i32.add (global.get $rows) (i32.load (i32.add (i32.load offset=64 (local.get 0)) (i32.shl (local.get 1) (i32.const 2)))))";

/// A count of calls.
const COUNT: &str = "(global.set $n (i32.add (global.get $n) (i32.const 1)))";

/// Nothing in batches of one or of eight times something, as the made-up ticks are; otherwise what is left over.
const LEFT_OVER: &str = "(i32.and (i32.mul (i32.gt_u (i32.load offset=4 (local.get 0)) (i32.const 1)) (i32.const 7)) (i32.load offset=4 (local.get 0)))";

/// The number of a row, which each symbol's state has, and of which the least is taken back.
fn a_count_in_each_state() -> Made {
    values("shares", &number(ROW))
        .snapshot(
            "(local i32)
             (i32.store (i32.const 1600) (global.get $rows))
             (block (loop
               (br_if 1 (i32.ge_u (local.get 2) (local.get 1)))
               (i32.store offset=45000 (i32.shl (local.get 2) (i32.const 3)) (i32.const 1600))
               (i32.store offset=45004 (i32.shl (local.get 2) (i32.const 3)) (i32.const 4))
               (local.set 2 (i32.add (local.get 2) (i32.const 1)))
               (br 0)))
             (i32.store (i32.const 720) (i32.const 45000))
             (i32.store (i32.const 724) (local.get 1))
             (i32.const 720)",
        )
        .restore(
            "(local i32 i32)
             (if (local.get 1) (then (global.set $rows (i32.const 0x7fffffff))))
             (block (loop
               (br_if 1 (i32.ge_u (local.get 2) (local.get 1)))
               (local.set 3 (i32.load (i32.load offset=4
                 (i32.add (local.get 0) (i32.mul (local.get 2) (i32.const 12))))))
               (if (i32.lt_u (local.get 3) (global.get $rows)) (then (global.set $rows (local.get 3))))
               (local.set 2 (i32.add (local.get 2) (i32.const 1)))
               (br 0)))
             (i32.const 740)",
        )
}

/// The number of a row, kept, with how often it was restored: after three times it is another.
fn a_state_that_wears_out() -> Made {
    let worn = format!("(i32.add {ROW} (i32.gt_u (global.get $n) (i32.const 3)))");
    values("wears-out", &number(&worn))
        .snapshot_shared(
            "(i32.store (i32.const 1600) (global.get $rows))
             (i32.store (i32.const 1604) (global.get $n))
             (i32.store (i32.const 728) (i32.const 1600))
             (i32.store (i32.const 732) (i32.const 8))
             (i32.const 728)",
        )
        .restore_shared(
            "(global.set $rows (i32.load (local.get 0)))
             (global.set $n (i32.add (i32.load offset=4 (local.get 0)) (i32.const 1)))
             (i32.const 740)",
        )
}

fn number(value: &str) -> String {
    format!("(f64.convert_i32_u {value})")
}

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
    a_value_that_counts_calls: values_behind(COUNT, "counts", &number("(global.get $n)")).component() => Expect::Refused("conformance", "a batch for each tick changes its results: at tick 2, of MADE");
    a_value_of_what_eight_leave_over: values("eights", &number(LEFT_OVER)).component() => Expect::Refused("conformance", "another split of batches changes its results");
    a_count_of_rows_that_no_snapshot_has: values("forgets", &number(ROW)).component() => Expect::Refused("conformance", "a restore after 1 ticks and events changes its results");
    a_count_of_all_rows_in_each_symbols_state: a_count_in_each_state().component() => Expect::Refused("conformance", "an older snapshot of the symbols without a tick since");
    a_count_of_rows_that_wears_out: a_state_that_wears_out().component() => Expect::Refused("conformance", "a snapshot and restore every few ticks and events changes its results");
    a_value_of_the_number_of_rows: values("rows", "(f64.convert_i32_u (i32.load offset=4 (local.get 0)))").component() => Expect::Refused("conformance", "value 0 was");
    a_value_of_what_is_wanted: values("wanted", "(f64.convert_i32_u (i32.load offset=68 (local.get 0)))").component() => Expect::Refused("conformance", "value 0 was");
    a_value_of_an_address: values("address", "(f64.convert_i32_u (local.get 0))").component() => Expect::Refused("conformance", "value 0 was");
    a_value_of_memory_that_was_never_written: values("unwritten", "(f64.convert_i32_u (i32.load (i32.load (local.get 0))))").component() => Expect::Refused("conformance", "value 0 was");
    a_value_of_the_last_tick_of_any_symbol: values("across", "(f64.load (i32.add (i32.load offset=40 (local.get 0)) (i32.shl (i32.load (i32.add (i32.load offset=64 (local.get 0)) (i32.shl (local.get 1) (i32.const 2)))) (i32.const 3))))").component() => Expect::Runs;
    a_count_of_values: values("counts-values", &format!("(block (result f64) {COUNT} {})", number("(global.get $n)"))).component() => Expect::Refused("conformance", "a batch for each tick changes its results");
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
