// SPDX-License-Identifier: MIT OR Apache-2.0
//! Dma-bufs of a buffer, and drivers that import them: vgem, which passes them
//! on, the display controller PL11x, whose DMA reads them, and vim2m, which
//! copies between the kernel's mappings of them.

pub(super) mod card;
pub(super) mod video;

use std::{fs, ops::Range, os::fd::OwnedFd};

use drm::control::Device as _;
use nix::{
    errno::Errno,
    libc,
    sys::{
        resource::{getrlimit, setrlimit, Resource},
        signal::Signal,
        wait::WaitStatus,
    },
};
use shmbuf::{abi, Access, Alloc, Buffer, Direction, DmaBuf, Kind, MappingKind, Owner, Phase};
use shmbuf::{Policy, Protection};
use shmbuf_verify::Pattern;

use self::{
    card::Card,
    video::{Video, FRAME, HEIGHT, LINE},
};
use super::{
    bad_input::{call, Longer},
    claim,
    data::{assert_pattern, fresh, load_all, nowhere, read_all, store_all, write_all},
    without_debugfs, Claim, Scope,
};
use crate::{
    heap::Heap,
    ktap::diagnose,
    machine::Machine,
    module::Config,
    process::Child,
    procfs::{fdinfo, field, private_used},
    runner::Env,
    sys::{self, faults, page, refused, resized, settle, Region},
};

pub(super) const CLAIMS: &[Claim] = &[
    claim(Scope::Each, "dma_buf_has_the_same_bytes", same_bytes),
    claim(Scope::Each, "dma_buf_has_its_range_alone", ranges),
    claim(Scope::Each, "dma_buf_keeps_memory_and_module", keeps).unless(without_debugfs),
    claim(Scope::Once, "dma_buf_says_whose_it_is", named),
    claim(Scope::Each, "dma_buf_sync_moves_the_owner", sync),
    claim(Scope::Each, "dma_buf_and_second_mapping", second),
    claim(Scope::EachPages, "exported_keeps_its_policy", set_cache),
    claim(Scope::Each, "dma_buf_can_be_read_only", read_only),
    claim(Scope::Each, "export_refuses_bad_arguments", bad_arguments),
    claim(Scope::Each, "export_grows", growth),
    claim(Scope::Kind, "export_bad_pointers", bad_pointers),
    claim(Scope::Kind, "export_with_a_full_table", full_table),
    claim(Scope::Once, "pool_is_not_exported", pool),
    claim(Scope::Once, "handles_and_others_files", others).unless(without_others),
    claim(Scope::Each, "vgem_passes_it_on", passed_on).unless(without_vgem),
    claim(Scope::Each, "display_owns_what_it_imports", imported).unless(without_display),
    claim(Scope::Each, "display_reads_the_range", shown).unless(without_display),
    claim(Scope::Kind, "display_may_not_write_read_only", unwritable).unless(without_display),
    claim(Scope::Once, "display_wants_contiguous_memory", scattered).unless(without_display),
    claim(Scope::Each, "several_importers_at_once", several).unless(without_vgem_or_display),
    claim(Scope::Each, "one_device_imports_twice", twice).unless(without_display),
    copied_and("vim2m_copies_between_dma_bufs", |env| {
        copied(env, Then::MapsAnew)
    }),
    copied_and("vim2m_copies_to_what_stays_mapped", |env| {
        copied(env, Then::Stays)
    }),
    copied_and("vim2m_leaves_what_stays_mapped", |env| {
        copied(env, Then::Leaves)
    }),
    claim(Scope::Own, "strict_is_withdrawn_from_dma_bufs", strict).unless(without_others),
];

const fn copied_and(name: &'static str, body: fn(&Env)) -> Claim {
    claim(Scope::Each, name, body).unless(without_vim2m)
}

pub(super) const VGEM: &str = "vgem";
pub(super) const DISPLAY: &str = "pl111";
const HEAP: &str = "system";
/// What rmmod gives while somebody uses the module.
const IN_USE: Errno = Errno::EWOULDBLOCK;

pub(super) fn without_vgem(_: &Machine, _: &Config) -> Option<&'static str> {
    Card::of(VGEM).is_none().then_some("no vgem")
}

pub(super) fn without_display(machine: &Machine, config: &Config) -> Option<&'static str> {
    let display = Card::of(DISPLAY);
    without_debugfs(machine, config).or(display.is_none().then_some("no display with a PL11x"))
}

fn without_vgem_or_display(machine: &Machine, config: &Config) -> Option<&'static str> {
    without_vgem(machine, config).or_else(|| without_display(machine, config))
}

