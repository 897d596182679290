// SPDX-License-Identifier: MIT OR Apache-2.0
//! Large mappings: one entry of the page tables maps a block of them, where size and addresses
//! allow, and they behave as mappings by pages do.
//!
//! What a program sees of blocks is the size of its page tables, and its faults.

use std::{
    fs,
    ops::Range,
    ptr,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    thread,
};

use nix::{
    errno::Errno,
    libc,
    sys::{signal::Signal, wait::WaitStatus},
    unistd::pipe,
};
use shmbuf::{Access, Alloc, Buffer, Kind, MappingKind, Phase, Protection};
use shmbuf_verify::Pattern;

use super::{
    alloc::make,
    claim,
    data::{assert_pattern, fresh, write_all},
    rounds, Claim, Scope,
};
use crate::{
    machine::Machine,
    module::Config,
    process::Child,
    procfs::page_tables,
    runner::Env,
    sys::{faults, page, refused, settle, vmsplice, Probe, Region},
};

pub(super) const CLAIMS: &[Claim] = &[
    claim(Scope::Once, "large_mappings_use_blocks", large).unless(without_blocks),
    claim(
        Scope::Once,
        "blocks_only_where_the_addresses_fit",
        elsewhere,
    )
    .unless(without_blocks),
    claim(Scope::Once, "a_fork_copies_blocks", across_fork).unless(without_blocks),
    claim(
        Scope::Once,
        "a_partial_munmap_of_a_block_keeps_the_rest",
        partial_munmap,
    )
    .unless(without_blocks),
    claim(
        Scope::Once,
        "a_partial_mprotect_of_a_block_keeps_the_rest",
        partial_mprotect,
    )
    .unless(without_blocks),
    claim(Scope::Once, "mprotect_of_blocks_keeps_them", protect).unless(without_blocks),
    claim(Scope::Once, "mremap_of_blocks_keeps_the_contents", moves).unless(without_blocks),
    claim(Scope::Once, "blocks_are_not_pinned", pinned).unless(without_blocks),
    claim(
        Scope::Once,
        "strict_withdraws_a_block_and_gives_it_back",
        withdrawn,
    )
    .unless(without_blocks),
    claim(
        Scope::Once,
        "strict_withdraws_a_part_of_a_block",
        partly_withdrawn,
    )
    .unless(without_blocks),
    claim(Scope::Once, "strict_blocks_and_pages_left_in_a_race", race).unless(without_blocks),
];

const READ: i32 = libc::PROT_READ;
const WRITE: i32 = libc::PROT_READ | libc::PROT_WRITE;
const SHARED: i32 = libc::MAP_SHARED;

/// Bytes of the buffers: several blocks.
const SIZE: usize = 8 << 20;

/// 32-bit ARM has block entries for the kernel alone, and so has a kernel without this option.
fn without_blocks(machine: &Machine, _: &Config) -> Option<&'static str> {
    let none = !machine.has_64bit_kernel() || block().is_none();
    none.then_some("the kernel maps no blocks for programs")
}

/// How many bytes a block has.
fn block() -> Option<usize> {
    let text = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size").ok()?;
    text.trim().parse().ok().filter(|&size| size <= SIZE / 4)
}

fn block_size() -> usize {
    block().expect("looked for before")
}

/// A buffer, what is in it, and a mapping of it all. The mapping has been touched, and is one by blocks:
/// that is asserted here, for each test.
struct Mapped {
    buffer: Buffer,
    pattern: Pattern,
    region: Region,
}

/// Calls a function with a buffer of each kind that is contiguous, in each way of mapping that has
/// blocks.
fn each(env: &Env, f: impl Fn(Mapped)) {
    for (kind, mapping) in [
        (Kind::Pages, MappingKind::Pfnmap),
        (Kind::Streaming, MappingKind::Pfnmap),
        (Kind::Coherent, MappingKind::Pfnmap),
        (Kind::Streaming, MappingKind::Strict),
    ] {
        println!("# {kind:?} {mapping:?}");
        f(mapped(env, kind, mapping));
    }
}

