//! The commit log: records, the version they add up to, checkpoints, and the store that holds them.
//! PROTOCOL.md is its law; rule numbers stand in the code that keeps them.

pub mod catalog;
pub mod chain;
pub mod checkpoint;
pub mod clock;
mod codec;
pub mod device;
pub mod edit;
pub mod gc;
pub mod history;
pub mod inline;
pub mod record;
pub mod store;
mod tail;
pub mod turn;
pub mod version;
