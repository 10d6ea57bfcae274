//! A split-block bloom filter over encoded keys (Parquet's layout: blocks of 8 little-endian u32,
//! one bit set in each). The hash is xxh3-64 of the encoded key: its upper half picks the block, its
//! lower half the bits. Invariant: never a false "no".
//!
//! Bytes: `blocks * 32`, nothing else; length and crc32c are kept by whoever locates it.

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

/// Bytes of one block.
pub const BLOCK_BYTES: usize = 32;

const SALT: [u32; 8] = [
    0x47b6_137b,
    0x4497_4d91,
    0x8824_ad5b,
    0xa2b7_289d,
    0x7054_95c7,
    0x2df1_424b,
    0x9efc_4947,
    0x5c6b_fb31,
];

/// The hash that the filter is built of and asked with.
pub fn hash(key: &[u8]) -> u64 {
    xxh3_64(key)
}

/// A filter, as its bytes.
#[derive(Clone, Debug)]
pub struct Bloom {
    bytes: Bytes,
}

impl Bloom {
    /// A filter of `hashes` with about `fpp` false positives.
    pub fn build(hashes: &[u64], fpp: f64) -> Self {
        let blocks = blocks_for(hashes.len(), fpp);
        let mut bytes = vec![0u8; blocks * BLOCK_BYTES];
        for &hash in hashes {
            let start = block_of(hash, blocks) * BLOCK_BYTES;
            if let Some(block) = bytes.get_mut(start..start + BLOCK_BYTES) {
                for (word, bit) in block.chunks_exact_mut(4).zip(bits(hash)) {
                    word[bit as usize / 8] |= 1 << (bit % 8);
                }
            }
        }
        Self {
            bytes: bytes.into(),
        }
    }

    /// A filter read back; `None` if its length is no multiple of a block.
    pub fn from_bytes(bytes: Bytes) -> Option<Self> {
        (!bytes.is_empty() && bytes.len().is_multiple_of(BLOCK_BYTES)).then_some(Self { bytes })
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Whether a key of this hash may be among those it was built of.
    pub fn may_contain(&self, hash: u64) -> bool {
        let blocks = self.bytes.len() / BLOCK_BYTES;
        let start = block_of(hash, blocks) * BLOCK_BYTES;
        let Some(block) = self.bytes.get(start..start + BLOCK_BYTES) else {
            return true;
        };
        block
            .chunks_exact(4)
            .zip(bits(hash))
            .all(|(word, bit)| word[bit as usize / 8] & (1 << (bit % 8)) != 0)
    }
}

/// Blocks for `keys` keys at rate `fpp`: 8 bits are set per key, so m = -8 n / ln(1 - fpp^(1/8)).
fn blocks_for(keys: usize, fpp: f64) -> usize {
    let fpp = fpp.clamp(1e-6, 0.99);
    let bits = -8.0 * keys as f64 / (1.0 - fpp.powf(1.0 / 8.0)).ln();
    ((bits / (BLOCK_BYTES as f64 * 8.0)).ceil() as usize).max(1)
}

fn block_of(hash: u64, blocks: usize) -> usize {
    (((hash >> 32) * blocks as u64) >> 32) as usize
}

fn bits(hash: u64) -> impl Iterator<Item = u32> {
    SALT.into_iter()
        .map(move |salt| (hash as u32).wrapping_mul(salt) >> 27)
}