#[track_caller]
fn mapped(env: &Env, kind: Kind, mapping: MappingKind) -> Mapped {
    let alloc = Alloc {
        mapping,
        ..Alloc::new(SIZE as u64, kind)
    };
    let buffer = make(env, &alloc);
    let pattern = fresh();
    write_all(&buffer, pattern);
    let before = page_tables();
    let region = Region::map(&buffer, SIZE, WRITE, SHARED, 0).expect("mmap");
    assert_there(&region, pattern, 0..SIZE);
    assert_blocks(&buffer, page_tables() - before);
    Mapped {
        buffer,
        pattern,
        region,
    }
}

/// Asserts that so many bytes of page tables are for blocks, and not for pages: one table of entries of
/// blocks more, and one for what is before the first block, and behind the last.
#[track_caller]
fn assert_blocks(buffer: &Buffer, tables: usize) {
    let size = block_size();
    let phys = buffer.info().expect("INFO").phys_addr.expect("as root") as usize;
    let ends = [phys % size, (phys + SIZE) % size];
    let parts = ends.iter().filter(|&&end| end != 0).count();
    assert!(
        tables <= (parts + 1) * page(),
        "{tables} bytes of page tables for {SIZE:#x} bytes at {phys:#x}"
    );
}

/// Asserts that each page of a range is there.
#[track_caller]
fn assert_there(region: &Region, pattern: Pattern, range: Range<usize>) {
    for offset in range.step_by(page()) {
        let bytes = region.read(offset).to_ne_bytes();
        assert_pattern(pattern, offset, &bytes, "the mapping");
    }
}

/// Asserts that each page of a range can be written, and that the buffer has it then.
#[track_caller]
fn assert_writable(buffer: &Buffer, region: &Region, range: Range<usize>) {
    for offset in range.step_by(page()) {
        let (value, mut got) = (fastrand::u32(..), [0; 4]);
        region.write(offset + 4, value);
        assert_eq!(buffer.read_at(&mut got, offset as u64 + 4), Ok(4));
        assert_eq!(u32::from_ne_bytes(got), value, "at {offset}");
    }
}

fn large(env: &Env) {
    settle();
    each(env, |it| {
        assert_writable(&it.buffer, &it.region, 0..SIZE);
        drop(it.region);

        // Each block is one fault at most, and none if all is there from the beginning.
        let strict = it.buffer.info().expect("INFO").mapping == MappingKind::Strict;
        let region = Region::map(&it.buffer, SIZE, WRITE, SHARED, 0).expect("mmap");
        let before = faults();
        for offset in (0..SIZE).step_by(page()) {
            region.write(offset, 1);
        }
        let limit = if strict {
            (SIZE / block_size()) as i64
        } else {
            0
        };
        assert!(
            faults() - before <= limit as _,
            "{} faults",
            faults() - before
        );
    });
    // What is not a multiple of a block, nor of the page allocator's blocks, begins with one too.
    let odd = Alloc::new((2 * block_size() + 3 * page()) as u64, Kind::Pages);
    let first = make(env, &odd).info().expect("INFO").phys_addr;
    assert_eq!(first.expect("as root") % block_size() as u64, 0);
    // Of a read-only mapping, and of a part.
    let it = mapped(env, Kind::Pages, MappingKind::Pfnmap);
    drop(it.region);
    let before = page_tables();
    let region = Region::map(&it.buffer, SIZE, READ, SHARED, 0).expect("mmap");
    assert_there(&region, it.pattern, 0..SIZE);
    assert_blocks(&it.buffer, page_tables() - before);
    drop(region);
    let (before, half) = (page_tables(), SIZE / 2);
    let region = Region::map(&it.buffer, half, WRITE, SHARED, half as i64).expect("mmap");
    assert_blocks(&it.buffer, page_tables() - before);
    assert_eq!(region.read(0).to_ne_bytes(), it.pattern.bytes(half, 4)[..]);
}