fn without_vim2m(_: &Machine, _: &Config) -> Option<&'static str> {
    Video::open().is_none().then_some("no vim2m")
}

pub(super) fn without_others(machine: &Machine, config: &Config) -> Option<&'static str> {
    let heap = Heap::path(HEAP).exists();
    without_vgem(machine, config).or((!heap).then_some("no dma-buf heap"))
}

#[track_caller]
pub(super) fn open(driver: &str) -> Card {
    Card::of(driver).expect("it was there when the tests were listed")
}

/// A private buffer of some pages, of the kind and policy of the default buffer.
fn like(env: &Env, pages: usize) -> Alloc {
    Alloc {
        policy: Some(env.config.policy),
        ..Alloc::new((pages * page()) as u64, env.config.kind)
    }
}

#[track_caller]
fn private(env: &Env, pages: usize) -> Buffer {
    env.open().alloc(&like(env, pages)).expect("ALLOC")
}

/// A dma-buf of some pages of a buffer.
#[track_caller]
pub(super) fn export(buffer: &Buffer, pages: Range<usize>, rights: Protection) -> DmaBuf {
    let bytes = (pages.start * page()) as u64..(pages.end * page()) as u64;
    let fd = buffer.export(bytes, rights).expect("EXPORT");
    DmaBuf::from_fd(fd).expect("a dma-buf")
}

#[track_caller]
pub(super) fn export_all(buffer: &Buffer) -> DmaBuf {
    export(
        buffer,
        0..buffer.size() as usize / page(),
        Protection::ReadWrite,
    )
}

#[track_caller]
fn exports(buffer: &Buffer) -> u32 {
    buffer.info().expect("INFO").exports
}

#[track_caller]
fn owner(buffer: &Buffer) -> Owner {
    buffer.info().expect("INFO").owner
}

fn is_cached(env: &Env) -> bool {
    matches!(env.config.policy, Policy::WriteBack | Policy::WriteThrough)
}

/// How many errors the kernel's checker of DMA has counted, if there is one.
fn dma_errors() -> Option<String> {
    fs::read_to_string("/sys/kernel/debug/dma-api/error_count").ok()
}

