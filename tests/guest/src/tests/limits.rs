// SPDX-License-Identifier: MIT OR Apache-2.0
//! What private buffers take counts, and there is no way past the limit.

use std::{fs, path::Path, thread};

use caps::{CapSet, Capability};
use nix::{
    errno::Errno,
    sys::resource::{setrlimit, Resource},
    unistd::{setgid, setgroups, setuid, Gid, Uid},
};
use shmbuf::{Alloc, Buffer, DmaBuf, Kind, Mapping, Policy, Protection};

use super::{
    alloc::{every, kinds, limit_file, make, map},
    claim, without_debugfs, Claim, Scope,
};
use crate::{
    kmsg::Log,
    ktap::diagnose,
    machine::{Arch, Machine},
    module::{parameter, SYSFS},
    process::{Child, Turn},
    procfs::{free_pages, private_used},
    runner::Env,
    sys::{page, refused},
};

pub(super) const CLAIMS: &[Claim] = &[
    claim(Scope::Own, "pool_counts_as_its_pages", pool_pages).unless(without_debugfs),
    claim(Scope::Own, "pools_of_many_shapes_stay_within", pool_shapes).unless(without_debugfs),
    claim(Scope::Own, "coherent_counts_as_what_is_taken", coherent).unless(without_debugfs),
    claim(Scope::Own, "set_cache_counts_both_memories", set_cache).unless(|machine, config| {
        without_debugfs(machine, config).or_else(|| without_move(machine))
    }),
    claim(
        Scope::Own,
        "set_cache_stays_within_the_limit",
        set_cache_within,
    )
    .unless(|machine, config| without_debugfs(machine, config).or_else(|| without_move(machine))),
    claim(Scope::Own, "nothing_is_taken_past_the_limit", every_call)
        .unless(without_debugfs)
        .seconds(300),
    claim(Scope::Own, "user_cannot_take_all", shares).unless(without_debugfs),
    claim(Scope::Own, "user_pays_until_it_is_gone", pays_on).unless(without_debugfs),
    claim(Scope::Own, "user_share_is_roots_to_change", share_changes),
];

const MIB: u64 = 1 << 20;

#[track_caller]
fn try_make(env: &Env, alloc: &Alloc) -> shmbuf::Result<Buffer> {
    env.open().alloc(alloc)
}

#[track_caller]
fn set_limit(bytes: u64) {
    fs::write(limit_file(), bytes.to_string()).expect("limit");
}

/// Bytes of the pages that the pools of the private buffers' device have, by the kernel's own list,
/// which names a page's worth of pools at most.
fn pages_of_pools(block: &Buffer) -> u64 {
    let info = block.info().expect("INFO");
    let device = info.dma_addr.expect("root sees addresses").device;
    let path = Path::new("/sys/devices/faux").join(device).join("pools");
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let pages = text.lines().skip(1).map(|line| {
        let pages = line.split_whitespace().last().expect("a number of pages");
        pages.parse::<u64>().expect("a number of pages")
    });
    pages.sum::<u64>() * page() as u64
}

fn pool_pages(env: &Env) {
    env.module.must_load("");
    for (size, align, boundary) in [
        (1, 0, 0),
        (1, 0, 2),
        (3, 2, 4),
        (64, 0, 0),
        (192, 0, 0),
        (100, 64, 0),
        (24, 0, 32),
        (100, 0, 128),
        (600, 0, 1024),
        (1500, 0, 0),
        (3000, 0, 4096),
        (100, page() as u32, 0),
        (page() as u64 - 1, 0, 0),
    ] {
        let alloc = Alloc {
            align,
            boundary,
            ..Alloc::new(size, Kind::Pool)
        };
        let mut blocks = Vec::new();
        for count in [1, 2, 3, 40, 200] {
            blocks.resize_with(count, || make(env, &alloc));
            let taken = pages_of_pools(&blocks[0]);
            assert_eq!(private_used(), taken, "{count} of {alloc:?}");
        }
        // A pool keeps its pages until it is gone.
        let most = private_used();
        blocks.truncate(1);
        assert_eq!(pages_of_pools(&blocks[0]), most, "{alloc:?}");
        assert_eq!(private_used(), most, "{alloc:?}");
        drop(blocks);
        assert_eq!(private_used(), 0, "{alloc:?}");
    }
}

