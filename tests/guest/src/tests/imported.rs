// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory of others: dma-bufs of a heap, of a memfd and of a camera, for the tests' DMA engine, which
//! writes and reads them by the addresses that SEGMENT tells.

use std::{
    fs::File,
    iter,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::{fcntl, FcntlArg, SealFlag},
    libc,
    sys::memfd::{memfd_create, MFdFlags},
    unistd::ftruncate,
};
use shmbuf::{
    abi, Access, Alloc, Buffer, DmaBuf, Kind, Owner, Phase, Policies, Policy, Protection,
};

use super::{
    claim,
    configfs::Folder,
    data::{assert_pattern, fresh, load_all, read_all, store_all, write_all},
    edu::bounces,
    export::{export_all, video::Capture, without_others},
    named::{info, open},
    Claim, Scope,
};
use crate::{
    drivers::{udmabuf_create, UDMABUF_CREATE},
    engine,
    heap::Heap,
    kmsg::Log,
    machine::{mount_configfs, Machine},
    module::Config,
    procfs::{fdinfo, field},
    runner::Env,
    sys::{self, page, refused, resized},
};

pub(super) const CLAIMS: &[Claim] = &[
    imports(
        "imported_memory_is_the_devices_and_the_cpus_by_turns",
        turns,
    ),
    imports("imported_memory_keeps_what_the_cpu_wrote", keeps),
    imports("imported_camera_frame_is_seen_by_the_device", camera).unless(|machine, config| {
        without_engine(machine, config).or(Capture::open().is_none().then_some("no vivid"))
    }),
    imports("imported_memory_that_can_only_be_read", read_only),
    imports("imported_memory_without_rights_gives_none", without_rights),
    imports("imported_memory_refuses_what_cannot_hold", refusals),
    imports("import_refuses_what_is_no_dma_buf_of_others", bad_input),
    imports("imported_memory_outlives_who_exported_it", outlives),
    imports("exporter_outlives_its_importer", outlived),
    claim(
        Scope::Own,
        "import_is_refused_where_the_kernel_copies",
        copied,
    )
    .unless(|machine, config| {
        without_others(machine, config)
            .or((!bounces()).then_some("the kernel does not copy: swiotlb=force"))
    }),
];

nix::ioctl_write_ptr_bad!(make_udmabuf, UDMABUF_CREATE, udmabuf_create);

const fn imports(name: &'static str, body: fn(&Env)) -> Claim {
    claim(Scope::Own, name, body).unless(without_engine)
}

fn without_engine(machine: &Machine, config: &Config) -> Option<&'static str> {
    without_others(machine, config)
        .or_else(|| (!engine::is_here()).then_some("no engine.ko"))
        .or_else(|| (!mount_configfs()).then_some("no configfs: CONFIG_CONFIGFS_FS"))
}

const NAME: &str = "importing";
const DEVICE: &str = "test-engine";
const PAGES: usize = 5;

/// Calls `body` with a handle of a buffer that is for the engine.
fn with(env: &Env, body: impl FnOnce(&Buffer)) {
    with_engine(env, || {
        let folder = enabled();
        body(&open(NAME));
        folder.disable();
    });
}

/// Calls `body` with the module and the engine.
fn with_engine(env: &Env, body: impl FnOnce()) {
    // Of a test that failed.
    let _ = engine::unload();
    engine::load("");
    env.module.must_load(&env.config.parameters());
    body();
    env.module.must_unload();
    engine::unload().expect("rmmod engine");
}

fn enabled() -> Folder {
    let folder = Folder::new(NAME);
    folder.set("size", &page().to_string());
    folder.set("kind", "streaming");
    folder.set("device", DEVICE);
    folder.enable();
    folder
}

/// Dma-bufs of others, each with the name of its exporter.
fn theirs() -> Vec<(&'static str, OwnedFd)> {
    let bytes = (PAGES * page()) as u64;
    let heap = Heap::open("system").expect("open");
    let heap = heap.alloc(bytes).expect("DMA_HEAP_IOCTL_ALLOC");
    let mut all = vec![("system", heap)];
    if let Ok(node) = File::options().write(true).open("/dev/udmabuf") {
        all.push(("udmabuf", of_memfd(&node, bytes).1));
    }
    all
}