/// The ways in which a program reaches the bytes of a buffer.
#[derive(Debug, Clone, Copy)]
enum View<'a> {
    Mapping(&'a Buffer),
    Calls(&'a Buffer),
    DmaBuf(&'a DmaBuf),
}

impl View<'_> {
    #[track_caller]
    fn put(self, pattern: Pattern) {
        match self {
            Self::Mapping(buffer) => {
                let mapping = buffer
                    .map(0, buffer.size() as usize, Protection::ReadWrite)
                    .expect("mmap");
                buffer.with_cpu_access(.., Access::Write, || store_all(&mapping, 0, pattern))
            }
            Self::Calls(buffer) => {
                buffer.with_cpu_access(.., Access::Write, || write_all(buffer, pattern))
            }
            Self::DmaBuf(dma_buf) => {
                let mapping = dma_buf
                    .map(0, dma_buf.size() as usize, Protection::ReadWrite)
                    .expect("mmap");
                dma_buf.with_cpu_access(Access::Write, || store_all(&mapping, 0, pattern))
            }
        }
        .expect("SYNC");
    }

    #[track_caller]
    fn get(self) -> Vec<u8> {
        match self {
            Self::Mapping(buffer) => {
                let mapping = buffer
                    .map(0, buffer.size() as usize, Protection::Read)
                    .expect("mmap");
                buffer.with_cpu_access(.., Access::Read, || load_all(&mapping))
            }
            Self::Calls(buffer) => buffer.with_cpu_access(.., Access::Read, || read_all(buffer)),
            Self::DmaBuf(dma_buf) => {
                let mapping = dma_buf
                    .map(0, dma_buf.size() as usize, Protection::Read)
                    .expect("mmap");
                dma_buf.with_cpu_access(Access::Read, || load_all(&mapping))
            }
        }
        .expect("SYNC")
    }
}

/// Asserts that what is written by each view is seen by all.
#[track_caller]
fn assert_same(views: &[View]) {
    for from in views {
        let pattern = fresh();
        from.put(pattern);
        for to in views {
            assert_pattern(pattern, 0, &to.get(), &format!("{from:?} to {to:?}"));
        }
    }
}

fn same_bytes(env: &Env) {
    let buffer = private(env, 8);
    let dma_buf = export_all(&buffer);
    let other = export_all(&buffer);
    assert_same(&[
        View::Mapping(&buffer),
        View::Calls(&buffer),
        View::DmaBuf(&dma_buf),
        View::DmaBuf(&other),
    ]);
}

fn named(env: &Env) {
    for (buffer, name) in [
        (env.open(), "shmbuf-default"),
        (private(env, 1), "shmbuf-private"),
    ] {
        let dma_buf = export_all(&buffer);
        assert_eq!(field(&fdinfo(&dma_buf), "exp_name"), name);
    }
}

fn ranges(env: &Env) {
    const READ: i32 = libc::PROT_READ;
    let buffer = private(env, 6);
    for pages in [0..1, 1..3, 5..6, 0..6] {
        let (offset, length) = (pages.start * page(), pages.len() * page());
        let dma_buf = export(&buffer, pages, Protection::ReadWrite);
        assert_eq!(dma_buf.size(), length as u64);
        let before = fresh();
        View::Calls(&buffer).put(before);
        assert_pattern(before, offset, &View::DmaBuf(&dma_buf).get(), "dma-buf");

        let map = |length, offset: usize| {
            Region::map(&dma_buf, length, READ, libc::MAP_SHARED, offset as i64)
        };
        refused(map(length + page(), 0), Errno::EINVAL);
        refused(map(length, page()), Errno::EINVAL);
        refused(map(page(), length), Errno::EINVAL);
        let last = length - page();
        let mapping = dma_buf.map(last as u64, page(), Protection::ReadWrite);
        let mapping = mapping.expect("mmap of the last page");
        let pattern = fresh();
        dma_buf
            .with_cpu_access(Access::ReadWrite, || {
                assert_pattern(before, offset + last, &load_all(&mapping), "last page");
                store_all(&mapping, 0, pattern);
            })
            .expect("SYNC");
        drop(mapping);
        let all = View::Calls(&buffer).get();
        let (head, rest) = all.split_at(offset + last);
        let (inside, tail) = rest.split_at(page());
        assert_pattern(before, 0, head, "before it");
        assert_pattern(pattern, 0, inside, "inside");
        assert_pattern(before, offset + length, tail, "after it");
    }
}

fn keeps(env: &Env) {
    let before = private_used();
    let buffer = private(env, 4);
    let held = before + buffer.size();
    let pattern = fresh();
    View::Calls(&buffer).put(pattern);
    assert_eq!(exports(&buffer), 0);
    let first = export_all(&buffer);
    let second = export_all(&buffer);
    assert_eq!(exports(&buffer), 2);
    drop(first);
    assert_eq!(exports(&buffer), 1);

    drop(buffer);
    assert_eq!(private_used(), held);
    assert_eq!(env.module.unload(), Err(IN_USE));
    assert_pattern(pattern, 0, &View::DmaBuf(&second).get(), "dma-buf");
    let mapping = second.map(0, 4 * page(), Protection::Read).expect("mmap");
    second.sync(Access::Read, Phase::Begin).expect("SYNC");
    drop(second);
    assert_eq!(private_used(), held);
    assert_eq!(env.module.unload(), Err(IN_USE));
    assert_pattern(pattern, 0, &load_all(&mapping), "mapping");
    drop(mapping);
    assert_eq!(private_used(), before);
}

fn sync(env: &Env) {
    let buffer = private(env, 4);
    let dma_buf = export(&buffer, 1..2, Protection::ReadWrite);
    let given = match env.config.kind.has_owner() {
        true => Owner::Device,
        false => Owner::Cpu,
    };
    for access in [Access::Read, Access::Write, Access::ReadWrite] {
        dma_buf.sync(access, Phase::End).expect("SYNC");
        assert_eq!(owner(&buffer), given, "{access:?}");
        let read = buffer.read_at(&mut [0], page() as u64);
        match given == Owner::Device {
            true => refused(read, Errno::EBUSY),
            false => assert_eq!(read, Ok(1)),
        }
        assert_eq!(buffer.read_at(&mut [0], 0), Ok(1), "not of the dma-buf");
        dma_buf.sync(access, Phase::Begin).expect("SYNC");
        assert_eq!(owner(&buffer), Owner::Cpu, "{access:?}");
        assert_eq!(buffer.read_at(&mut [0], 0), Ok(1));
    }
}

/// A mapping of a dma-buf is a mapping of the buffer.
fn second(env: &Env) {
    let buffer = private(env, 4);
    let dma_buf = export(&buffer, 1..3, Protection::ReadWrite);
    let mappings = |count| assert_eq!(buffer.info().expect("INFO").mappings, count);

    let apart = buffer.map(0, page(), Protection::Read).expect("mmap");
    let first = dma_buf.map(0, page(), Protection::Read).expect("mmap");
    mappings(2);
    let again = buffer.map(page() as u64, page(), Protection::Read);
    if env.machine.is_vivt() && is_cached(env) {
        refused(again, Errno::EBUSY);
    } else {
        again.expect("mmap");
    }
    drop((apart, first));
    mappings(0);
}

fn set_cache(env: &Env) {
    let buffer = private(env, 4);
    let policies = buffer.info().expect("INFO").policies;
    let dma_buf = export(&buffer, 1..2, Protection::ReadWrite);
    for policy in policies.iter() {
        refused(buffer.set_cache(policy), Errno::EBUSY);
    }
    drop(dma_buf);
    for policy in policies.iter() {
        assert_eq!(buffer.set_cache(policy), Ok(()));
        let dma_buf = export_all(&buffer);
        assert_same(&[View::Calls(&buffer), View::DmaBuf(&dma_buf)]);
    }
}

#[track_caller]
fn assert_read_only(dma_buf: &DmaBuf) {
    const READ: i32 = libc::PROT_READ;
    const WRITE: i32 = libc::PROT_READ | libc::PROT_WRITE;
    let map = |protection, flags| Region::map(dma_buf, page(), protection, flags, 0);
    refused(map(WRITE, libc::MAP_SHARED), Errno::EACCES);
    refused(map(libc::PROT_WRITE, libc::MAP_SHARED), Errno::EACCES);
    let region = map(READ, libc::MAP_SHARED).expect("mmap");
    refused(region.protect(WRITE), Errno::EACCES);
}

fn read_only(env: &Env) {
    let buffer = private(env, 4);
    let dma_buf = export(&buffer, 0..4, Protection::Read);
    assert_read_only(&dma_buf);
    let pattern = fresh();
    View::Calls(&buffer).put(pattern);
    buffer.sync(.., Access::Read, Phase::Begin).expect("SYNC");
    assert_pattern(pattern, 0, &View::DmaBuf(&dma_buf).get(), "dma-buf");
    // Like a read-only handle, it does not move the owner.
    assert_eq!(owner(&buffer), Owner::Cpu);
    if env.config.kind.has_owner() {
        buffer.sync(.., Access::Write, Phase::End).expect("SYNC");
        refused(dma_buf.sync(Access::Read, Phase::Begin), Errno::EBUSY);
        assert_eq!(owner(&buffer), Owner::Device);
    }

    let dma_buf = export_all(&env.open_read_only());
    assert_read_only(&dma_buf);
}

fn bad_arguments(env: &Env) {
    let buffer = private(env, 4);
    let page = page() as u64;
    let size = buffer.size();
    let export = |offset, length, flags, reserved| {
        let argument = abi::shmbuf_export {
            offset,
            length,
            flags,
            reserved,
        };
        call(&buffer, abi::SHMBUF_IOC_EXPORT, argument)
    };
    for bit in (0..32).map(|n| 1 << n) {
        if bit != abi::SHMBUF_EXPORT_READ_ONLY {
            refused(export(0, size, bit, 0), Errno::EINVAL);
        }
        refused(export(0, size, 0, bit), Errno::EINVAL);
    }
    for (offset, length) in [
        (0, 0),
        (page, 0),
        (0, 1),
        (0, page - 1),
        (0, page + 1),
        (1, page),
        (page / 2, page),
    ] {
        refused(export(offset, length, 0, 0), Errno::EINVAL);
    }
    let last = u64::MAX - (page - 1);
    for (offset, length) in [
        (0, size + page),
        (size, page),
        (page, size),
        (size - page, 2 * page),
        (1 << 32, page),
        (0, 1 << 32),
        (0, (1 << 32) + page),
        (last, page),
        (last, 2 * page),
        (page, last),
        (last, last),
    ] {
        refused(export(offset, length, 0, 0), Errno::ERANGE);
    }
    assert_eq!(exports(&buffer), 0);
}

/// Programs with a later or an earlier header: their structures are longer or shorter.
fn growth(env: &Env) {
    let buffer = private(env, 1);
    let known = abi::shmbuf_export {
        offset: 0,
        length: page() as u64,
        flags: 0,
        reserved: 0,
    };
    let size = size_of::<abi::shmbuf_export>();
    let number = resized(abi::SHMBUF_IOC_EXPORT, size + 32);
    for word in 0..4 {
        let mut more = [0; 4];
        more[word] = 1 << 63;
        refused(call(&buffer, number, Longer { known, more }), Errno::E2BIG);
    }
    for less in [size - 8, size - 1, 8, 0] {
        let number = resized(abi::SHMBUF_IOC_EXPORT, less);
        refused(call(&buffer, number, known), Errno::EINVAL);
    }
    assert_eq!(exports(&buffer), 0);
    // Its descriptor is closed when the test ends.
    let more = [0; 4];
    assert_eq!(call(&buffer, number, Longer { known, more }), Ok(()));
    assert_eq!(exports(&buffer), 1);
}

fn bad_pointers(env: &Env) {
    let buffer = private(env, 1);
    let mut half = Region::anonymous(2 * page());
    half.unmap(page(), page()).expect("munmap");
    for address in nowhere().into_iter().chain([half.at(page() - 4)]) {
        // SAFETY: there is nothing, or memory of ours without references.
        let result = unsafe { sys::ioctl(&buffer, abi::SHMBUF_IOC_EXPORT, address.cast()) };
        refused(result, Errno::EFAULT);
    }
    assert_eq!(exports(&buffer), 0);
}

fn full_table(env: &Env) {
    let buffer = private(env, 1);
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("getrlimit");
    setrlimit(Resource::RLIMIT_NOFILE, 0, hard).expect("setrlimit");
    refused(buffer.export(.., Protection::ReadWrite), Errno::EMFILE);
    assert_eq!(exports(&buffer), 0);
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).expect("setrlimit");
    drop(export_all(&buffer));
    assert_eq!(exports(&buffer), 0);
}