/// Bytes of free memory.
fn free() -> i64 {
    free_pages() * page() as i64
}

fn pool_shapes(env: &Env) {
    env.module.must_load("limit=1M");
    let before = free();
    let mut blocks = Vec::new();
    for size in 1..1021 {
        match try_make(env, &Alloc::new(size, Kind::Pool)) {
            Ok(block) => blocks.push(block),
            Err(error) => {
                assert_eq!(error.errno(), Some(Errno::EDQUOT));
                break;
            }
        }
    }
    let taken = before - free();
    diagnose(format_args!(
        "{} pools take {taken} bytes, and count as {}",
        blocks.len(),
        private_used()
    ));
    assert_eq!(private_used(), MIB);
    let most = MIB as i64 + blocks.len() as i64 * BOOKKEEPING;
    assert!(taken < most, "{taken} bytes");
}

/// Memory of the DMA API is of whole powers of two where the page allocator serves it.
fn coherent(env: &Env) {
    env.module.must_load("");
    let rounds = env.machine.has_64bit_kernel();
    for pages in [1, 2, 3, 5, 16, 17] {
        let alloc = Alloc::new(pages * page() as u64, Kind::Coherent);
        let buffer = make(env, &alloc);
        let expected = if rounds {
            pages.next_power_of_two()
        } else {
            pages
        };
        assert_eq!(private_used(), expected * page() as u64, "{alloc:?}");
        drop(buffer);
        assert_eq!(private_used(), 0, "{alloc:?}");
    }
}

/// Why SET_CACHE moves no memory here: there is no highmem, or nothing needs it.
fn without_move(machine: &Machine) -> Option<&'static str> {
    let moves = matches!(machine.arch, Arch::Armv7 { highmem: true, .. });
    (!moves).then_some("SET_CACHE moves no memory here")
}

fn cached(size: u64) -> Alloc {
    Alloc {
        policy: Some(Policy::WriteBack),
        ..Alloc::new(size, Kind::Pages)
    }
}

fn set_cache(env: &Env) {
    env.module.must_load("limit=1M");
    let buffer = make(env, &cached(MIB));
    let mut log = Log::from_now();
    refused(buffer.set_cache(Policy::WriteCombine), Errno::EDQUOT);
    let lines = log.lines();
    let is_reason = |text: &str| text.contains("SET_CACHE") && text.contains("limit");
    assert!(lines.iter().any(|line| is_reason(&line.text)), "{lines:?}");
    let info = buffer.info().expect("INFO");
    assert_eq!((info.policy, private_used()), (Policy::WriteBack, MIB));

    set_limit(2 * MIB);
    buffer.set_cache(Policy::WriteCombine).expect("SET_CACHE");
    assert_eq!(private_used(), MIB);
    // Back again it stays where it is.
    set_limit(MIB);
    buffer.set_cache(Policy::WriteBack).expect("SET_CACHE");
    assert_eq!(private_used(), MIB);
    drop(buffer);
    assert_eq!(private_used(), 0);
}

/// Several threads change the policy at once, while another looks how much memory is free.
fn set_cache_within(env: &Env) {
    const BUFFERS: u64 = 8;
    const LIMIT: u64 = 32 * MIB;
    env.module.must_load(&format!("limit={LIMIT}"));
    let buffers: Vec<_> = (0..BUFFERS - 1)
        .map(|_| make(env, &cached(LIMIT / BUFFERS)))
        .collect();
    let before = memory_free();
    let least = thread::scope(|scope| {
        let changes: Vec<_> = buffers
            .iter()
            .map(|buffer| scope.spawn(|| buffer.set_cache(Policy::WriteCombine)))
            .collect();
        let mut least = before;
        while changes.iter().any(|change| !change.is_finished()) {
            least = least.min(memory_free());
        }
        let mut results = changes
            .into_iter()
            .map(|change| change.join().expect("no panic"));
        assert!(results.any(|result| result.is_ok()), "not one had room");
        least
    });
    let more = before - least;
    diagnose(format_args!("SET_CACHE took {more} bytes for a while"));
    assert!(
        more < (LIMIT / BUFFERS + 2 * MIB) as i64,
        "{more} bytes more, of {LIMIT} in all"
    );
}

