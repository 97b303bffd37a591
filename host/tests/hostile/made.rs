//! Components written by hand: a core module that behaves, of which a case replaces one function or some bytes, wrapped
//! into a component of the contract's world. Knows nothing of what is expected of them.

use std::{cell::Cell, fmt::Write as _, sync::OnceLock};

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{Resolve, WorldId};

const STRATEGY: &str = "wigwag:plugin/strategy@1.0.0";

/// Where things stand in memory. Below `FREE` nothing is allocated; the page at `ZEROS` stays as it is.
const DESCRIPTION: u32 = 512;
const CONFIGURED: u32 = 600;
pub(crate) const NOTHING: u32 = 640;
const EMPTY_LIST: u32 = 720;
const DONE: u32 = 740;
const SERIES: u32 = 800;
pub(crate) const OUTPUT: u32 = 2048;
const COLUMNS: u32 = 2304;
const ZEROS: u32 = 32_768;
const FREE: u32 = 65_536;

thread_local! {
    static TRIGGER: Cell<f64> = const { Cell::new(f64::NAN) };
}

/// A close at which the plugin of this thread's case does what the case is about: each case has its own, since all are
/// tried on the newest ticks, which those of others are among.
pub(crate) fn trigger() -> f64 {
    TRIGGER.get()
}

/// Begins a case.
pub(crate) fn begin(name: &str) {
    let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325, hash);
    TRIGGER.set(1_000.0 + (hash % 1_000_000) as f64 * 0.25);
}

/// A core module in the making.
pub(crate) struct Made {
    name: Vec<u8>,
    version: &'static str,
    help: String,
    series: bool,
    /// Bytes that replace others at a place of memory.
    data: Vec<(u32, Vec<u8>)>,
    /// Fields of the module beside its functions.
    fields: String,
    describe: String,
    configure: String,
    define_symbols: String,
    /// What it does at the trigger, with the batch's address and the row as locals 0 and 1.
    evil: String,
    /// What it does in each call before it looks for the trigger; may return.
    each_batch: String,
    snapshot: String,
    restore: String,
    snapshot_shared: String,
    restore_shared: String,
    memory: &'static str,
}

impl Made {
    /// Behaves, whatever comes.
    pub(crate) fn new(name: &str) -> Self {
        let address = |at: u32| format!("(i32.const {at})");
        Self {
            name: name.as_bytes().to_vec(),
            version: "1.0.0",
            help: "Made by hand.".to_owned(),
            series: false,
            data: Vec::new(),
            fields: String::new(),
            describe: address(DESCRIPTION),
            configure: address(CONFIGURED),
            define_symbols: String::new(),
            evil: address(NOTHING),
            each_batch: String::new(),
            // As many empty states as were asked for.
            snapshot: format!(
                "(i32.store (i32.const {EMPTY_LIST}) (i32.const {ZEROS})) \
                 (i32.store (i32.const {}) (local.get 1)) (i32.const {EMPTY_LIST})",
                EMPTY_LIST + 4
            ),
            restore: address(DONE),
            snapshot_shared: address(EMPTY_LIST + 8),
            restore_shared: address(DONE),
            memory: "2",
        }
    }

    pub(crate) fn describe(mut self, body: &str) -> Self {
        body.clone_into(&mut self.describe);
        self
    }

    pub(crate) fn configure(mut self, body: &str) -> Self {
        body.clone_into(&mut self.configure);
        self
    }

    pub(crate) fn define_symbols(mut self, body: &str) -> Self {
        body.clone_into(&mut self.define_symbols);
        self
    }

    pub(crate) fn evil(mut self, body: &str) -> Self {
        body.clone_into(&mut self.evil);
        self
    }

    pub(crate) fn each_batch(mut self, body: &str) -> Self {
        body.clone_into(&mut self.each_batch);
        self
    }

    pub(crate) fn snapshot(mut self, body: &str) -> Self {
        body.clone_into(&mut self.snapshot);
        self
    }

    pub(crate) fn restore(mut self, body: &str) -> Self {
        body.clone_into(&mut self.restore);
        self
    }

    pub(crate) fn snapshot_shared(mut self, body: &str) -> Self {
        body.clone_into(&mut self.snapshot_shared);
        self
    }

    pub(crate) fn restore_shared(mut self, body: &str) -> Self {
        body.clone_into(&mut self.restore_shared);
        self
    }

