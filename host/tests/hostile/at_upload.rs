//! Plugins that attack while they are looked at: at their start, in `describe` and in `configure`.

use crate::{cases, made::Made, stage::Expect};

const LOOP: &str = "(loop (br 0)) unreachable";

/// Calls itself for ever.
const RECURSION: &str = "(func $deep (param i32) (result i32) (call $deep (i32.add (local.get 0) (i32.const 1))) (i32.add (i32.const 1)))";

fn describe(body: &str) -> Vec<u8> {
    Made::new("attacks").describe(body).component()
}

/// Its description's own words, forged.
fn forged(field: u32, word: u32) -> Vec<u8> {
    Made::new("forged").described(field, word).component()
}

cases! {
    a_start_that_never_ends: Made::new("start").fields(&format!("(func $start {LOOP}) (start $start)")).component() => Expect::Refused("describe", "in one call");
    a_start_that_traps: Made::new("start").fields("(func $start unreachable) (start $start)").component() => Expect::Refused("describe", "trapped");
    a_description_without_end: describe(LOOP) => Expect::Refused("describe", "in one call");
    a_description_that_traps: describe("unreachable") => Expect::Refused("describe", "trapped");
    a_description_that_calls_itself: Made::new("deep").fields(RECURSION).describe("(call $deep (i32.const 0))").component() => Expect::Refused("describe", "call stack exhausted");
    a_description_that_takes_all_memory: describe("(loop (br_if 0 (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable") => Expect::Refused("describe", "bytes of memory");
    a_description_that_takes_a_huge_table: Made::new("table").fields("(table $t 1 funcref)").describe(
        "(loop (br_if 0 (i32.ne (table.grow $t (ref.null func) (i32.const 100000)) (i32.const -1)))) unreachable").component() => Expect::Refused("describe", "bytes of memory");
    a_description_outside_of_memory: describe("(i32.const 0x7ffffff0)") => Expect::Refused("describe", "trapped");
    a_description_at_an_odd_address: describe("(i32.const 513)") => Expect::Refused("describe", "trapped");
    a_name_outside_of_memory: forged(0, 0x7fff_fff0) => Expect::Refused("describe", "trapped");
    a_name_of_four_gigabytes: forged(4, u32::MAX) => Expect::Refused("describe", "trapped");
    a_name_of_a_megabyte: Made::new("long").memory("40").described(0, 1 << 20).described(4, 1 << 20).component() => Expect::Refused("describe", "name is");
    a_name_that_is_no_text: Made::new("x").called(b"\xff\xfe\xfd").component() => Expect::Refused("describe", "trapped");
    a_name_of_another_alphabet: Made::new("Große-Strategie").component() => Expect::Refused("describe", "name is \"Große-Strategie\"");
    no_name: Made::new("").component() => Expect::Refused("describe", "name is \"\"");
    a_path_for_a_name: Made::new("../../etc").component() => Expect::Refused("describe", "name is \"../../etc\"");
    no_version_at_all: Made::new("x").version("").component() => Expect::Refused("describe", "version is \"\"");
    a_help_of_many_lines: Made::new("x").help("one\ntwo\u{1b}[31m").component() => Expect::Refused("describe", "one line of at most 300 bytes");
    a_million_parameters: Made::new("x").memory("200").described(24, 65_536).described(28, 1_000_000).component() => Expect::Refused("describe", "trapped");
    parameters_outside_of_memory: Made::new("x").described(24, 0x7fff_fff0).described(28, 2).component() => Expect::Refused("describe", "trapped");
    a_hundred_series: Made::new("x").described(36, 32_768).described(40, 100).component() => Expect::Refused("describe", "number of series is \"100\"");
    a_series_without_a_name: Made::new("x").described(36, 32_768).described(40, 1).component() => Expect::Refused("describe", "series");
    a_placement_that_there_is_none_of: Made::new("x").series().bytes(816, &[9]).component() => Expect::Refused("describe", "trapped");
    flags_that_there_are_none_of: Made::new("x").bytes(512 + 32, &[0xff]).component() => Expect::Runs;
    a_configure_without_end: Made::new("x").configure(LOOP).component() => Expect::Refused("conformance", "in one call");
    a_configure_that_traps: Made::new("x").configure("unreachable").component() => Expect::Refused("conformance", "trapped");
    a_configure_that_refuses_its_defaults: Made::new("x").bytes(600, &[1]).bytes(604, &[0; 8]).component() => Expect::Refused("conformance", "refused");
    a_configure_with_a_result_that_there_is_none_of: Made::new("x").bytes(600, &[7]).component() => Expect::Refused("conformance", "trapped");
    names_without_end: Made::new("x").define_symbols(LOOP.trim_end_matches(" unreachable")).component() => Expect::Refused("conformance", "in one call");
    a_warm_up_without_end: Made::new("x").bytes(604, &[0xff; 4]).component() => Expect::Runs;
}
