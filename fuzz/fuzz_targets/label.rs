//! Any bytes as the label of a checkpoint; the body is in the engine.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| peercask::fuzz::fuzz_label(bytes));
