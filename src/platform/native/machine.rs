//! How much memory this machine, or the container on it, has.

use std::fs;

const GIB: u64 = 1024 * 1024 * 1024;

/// Bytes; the smaller of the machine's and what a container may use. 4 GiB where nobody says.
pub(crate) fn memory() -> u64 {
    let machine = fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| total(&text));
    let container = ([
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    ]
    .iter())
    .filter_map(|path| fs::read_to_string(path).ok()?.trim().parse().ok())
    .min();
    machine
        .into_iter()
        .chain(container)
        .min()
        .unwrap_or(4 * GIB)
}

/// `MemTotal:       24607012 kB`
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find(|line| line.starts_with("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_machine_says_how_much_memory_it_has() {
        assert_eq!(
            super::total("MemTotal:  24607012 kB\nMemFree: 1 kB\n"),
            Some(24_607_012 * 1024)
        );
        assert_eq!(super::total("nothing"), None);
        assert!(super::memory() > 0);
    }
}
