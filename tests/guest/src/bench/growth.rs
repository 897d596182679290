// SPDX-License-Identifier: MIT OR Apache-2.0
//! What calls cost where there is more of something: larger buffers, more of
//! them, more that is mapped, imported or running.

use std::{any::Any, ops::Range};

use nix::{
    errno::Errno,
    libc,
    sys::resource::{setrlimit, Resource},
    unistd::pause,
};
use shmbuf::{Alloc, Kind, MappingKind};

use super::{
    line, measure_times,
    sources::{import_to, plain, Memory, Source},
    take_turns, touch, KIB, MIB,
};
use crate::{
    machine::{Arch, Machine},
    process::{Child, Turn},
    sys::{page, pread, Region},
};

/// How often each call is done with a buffer: what the first one finds empty matters little where
/// there is much to do.
fn rounds(bytes: usize) -> usize {
    if bytes > MIB {
        1
    } else {
        3
    }
}

/// The size of a buffer, where it is not the size that grows.
const BUFFER: usize = 256 * KIB;

/// What there is more of, until it is dropped.
type More = Result<Box<dyn Any>, Errno>;

/// Something that there may be more of.
struct Axis {
    name: &'static str,
    points: &'static [usize],
    /// Makes so many.
    grow: fn(&Source, &Memory, usize) -> More,
}

const AXES: [Axis; 6] = [
    Axis {
        name: "bytes",
        points: &[4 * KIB, 64 * KIB, MIB, 16 * MIB, 64 * MIB],
        grow: |_, _, _| Ok(Box::new(())),
    },
    Axis {
        name: "buffers",
        points: &[1, 10, 100, 1000],
        grow: |source, _, number| {
            let more: Result<Vec<_>, _> = (1..number).map(|_| source.make(page())).collect();
            Ok(Box::new(more?))
        },
    },
    Axis {
        name: "mappings",
        points: &[1, 4, 16, 64],
        grow: |_, memory, number| {
            // Not of the same page: a VIVT cache would have its bytes in two places.
            let pages = (0..BUFFER).step_by(page()).take(number - 1);
            let map = |at| memory.map(at..at + page()).inspect(touch);
            let more: Result<Vec<_>, _> = pages.map(map).collect();
            Ok(Box::new(more?))
        },
    },
    Axis {
        name: "VMAs",
        points: &[0, 100, 1000, 10_000],
        grow: |_, _, number| {
            let map = |i| {
                let region = Region::anonymous(page());
                // Neighbours of one protection would become one.
                region.protect([libc::PROT_NONE, libc::PROT_READ][i % 2])?;
                Ok(region)
            };
            let more: Result<Vec<_>, Errno> = (0..number).map(map).collect();
            Ok(Box::new(more?))
        },
    },
    Axis {
        name: "importers",
        points: &[0, 1, 4, 16],
        grow: |_, memory, number| {
            let dma_buf = memory.dma_buf(BUFFER).ok_or(Errno::ENOTTY)?;
            let import = |_| {
                let device = plain();
                import_to(&device, &dma_buf).map(|()| device)
            };
            let more: Result<Vec<_>, _> = (0..number).map(import).collect();
            Ok(Box::new(more?))
        },
    },
    Axis {
        name: "processes",
        points: &[0, 1, 4, 16, 64],
        grow: |_, memory, number| {
            let mapped = Turn::new();
            let child = |_| {
                let child = Child::run(|| {
                    let region = memory.map(0..BUFFER).expect("mmap");
                    touch(&region);
                    mapped.give();
                    pause();
                });
                mapped.take();
                child
            };
            Ok(Box::new((0..number).map(child).collect::<Vec<_>>()))
        },
    },
];

/// The largest buffer. Where each line is maintained by itself, and in two caches, the emulator
/// takes very long for more.
fn most() -> usize {
    match Machine::detect().expect("the machine").arch {
        Arch::Armv7 { .. } => 16 * MIB,
        _ => usize::MAX,
    }
}

/// Whether the curves of a source are of interest.
fn is_shown(source: &Source) -> bool {
    match source {
        Source::Shmbuf(_, Alloc { kind, mapping, .. }) => {
            [Kind::Streaming, Kind::Scatter].contains(kind) && *mapping == MappingKind::Pfnmap
        }
        Source::Node { .. } => false,
        _ => true,
    }
}

