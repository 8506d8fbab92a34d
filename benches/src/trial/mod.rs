//! Crash trials of other stores, and of Peercask, by one means: a child makes a few acknowledged writes under
//! strace; its calls are played to the simulated disk of Peercask's crash lab, which makes the
//! states that a power cut after each call may leave; a child of its own opens each, and what it reads is
//! compared with what was acknowledged. Beside that, stores at rest with one flipped bit.
//!
//! [`calls`] reads a trace, [`replay`] plays it, [`power`] and [`rot`] make states, [`reader`] has them read and
//! [`verdict`] judges, [`writes`] is what is written, [`program`] the command line and the tables. No store is known here by
//! more than its [`Backend`](crate::backend::Backend). [`users`] does the same to any program, with a check of its own.

pub mod calls;
pub mod power;
pub mod program;
pub mod reader;
pub mod replay;
pub mod rot;
pub mod users;
pub mod verdict;
pub mod writes;
