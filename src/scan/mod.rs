//! Reading: `plan` decides (pure) which sources a scan needs and what may be skipped, `run` fetches
//! and merges, `point` finds one key. Only key predicates may drop rows below the merge.

pub mod file;
mod held;
mod idle;
mod late;
mod merged;
pub mod plan;
pub mod point;
pub mod readers;
mod room;
pub mod run;
mod source;
