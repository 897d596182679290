// SPDX-License-Identifier: MIT OR Apache-2.0
//! What each call costs: does it between two marks, for a plugin of the emulator
//! to count (tools/coherence/plugin, `count=`). The same is done with buffers of
//! this driver, of the kernel's dma-buf heaps and of a plain driver (tests/bench).
//!
//! Between the marks is nothing but the call.

use std::{
    fmt::Debug,
    fs::File,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    path::PathBuf,
};

use anyhow::{ensure, Context, Result};
use nix::{
    errno::Errno,
    fcntl::{open, OFlag},
    libc,
    sys::stat::Mode,
};
use shmbuf::{Access, Alloc, Buffer, DmaBuf, Kind, MappingKind, Phase, Policy, Protection};

use crate::{
    drivers::{coherence_hint, COHERENCE_COUNT_BEGIN, COHERENCE_COUNT_END},
    heap::Heap,
    module::{has_engine, DEVICE},
    sys::{page, pread, pwrite, Region},
};

/// How often each call is done. The first ones find caches of the kernel empty.
const ROUNDS: usize = 6;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// The plain driver's node.
const PLAIN: &str = "/dev/plain";

// PLAIN_IOC_IMPORT of tests/bench/plain.c.
nix::ioctl_write_int_bad!(plain_import, nix::request_code_none!(b'P', 0));

/// The heaps, and what they are called here: of single pages, and of contiguous ones.
const HEAPS: [(&str, &str); 2] = [
    ("system", "heap.system"),
    ("default_cma_region", "heap.cma"),
];

/// A hint to the plugin, as coherence_hint() of tools/coherence/hint.h.
fn hint(what: coherence_hint, name: &str) {
    #[cfg(target_arch = "arm")]
    // SAFETY: the instruction does nothing.
    unsafe {
        std::arch::asm!(
            "mov r9, r9",
            in("r0") what,
            in("r1") name.as_ptr(),
            in("r2") name.len(),
            options(nostack, preserves_flags)
        );
    }
    #[cfg(not(target_arch = "arm"))]
    let _ = (what, name);
}

/// Does something between two marks, round by round, each time with what the
/// first function makes ready.
fn measure<S, T, E: Debug>(
    name: &str,
    mut ready: impl FnMut() -> S,
    mut call: impl FnMut(&mut S) -> Result<T, E>,
) {
    for _ in 0..ROUNDS {
        let mut state = ready();
        hint(COHERENCE_COUNT_BEGIN, name);
        let result = call(&mut state);
        hint(COHERENCE_COUNT_END, "");
        if let Err(error) = result {
            panic!("{name}: {error:?}");
        }
    }
}

/// Where buffers come from.
#[derive(Debug)]
enum Source {
    Shmbuf(Buffer, Alloc),
    Heap {
        heap: Heap,
        path: PathBuf,
        name: &'static str,
    },
    Plain,
}

/// A buffer of any source.
#[derive(Debug)]
enum Memory {
    Shmbuf(Buffer),
    DmaBuf(DmaBuf),
    Plain(File),
}

impl AsFd for Memory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Shmbuf(buffer) => buffer.as_fd(),
            Self::DmaBuf(dma_buf) => dma_buf.as_fd(),
            Self::Plain(file) => file.as_fd(),
        }
    }
}

impl Memory {
    fn map(&self, length: usize) -> Result<Region, Errno> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        Region::map(self, length, protection, libc::MAP_SHARED, 0)
    }

    /// The buffer as a dma-buf, for a device to import; `None` if there is no way.
    fn dma_buf(&self) -> Option<DmaBuf> {
        let fd = match self {
            Self::Shmbuf(buffer) => buffer.export(.., Protection::ReadWrite).expect("EXPORT"),
            Self::DmaBuf(dma_buf) => dma_buf.as_fd().try_clone_to_owned().expect("dup"),
            Self::Plain(_) => return None,
        };
        Some(DmaBuf::from_fd(fd).expect("a dma-buf"))
    }
}

impl Source {
    /// The source's name, as in the tables of the benchmarks.
    fn name(&self) -> String {
        match self {
            Self::Shmbuf(_, alloc) => {
                let policy = alloc.policy.expect("each has one");
                match alloc.mapping {
                    MappingKind::Pfnmap => format!("{}.{policy}", alloc.kind),
                    other => format!("{}.{policy}.{other}", alloc.kind),
                }
            }
            Self::Heap { name, .. } => name.to_string(),
            Self::Plain => "plain".into(),
        }
    }

    fn path(&self) -> PathBuf {
        match self {
            Self::Shmbuf(..) => DEVICE.into(),
            Self::Heap { path, .. } => path.clone(),
            Self::Plain => PLAIN.into(),
        }
    }

    fn make(&self, length: usize) -> Memory {
        match self {
            Self::Shmbuf(control, alloc) => {
                let size = length as u64;
                let alloc = Alloc {
                    size,
                    ..alloc.clone()
                };
                Memory::Shmbuf(control.alloc(&alloc).expect("ALLOC"))
            }
            Self::Heap { heap, .. } => {
                let fd = heap.alloc(length as u64).expect("DMA_HEAP_IOCTL_ALLOC");
                Memory::DmaBuf(DmaBuf::from_fd(fd).expect("a dma-buf"))
            }
            Self::Plain => Memory::Plain(plain()),
        }
    }
}

