//! The bodies of the fuzz targets: each takes any bytes and panics if the engine does what it must
//! not. The targets in `fuzz/` call them, and so do seeded tests; not for users.

mod operations;
mod recovery;
mod script;

pub use crate::segment::fuzz::{
    fuzz_hint, fuzz_image, fuzz_label, fuzz_manifest, fuzz_names, fuzz_record, fuzz_segment,
};
pub use operations::fuzz_operations;
pub use recovery::fuzz_recovery;
