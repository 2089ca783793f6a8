//! See `difusor_node::fuzz`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| difusor_node::fuzz::http1(bytes));