/// A memfd, and a dma-buf of it.
fn of_memfd(node: &File, size: u64) -> (OwnedFd, OwnedFd) {
    let flags = MFdFlags::MFD_ALLOW_SEALING | MFdFlags::MFD_CLOEXEC;
    let memfd = memfd_create(c"shmbuf-test", flags).expect("memfd_create");
    ftruncate(&memfd, size as libc::off_t).expect("ftruncate");
    fcntl(&memfd, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_SHRINK)).expect("seal");
    let request = udmabuf_create {
        memfd: memfd.as_raw_fd() as u32,
        flags: 1, // UDMABUF_FLAGS_CLOEXEC
        offset: 0,
        size,
    };
    // SAFETY: the call reads one such structure.
    let made = unsafe { make_udmabuf(node.as_raw_fd(), &request) }.expect("UDMABUF_CREATE");
    // SAFETY: the call has made it, for us alone.
    let made = unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(made) };
    (memfd, made)
}

#[track_caller]
fn import(node: &Buffer, fd: &OwnedFd) -> Buffer {
    node.import(fd).expect("IMPORT")
}

fn dma_buf(fd: &OwnedFd) -> DmaBuf {
    DmaBuf::from_fd(fd.try_clone().expect("dup")).expect("a dma-buf")
}

#[track_caller]
fn sync(buffer: &Buffer, phase: Phase) {
    buffer.sync(.., Access::ReadWrite, phase).expect("SYNC");
}

/// Tells the engine of all of a buffer.
#[track_caller]
fn engine_at(buffer: &Buffer, parameter: &str, byte: u8) {
    for segment in buffer.segments().expect("SEGMENT") {
        let length = segment.range.end - segment.range.start;
        let command = format!("{:#x} {length} {byte}", segment.dma_addr);
        engine::set(parameter, &command);
    }
}

#[track_caller]
fn assert_all(bytes: &[u8], byte: u8, by: &str) {
    let wrong = bytes.iter().position(|&it| it != byte);
    assert_eq!(wrong, None, "{by}: {:#x}", bytes[wrong.unwrap_or(0)]);
}

fn turns(env: &Env) {
    with(env, |node| {
        for (exporter, fd) in theirs() {
            let imported = import(node, &fd);
            let size = imported.size() as usize;
            assert_eq!(size, PAGES * page(), "{exporter}");
            let told = info(&imported);
            assert_eq!((told.kind, told.size), (Kind::Imported, size as u64));
            assert_eq!(
                (told.owner, told.policies),
                (Owner::Device, Policies::default())
            );
            assert_eq!((told.known_policy(), told.has_owner()), (None, true));
            assert_eq!(told.snoops, info(node).snoops);
            let address = told.dma_addr.expect("root sees addresses");
            assert_eq!(address.device, DEVICE);
            let segments = imported.segments().expect("SEGMENT");
            assert_eq!(segments[0].dma_addr, address.address);
            assert_eq!(segments.last().expect("one").range.end, size as u64);
            assert_eq!(imported.lent(), Ok(iter::once(0..size as u64).collect()));
            assert_eq!(field(&fdinfo(&imported), "device"), DEVICE);
            refused(imported.read_at(&mut [0], 0), Errno::EBUSY);
            refused(imported.write_at(&[0], 0), Errno::EBUSY);

            let mapping = imported.map(0, size, Protection::ReadWrite).expect("mmap");
            let own = dma_buf(&fd)
                .map(0, size, Protection::ReadWrite)
                .expect("mmap");
            for byte in [0x5a, 0xa5] {
                engine_at(&imported, "fill", byte);
                sync(&imported, Phase::Begin);
                assert_eq!(info(&imported).owner, Owner::Cpu);
                assert_eq!(imported.lent(), Ok(vec![]));
                assert_all(&read_all(&imported), byte, exporter);
                assert_all(&load_all(&mapping), byte, exporter);
                assert_all(&load_all(&own), byte, exporter);

                let pattern = fresh();
                write_all(&imported, pattern);
                assert_pattern(pattern, 0, &load_all(&mapping), exporter);
                let pattern = fresh();
                store_all(&mapping, 0, pattern);
                assert_pattern(pattern, 0, &read_all(&imported), exporter);
                mapping.write(0, &vec![!byte; size]);
                sync(&imported, Phase::End);
                assert_eq!(info(&imported).owner, Owner::Device);
                engine_at(&imported, "check", !byte);
            }
            // The last byte, and what is behind it.
            sync(&imported, Phase::Begin);
            assert_eq!(imported.read_at(&mut [0; 8], size as u64 - 3), Ok(3));
            assert_eq!(imported.read_at(&mut [0; 8], size as u64), Ok(0));
            refused(imported.write_at(&[0], size as u64), Errno::ENOSPC);
        }
    });
}