/// Opens the plain driver's node: each file is a buffer, and a device that imports.
fn plain() -> File {
    let file = File::options().read(true).write(true).open(PLAIN);
    file.expect(PLAIN)
}

/// Gives a dma-buf to the device of a plain driver's file, until that is closed.
fn import_to(file: &File, dma_buf: &DmaBuf) -> Result<(), Errno> {
    let fd = dma_buf.as_fd().as_raw_fd();
    // SAFETY: the call takes a number, and no memory is involved.
    unsafe { plain_import(file.as_raw_fd(), fd) }.map(drop)
}

/// Writes a word to each page of a region.
fn touch(region: &Region) {
    for offset in (0..region.len()).step_by(page()) {
        region.write(offset, 1);
    }
}

/// Loads each word of a region.
fn load(region: &Region) {
    let start = region.start().cast::<u32>();
    for i in 0..region.len() / 4 {
        // SAFETY: inside and aligned; all of it is mapped.
        unsafe { start.add(i).read_volatile() };
    }
}

/// Stores each word of a region.
fn store(region: &Region) {
    let start = region.start().cast::<u32>();
    for i in 0..region.len() / 4 {
        // SAFETY: inside and aligned; all of it is mapped, for writing.
        unsafe { start.add(i).write_volatile(i as u32) };
    }
}

fn size(bytes: usize) -> String {
    match bytes {
        MIB.. => format!("{} MiB", bytes / MIB),
        _ => format!("{} KiB", bytes / KIB),
    }
}

/// Measures all calls with the buffers of one source.
fn bench(source: &Source, engine: bool) {
    let of = |call: &str| format!("{call}\t{}", source.name());
    let (path, flags) = (source.path(), OFlag::O_RDWR | OFlag::O_CLOEXEC);
    measure(&of("open"), || (), |()| open(&path, flags, Mode::empty()));
    for bytes in [4 * KIB, 4 * MIB] {
        let sized = |call: &str| of(&format!("{call} {}", size(bytes)));
        allocate(source, bytes, &sized);
        let memory = source.make(bytes);
        measure(
            &sized("mmap and touch"),
            || (),
            |()| memory.map(bytes).inspect(touch),
        );
        transfer(&memory, bytes, &sized);
        let region = memory.map(bytes).expect("mmap");
        touch(&region);
        measure(
            &sized("load"),
            || (),
            |()| {
                load(&region);
                Ok::<_, Errno>(())
            },
        );
        measure(
            &sized("store"),
            || (),
            |()| {
                store(&region);
                Ok::<_, Errno>(())
            },
        );
    }
    sync(&source.make(MIB), &of);
    import(&source.make(MIB), &of);
    if let (Source::Shmbuf(..), true) = (source, engine) {
        for bytes in [4 * KIB, MIB] {
            copy(source, bytes, &of(&format!("COPY {}", size(bytes))));
        }
    }
}

fn allocate(source: &Source, bytes: usize, name: &impl Fn(&str) -> String) {
    match source {
        Source::Shmbuf(control, alloc) => {
            let alloc = Alloc {
                size: bytes as u64,
                ..alloc.clone()
            };
            measure(&name("allocate"), || (), |()| control.alloc(&alloc));
        }
        Source::Heap { heap, .. } => {
            measure(&name("allocate"), || (), |()| heap.alloc(bytes as u64))
        }
        // Its buffer is there from the start.
        Source::Plain => return,
    }
    measure(
        &name("free"),
        || Some(source.make(bytes)),
        |memory| {
            drop(memory.take());
            Ok::<_, Errno>(())
        },
    );
}

/// Measures read(2) and write(2), where there are any, of a buffer that the program has mapped
/// or not.
fn transfer(memory: &Memory, bytes: usize, name: &impl Fn(&str) -> String) {
    if let Memory::DmaBuf(_) = memory {
        return;
    }
    let aside = Region::anonymous(bytes);
    touch(&aside);
    let both = |read: &str, write: &str| {
        measure(
            &name(read),
            || (),
            |()| {
                // SAFETY: nothing has a reference to that memory.
                unsafe { pread(memory, aside.start(), bytes, 0) }
            },
        );
        measure(
            &name(write),
            || (),
            |()| pwrite(memory, aside.start(), bytes, 0),
        );
    };
    both("read", "write");
    let region = memory.map(bytes).expect("mmap");
    touch(&region);
    both("read mapped", "write mapped");
}

