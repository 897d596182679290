// SPDX-License-Identifier: MIT OR Apache-2.0
//! What each call costs: does it between two marks, for a plugin of the emulator
//! to count (tools/coherence/plugin, `count=`). The same is done with buffers of
//! this driver and of what programs use instead.
//!
//! Between the marks is nothing but the call.

mod growth;
mod hand_over;
mod sources;

use std::{fmt::Debug, ops::Range};

use anyhow::{ensure, Context, Result};
use nix::errno::Errno;
use shmbuf::{Buffer, Protection};

use crate::{
    drivers::{coherence_hint, COHERENCE_COUNT_BEGIN, COHERENCE_COUNT_END, COHERENCE_COUNT_YIELDS},
    module::{has_engine, DEVICE},
    sys::{page, pread, pwrite, Region},
};
pub use hand_over::run as hand_over;
use sources::{all, import_to, plain, watch_preemption, Memory, Source, Sync};

/// How often each call is done. The first ones find caches of the kernel empty.
const ROUNDS: usize = 6;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// A hint to the plugin, as coherence_hint() of tools/coherence/hint.h.
#[inline(always)]
fn hint(what: coherence_hint, first: usize, second: usize) {
    #[cfg(target_arch = "arm")]
    // SAFETY: the instruction does nothing.
    unsafe {
        std::arch::asm!(
            "mov r9, r9",
            in("r0") what,
            in("r1") first,
            in("r2") second,
            options(nostack, preserves_flags)
        );
    }
    #[cfg(not(target_arch = "arm"))]
    let _ = (what, first, second);
}

/// Tells the plugin where the driver lets others run.
fn watch_yields() -> Result<()> {
    let symbols = std::fs::read_to_string("/proc/kallsyms")?;
    let named = |line: &&str| line.split_whitespace().nth(2) == Some("shmbuf_cond_resched");
    let line = symbols.lines().find(named).context("shmbuf_cond_resched")?;
    let address = line.split_whitespace().next().unwrap_or_default();
    hint(
        COHERENCE_COUNT_YIELDS,
        usize::from_str_radix(address, 16)?,
        0,
    );
    Ok(())
}

/// Does something between two marks, round by round, each time with what the
/// first function makes ready.
fn measure<S, T, E: Debug>(
    name: &str,
    ready: impl FnMut() -> S,
    call: impl FnMut(&mut S) -> Result<T, E>,
) {
    measure_times(ROUNDS, name, ready, call);
}

/// [`measure`], with a number of rounds.
fn measure_times<S, T, E: Debug>(
    rounds: usize,
    name: &str,
    mut ready: impl FnMut() -> S,
    mut call: impl FnMut(&mut S) -> Result<T, E>,
) {
    for _ in 0..rounds {
        let mut state = ready();
        hint(COHERENCE_COUNT_BEGIN, name.as_ptr() as usize, name.len());
        let result = call(&mut state);
        hint(COHERENCE_COUNT_END, 0, 0);
        if let Err(error) = result {
            panic!("{name}: {error:?}");
        }
    }
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
    measure(&of("open"), || (), |()| source.open(4 * KIB));
    for bytes in [4 * KIB, 4 * MIB] {
        let sized = |call: &str| of(&format!("{call} {}", size(bytes)));
        if source.allocates() {
            allocate(source, bytes, &sized);
        }
        let memory = make(source, bytes);
        measure(
            &sized("mmap and touch"),
            || (),
            |()| memory.map(0..bytes).inspect(touch),
        );
        transfer(&memory, bytes, &sized);
        let region = memory.map(0..bytes).expect("mmap");
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
    let memory = make(source, MIB);
    if memory.is_synced() {
        sync(&memory, &of);
    }
    import(&memory, &of);
    if let (Source::Shmbuf(..), true) = (source, engine) {
        for bytes in [4 * KIB, MIB] {
            copy(source, bytes, &of(&format!("COPY {}", size(bytes))));
        }
    }
}

fn make(source: &Source, bytes: usize) -> Memory {
    let made = source.make(bytes);
    made.unwrap_or_else(|errno| panic!("{}: {}: {errno}", source.name(), size(bytes)))
}

fn allocate(source: &Source, bytes: usize, name: &impl Fn(&str) -> String) {
    measure(&name("allocate"), || (), |()| source.make(bytes));
    measure(
        &name("free"),
        || Some(make(source, bytes)),
        |memory| {
            drop(memory.take());
            Ok::<_, Errno>(())
        },
    );
}

/// Measures read(2) and write(2), where there are any, of a buffer that the program has mapped
/// or not.
fn transfer(memory: &Memory, bytes: usize, name: &impl Fn(&str) -> String) {
    if !memory.is_read() {
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
                unsafe { pread(memory, aside.start(), bytes, memory.offset()) }
            },
        );
        measure(
            &name(write),
            || (),
            |()| pwrite(memory, aside.start(), bytes, memory.offset()),
        );
    };
    both("read", "write");
    let region = memory.map(0..bytes).expect("mmap");
    touch(&region);
    both("read mapped", "write mapped");
}

