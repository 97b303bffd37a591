//! The plugins that come with the service, as components: they go through the same door as an upload.

/// Name and bytes of each.
pub const BUILT_IN: [(&str, &[u8]); 3] = [
    ("ma", include_bytes!(concat!(env!("OUT_DIR"), "/ma.wasm"))),
    ("ema", include_bytes!(concat!(env!("OUT_DIR"), "/ema.wasm"))),
    ("rsi", include_bytes!(concat!(env!("OUT_DIR"), "/rsi.wasm"))),
];
