//! What a conditional write expects of the version that it meets. Plain data; `commit` compares.

use std::fmt;

use crate::segment::location::Seq;

/// What the current version of a key must be for a conditional write to happen.
///
/// The current version is the live one: an expired record counts as absent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expected<'a> {
    /// The key has no live value.
    Absent,
    /// The current version was written with this seq: nobody wrote the key since, not even the
    /// same value.
    Seq(Seq),
    /// The current value equals these bytes, whoever wrote it and how often.
    Value(&'a [u8]),
}

impl fmt::Display for Expected<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expected::Absent => f.write_str("to be absent"),
            Expected::Seq(seq) => write!(f, "to have seq {seq}"),
            Expected::Value(value) => write!(f, "to hold a certain value of {} bytes", value.len()),
        }
    }
}