fn pool(env: &Env) {
    let buffer = env.open().alloc(&Alloc::new(256, Kind::Pool));
    let buffer = buffer.expect("ALLOC");
    refused(buffer.export(.., Protection::ReadWrite), Errno::EOPNOTSUPP);
    assert_eq!(exports(&buffer), 0);
}

/// A dma-buf of the system's heap, of one page.
#[track_caller]
fn heap_page() -> OwnedFd {
    let heap = Heap::open(HEAP).expect("open");
    heap.alloc(page() as u64).expect("DMA_HEAP_IOCTL_ALLOC")
}

fn others(env: &Env) {
    let buffer = private(env, 1);
    let vgem = open(VGEM);
    let dumb = vgem
        .create_dumb_buffer((32, 32), drm::buffer::DrmFourcc::Xrgb8888, 32)
        .expect("CREATE_DUMB");
    let dumb = drm::buffer::Buffer::handle(&dumb);
    let theirs = [
        export_all(&buffer).into(),
        vgem.buffer_to_prime_fd(dumb, drm::CLOEXEC).expect("prime"),
        heap_page(),
    ];
    for fd in theirs {
        refused(Buffer::from_fd(fd), Errno::ENOTTY);
    }
    // And a handle is no dma-buf.
    let handle = DmaBuf::from_fd(buffer.try_clone().expect("dup").into()).expect("a file");
    refused(handle.sync(Access::Read, Phase::Begin), Errno::ENOTTY);
    refused(vgem.import(&handle), Errno::EINVAL);
}

