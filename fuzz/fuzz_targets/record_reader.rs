//! See `judged/record_reader.rs`.
#![no_main]

#[path = "../judged/record_reader.rs"]
mod judged;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    judged::judge(data);
});
