// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the SYNC of each source is worth, where a coherence checker watches: a program reads
//! and writes all of a buffer, the tests' engine reads it and writes it, and the program reads.

use std::{fs, path::Path};

use anyhow::{ensure, Context, Result};
use nix::errno::Errno;
use shmbuf::{Buffer, Segment};

use super::{
    hint,
    sources::{all, frame, u_dma_buf, Memory, Sync},
    KIB,
};
use crate::{
    drivers::COHERENCE_LABEL,
    engine,
    module::DEVICE,
    sys::{page, Region},
};

/// Bytes of each buffer; that many has one of u-dma-buf's.
const SIZE: usize = 64 * KIB;

/// What the CPU writes, and what the device does.
const FROM_CPU: u8 = 0x5a;
const FROM_DEVICE: u8 = 0xa5;

/// Hands a buffer of each source to a device, and takes it back. The checker's reports carry the
/// source's name. The module, the plain one and the engine are loaded.
///
/// # Errors
///
/// If one of them is not, or a source has no buffer.
pub fn run() -> Result<bool> {
    for source in all()? {
        let name = source.name();
        println!("hand-over: {name}");
        let memory = source.make(SIZE).with_context(|| name.clone())?;
        let parts = segments(&memory).with_context(|| name.clone())?;
        let region = memory.map(0..SIZE).with_context(|| name.clone())?;
        let _device = memory.importer();
        hint(COHERENCE_LABEL, name.as_ptr() as usize, name.len());
        there_and_back(&memory, &region, &parts).with_context(|| name.clone())?;
        hint(COHERENCE_LABEL, name.as_ptr() as usize, 0);
    }
    Ok(true)
}

fn there_and_back(memory: &Memory, region: &Region, parts: &[Segment]) -> Result<()> {
    let sync = |way| match memory.is_synced() {
        true => memory.sync(way, 0..SIZE),
        false => Ok(()),
    };
    // Whoever has mapped it for a device has given it away.
    sync(Sync::FromDevice)?;
    for offset in 0..SIZE {
        let byte = region.start().wrapping_add(offset);
        // SAFETY: inside, and all of it is mapped for writing. Some cores only have lines of what was
        // loaded.
        unsafe {
            byte.read_volatile();
            byte.write_volatile(FROM_CPU);
        }
    }
    sync(Sync::ToDevice)?;
    for part in parts {
        engine::set("check", &job(part, FROM_CPU));
    }
    for part in parts {
        engine::set("fill", &job(part, FROM_DEVICE));
    }
    sync(Sync::FromDevice)?;
    for offset in 0..SIZE {
        // SAFETY: inside, and all of it is mapped.
        let byte = unsafe { region.start().add(offset).read_volatile() };
        // The emulator has no caches: it is the checker that tells.
        ensure!(byte == FROM_DEVICE, "the byte {offset} is {byte:#x}");
    }
    Ok(())
}

/// What the engine is told of a part.
fn job(part: &Segment, byte: u8) -> String {
    let bytes = part.range.end - part.range.start;
    format!("{:#x} {bytes} {byte}", part.dma_addr)
}

/// Where the engine finds a buffer.
fn segments(memory: &Memory) -> Result<Vec<Segment>> {
    let whole = |dma_addr| {
        vec![Segment {
            range: 0..SIZE as u64,
            dma_addr,
        }]
    };
    Ok(match memory {
        Memory::Shmbuf(buffer) => match buffer.segments() {
            Ok(parts) => parts,
            Err(error) if error.errno() == Some(Errno::EOPNOTSUPP) => {
                whole(buffer.info()?.phys_addr.context("a physical address")?)
            }
            Err(error) => return Err(error.into()),
        },
        // It is mapped for that moment only: one importer is to be there later.
        Memory::DmaBuf(dma_buf) => Buffer::open(DEVICE)?.import(dma_buf)?.segments()?,
        Memory::UDmaBuf(_) => {
            let node = u_dma_buf(SIZE).context("a buffer of that size")?;
            let name = node.file_name().context("a node")?;
            let file = Path::new("/sys/class/u-dma-buf")
                .join(name)
                .join("phys_addr");
            let text = fs::read_to_string(file)?;
            whole(u64::from_str_radix(
                text.trim().trim_start_matches("0x"),
                16,
            )?)
        }
        // The plain driver has one memory, which /dev/mem has too.
        Memory::Node(..) => whole(frame()? * page() as u64),
    })
}
