//! Reading: `plan` decides (pure) which sources a scan needs and what may be skipped, `run` fetches
//! and merges, `point` finds one key. Only key predicates may drop rows below the merge.

pub mod plan;
pub mod point;
pub mod readers;
pub mod run;