/// Bytes of free memory, at once.
fn memory_free() -> i64 {
    let text = fs::read_to_string("/proc/meminfo").expect("/proc/meminfo");
    let kib = crate::machine::number(&text, "MemFree").expect("MemFree");
    (kib << 10) as i64
}

/// Everything that can keep a buffer.
struct Kept {
    buffer: Option<Buffer>,
    copy: Option<Buffer>,
    mapping: Option<Mapping>,
    dma_buf: Option<DmaBuf>,
    mapped_dma_buf: Option<Mapping>,
}

impl Kept {
    /// Makes all users that a buffer can have.
    fn of(buffer: Buffer) -> Self {
        let length = buffer.size() as usize;
        let kind = buffer.info().expect("INFO").kind;
        let mapping = (kind != Kind::Pool).then(|| map(&buffer));
        let dma_buf = buffer
            .export(.., Protection::ReadWrite)
            .ok()
            .map(|fd| DmaBuf::from_fd(fd).expect("a dma-buf"));
        // VIVT: one mapping of the same bytes is the limit.
        let mapped_dma_buf = dma_buf
            .as_ref()
            .and_then(|dma_buf| dma_buf.map(0, length, Protection::ReadWrite).ok());
        Self {
            copy: Some(buffer.try_clone().expect("dup")),
            buffer: Some(buffer),
            mapping,
            dma_buf,
            mapped_dma_buf,
        }
    }
}

/// Makes buffers, with all users, until the limit is reached.
fn fill(env: &Env, alloc: &Alloc) -> Vec<Kept> {
    let mut list = Vec::new();
    let mut one = alloc.clone();
    loop {
        // Blocks of two to a page, and more of those that fill one.
        if one.kind == Kind::Pool {
            one.size = if list.len() % 4 == 0 { 2048 } else { 4095 };
        }
        match try_make(env, &one) {
            Ok(buffer) => list.push(Kept::of(buffer)),
            Err(error) => {
                assert_eq!(error.errno(), Some(Errno::EDQUOT), "{one:?}");
                // Then the rest, in the least pieces.
                let least = page() as u64;
                if one.kind == Kind::Pool || one.size == least {
                    return list;
                }
                one.size = least;
            }
        }
    }
}

/// Asserts that there is not a page left, by no kind.
#[track_caller]
fn assert_full(env: &Env) {
    for kind in kinds() {
        let size = if kind == Kind::Pool {
            3000
        } else {
            page() as u64
        };
        refused(try_make(env, &Alloc::new(size, kind)), Errno::EDQUOT);
    }
}

/// What a buffer with all its users takes besides its memory, at most: files, inodes, structures,
/// lists of pages, page tables.
const BOOKKEEPING: i64 = 8 << 10;

/// What the rest of the system takes and gives meanwhile.
const NOISE: i64 = MIB as i64;