/// Measures all curves of a source.
pub fn grow(source: &Source) {
    if !is_shown(source) {
        return;
    }
    println!("bench: growth of {}", source.name());
    setrlimit(Resource::RLIMIT_NOFILE, 4096, 4096).expect("setrlimit");
    let most = most();
    for axis in AXES {
        for &point in axis.points.iter().filter(|point| **point <= most) {
            let name = |call: &str| format!("{call}\t{}\t{}\t{point}", source.name(), axis.name);
            let bytes = if axis.name == "bytes" { point } else { BUFFER };
            if axis.name == "bytes" && source.allocates() {
                let Ok(_) = source.make(bytes) else {
                    break;
                };
                allocate(source, bytes, &name);
            }
            let Ok(memory) = source.make(bytes) else {
                break;
            };
            let Ok(_more) = (axis.grow)(source, &memory, point) else {
                break;
            };
            let _device = memory.importer().filter(|_| axis.name != "importers");
            let last = bytes - page()..bytes;
            map(&memory, &last, &name);
            let mapped = if axis.name == "mappings" {
                last.clone()
            } else {
                0..bytes
            };
            calls(&memory, mapped, &last, &name);
            if axis.name == "bytes" {
                all(&memory, bytes, &name);
            }
        }
    }
}

fn allocate(source: &Source, bytes: usize, name: &impl Fn(&str) -> String) {
    measure_times(
        rounds(bytes),
        &name("allocate"),
        || (),
        |()| source.make(bytes),
    );
    measure_times(
        rounds(bytes),
        &name("free"),
        || source.make(bytes).ok(),
        |memory| {
            drop(memory.take());
            Ok::<_, Errno>(())
        },
    );
}

/// Measures mmap(2) of one page. No other mapping has it.
fn map(memory: &Memory, page: &Range<usize>, name: &impl Fn(&str) -> String) {
    measure_times(
        rounds(0),
        &name("mmap and touch 4 KiB"),
        || (),
        |()| memory.map(page.clone()).inspect(touch),
    );
}

/// Measures what need not grow, at the end of a buffer, and SYNC of all, where so much is mapped.
fn calls(
    memory: &Memory,
    mapped: Range<usize>,
    last: &Range<usize>,
    name: &impl Fn(&str) -> String,
) {
    let region = memory.map(mapped).expect("mmap");
    touch(&region);
    for (part, start) in [("a line", last.end - line()), ("all", 0)] {
        let (to, from) = (
            name(&format!("SYNC of {part} to device")),
            name(&format!("SYNC of {part} from device")),
        );
        let (rounds, touch) = (rounds(last.end - start), || touch(&region));
        take_turns(rounds, &to, &from, memory, start..last.end, touch);
    }
    if memory.is_read() {
        let aside = Region::anonymous(last.len());
        touch(&aside);
        measure_times(
            rounds(0),
            &name("read 4 KiB"),
            || (),
            |()| {
                // SAFETY: nothing has a reference to that memory.
                unsafe { pread(memory, aside.start(), last.len(), last.start as i64) }
            },
        );
    }
}

/// Measures what grows with the size.
fn all(memory: &Memory, bytes: usize, name: &impl Fn(&str) -> String) {
    if memory.is_read() {
        let aside = Region::anonymous(bytes);
        touch(&aside);
        let region = memory.map(0..bytes).expect("mmap");
        touch(&region);
        measure_times(
            rounds(bytes),
            &name("read all"),
            || (),
            |()| {
                // SAFETY: nothing has a reference to that memory.
                unsafe { pread(memory, aside.start(), bytes, 0) }
            },
        );
    }
    measure_times(
        rounds(bytes),
        &name("mmap and touch all"),
        || (),
        |()| memory.map(0..bytes).inspect(touch),
    );
    if let Some(dma_buf) = memory.dma_buf(bytes) {
        let ready = plain;
        measure_times(rounds(bytes), &name("import"), ready, |file| {
            import_to(file, &dma_buf)
        });
    }
}
