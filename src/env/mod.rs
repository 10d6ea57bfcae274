//! The seam: everything the engine asks of the world goes through [`Storage`] and [`Runtime`].
//! Both are `dyn`, so that production, memory and simulation are values of the same types.

mod budget;
mod counted;
mod leases;
mod line;
mod memory;
mod reservation;
mod runtime;
mod storage;

pub use budget::{Budget, Yields};
pub use counted::{Counted, Requests};
pub use memory::{HeldRows, Memory};
pub use reservation::Reservation;
pub use runtime::Runtime;
pub use storage::{
    AppendFile, LockGuard, ObjectMeta, ObjectWriter, PutOutcome, Storage, StoreClock,
};

use std::{pin::Pin, sync::Arc};

/// A boxed future. `Send` on every target; the `!Send` world of JS is bridged in `platform/wasm`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The world a database lives in.
#[derive(Clone, Debug)]
pub struct Env {
    /// Where log records, checkpoints and sstables live.
    pub data: Arc<dyn Storage>,
    /// Where WAL segments live, if durability is `local`; `None` makes it `remote`.
    pub wal: Option<Arc<dyn Storage>>,
    /// Clock, randomness, sleeping, spawning.
    pub runtime: Arc<dyn Runtime>,
}
