// SPDX-License-Identifier: MIT OR Apache-2.0
//! What /proc, /sys and debugfs tell, taken apart.

use std::{
    collections::BTreeMap,
    fs,
    os::fd::{AsFd, AsRawFd},
};

use crate::machine::number;

/// Fields by their keys, from lines of "key: value".
pub type Fields = BTreeMap<String, String>;

fn fields(text: &str) -> Fields {
    let pair = |line: &str| {
        let (key, value) = line.split_once(':')?;
        Some((key.trim().to_string(), value.trim().to_string()))
    };
    text.lines().filter_map(pair).collect()
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The value of a field that has to be there.
#[track_caller]
pub fn field<'a>(fields: &'a Fields, key: &str) -> &'a str {
    match fields.get(key) {
        Some(value) => value,
        None => panic!("no line \"{key}\" among {fields:?}"),
    }
}

/// What /proc/self/fdinfo says of a handle.
pub fn fdinfo(fd: impl AsFd) -> Fields {
    fields(&read(&format!(
        "/proc/self/fdinfo/{}",
        fd.as_fd().as_raw_fd()
    )))
}

/// A file of the default buffer in debugfs.
pub fn debugfs(name: &str) -> Fields {
    fields(&read(&format!("/sys/kernel/debug/shmbuf/default/{name}")))
}

/// A counter of the default buffer in debugfs.
pub fn counter(name: &str) -> u64 {
    let counters = debugfs("counters");
    let value = field(&counters, name);
    value
        .parse()
        .unwrap_or_else(|_| panic!("counter {name}: {value}"))
}

/// Bytes of all private buffers together.
pub fn private_used() -> u64 {
    let memory = fields(&read("/sys/kernel/debug/shmbuf/private/memory"));
    let used = field(&memory, "used");
    used.parse().unwrap_or_else(|_| panic!("used: {used}"))
}

/// Bytes of this process's page tables.
pub fn page_tables() -> usize {
    let kib = number(&read("/proc/self/status"), "VmPTE").expect("no VmPTE");
    kib as usize * 1024
}

/// What /proc/self/smaps says of the mapping that starts at an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapped {
    /// The permissions, such as "rw-s".
    pub permissions: String,
    /// The flags of VmFlags, of two letters each.
    pub flags: Vec<String>,
}

/// Looks up the mapping of this process that starts at an address.
pub fn mapped(start: *const u8) -> Option<Mapped> {
    find(&read("/proc/self/smaps"), start.addr())
}

fn find(smaps: &str, start: usize) -> Option<Mapped> {
    let head = format!("{start:08x}-");
    let mut lines = smaps.lines().skip_while(|line| !line.starts_with(&head));
    let permissions = lines.next()?.split(' ').nth(1)?.to_string();
    let flags = lines
        .find_map(|line| line.strip_prefix("VmFlags:"))?
        .split_whitespace()
        .map(str::to_string)
        .collect();
    Some(Mapped { permissions, flags })
}

/// Free memory in pages, counted to the page: what the zones have, what the
/// CPUs' lists hold back. Caches that can be dropped are dropped first, and
/// what a debug kernel has taken for the stacks that it remembers for good
/// counts as free.
pub fn free_pages() -> i64 {
    // SAFETY: no memory is involved.
    unsafe { nix::libc::sync() };
    // Twice: what the first frees can free more.
    for _ in 0..2 {
        let _ = fs::write("/proc/sys/vm/drop_caches", "3");
    }
    // Folds the per-CPU parts of the counters; not there without SMP.
    let _ = fs::read("/proc/sys/vm/stat_refresh");
    let depot = fs::read_to_string("/sys/kernel/debug/stackdepot/stats");
    let pools = depot.ok().and_then(|stats| number(&stats, "pools"));
    free_in(&read("/proc/zoneinfo")) + pools.unwrap_or(0) as i64 * PAGES_OF_A_POOL
}

/// DEPOT_POOL_ORDER of the kernel, which is not in any header.
const PAGES_OF_A_POOL: i64 = 4;

fn free_in(zoneinfo: &str) -> i64 {
    let number = |text: &str| text.trim().parse::<i64>().unwrap_or(0);
    zoneinfo
        .lines()
        .map(str::trim)
        .filter_map(|line| {
            line.strip_prefix("pages free")
                .or_else(|| line.strip_prefix("count:"))
        })
        .map(number)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_by_colon() {
        let fields = fields("pos:\t0\nmemory-type:\tNormal, write-back\nno field\n");
        assert_eq!(field(&fields, "memory-type"), "Normal, write-back");
        assert_eq!(fields.len(), 2);
    }

    #[test]
    fn own_code_is_found_in_smaps() {
        let smaps = "\
00010000-00020000 r-xp 00000000 00:01 1 /bin/x
Size:                 64 kB
VmFlags: rd ex mr mw me
b6e00000-b6f00000 rw-s 00000000 00:06 99 /dev/shmbuf
Size:               1024 kB
VmFlags: rd wr sh mr mw me ms pf io de dd
";
        let mapped = find(smaps, 0xb6e0_0000).unwrap();
        assert_eq!(mapped.permissions, "rw-s");
        assert!(mapped.flags.contains(&"io".to_string()));
        assert_eq!(find(smaps, 0xb6e0_1000), None);
    }

    #[test]
    fn free_pages_of_zones_and_cpus() {
        let zoneinfo = "\
Node 0, zone   Normal
  pages free     1000
        boost    0
  pagesets
    cpu: 0
              count:    17
              high:     60
Node 0, zone  HighMem
  pages free     2000
    cpu: 0
              count:    3
";
        assert_eq!(free_in(zoneinfo), 3020);
    }
}