fn passed_on(env: &Env) {
    let buffer = private(env, 4);
    let dma_buf = export_all(&buffer);
    let (vgem, other) = (open(VGEM), open(VGEM));
    let first = vgem.import(&dma_buf).expect("FD_TO_HANDLE");
    let second = other.import(&dma_buf).expect("FD_TO_HANDLE");
    // Importers do not map what is not theirs.
    refused(first.map_offset(), Errno::EINVAL);
    drop(dma_buf);
    assert_eq!(exports(&buffer), 1);

    let [first_fd, second_fd] = [first.export(), second.export()];
    assert_same(&[
        View::Mapping(&buffer),
        View::DmaBuf(&first_fd),
        View::DmaBuf(&second_fd),
    ]);
    drop((first_fd, second_fd, first));
    assert_eq!(exports(&buffer), 1);
    drop(second);
    assert_eq!(exports(&buffer), 0);
}

fn imported(env: &Env) {
    let buffer = private(env, 4);
    let pattern = fresh();
    View::Calls(&buffer).put(pattern);
    buffer.sync(.., Access::Write, Phase::Begin).expect("SYNC");
    let dma_buf = export_all(&buffer);
    assert_eq!(owner(&buffer), Owner::Cpu);

    let display = open(DISPLAY);
    let import = display.import(&dma_buf);
    if env.config.kind != Kind::Scatter {
        // Whether scattered pages do depends on where they are.
        import.as_ref().expect("FD_TO_HANDLE");
    }
    let mut byte = [0];
    if is_cached(env) {
        if import.is_ok() {
            assert_eq!(owner(&buffer), Owner::Device);
            refused(buffer.read_at(&mut byte, 0), Errno::EBUSY);
            refused(buffer.write_at(&byte, 0), Errno::EBUSY);
        }
        for sync in [Access::Read, Access::ReadWrite] {
            dma_buf.sync(sync, Phase::Begin).expect("SYNC");
            assert_eq!(owner(&buffer), Owner::Cpu);
            assert_pattern(pattern, 0, &read_all(&buffer), "read(2)");
            dma_buf.sync(sync, Phase::End).expect("SYNC");
            let device = import.is_ok() || env.config.kind.has_owner();
            assert_eq!(owner(&buffer) == Owner::Device, device);
        }
    } else {
        assert_eq!(owner(&buffer), Owner::Cpu);
    }
    // The importer returns it. What a device of the buffer's own has stays there.
    drop(import);
    assert_eq!(
        owner(&buffer) == Owner::Device,
        env.config.kind.has_owner(),
        "the importer has returned it"
    );
    buffer.sync(.., Access::Read, Phase::Begin).expect("SYNC");
    assert_eq!(owner(&buffer), Owner::Cpu);
    assert_pattern(pattern, 0, &read_all(&buffer), "read(2)");
    buffer.sync(.., Access::Read, Phase::End).expect("SYNC");
    assert_eq!(
        owner(&buffer) == Owner::Device,
        env.config.kind.has_owner(),
        "no importer has it"
    );
}

