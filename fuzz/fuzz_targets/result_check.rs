//! See `judged/result_check.rs`.
#![no_main]

#[path = "../judged/result_check.rs"]
mod judged;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    judged::judge(data);
});
