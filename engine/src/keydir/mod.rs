//! The keydir: from key to the location of its newest put. It knows locations, never segments or
//! files. `either` is the face of both kinds, `space` a keyspace with its keydir.

pub(crate) mod candidates;
pub(crate) mod either;
pub(crate) mod hash;
pub(crate) mod image;
mod leaf;
pub(crate) mod ordered;
mod packed;
mod page;
pub(crate) mod space;