fn shown(env: &Env) {
    let display = open(DISPLAY);
    let screen = display.screen();
    let pages = screen.frame().div_ceil(page());
    let buffer = private(env, pages + 2);
    View::Calls(&buffer).put(fresh());
    let phys = buffer
        .info()
        .expect("INFO")
        .phys_addr
        .expect("root sees it");
    for first in [0, 1, 2] {
        let dma_buf = export(&buffer, first..first + pages, Protection::ReadWrite);
        let import = match display.import(&dma_buf) {
            // See scattered().
            Err(_) if env.config.kind == Kind::Scatter => continue,
            import => import.expect("FD_TO_HANDLE"),
        };
        let shown = import.show(&screen).expect("ADDFB2 and SETCRTC");
        // Of scattered pages the address of the first is known.
        if env.config.kind != Kind::Scatter || first == 0 {
            assert_eq!(display.scanout(), phys + (first * page()) as u64);
        }
        drop(shown);
    }
}

fn unwritable(env: &Env) {
    let display = open(DISPLAY);
    let buffer = private(env, 4);
    let dma_buf = export(&buffer, 0..4, Protection::Read);
    // It maps for both directions, though it only reads.
    refused(display.import(&dma_buf), Errno::EACCES);
    assert_eq!(owner(&buffer), Owner::Cpu);
    if env.config.kind.has_owner() {
        let alloc = Alloc {
            direction: Direction::ToDevice,
            ..like(env, 4)
        };
        let buffer = env.open().alloc(&alloc).expect("ALLOC");
        let dma_buf = export_all(&buffer);
        refused(display.import(&dma_buf), Errno::EACCES);
        assert_eq!(owner(&buffer), Owner::Cpu);
    }
}

/// Some of many scattered buffers are not contiguous by chance, the less so
/// where every other block of eight pages beside them is in use.
fn scattered(env: &Env) {
    let display = open(DISPLAY);
    let alloc = |pages| {
        let alloc = Alloc::new((pages * page()) as u64, Kind::Scatter);
        env.open().alloc(&alloc).expect("ALLOC")
    };
    let blocks: Vec<_> = (0..512).map(|_| alloc(8)).collect();
    let _kept: Vec<_> = blocks.into_iter().step_by(2).collect();
    let buffers: Vec<_> = (0..32).map(|_| alloc(64)).collect();
    let mut refusals = 0;
    for buffer in &buffers {
        if let Err(error) = display.import(&export_all(buffer)) {
            assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
            refusals += 1;
        }
        // One page is contiguous.
        let dma_buf = export(buffer, 3..4, Protection::ReadWrite);
        display.import(&dma_buf).expect("FD_TO_HANDLE");
    }
    diagnose(format_args!("{refusals} of {} refused", buffers.len()));
    assert_ne!(refusals, 0);
}

/// All that a kernel with a checker of DMA does not like is in its log, where
/// the runner finds it, once; and counted.
fn several(env: &Env) {
    at_once(env, &[open(VGEM), open(VGEM), open(DISPLAY)], &[(0, 6)]);
}

