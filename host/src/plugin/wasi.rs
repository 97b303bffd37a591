//! What a plugin's language runtime asks of WASI is answered with nothing, a constant time and the same bytes;
//! everything else traps by name. There is no way from here to a file, a socket, a clock or another plugin.
//!
//! The answers are given by name over dynamic types, so that one table serves every 0.2.x of WASI. A full
//! implementation with an empty context is no alternative: its timers wait in real time and block the host.

use wasmtime::{
    Result, StoreContextMut,
    component::{
        Linker, Resource, ResourceAny, ResourceType, Val,
        types::{Component, ComponentItem},
    },
};

use super::store::State;

/// Every WASI resource that a plugin can hold: it stands for nothing.
struct Nothing;

/// The resource that stands for standard error, the only one that is told from others.
const STDERR: u32 = 2;

/// What `insecure-seed`, and each word of randomness, is.
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// The most bytes of randomness that one call gives.
const MAX_RANDOM_BYTES: u64 = 64 * 1024;

const WRITE: &str = "[method]output-stream.write";
const WRITE_AND_FLUSH: &str = "[method]output-stream.blocking-write-and-flush";

/// Defines every `wasi:` import of a component.
pub(super) fn define(linker: &mut Linker<State>, component: &Component) -> Result<()> {
    let engine = linker.engine().clone();
    for (interface, item) in component.imports(&engine) {
        let ComponentItem::ComponentInstance(instance) = item.ty else {
            continue;
        };
        if !interface.starts_with("wasi:") {
            continue;
        }
        let base = interface.split('@').next().unwrap_or(interface).to_owned();
        let mut defined = linker.instance(interface)?;
        for (name, item) in instance.exports(&engine) {
            match item.ty {
                ComponentItem::Resource(_) => {
                    defined.resource(name, ResourceType::host::<Nothing>(), |_, _| Ok(()))?;
                }
                ComponentItem::ComponentFunc(_) => {
                    let (base, name_owned) = (base.clone(), name.to_owned());
                    defined.func_new(name, move |mut store, _, args, results| {
                        if let Some(value) = answer(&mut store, &base, &name_owned, args)? {
                            results[0] = value;
                        }
                        match &*name_owned {
                            // It has taken its stream already.
                            WRITE | WRITE_AND_FLUSH => Ok(()),
                            _ => args.iter().try_for_each(|arg| give_back(&mut store, arg)),
                        }
                    })?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// The answer to one call: none where the function returns nothing.
fn answer(
    store: &mut StoreContextMut<'_, State>,
    interface: &str,
    name: &str,
    args: &[Val],
) -> Result<Option<Val>> {
    let nothing = || Val::List(Vec::new());
    let done = || Val::Result(Ok(None));
    Ok(Some(match (interface, name) {
        ("wasi:cli/environment", "get-environment" | "get-arguments")
        | ("wasi:filesystem/preopens", "get-directories") => nothing(),
        ("wasi:cli/environment", "initial-cwd")
        | ("wasi:cli/terminal-stdin", "get-terminal-stdin")
        | ("wasi:cli/terminal-stdout", "get-terminal-stdout")
        | ("wasi:cli/terminal-stderr", "get-terminal-stderr") => Val::Option(None),
        ("wasi:cli/stdin", "get-stdin") => resource(store, 0)?,
        ("wasi:cli/stdout", "get-stdout") => resource(store, 1)?,
        ("wasi:cli/stderr", "get-stderr") => resource(store, STDERR)?,
        ("wasi:clocks/wall-clock", "now" | "resolution") => Val::Record(vec![
            ("seconds".to_owned(), Val::U64(0)),
            ("nanoseconds".to_owned(), Val::U32(0)),
        ]),
        ("wasi:clocks/monotonic-clock", "now") => Val::U64(0),
        ("wasi:clocks/monotonic-clock", "resolution") => Val::U64(1),
        ("wasi:clocks/monotonic-clock", "subscribe-instant" | "subscribe-duration")
        | (
            "wasi:io/streams",
            "[method]input-stream.subscribe" | "[method]output-stream.subscribe",
        ) => resource(store, 3)?,
        ("wasi:random/random", "get-random-bytes")
        | ("wasi:random/insecure", "get-insecure-random-bytes") => random_bytes(args)?,
        ("wasi:random/random", "get-random-u64")
        | ("wasi:random/insecure", "get-insecure-random-u64") => Val::U64(SEED),
        ("wasi:random/insecure-seed", "insecure-seed" | "get-insecure-seed") => {
            Val::Tuple(vec![Val::U64(SEED), Val::U64(!SEED)])
        }
        ("wasi:io/poll", "[method]pollable.ready") => Val::Bool(true),
        ("wasi:io/poll", "[method]pollable.block") => return Ok(None),
        ("wasi:io/poll", "poll") => match args {
            [Val::List(pollables)] => {
                Val::List((0..).zip(pollables).map(|(n, _)| Val::U32(n)).collect())
            }
            _ => nothing(),
        },
        ("wasi:io/streams", "[method]input-stream.read" | "[method]input-stream.blocking-read") => {
            Val::Result(Err(Some(Box::new(Val::Variant("closed".to_owned(), None)))))
        }
        ("wasi:io/streams", "[method]output-stream.check-write") => {
            Val::Result(Ok(Some(Box::new(Val::U64(4096)))))
        }
        ("wasi:io/streams", WRITE | WRITE_AND_FLUSH) => {
            write(store, args)?;
            done()
        }
        (
            "wasi:io/streams",
            "[method]output-stream.flush" | "[method]output-stream.blocking-flush",
        ) => done(),
        _ => wasmtime::bail!("called {interface}.{name}, which plugins do not get"),
    }))
}

/// What was lent for a call goes back at its end; the guest is stopped where it does not.
fn give_back(store: &mut StoreContextMut<'_, State>, arg: &Val) -> Result<()> {
    match arg {
        Val::Resource(lent) if !lent.owned() => lent.resource_drop(&mut *store),
        Val::List(args) => args.iter().try_for_each(|arg| give_back(store, arg)),
        _ => Ok(()),
    }
}

fn resource(store: &mut StoreContextMut<'_, State>, number: u32) -> Result<Val> {
    let resource = Resource::<Nothing>::new_own(number);
    Ok(Val::Resource(ResourceAny::try_from_resource(
        resource, store,
    )?))
}

fn random_bytes(args: &[Val]) -> Result<Val> {
    match args {
        [Val::U64(length)] if *length <= MAX_RANDOM_BYTES => Ok(Val::List(
            SEED.to_le_bytes()
                .into_iter()
                .cycle()
                .take(*length as usize)
                .map(Val::U8)
                .collect(),
        )),
        _ => wasmtime::bail!("asked for more than {MAX_RANDOM_BYTES} random bytes at once"),
    }
}

/// Keeps the beginning of what is written to standard error: it is where a runtime says why it gave up.
fn write(store: &mut StoreContextMut<'_, State>, args: &[Val]) -> Result<()> {
    let [Val::Resource(stream), Val::List(bytes)] = args else {
        return Ok(());
    };
    let stream = Resource::<Nothing>::try_from_resource_any(*stream, &mut *store)?;
    if stream.rep() == STDERR {
        let bytes = bytes
            .iter()
            .filter_map(|b| if let Val::U8(b) = b { Some(*b) } else { None });
        store.data_mut().write_stderr(bytes);
    }
    Ok(())
}
