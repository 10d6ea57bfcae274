//! What the log knows of an sstable, so that a planner prunes without I/O. Written in `AddSstable`.

use crate::data::key::KeyRange;

/// A unique, ascending name: 48 bits of milliseconds, 80 random bits (a ULID).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ulid(pub [u8; 16]);

const CROCKFORD: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

impl Ulid {
    /// When it was made, by its maker's clock: milliseconds since the Unix epoch.
    pub fn millis(&self) -> i64 {
        let [a, b, c, d, e, f, ..] = self.0;
        i64::from_be_bytes([0, 0, a, b, c, d, e, f])
    }

    /// Reads what `Display` writes, and nothing else.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 26 {
            return None;
        }
        let mut value: u128 = 0;
        for byte in text.bytes() {
            let digit = CROCKFORD.iter().position(|c| *c == byte)?;
            // 130 bits are written: the highest two are 0.
            if value >> 123 != 0 {
                return None;
            }
            value = value << 5 | digit as u128;
        }
        Some(Self(value.to_be_bytes()))
    }
}

impl std::fmt::Display for Ulid {
    /// 26 characters of Crockford's base 32, lower case: sorts as the bytes do.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let value = u128::from_be_bytes(self.0);
        for i in (0..26).rev() {
            let digit = (value >> (5 * i)) & 31;
            write!(f, "{}", CROCKFORD[digit as usize] as char)?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for Ulid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

/// Bounds of one column in one sstable. Only live rows count (tombstones' values mean nothing).
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnStats {
    /// The column's id.
    pub column_id: u32,
    /// A lower bound (key encoding of one value, at most 64 bytes, truncated downwards), leaving NaN out.
    pub min: Option<Vec<u8>>,
    /// An upper bound (as `min`, rounded up), leaving NaN out; `None` if there is none that short.
    pub max: Option<Vec<u8>>,
    /// Number of nulls.
    pub nulls: u64,
    /// Number of NaN.
    pub nans: u64,
}

/// An sstable as the log describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct SstableMeta {
    /// Its name: `data/<table id>/<ulid>.parquet`.
    pub id: Ulid,
    /// All rows, tombstones and versions included.
    pub rows: u64,
    /// How many are tombstones.
    pub tombstones: u64,
    /// Size of the object, in bytes.
    pub bytes: u64,
    /// Length of the Parquet footer with page indexes, checksums and magic: one suffix GET of this opens the file.
    pub footer_bytes: u64,
    /// crc32c of those bytes.
    pub footer_crc: u32,
    /// The smallest key.
    pub min_key: Vec<u8>,
    /// The greatest key.
    pub max_key: Vec<u8>,
    /// The timestamps of its rows; a fresh file has no `_ts` column and its rows inherit the record's.
    pub stamps: Option<(i64, i64)>,
    /// Whether any key has more than one version in it.
    pub multi_version: bool,
    /// Bounds of the first 32 columns.
    pub columns: Vec<ColumnStats>,
}

impl SstableMeta {
    /// Whether any of its keys may lie in `range`.
    pub fn overlaps(&self, range: &KeyRange) -> bool {
        range.overlaps(&self.min_key, &self.max_key)
    }
}

/// The object key of an sstable.
pub fn object_key(table: u32, id: Ulid) -> String {
    format!("data/{table}/{id}.parquet")
}

/// Table and name of an object key; `None` if it is not exactly one that [`object_key`] makes.
pub fn parse_object_key(key: &str) -> Option<(u32, Ulid)> {
    let (table, name) = key.strip_prefix("data/")?.split_once('/')?;
    let (table, id) = (
        table.parse().ok()?,
        Ulid::parse(name.strip_suffix(".parquet")?)?,
    );
    (key == object_key(table, id)).then_some((table, id))
}
