//! What is no component, or one of a shape that no plugin has: refused before anything is compiled, or by the compiler's
//! limits.

use std::{fmt::Write as _, time::Instant};

use reqwest::Method;

use crate::{
    cases,
    made::{Made, begin},
    service::answer,
    stage::{Expect, check_memory, with_service},
    support::MISBEHAVE,
};

fn wat(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// A component around core text, which exports what looks like the contract's instance.
fn around(inner: &str) -> Vec<u8> {
    wat(&format!(
        r#"(component {inner} (instance $i) (export "wigwag:plugin/strategy@1.0.0" (instance $i)))"#
    ))
}

fn repeated(count: usize, text: impl Fn(usize) -> String) -> String {
    (0..count).fold(String::new(), |mut all, n| {
        all.push_str(&text(n));
        all
    })
}

/// A function of so many locals in so many nested loops: small, and dear to compile.
fn bomb(locals: usize, loops: usize) -> Vec<u8> {
    let mut body = String::new();
    for n in 0..loops {
        let (a, b) = (n * 7 % locals, n * 13 % locals);
        write!(body, "(loop (local.set {a} (i32.add (local.get {b}) (local.get {a}))) (br_if 0 (local.get {b}))").unwrap();
    }
    body.push_str(&")".repeat(loops));
    let mixed = repeated(locals, |n| {
        format!(
            "(local.set {n} (i32.add (local.get {}) (i32.const {n})))",
            (n + 1) % locals
        )
    });
    let function = format!(
        "(func (export \"bomb\") (local {}) {mixed} {body} {mixed})",
        "i32 ".repeat(locals)
    );
    Made::new("bomb").fields(&function).component()
}

fn random_bytes(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

fn spoiled(mut bytes: Vec<u8>, from: usize) -> Vec<u8> {
    let noise = random_bytes(64);
    bytes[from..from + 64].copy_from_slice(&noise);
    bytes
}

cases! {
    nothing_at_all: Vec::new() => Expect::Refused("check", "does not start as WebAssembly does");
    a_zip: b"PK\x03\x04".iter().copied().chain([0; 4096]).collect() => Expect::Refused("check", "does not start as WebAssembly does");
    random_noise: random_bytes(4096) => Expect::Refused("check", "does not start as WebAssembly does");
    noise_behind_the_magic: b"\0asm\x0d\0\x01\0".iter().copied().chain(random_bytes(4096)).collect() => Expect::Refused("check", "is not valid WebAssembly");
    a_plugin_spoiled_in_the_middle: spoiled(MISBEHAVE.to_vec(), MISBEHAVE.len() / 2) => Expect::Refused("check", "is not valid WebAssembly");
    eight_bytes: MISBEHAVE[..8].to_vec() => Expect::Refused("check", "does not export");
    half_a_plugin: MISBEHAVE[..MISBEHAVE.len() / 2].to_vec() => Expect::Refused("check", "is not valid WebAssembly");
    all_but_one_byte: MISBEHAVE[..MISBEHAVE.len() - 1].to_vec() => Expect::Refused("check", "is not valid WebAssembly");
    a_core_module: wat("(module (func))") => Expect::Refused("check", "is a core module");
    an_empty_component: wat("(component)") => Expect::Refused("check", "does not export");
    another_version: wat(r#"(component (instance $i) (export "wigwag:plugin/strategy@2.0.0" (instance $i)))"#) => Expect::Refused("check", "this host speaks 1.x");
    no_version: wat(r#"(component (core module $m (func (export "f"))) (core instance $m (instantiate $m))
        (func $f (canon lift (core func $m "f"))) (export "describe" (func $f)))"#) => Expect::Refused("check", "does not export");
    an_import_of_files: around(r#"(import "evil:host/files@1.0.0" (instance))"#) => Expect::Refused("check", "imports \"evil:host/files@1.0.0\"");
    an_import_of_wasi_0_3: around(r#"(import "wasi:filesystem/types@0.3.0" (instance))"#) => Expect::Refused("check", "wasi:*@0.2");
    an_import_of_another_host: around(r#"(import "wigwag:plugin/host@2.0.0" (instance))"#) => Expect::Refused("check", "imports \"wigwag:plugin/host@2.0.0\"");
    an_import_of_a_function: around(r#"(import "system" (func))"#) => Expect::Refused("check", "imports \"system\"");
    an_instance_without_functions: around("") => Expect::Refused("link", "describe");
    a_describe_of_another_type: wat(r#"(component (core module $m (func (export "f"))) (core instance $m (instantiate $m))
        (func $f (canon lift (core func $m "f"))) (instance $i (export "describe" (func $f)))
        (export "wigwag:plugin/strategy@1.0.0" (instance $i)))"#) => Expect::Refused("link", "does not fit wigwag:plugin@1.0.0");
    components_in_components: around(&("(component ".repeat(20) + &")".repeat(20))) => Expect::Refused("check", "a nesting of");
    a_cycle_of_instances: around(r#"(core module $m (import "a" "f" (func)) (export "f" (func 0)))
        (core instance (instantiate $m (with "a" (instance 1)))) (core instance (instantiate $m (with "a" (instance 0))))"#) => Expect::Refused("check", "is not valid WebAssembly");
    many_functions: around(&format!("(core module {})", "(func)".repeat(50_001))) => Expect::Refused("check", "a number of functions of 50001");
    many_functions_in_many_modules: around(&format!("(core module {})", "(func)".repeat(500)).repeat(101)) => Expect::Refused("check", "a number of functions of");
    a_function_of_a_megabyte: around(&format!("(core module (func {}))", "nop ".repeat((1 << 20) + 1))) => Expect::Refused("check", "a function of bytes");
    many_locals: around(&format!("(core module (func (local {})))", "i32 ".repeat(10_001))) => Expect::Refused("check", "a function with locals");
    many_types: around(&format!("(core module {})", repeated(1_000_001, |_| "(type (func))".to_owned()))) => Expect::Refused("check", "is not valid WebAssembly");
    shared_memory: around("(core module (memory 1 1 shared))") => Expect::Refused("check", "is not valid WebAssembly");
    relaxed_simd: around("(core module (func (result v128) (i32x4.relaxed_trunc_f32x4_s (v128.const i32x4 0 0 0 0))))") => Expect::Refused("check", "is not valid WebAssembly");
    too_large: MISBEHAVE.iter().copied().chain(std::iter::repeat_n(0, 33 << 20)).collect() => Expect::Refused("check", "at most 33554432 are accepted");
    a_small_compile_bomb: bomb(500, 200) => Expect::Runs;
    a_huge_first_memory: Made::new("memory").memory("60000").component() => Expect::Refused("describe", "bytes of memory");
    a_huge_first_table: Made::new("table").fields("(table 9000000 funcref)").component() => Expect::Refused("describe", "bytes of memory");
    deep_blocks: Made::new("deep").fields(&format!("(func {} {})", "(block ".repeat(20_000), ")".repeat(20_000))).component() => Expect::Runs;
}

#[test]
fn a_compile_bomb_is_refused_within_its_limits() {
    begin("bomb");
    let component = bomb(2_000, 500);
    assert!(component.len() < 64_000, "{} bytes", component.len());
    with_service(async |service| {
        let started = Instant::now();
        let (status, body) = service.upload(component).await;
        let took = started.elapsed();
        assert_eq!(
            (status, body["stage"].as_str()),
            (422, Some("compile")),
            "{body}"
        );
        let detail = body["detail"].as_str().unwrap();
        assert!(
            detail.contains("is too costly to compile: more than 5 s of CPU"),
            "{detail}"
        );
        // Of CPU it has 5 s; the rest is the machine's, which does much else.
        assert!(took.as_secs() < 12, "{took:?}");
        println!("refused after {took:?}");
        check_memory(service);
    });
}

#[test]
fn a_gzip_of_zeros_is_refused_before_it_is_unpacked() {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::copy(
        &mut std::io::Read::take(std::io::repeat(0), 1 << 30),
        &mut packed,
    )
    .unwrap();
    let packed = packed.finish().unwrap();
    with_service(async |service| {
        let request = service.request(Method::POST, "/v1/plugins");
        let request = request.header("Content-Type", "application/wasm");
        let request = request.header("Content-Encoding", "gzip").body(packed);
        let (status, body) = answer(request).await;
        assert_eq!(status, 413, "{body}");
        check_memory(service);
    });
}