fn every_call(env: &Env) {
    const LIMIT: u64 = 4 * MIB;
    env.module.must_load(&format!("limit={LIMIT}"));
    setrlimit(Resource::RLIMIT_NOFILE, 16384, 16384).expect("setrlimit");
    for mut alloc in every(&env.machine) {
        if alloc.kind != Kind::Pool {
            // It leaves a rest.
            alloc.size = 7 * (16 << 10);
        }
        let before = free();
        let assert_within = |buffers: usize, what: &str| {
            let (taken, used) = (before - free(), private_used());
            diagnose(format_args!(
                "{} {:?} {:?}, {what}: {buffers} buffers count as {used} bytes and take {taken}",
                alloc.kind, alloc.policy, alloc.mapping
            ));
            assert!(used <= LIMIT, "{what}: {used} bytes count");
            let most = LIMIT as i64 + buffers as i64 * BOOKKEEPING + NOISE;
            assert!(
                taken <= most,
                "{what}: {taken} bytes are taken, of {alloc:?}"
            );
        };
        let mut list = fill(env, &alloc);
        let count = list.len();
        assert_full(env);
        assert_within(count, "full");

        // Who forks has all of it a second time.
        let (there, go) = (Turn::new(), Turn::new());
        let child = Child::run(|| {
            assert_full(env);
            there.give();
            go.take();
            assert_full(env);
        });
        there.take();
        assert_within(count, "forked");

        // Calls that take memory for a while, or for good.
        for kept in list.iter().take(8) {
            let buffer = kept.buffer.as_ref().expect("it is there");
            drop(buffer.export(.., Protection::Read));
            drop(buffer.copy_from(0, buffer, 0..buffer.size() / 2));
        }
        for policy in Policy::ALL {
            for kept in list.iter().take(8) {
                let _ = kept.copy.as_ref().expect("it is there").set_cache(*policy);
            }
        }
        assert_full(env);
        assert_within(count, "after all calls");

        // Each user by itself keeps the memory.
        for kept in &mut list {
            kept.buffer = None;
        }
        assert_full(env);
        for kept in &mut list {
            if kept.mapping.is_some() {
                kept.copy = None;
            }
        }
        assert_full(env);
        for kept in &mut list {
            if kept.mapped_dma_buf.is_some() {
                kept.mapping = None;
            }
        }
        assert_full(env);
        for kept in &mut list {
            if kept.mapped_dma_buf.is_some() {
                kept.dma_buf = None;
            }
        }
        assert_full(env);
        assert_within(count, "by their last users");
        drop(list);
        assert_full(env);
        go.give();
        child.join();
        assert_eq!(private_used(), 0, "{alloc:?}");
        assert_within(0, "gone");
    }
}

/// Runs a function as an ordinary user.
fn as_user(uid: u32, f: impl FnOnce()) -> Child {
    Child::run(|| {
        setgroups(&[]).expect("setgroups");
        setgid(Gid::from_raw(uid)).expect("setgid");
        setuid(Uid::from_raw(uid)).expect("setuid");
        f();
    })
}

/// Makes buffers of a megabyte on a handle until that is refused. Returns them.
#[track_caller]
fn take_all(buffer: &Buffer, kind: Kind) -> Vec<Buffer> {
    let mut list = Vec::new();
    loop {
        match buffer.alloc(&Alloc::new(MIB, kind)) {
            Ok(one) => list.push(one),
            Err(error) => {
                assert_eq!(error.errno(), Some(Errno::EDQUOT));
                return list;
            }
        }
    }
}

fn shares(env: &Env) {
    env.module.must_load("limit=8M");
    assert_eq!(parameter("user_share"), "50");
    let buffer = env.open();
    for kind in kinds().filter(|kind| *kind != Kind::Pool) {
        let (there, go) = (Turn::new(), Turn::new());
        let mut log = Log::from_now();
        let take_half = || {
            assert_eq!(take_all(&buffer, kind).len(), 4, "{kind}");
            let half = take_all(&buffer, kind);
            assert_eq!(half.len(), 4, "{kind}");
            // Not a page more, of any kind.
            refused(half[0].alloc(&Alloc::new(1, Kind::Pool)), Errno::EDQUOT);
            there.give();
            go.take();
        };
        let one = as_user(2000, take_half);
        there.take();
        assert_eq!(private_used(), 4 * MIB, "{kind}");
        if kind == Kind::Pages {
            // Later there may be too many.
            let lines = log.lines();
            let is_reason = |text: &str| text.contains("user 2000") && text.contains("user_share");
            assert!(lines.iter().any(|line| is_reason(&line.text)), "{lines:?}");
        }

        // Another process of the user's has no share of its own; another user has.
        as_user(2000, || assert!(take_all(&buffer, kind).is_empty())).join();
        let other = as_user(3000, take_half);
        there.take();
        assert_eq!(private_used(), 8 * MIB, "{kind}");
        assert!(take_all(&buffer, kind).is_empty(), "{kind}");
        go.give();
        go.give();
        one.join();
        other.join();
        assert_eq!(private_used(), 0, "{kind}");

        // CAP_SYS_RESOURCE is for exceeding shares, and does not exceed the limit.
        assert_eq!(take_all(&buffer, kind).len(), 8, "{kind}");
        Child::run(|| {
            caps::drop(None, CapSet::Effective, Capability::CAP_SYS_RESOURCE).expect("caps");
            assert_eq!(take_all(&buffer, kind).len(), 4, "{kind}");
        })
        .join();
    }
}

