//! Bad input and bad directories: what a caller or a stranger can hand to the store, each refused
//! with an error that names the thing and the way out, or taken for what it is. What open does
//! after a crash is tried in torn.rs and kill.rs, what it does about rot in damage.rs.

mod directory;
mod handles;
mod limits;
mod lock;
mod progress;
mod quiet;
