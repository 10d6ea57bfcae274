//! Implements the seam for each target; the only place for `cfg(target_arch)`.

pub(crate) mod date;
mod fusio_store;
mod io_error;
mod key;
pub mod memory;
#[cfg(not(target_arch = "wasm32"))]
pub mod native;
pub mod over_fusio;
pub mod s3;
#[cfg(target_arch = "wasm32")]
pub mod wasm;

#[cfg(all(feature = "js", not(target_arch = "wasm32")))]
compile_error!("feature `js` is the door of the wasm32 build: leave it off natively");

/// Whether defaults should suit 128 MB of memory.
pub(crate) const SMALL_MEMORY: bool = cfg!(target_arch = "wasm32");

/// Bytes of `Options::memory_bytes` that are taken before a database is opened: on wasm the stack and the
/// module's constants (1.4 MiB, counted by `db.stats()` after an open), and a page table's rounding.
pub(crate) const MODULE_BYTES: usize = if SMALL_MEMORY { 3 << 19 } else { 0 };

/// Bytes of memory that a database may use by default: 64 MiB on wasm; natively a quarter of the machine's,
/// at most 1 GiB.
pub(crate) fn memory_bytes() -> usize {
    #[cfg(target_arch = "wasm32")]
    let bytes = 64 << 20;
    #[cfg(not(target_arch = "wasm32"))]
    let bytes = (native::memory() / 4).min(1 << 30) as usize;
    bytes
}