/// Where addresses and memory do not fit each other, there are pages.
fn elsewhere(env: &Env) {
    for kind in [Kind::Pages, Kind::Streaming, Kind::Coherent] {
        let it = mapped(env, kind, MappingKind::Pfnmap);
        // A dma-buf of what follows the first page, which is mapped like any file.
        let rest = page() as u64..SIZE as u64;
        let dma_buf = it
            .buffer
            .export(rest, Protection::ReadWrite)
            .expect("EXPORT");
        let length = SIZE - page();
        for _ in 0..2 {
            let region = Region::map(&dma_buf, length, WRITE, SHARED, 0).expect("mmap");
            for offset in (0..length).step_by(page()) {
                let bytes = region.read(offset).to_ne_bytes();
                assert_pattern(it.pattern, page() + offset, &bytes, "the dma-buf");
            }
            // The next one is a page further.
            std::mem::forget(Region::anonymous(page()));
        }
        // A part that begins in the middle of a block, and is not a whole one.
        let offset = block_size() / 2;
        let region =
            Region::map(&it.buffer, block_size(), WRITE, SHARED, offset as i64).expect("mmap");
        for at in (0..block_size()).step_by(page()) {
            let bytes = region.read(at).to_ne_bytes();
            assert_pattern(it.pattern, offset + at, &bytes, "the part");
        }
    }
}

fn across_fork(env: &Env) {
    each(env, |it| {
        let before = faults();
        Child::run(|| {
            assert_there(&it.region, it.pattern, 0..SIZE);
            assert_writable(&it.buffer, &it.region, 0..SIZE);
        })
        .join();
        assert!(faults() - before < 8, "fork took the parent's blocks");
        assert_there(&it.region, it.pattern, 0..SIZE);
        assert_writable(&it.buffer, &it.region, 0..SIZE);
    });
}

fn partial_munmap(env: &Env) {
    each(env, |mut it| {
        let (first, length) = (block_size() + block_size() / 2, 3 * page());
        it.region.unmap(first, length).expect("munmap");
        assert_eq!(it.buffer.info().expect("INFO").mappings, 2);
        let probe = Probe::new();
        for hole in (first..first + length).step_by(page()) {
            assert!(!probe.can_read(it.region.at(hole)), "at {hole}");
        }
        for rest in [0..first, first + length..SIZE] {
            assert_there(&it.region, it.pattern, rest.clone());
            assert_writable(&it.buffer, &it.region, rest);
        }
    });
}

fn partial_mprotect(env: &Env) {
    each(env, |it| {
        let (first, length) = (block_size() / 2, block_size());
        // SAFETY: it is ours, and nothing has a reference to it.
        let protect = |how| unsafe { libc::mprotect(it.region.at(first).cast(), length, how) };
        assert_eq!(protect(READ), 0, "mprotect: {}", Errno::last());
        assert_there(&it.region, it.pattern, 0..SIZE);
        for rest in [0..first, first + length..SIZE] {
            assert_writable(&it.buffer, &it.region, rest);
        }
        let status = Child::run(|| it.region.write(first, 0)).wait();
        assert!(
            matches!(status, WaitStatus::Signaled(_, Signal::SIGSEGV, _)),
            "a store where only loads are allowed: {status:?}"
        );
        assert_eq!(protect(WRITE), 0, "mprotect: {}", Errno::last());
        assert_writable(&it.buffer, &it.region, 0..SIZE);
        assert_there(&it.region, it.pattern, 0..SIZE);
    });
}

fn protect(env: &Env) {
    each(env, |it| {
        let before = page_tables();
        it.region.protect(READ).expect("mprotect to read-only");
        assert_there(&it.region, it.pattern, 0..SIZE);
        it.region
            .protect(libc::PROT_NONE)
            .expect("mprotect to none");
        it.region.protect(WRITE).expect("mprotect back");
        assert_there(&it.region, it.pattern, 0..SIZE);
        assert_writable(&it.buffer, &it.region, 0..SIZE);
        assert_eq!(page_tables(), before, "pages took the place of blocks");
        drop(it.region);

        // One that was born without any access.
        let region = Region::map(&it.buffer, SIZE, libc::PROT_NONE, SHARED, 0).expect("mmap");
        region.protect(WRITE).expect("mprotect to writing");
        assert_there(&region, it.pattern, 0..SIZE);
        assert_writable(&it.buffer, &region, 0..SIZE);
    });
}