    pub(crate) fn fields(mut self, fields: &str) -> Self {
        fields.clone_into(&mut self.fields);
        self
    }

    pub(crate) const fn memory(mut self, memory: &'static str) -> Self {
        self.memory = memory;
        self
    }

    pub(crate) const fn series(mut self) -> Self {
        self.series = true;
        self
    }

    pub(crate) fn called(mut self, name: &[u8]) -> Self {
        self.name = name.to_vec();
        self
    }

    pub(crate) const fn version(mut self, version: &'static str) -> Self {
        self.version = version;
        self
    }

    pub(crate) fn help(mut self, help: &str) -> Self {
        help.clone_into(&mut self.help);
        self
    }

    /// Overwrites bytes, behind everything else.
    pub(crate) fn bytes(mut self, at: u32, bytes: &[u8]) -> Self {
        self.data.push((at, bytes.to_vec()));
        self
    }

    /// Overwrites a word of the description.
    pub(crate) fn described(self, field: u32, word: u32) -> Self {
        self.bytes(DESCRIPTION + field, &word.to_le_bytes())
    }

    /// Puts this out at the trigger.
    pub(crate) fn output(mut self, output: &Signals) -> Self {
        self.data.extend(output.image());
        let address = format!("(i32.const {OUTPUT})");
        self.evil(&address)
    }

    fn wat(&self) -> String {
        let mut description = Vec::new();
        let mut word = |n: u32| description.extend_from_slice(&n.to_le_bytes());
        for (at, length) in [
            (16, self.name.len()),
            (128, self.version.len()),
            (160, self.help.len()),
            (0, 0),
        ] {
            word(at);
            word(length as u32);
        }
        // The close alone, and no events.
        word(16);
        word(if self.series { SERIES } else { 0 });
        word(u32::from(self.series));
        let mut series = Vec::new();
        for n in [840_u32, 5, 0, 0, 1] {
            series.extend_from_slice(&n.to_le_bytes());
        }
        let configured = [0, 1_u32].map(u32::to_le_bytes).concat();
        let mut data = String::new();
        let fixed = [
            (16, self.name.clone()),
            (128, self.version.as_bytes().to_vec()),
            (160, self.help.as_bytes().to_vec()),
            (DESCRIPTION, description),
            (CONFIGURED, configured),
            (SERIES, series),
            (840, b"value".to_vec()),
        ];
        for (at, bytes) in fixed.iter().chain(&self.data) {
            let mut text = String::new();
            for byte in bytes {
                write!(text, "\\{byte:02x}").expect("writing to memory");
            }
            writeln!(data, "(data (i32.const {at}) \"{text}\")").expect("writing to memory");
        }
        let Self {
            fields,
            describe,
            configure,
            define_symbols,
            evil,
            each_batch,
            snapshot,
            restore,
            snapshot_shared,
            restore_shared,
            memory,
            ..
        } = self;
        let trigger = trigger();
        format!(
            r#"(module
  (import "wigwag:plugin/host@1.0.0" "log" (func $log (param i32 i32 i32)))
  (memory (export "memory") {memory})
  (global $free (mut i32) (i32.const {FREE}))
  {data} {fields}
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (local i32)
    (local.set 4 (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
    (global.set $free (i32.add (local.get 4) (local.get 3)))
    (block (br_if 0 (i32.le_u (global.get $free) (i32.mul (memory.size) (i32.const 65536))))
      (br_if 0 (i32.ne (i32.const -1) (memory.grow (i32.add (i32.const 1)
        (i32.shr_u (i32.sub (global.get $free) (i32.mul (memory.size) (i32.const 65536))) (i32.const 16))))))
      unreachable)
    (local.get 4))
  (func (export "{STRATEGY}#describe") (result i32) {describe})
  (func (export "{STRATEGY}#configure") (param i32 i32) (result i32) {configure})
  (func (export "{STRATEGY}#define-symbols") (param i32 i32 i32) {define_symbols})
  (func $evil (param i32 i32) (result i32) (local i32 i64 f64) {evil})
  (func (export "{STRATEGY}#on-batch") (param i32) (result i32) (local i32 i32)
    {each_batch}
    (block (loop
      (br_if 1 (i32.ge_u (local.get 1) (i32.load offset=4 (local.get 0))))
      (if (f64.eq (f64.const {trigger})
          (f64.load (i32.add (i32.load offset=40 (local.get 0)) (i32.shl (local.get 1) (i32.const 3)))))
        (then (return (call $evil (local.get 0) (local.get 1)))))
      (local.set 1 (i32.add (local.get 1) (i32.const 1)))
      (br 0)))
    (i32.const {NOTHING}))
  (func (export "cabi_post_{STRATEGY}#on-batch") (param i32) (global.set $free (i32.const {FREE})))
  (func (export "{STRATEGY}#snapshot") (param i32 i32) (result i32) {snapshot})
  (func (export "{STRATEGY}#restore") (param i32 i32) (result i32) {restore})
  (func (export "{STRATEGY}#snapshot-shared") (result i32) {snapshot_shared})
  (func (export "{STRATEGY}#restore-shared") (param i32 i32) (result i32) {restore_shared})
)"#
        )
    }

