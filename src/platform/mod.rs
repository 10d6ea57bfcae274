//! Implements the seam for each target; the only place for `cfg(target_arch)`.

/// Whether defaults should suit 128 MB of memory.
pub(crate) const SMALL_MEMORY: bool = cfg!(target_arch = "wasm32");
