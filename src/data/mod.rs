//! Pure logic over Arrow data: schemas, keys, predicates, intake. No async, no I/O.

mod accept;
pub mod adapt;
pub mod alter;
pub mod bound;
pub mod convert;
pub mod held;
pub mod history;
pub mod intake;
pub mod key;
pub mod predicate;
pub mod rows;
pub mod schema;
pub mod spec;