/// Measures SYNC of parts of a buffer that the program has mapped, and that a device has
/// imported if it is another driver's: the SYNC of those does nothing without.
fn sync(memory: &Memory, of: &impl Fn(&str) -> String) {
    let region = memory.map(MIB).expect("mmap");
    touch(&region);
    let parts = [("a line", 0), ("4 KiB", 4 * KIB), ("1 MiB", MIB)];
    for (part, bytes) in parts {
        let to_device = of(&format!("SYNC of {part} to device"));
        let from_device = of(&format!("SYNC of {part} from device"));
        match memory {
            Memory::Shmbuf(buffer) => {
                let line = buffer.info().expect("INFO").cache_line;
                let range = ..if bytes == 0 {
                    line.into()
                } else {
                    bytes as u64
                };
                let give = || buffer.sync(range, Access::Write, Phase::End);
                let take = || buffer.sync(range, Access::Read, Phase::Begin);
                take_turns(&to_device, &from_device, give, take, || touch(&region));
            }
            Memory::DmaBuf(dma_buf) => {
                let importer = plain();
                import_to(&importer, dma_buf).expect("import");
                let give = || dma_buf.sync(Access::Write, Phase::End);
                let take = || dma_buf.sync(Access::Read, Phase::Begin);
                take_turns(&to_device, &from_device, give, take, || touch(&region));
            }
            Memory::Plain(_) => {}
        }
    }
}

/// Measures what gives a buffer to a device and what takes it back: they only go
/// by turns. The touch between makes pages present that were withdrawn.
fn take_turns<E: Debug>(
    to_device: &str,
    from_device: &str,
    give: impl Fn() -> Result<(), E>,
    take: impl Fn() -> Result<(), E>,
    touch: impl Fn(),
) {
    let again = || {
        take().expect("SYNC");
        touch();
    };
    measure(to_device, again, |()| give());
    measure(
        from_device,
        || {
            again();
            give().expect("SYNC");
        },
        |()| take(),
    );
}

/// Measures EXPORT of a buffer, and its import by a device.
fn import(memory: &Memory, of: &impl Fn(&str) -> String) {
    if let Memory::Shmbuf(buffer) = memory {
        measure(
            &of("EXPORT 1 MiB"),
            || (),
            |()| buffer.export(.., Protection::ReadWrite),
        );
    }
    let Some(dma_buf) = memory.dma_buf() else {
        return;
    };
    measure(&of("import 1 MiB"), plain, |file| import_to(file, &dma_buf));
}

/// Measures COPY between two buffers of a source, by the DMA engine.
fn copy(source: &Source, bytes: usize, name: &str) {
    let (Memory::Shmbuf(from), Memory::Shmbuf(to)) = (source.make(bytes), source.make(bytes))
    else {
        return;
    };
    measure(name, || (), |()| to.copy_from(0, &from, ..));
}

/// The buffers of this driver that this machine has.
fn ours() -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for (kind, mapping) in [
        (Kind::Pages, MappingKind::Pfnmap),
        (Kind::Coherent, MappingKind::Pfnmap),
        (Kind::Streaming, MappingKind::Pfnmap),
        (Kind::Streaming, MappingKind::Strict),
        (Kind::Scatter, MappingKind::Pfnmap),
    ] {
        for policy in Policy::ALL {
            let control = Buffer::open(DEVICE)?;
            let alloc = Alloc {
                policy: Some(*policy),
                mapping,
                ..Alloc::new(page() as u64, kind)
            };
            match control.alloc(&alloc) {
                Ok(_) => sources.push(Source::Shmbuf(control, alloc)),
                Err(error) if error.errno() == Some(Errno::EOPNOTSUPP) => {}
                Err(error) => return Err(error).context(format!("{alloc:?}")),
            }
        }
    }
    Ok(sources)
}

/// Measures all calls with all buffers. The module is loaded, and the plain one too.
///
/// # Errors
///
/// If a module is not loaded, or the machine has no plugin that counts.
pub fn run() -> Result<bool> {
    ensure_counted()?;
    let mut sources = ours()?;
    for (node, name) in HEAPS {
        let heap = Heap::open(node).with_context(|| format!("the heap {node}"))?;
        let path = Heap::path(node);
        sources.push(Source::Heap { heap, path, name });
    }
    sources.push(Source::Plain);
    let engine = has_engine()?;
    for source in &sources {
        println!("bench: {}", source.name());
        bench(source, engine);
    }
    Ok(true)
}

/// Copies 1 KiB from and to the default buffer between marks, by the crate.
///
/// # Errors
///
/// If the module is not loaded, or the machine has no plugin that counts.
pub fn copies() -> Result<bool> {
    ensure_counted()?;
    let buffer = Buffer::open(DEVICE)?;
    let mapping = buffer.map(0, page(), Protection::ReadWrite)?;
    let mut aside = [1; KIB];
    for offset in [0, 3] {
        let of = |call: &str| format!("{call} at {offset}\tcrate");
        measure(
            &of("to"),
            || (),
            |()| {
                mapping.write(offset, &aside);
                Ok::<_, Errno>(())
            },
        );
        measure(
            &of("from"),
            || (),
            |()| {
                mapping.read(offset, &mut aside);
                Ok::<_, Errno>(())
            },
        );
    }
    Ok(true)
}

fn ensure_counted() -> Result<()> {
    ensure!(
        cfg!(target_arch = "arm"),
        "only 32-bit ARM boards have a plugin that counts"
    );
    Ok(())
}