/// START, and the end of the import, discard no store, also of who did not say that he would store.
fn keeps(env: &Env) {
    with(env, |node| {
        for (exporter, fd) in theirs() {
            let mapping = dma_buf(&fd).map(0, PAGES * page(), Protection::ReadWrite);
            let mapping = mapping.expect("mmap");
            let imported = import(node, &fd);
            let pattern = fresh();
            store_all(&mapping, 0, pattern);
            sync(&imported, Phase::Begin);
            assert_pattern(pattern, 0, &load_all(&mapping), exporter);
            let pattern = fresh();
            store_all(&mapping, 0, pattern);
            drop(imported);
            assert_pattern(pattern, 0, &load_all(&mapping), exporter);
        }
    });
}

fn camera(env: &Env) {
    with(env, |node| {
        let capture = Capture::open().expect("it was there when the tests were listed");
        let fd = capture.export();
        let imported = import(node, &fd);
        capture.frame();
        // The camera's driver has written it by the CPU.
        sync(&imported, Phase::Begin);
        let frame = read_all(&imported);
        assert!(frame.iter().any(|&byte| byte != frame[0]), "nothing in it");
        let mapping = imported.map(0, frame.len(), Protection::ReadWrite);
        let mapping = mapping.expect("mmap");
        assert_eq!(load_all(&mapping), frame);
        // What the device reads.
        mapping.write(0, &vec![0x3c; frame.len()]);
        sync(&imported, Phase::End);
        engine_at(&imported, "check", 0x3c);
        engine_at(&imported, "fill", 0xc3);
        // Whoever goes first.
        drop((capture, fd));
        sync(&imported, Phase::Begin);
        assert_all(&load_all(&mapping), 0xc3, "the mapping");
        assert_all(&read_all(&imported), 0xc3, "read");
    });
}

fn read_only(env: &Env) {
    with(env, |node| {
        let heap = Heap::open("system").expect("open");
        let fd = heap.alloc_for(page() as u64, libc::O_RDONLY);
        let imported = import(node, &fd.expect("DMA_HEAP_IOCTL_ALLOC"));
        assert_eq!(info(&imported).owner, Owner::Cpu);
        assert_eq!(imported.lent(), Ok(vec![]));
        assert_all(&read_all(&imported), 0, "read");
        refused(imported.write_at(&[0], 0), Errno::EBADF);
        refused(
            imported.sync(.., Access::ReadWrite, Phase::Begin),
            Errno::EBADF,
        );
        refused(
            imported.map(0, page(), Protection::ReadWrite),
            Errno::EACCES,
        );
        let mapping = imported.map(0, page(), Protection::Read).expect("mmap");
        imported.sync(.., Access::Read, Phase::End).expect("SYNC");
        assert_all(&load_all(&mapping), 0, "the mapping");
        imported.export(.., Protection::Read).expect("EXPORT");
        engine_at(&imported, "check", 0);
    });
}

