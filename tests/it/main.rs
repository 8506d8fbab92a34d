//! The integration tests of the workspace: one binary, one module a subject.

mod damage;
mod history;
mod model;
mod open;
mod support;
mod tidy;
mod torn;
