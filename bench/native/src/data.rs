//! The rows: `key` utf8 in random order, `i` int64, `f` float64, `text` utf8 of 32 bytes.

/// Rows of one commit.
pub const BATCH_ROWS: usize = 1_000;

/// Columns of one commit, in nobody's Arrow version.
pub struct Plain {
    pub keys: Vec<String>,
    pub ints: Vec<i64>,
    pub floats: Vec<f64>,
    pub texts: Vec<String>,
}

/// A small generator: the same rows in every process.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// SplitMix64.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

/// The key of row `id`.
pub fn key(id: u32) -> String {
    format!("key-{id:012}")
}

/// Ids of all rows, shuffled.
pub fn order(rows: usize) -> Vec<u32> {
    let mut ids: Vec<u32> = (0..rows as u32).collect();
    let mut random = Random::new(1);
    for i in (1..ids.len()).rev() {
        ids.swap(i, random.below(i + 1));
    }
    ids
}

/// The rows with these ids.
pub fn rows(ids: &[u32]) -> Plain {
    let mut random = Random::new(u64::from(ids[0]) + 2);
    let mut text = || format!("{:016x}{:016x}", random.next(), random.next());
    Plain {
        keys: ids.iter().map(|&id| key(id)).collect(),
        ints: ids.iter().map(|&id| i64::from(id) * 3).collect(),
        floats: ids.iter().map(|&id| f64::from(id) / 7.0).collect(),
        texts: ids.iter().map(|_| text()).collect(),
    }
}