fn moves(env: &Env) {
    each(env, |mut it| {
        // To where blocks do not fit, whatever the memory's address, and back to where they do.
        let old = it.region.start().addr();
        for odd in [page(), 0] {
            let place = Region::anonymous(SIZE + 2 * block_size());
            let first = (old.wrapping_sub(place.start().addr()) & (block_size() - 1)) + odd;
            it.region
                .move_into(place, first)
                .expect("mremap to another place");
            assert_there(&it.region, it.pattern, 0..SIZE);
            assert_writable(&it.buffer, &it.region, 0..SIZE);
        }
        // Shrunk in the middle of a block.
        let less = SIZE - block_size() / 2;
        it.region.remap(SIZE, less, 0).expect("mremap");
        assert_there(&it.region, it.pattern, 0..less);
        assert_writable(&it.buffer, &it.region, 0..less);
    });
}

/// Nobody gets references to the pages of a block, as to no other page of frame numbers.
fn pinned(env: &Env) {
    each(env, |it| {
        let (_from, to) = pipe().expect("pipe");
        refused(vmsplice(&to, &it.region), Errno::EFAULT);
        assert_there(&it.region, it.pattern, 0..SIZE);
    });
}

fn sync(buffer: &Buffer, range: Range<usize>, phase: Phase) {
    let range = range.start as u64..range.end as u64;
    buffer.sync(range, Access::ReadWrite, phase).expect("SYNC");
}

/// Asserts that nothing of a range can be touched; a child does it, and a probe.
#[track_caller]
fn assert_withdrawn(region: &Region, range: Range<usize>) {
    let probe = Probe::new();
    for offset in range.step_by(page()) {
        assert!(!probe.can_read(region.at(offset)), "page at {offset}");
    }
}

fn withdrawn(env: &Env) {
    let it = mapped(env, Kind::Streaming, MappingKind::Strict);
    let tables = page_tables();
    for _ in 0..3 {
        sync(&it.buffer, 0..SIZE, Phase::End);
        assert_withdrawn(&it.region, 0..SIZE);
        Child::run(|| assert_withdrawn(&it.region, 0..SIZE)).join();
        sync(&it.buffer, 0..SIZE, Phase::Begin);
        assert_there(&it.region, it.pattern, 0..SIZE);
        assert_writable(&it.buffer, &it.region, 0..SIZE);
        assert_eq!(page_tables(), tables, "pages took the place of blocks");
    }
}

fn partly_withdrawn(env: &Env) {
    let it = mapped(env, Kind::Streaming, MappingKind::Strict);
    let line = it.buffer.info().expect("INFO").cache_line as usize;
    let lent = block_size() + 2 * page();
    sync(&it.buffer, lent..lent + line, Phase::End);
    assert_withdrawn(&it.region, lent..lent + page());
    for rest in [0..lent, lent + page()..SIZE] {
        assert_there(&it.region, it.pattern, rest.clone());
        assert_writable(&it.buffer, &it.region, rest);
    }
    assert_withdrawn(&it.region, lent..lent + page());
    sync(&it.buffer, lent..lent + line, Phase::Begin);
    assert_there(&it.region, it.pattern, 0..SIZE);
    assert_writable(&it.buffer, &it.region, 0..SIZE);
}

/// Threads touch a block while another lends a line of it: some get the block, others pages.
fn race(env: &Env) {
    let it = mapped(env, Kind::Streaming, MappingKind::Strict);
    let line = it.buffer.info().expect("INFO").cache_line as usize;
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for n in 1..=2 {
            let over = &over;
            let touched = [n * page(), n * SIZE / 4 + n * page()];
            let touched = touched.map(|offset| it.region.at(offset).expose_provenance());
            scope.spawn(move || {
                let probe = Probe::new();
                while !over.load(SeqCst) {
                    for address in touched {
                        probe.can_read(ptr::with_exposed_provenance(address));
                    }
                }
            });
        }
        for _ in 0..rounds(100) {
            // All of it goes, and so do the blocks; what is lent last is a line.
            sync(&it.buffer, 0..SIZE, Phase::End);
            sync(&it.buffer, line..SIZE, Phase::Begin);
            sync(&it.buffer, 0..line, Phase::Begin);
        }
        over.store(true, SeqCst);
    });
    assert_there(&it.region, it.pattern, 0..SIZE);
    sync(&it.buffer, 0..SIZE, Phase::End);
    assert_withdrawn(&it.region, 0..SIZE);
}
