//! A segment, and what a scan makes of a damaged one; the body is in the engine.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| peercask::fuzz::fuzz_segment(bytes));