/// The bytes of what is called a line here, for all buffers. Those of a core may be fewer.
fn line() -> usize {
    let buffer = Buffer::open(DEVICE).expect(DEVICE);
    buffer.info().expect("INFO").cache_line as usize
}

/// Measures SYNC of parts of a buffer that the program has mapped, and that a device has
/// imported if it is a dma-buf.
fn sync(memory: &Memory, of: &impl Fn(&str) -> String) {
    let region = memory.map(0..MIB).expect("mmap");
    touch(&region);
    let _device = memory.importer();
    for (part, bytes) in [("a line", line()), ("4 KiB", 4 * KIB), ("1 MiB", MIB)] {
        let to_device = of(&format!("SYNC of {part} to device"));
        let from_device = of(&format!("SYNC of {part} from device"));
        let touch = || touch(&region);
        take_turns(ROUNDS, &to_device, &from_device, memory, 0..bytes, touch);
    }
}

/// Measures what gives a buffer to a device and what takes it back: they only go
/// by turns. The touch between makes pages present that were withdrawn.
fn take_turns(
    rounds: usize,
    to_device: &str,
    from_device: &str,
    memory: &Memory,
    range: Range<usize>,
    touch: impl Fn(),
) {
    let give = || memory.sync(Sync::ToDevice, range.clone());
    let take = || memory.sync(Sync::FromDevice, range.clone());
    let again = || {
        take().expect("SYNC");
        touch();
    };
    measure_times(rounds, to_device, again, |()| give());
    measure_times(
        rounds,
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
    if memory.is_exported() {
        measure(&of("EXPORT 1 MiB"), || (), |()| memory.export(MIB));
    }
    let Some(dma_buf) = memory.dma_buf(MIB) else {
        return;
    };
    measure(&of("import 1 MiB"), plain, |file| import_to(file, &dma_buf));
}

/// Measures COPY between two buffers of a source, by the DMA engine.
fn copy(source: &Source, bytes: usize, name: &str) {
    let (Memory::Shmbuf(from), Memory::Shmbuf(to)) = (make(source, bytes), make(source, bytes))
    else {
        return;
    };
    measure(name, || (), |()| to.copy_from(0, &from, ..));
}

/// Measures all calls with all buffers. The module is loaded, and the plain one too.
///
/// # Errors
///
/// If a module is not loaded, or the machine has no plugin that counts.
pub fn run() -> Result<bool> {
    ensure_counted()?;
    watch_preemption()?;
    watch_yields()?;
    let engine = has_engine()?;
    let sources = all()?;
    for source in &sources {
        println!("bench: {}", source.name());
        bench(source, engine);
    }
    for source in &sources {
        growth::grow(source);
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