/// A file of the fourth access mode can neither be read nor written.
fn without_rights(env: &Env) {
    with(env, |node| {
        let heap = Heap::open("system").expect("open");
        let fd = heap.alloc_for(page() as u64, libc::O_ACCMODE);
        let imported = import(node, &fd.expect("DMA_HEAP_IOCTL_ALLOC"));
        assert_eq!(info(&imported).owner, Owner::Cpu, "nothing is lent");
        for phase in [Phase::Begin, Phase::End] {
            refused(imported.sync(.., Access::ReadWrite, phase), Errno::EBADF);
        }
        refused(imported.read_at(&mut [0], 0), Errno::EBADF);
        refused(imported.write_at(&[0], 0), Errno::EBADF);
        refused(imported.map(0, page(), Protection::Read), Errno::EACCES);
        for protection in [Protection::Read, Protection::ReadWrite] {
            refused(imported.export(.., protection), Errno::EBADF);
        }
        engine_at(&imported, "check", 0);
    });
}

/// Calls an ioctl with an argument of its own.
fn call<T>(handle: impl AsFd, number: u32, mut argument: T) -> Result<(), Errno> {
    // SAFETY: the argument is the structure that the number is for.
    unsafe { sys::ioctl(handle, number, (&raw mut argument).cast()) }
}

/// Asserts that a call was refused because the dma-buf is of another driver, with a reason.
#[track_caller]
fn refused_with<T: std::fmt::Debug>(log: &mut Log, result: shmbuf::Result<T>, reason: &str) {
    refused(result, Errno::EOPNOTSUPP);
    let lines = log.lines();
    assert!(
        lines.iter().any(|line| line.text.contains(reason)),
        "{lines:?}"
    );
}

fn refusals(env: &Env) {
    with(env, |node| {
        let (_, fd) = theirs().remove(0);
        let imported = import(node, &fd);
        let page = page() as u64;
        let mut log = Log::from_now();
        let own = node
            .alloc(&Alloc::new(page, Kind::Streaming))
            .expect("ALLOC");
        let mut no = |result, reason| refused_with(&mut log, result, reason);
        no(
            imported.set_cache(Policy::WriteBack),
            "SET_CACHE: the memory type",
        );
        no(
            imported.alloc(&Alloc::new(page, Kind::Pages)).map(drop),
            "ALLOC: the handle",
        );
        no(imported.import(&fd).map(drop), "IMPORT: the handle");
        no(imported.copy_from(0, &own, ..), "COPY: the engine");
        no(own.copy_from(0, &imported, ..page), "COPY: the engine");
        for range in [0..page, page..PAGES as u64 * page] {
            let synced = imported.sync(range.clone(), Access::Read, Phase::Begin);
            no(synced, "SYNC: an imported");
            let exported = imported.export(range, Protection::ReadWrite);
            no(exported.map(drop), "EXPORT: an imported");
        }
        let exported = imported.export(.., Protection::Read);
        no(
            exported.map(drop),
            "EXPORT: an imported dma-buf has the rights",
        );
        refused(imported.copy_result(), Errno::ENODATA);
        refused(
            imported.map(page, PAGES * page as usize, Protection::Read),
            Errno::EINVAL,
        );
        for (offset, length, errno) in [
            (0, 0, Errno::EINVAL),
            (0, PAGES as u64 * page + 1, Errno::ERANGE),
            (u64::MAX, 2, Errno::ERANGE),
        ] {
            let sync = abi::shmbuf_sync {
                offset,
                length,
                flags: abi::SHMBUF_SYNC_READ,
                reserved: 0,
            };
            refused(call(&imported, abi::SHMBUF_IOC_SYNC, sync), errno);
            let lent = abi::shmbuf_lent { offset, length };
            refused(call(&imported, abi::SHMBUF_IOC_LENT, lent), errno);
        }
        for flags in [0, abi::SHMBUF_SYNC_END, 8 | abi::SHMBUF_SYNC_READ] {
            let sync = abi::shmbuf_sync {
                length: imported.size(),
                flags,
                ..Default::default()
            };
            refused(call(&imported, abi::SHMBUF_IOC_SYNC, sync), Errno::EINVAL);
        }
        refused(call(&imported, 0xbc0a, 0_u64), Errno::ENOTTY);
        let info = abi::shmbuf_info {
            flags: 1,
            ..Default::default()
        };
        refused(call(&imported, abi::SHMBUF_IOC_INFO, info), Errno::EINVAL);
        assert_eq!(
            imported.lent(),
            Ok(iter::once(0..imported.size()).collect()),
            "nothing has changed"
        );
    });
}