/// Pools of a user are his own: what another keeps of a shape costs him nothing.
fn pays_on(env: &Env) {
    env.module.must_load("limit=1M user_share=25");
    let buffer = env.open();
    let pages = MIB / 4 / page() as u64;
    let block = Alloc::new(page() as u64 - 1, Kind::Pool);
    let fill = |count: u64| {
        let list: Vec<_> = (0..count)
            .map(|_| buffer.alloc(&block).expect("ALLOC"))
            .collect();
        refused(buffer.alloc(&block), Errno::EDQUOT);
        list
    };
    let (there, go) = (Turn::new(), Turn::new());
    let keeper = as_user(2000, || {
        let mut list = fill(pages);
        list.truncate(1);
        // The pool keeps the pages, and the user pays.
        refused(buffer.alloc(&Alloc::new(64, Kind::Pool)), Errno::EDQUOT);
        there.give();
        go.take();
    });
    there.take();
    as_user(3000, || drop(fill(pages))).join();
    assert_eq!(private_used(), MIB / 4);
    go.give();
    keeper.join();
    assert_eq!(private_used(), 0);

    // Who made a buffer pays, whoever has it now.
    let (there, go) = (Turn::new(), Turn::new());
    let keeper = as_user(2000, || {
        let made = buffer
            .alloc(&Alloc::new(MIB / 4, Kind::Scatter))
            .expect("ALLOC");
        let heir = Child::run(|| {
            setuid(Uid::from_raw(2000)).expect("setuid");
            there.give();
            go.take();
        });
        drop(made);
        refused(buffer.alloc(&Alloc::new(64, Kind::Pool)), Errno::EDQUOT);
        heir.join();
        buffer
            .alloc(&Alloc::new(MIB / 4, Kind::Scatter))
            .expect("ALLOC");
    });
    there.take();
    assert_eq!(private_used(), MIB / 4);
    go.give();
    keeper.join();
    assert_eq!(private_used(), 0);
}

fn share_changes(env: &Env) {
    env.module.must_load("user_share=30");
    assert_eq!(parameter("user_share"), "30");
    let file = format!("{SYSFS}/parameters/user_share");
    for (text, percent) in [("0", 0), ("010", 10), ("50\n", 50), ("100", 100)] {
        fs::write(&file, text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        assert_eq!(parameter("user_share"), percent.to_string(), "{text:?}");
    }
    for text in [
        "\n",
        "-1",
        "+1",
        "101",
        "50%",
        "5 0",
        "0x10",
        "half",
        "4294967346",
    ] {
        let result = fs::write(&file, text);
        let errno = result.err().and_then(|error| error.raw_os_error());
        assert_eq!(errno, Some(Errno::EINVAL as i32), "{text:?}");
    }
    assert_eq!(parameter("user_share"), "100");
    env.module.must_unload();
    for text in ["101", "+1", "0x10"] {
        let parameters = format!("user_share={text}");
        assert_eq!(env.module.load(&parameters), Err(Errno::EINVAL), "{text}");
    }
}
