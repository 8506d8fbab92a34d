//! The integration tests of the workspace: one binary, one module a subject.

mod model;
mod open;
mod support;
mod tidy;