fn bad_input(env: &Env) {
    with(env, |node| {
        let mut log = Log::from_now();
        let memfd = memfd_create(c"shmbuf-test", MFdFlags::MFD_CLOEXEC).expect("memfd_create");
        refused(node.import(&memfd), Errno::EINVAL);
        let lines = log.lines();
        let said = lines
            .iter()
            .any(|line| line.text.contains("/dev/udmabuf makes one"));
        assert!(said, "{lines:?}");
        refused(node.import(node), Errno::EINVAL);
        let own = node
            .alloc(&Alloc::new(page() as u64, Kind::Pages))
            .expect("ALLOC");
        let exported = node.import(export_all(&own)).map(drop);
        refused_with(
            &mut log,
            exported,
            "IMPORT: the dma-buf is of a buffer of this driver",
        );
        let (_, fd) = theirs().remove(0);
        let argument = |fd, flags| abi::shmbuf_import { fd, flags };
        let number = abi::SHMBUF_IOC_IMPORT;
        for fd in [-1, i32::MIN, i32::MAX] {
            refused(call(node, number, argument(fd, 0)), Errno::EBADF);
        }
        for bit in 0..32 {
            let argument = argument(fd.as_raw_fd(), 1 << bit);
            refused(call(node, number, argument), Errno::EINVAL);
        }
        refused(
            call(node, resized(number, 7), argument(fd.as_raw_fd(), 0)),
            Errno::EINVAL,
        );
        let reader = Buffer::open_read_only(Path::new("/dev").join(format!("shmbuf-{NAME}")));
        refused(reader.expect("open").import(&fd), Errno::EBADF);
    });
}

fn outlives(env: &Env) {
    with_engine(env, || {
        for (exporter, fd) in theirs() {
            let folder = enabled();
            let imported = import(&open(NAME), &fd);
            drop(fd);
            folder.disable();
            drop(folder);
            let pattern = fresh();
            sync(&imported, Phase::Begin);
            write_all(&imported, pattern);
            assert_pattern(pattern, 0, &read_all(&imported), exporter);
            let mapping = imported.map(0, PAGES * page(), Protection::ReadWrite);
            let mapping = mapping.expect("mmap");
            let again = imported.export(.., Protection::ReadWrite).expect("EXPORT");
            sync(&imported, Phase::End);
            // The device may go, and comes again.
            engine::driver("unbind").expect("unbind");
            sync(&imported, Phase::Begin);
            engine::driver("bind").expect("bind");
            drop(imported);
            assert_pattern(pattern, 0, &load_all(&mapping), exporter);
            drop(mapping);
            let mapping = dma_buf(&again).map(0, PAGES * page(), Protection::Read);
            assert_pattern(pattern, 0, &load_all(&mapping.expect("mmap")), exporter);
        }
    });
}

fn outlived(env: &Env) {
    with(env, |node| {
        for (exporter, fd) in theirs() {
            let own = dma_buf(&fd);
            let mapping = own
                .map(0, PAGES * page(), Protection::ReadWrite)
                .expect("mmap");
            for _ in 0..3 {
                let pattern = fresh();
                let imported = import(node, &fd);
                sync(&imported, Phase::Begin);
                write_all(&imported, pattern);
                drop(imported);
                own.sync(Access::ReadWrite, Phase::Begin).expect("SYNC");
                assert_pattern(pattern, 0, &load_all(&mapping), exporter);
                own.sync(Access::ReadWrite, Phase::End).expect("SYNC");
            }
        }
    });
}

/// The device would have copies, which SYNC of the exporter does not bring up to date.
fn copied(env: &Env) {
    env.module.must_load(&env.config.parameters());
    let node = env.open();
    let mut log = Log::from_now();
    for (_, fd) in theirs() {
        let refusal = node.import(&fd).map(drop);
        refused_with(
            &mut log,
            refusal,
            "IMPORT: the device does not reach all of the memory, and the kernel would copy for it",
        );
    }
    drop(node);
    env.module.must_unload();
}