fn twice(env: &Env) {
    at_once(env, &[open(DISPLAY), open(DISPLAY)], &[(0, 6)]);
    at_once(env, &[open(DISPLAY)], &[(0, 6), (0, 4), (3, 6)]);
}

/// Lets each importer have each range of pages of a buffer, and syncs.
fn at_once(env: &Env, importers: &[Card], ranges: &[(usize, usize)]) {
    let errors = dma_errors();
    let buffer = private(env, 6);
    let mut pattern = fresh();
    View::Calls(&buffer).put(pattern);
    let export = |&(from, to)| export(&buffer, from..to, Protection::ReadWrite);
    let dma_bufs: Vec<_> = ranges.iter().map(export).collect();
    let mut imports = Vec::new();
    for importer in importers {
        for dma_buf in &dma_bufs {
            match importer.import(dma_buf) {
                // See scattered().
                Err(_) if env.config.kind == Kind::Scatter => {}
                import => imports.push(import.expect("FD_TO_HANDLE")),
            }
        }
    }
    let line = u64::from(buffer.info().expect("INFO").cache_line);
    // They go one by one, and the others stay.
    loop {
        for access in [Access::Read, Access::Write, Access::ReadWrite] {
            for phase in [Phase::End, Phase::Begin] {
                buffer.sync(line..3 * line, access, phase).expect("SYNC");
            }
            for dma_buf in &dma_bufs {
                dma_buf.sync(access, Phase::End).expect("SYNC");
            }
            dma_bufs[0].sync(access, Phase::Begin).expect("SYNC");
            assert_pattern(pattern, 0, &read_all(&buffer), "read(2)");
        }
        // The importer that goes leaves what the CPU wrote meanwhile.
        pattern = fresh();
        write_all(&buffer, pattern);
        if imports.pop().is_none() {
            break;
        }
    }
    assert_eq!(dma_errors(), errors, "reports of the checker of DMA");
}

/// What happens when vim2m has copied.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    /// vim2m ends, and the program maps the buffer anew.
    MapsAnew,
    /// vim2m goes on, and the program's mapping is the one from before.
    Stays,
    /// vim2m ends, and so do the dma-bufs; the program's mapping is the one from before.
    Leaves,
}

/// vim2m is the CPU, so all of it is between the begin and the end of the CPU's access. Another begin
/// lets one more view see what was written.
fn copied(env: &Env, then: Then) {
    // In pieces: for many lines at once ARMv5 flushes the whole cache, the kernel's lines too.
    let begin = |buffer: &Buffer| {
        for at in (0..buffer.size()).step_by(page()) {
            let begun = buffer.sync(at..at + page() as u64, Access::ReadWrite, Phase::Begin);
            begun.expect("SYNC");
        }
    };
    let map = |buffer: &Buffer| {
        let mapping = buffer.map(0, buffer.size() as usize, Protection::ReadWrite);
        mapping.expect("mmap")
    };
    let pages = FRAME / page();
    let [from, to] = [0, 1].map(|_| private(env, pages + 2));
    let [source, before] = [fresh(), fresh()];
    store_all(&map(&from), 0, source);
    begin(&from);
    let mut mapping = map(&to);
    store_all(&mapping, 0, before);
    begin(&to);
    let dma_bufs = [&from, &to].map(|b| export(b, 1..1 + pages, Protection::ReadWrite));

    let video = Video::open().expect("vim2m");
    let flipped = video.flip(&dma_bufs[0], &dma_bufs[1]);
    match then {
        Then::MapsAnew => {
            drop((video, mapping));
            mapping = map(&to);
        }
        Then::Stays => {}
        Then::Leaves => drop((video, dma_bufs)),
    }
    begin(&to);
    let got = load_all(&mapping);
    let by_linear_address = match (env.config.kind, env.config.policy) {
        (Kind::Pages | Kind::Streaming, Policy::WriteBack) => true,
        (Kind::Coherent, _) => true,
        _ => !is_cached(env),
    };
    if env.machine.is_vivt() && !by_linear_address {
        // It would be one more set of cache lines. videobuf2 says so.
        assert_eq!(flipped, Err(Errno::EFAULT));
        assert_pattern(before, 0, &got, "untouched");
    } else {
        assert_eq!(flipped, Ok(()));
        let (head, rest) = got.split_at(page());
        let (frame, tail) = rest.split_at(FRAME);
        assert_pattern(before, 0, head, "before the frame");
        for (y, line) in frame.chunks_exact(LINE).enumerate() {
            let at = page() + (HEIGHT - 1 - y) * LINE;
            assert_pattern(source, at, line, "a line of the frame");
        }
        assert_pattern(before, page() + FRAME, tail, "after the frame");
    }
    drop(mapping);
    assert_pattern(source, 0, &read_all(&from), "the source");

    // The device would write; videobuf2 has one errno for all.
    let read_only = export(&from, 1..1 + pages, Protection::Read);
    let writable = export(&to, 1..1 + pages, Protection::ReadWrite);
    let flipped = Video::open().expect("vim2m").flip(&read_only, &writable);
    assert_eq!(flipped, Err(Errno::EFAULT));
}

