//! What is known of stored records without reading them: at most some 60 bytes each, in structures
//! that grow node by node, so that no single call ever moves the whole index.

pub(crate) mod due;
pub(crate) mod peers;
pub(crate) mod slab;
pub(crate) mod table;