    /// The component.
    pub(crate) fn component(&self) -> Vec<u8> {
        wrap(&self.wat())
    }
}

/// A core module as a component of the contract's world.
pub(crate) fn wrap(wat: &str) -> Vec<u8> {
    static WORLD: OnceLock<(Resolve, WorldId)> = OnceLock::new();
    let (resolve, world) = WORLD.get_or_init(|| {
        let mut resolve = Resolve::default();
        let wit = concat!(env!("CARGO_MANIFEST_DIR"), "/../wit/plugin.wit");
        let package = resolve.push_path(wit).expect("the contract").0;
        let world = resolve.select_world(&[package], Some("plugin"));
        (resolve, world.expect("the contract's world"))
    });
    let mut module = wat::parse_str(wat).unwrap_or_else(|error| panic!("{error}: {wat}"));
    embed_component_metadata(&mut module, resolve, *world, StringEncoding::UTF8)
        .expect("the world fits");
    // What is wrong with it is for the host to find.
    let mut encoder = ComponentEncoder::default();
    encoder.module(&module).expect("a module of the world");
    encoder.encode().expect("a component")
}

/// What is put out for one row: a good signal, of which a case changes something.
#[derive(Clone)]
pub(crate) struct Signals {
    pub(crate) row: Vec<u32>,
    pub(crate) opinion: Vec<u32>,
    pub(crate) strength: Vec<f64>,
    pub(crate) values: Vec<f64>,
    pub(crate) sides: Vec<u8>,
    pub(crate) reason: Vec<u8>,
    /// Words of the record that are replaced: offset and word.
    pub(crate) forged: Vec<(u32, u32)>,
}

impl Default for Signals {
    fn default() -> Self {
        Self {
            row: vec![0],
            opinion: vec![0],
            strength: vec![0.5],
            values: Vec::new(),
            sides: vec![0],
            reason: b"made".to_vec(),
            forged: Vec::new(),
        }
    }
}

impl Signals {
    /// The record at `OUTPUT` and its columns behind it.
    fn image(&self) -> Vec<(u32, Vec<u8>)> {
        let words = |numbers: &[u32]| numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        let numbers = |numbers: &[f64]| numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        let reason = COLUMNS + 20_000;
        let mut opinions: Vec<u8> = Vec::new();
        for side in &self.sides {
            opinions.extend_from_slice(&[*side, 0, 0, 0]);
            opinions.extend_from_slice(&reason.to_le_bytes());
            opinions.extend_from_slice(&(self.reason.len() as u32).to_le_bytes());
        }
        let columns: [(usize, Vec<u8>); 5] = [
            (self.row.len(), words(&self.row)),
            (self.opinion.len(), words(&self.opinion)),
            (self.strength.len(), numbers(&self.strength)),
            (self.values.len(), numbers(&self.values)),
            (self.sides.len(), opinions),
        ];
        let (mut image, mut record, mut at) = (Vec::new(), Vec::new(), COLUMNS);
        for (length, bytes) in columns {
            record.extend_from_slice(&at.to_le_bytes());
            record.extend_from_slice(&(length as u32).to_le_bytes());
            let next = (at + bytes.len() as u32 + 7) & !7;
            image.push((at, bytes));
            at = next;
        }
        record.extend_from_slice(&[0; 8]);
        for (offset, word) in &self.forged {
            let offset = *offset as usize;
            record[offset..offset + 4].copy_from_slice(&word.to_le_bytes());
        }
        assert!(at < reason, "the columns are too long");
        image.push((reason, self.reason.clone()));
        image.push((OUTPUT, record));
        image
    }
}