fn strict(env: &Env) {
    for kind in [Kind::Streaming, Kind::Scatter] {
        let parameters = format!("kind={kind} mapping=strict size=64K");
        env.module.must_load(&parameters);
        withdrawn(env);
        env.module.must_unload();
    }
}

fn withdrawn(env: &Env) {
    const WRITE: i32 = libc::PROT_READ | libc::PROT_WRITE;
    let map = |fd: &dyn std::os::fd::AsFd, at: usize| {
        let offset = (at * page()) as i64;
        Region::map(fd.as_fd(), page(), WRITE, libc::MAP_SHARED, offset).expect("mmap")
    };
    let (buffer, other) = (env.open(), env.open());
    let [one, two] = [2..4, 4..6].map(|pages| export(&buffer, pages, Protection::ReadWrite));
    let vgem = open(VGEM);
    let import = vgem.import(&two).expect("FD_TO_HANDLE");
    let passed = import.export();
    let ours = [
        map(&buffer, 0),
        map(&other, 1),
        map(&one, 1),
        map(&two, 0),
        map(&passed, 1),
    ];

    // On ARM vgem maps without the cache what is in dirty lines of it, the zeroes.
    let card = Card::of(DISPLAY).unwrap_or_else(|| open(VGEM));
    let mut dumb = card
        .create_dumb_buffer((32, 32), drm::buffer::DrmFourcc::Xrgb8888, 32)
        .expect("CREATE_DUMB");
    let mut dumb = card.map_dumb_buffer(&mut dumb).expect("MAP_DUMB");
    dumb[0] = 1;
    let heap = map(&heap_page(), 0);
    heap.write(0, 2);
    let alloc = Alloc {
        mapping: MappingKind::Strict,
        ..Alloc::new(page() as u64, Kind::Streaming)
    };
    let neighbour = map(&buffer.alloc(&alloc).expect("ALLOC"), 0);
    neighbour.write(0, 3);
    // Counts the faults of a touch of theirs.
    let theirs = || {
        // There was a fork before.
        settle();
        let before = faults();
        assert_eq!((dumb[0], heap.read(0), neighbour.read(0)), (1, 2, 3));
        faults() - before
    };
    assert_eq!(theirs(), 0);

    let values: Vec<_> = ours.iter().map(|_| fastrand::u32(..)).collect();
    // Touches all, of which some are lent.
    let touch_all = |by: &str, lent: &[usize]| {
        for (i, (region, value)) in ours.iter().zip(&values).enumerate() {
            let status = Child::run(|| assert_eq!(region.read(0), *value)).wait();
            let is_there = !matches!(status, WaitStatus::Signaled(_, Signal::SIGBUS, _));
            assert_eq!(
                is_there,
                !lent.contains(&i),
                "after {by}, mapping {i}: {status:?}"
            );
        }
    };
    let take_back = || {
        buffer
            .sync(.., Access::ReadWrite, Phase::Begin)
            .expect("SYNC");
        for (region, value) in ours.iter().zip(&values) {
            assert_eq!(region.read(0), *value);
        }
    };
    for (region, value) in ours.iter().zip(&values) {
        region.write(0, *value);
    }
    buffer.sync(.., Access::Write, Phase::End).expect("SYNC");
    touch_all("SYNC of the buffer", &[0, 1, 2, 3, 4]);
    assert_eq!(theirs(), 0, "their mappings were withdrawn");
    take_back();
    one.sync(Access::Write, Phase::End).expect("SYNC");
    touch_all("SYNC of a dma-buf", &[2]);
    take_back();
    if let Some(display) = Card::of(DISPLAY) {
        let import = display.import(&one);
        let lent: &[usize] = if import.is_ok() { &[2] } else { &[] };
        touch_all("an import", lent);
        drop(import);
        take_back();
    }
    assert_eq!(theirs(), 0, "their mappings were withdrawn");
}
