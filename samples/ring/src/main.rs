// SPDX-License-Identifier: MIT OR Apache-2.0
//! A ring of slots in one buffer, as capture programs have it: a device fills one slot while the
//! program reads another. Each slot goes to and fro by itself, and no frame is copied by the CPU.
//!
//! The device is the machine's DMA engine, by COPY, or QEMU's educational PCI device (samples/edu),
//! which imports a dma-buf of each slot. Each frame has a sequence number, so that none is lost,
//! and a checksum, so that none is torn.

use std::{
    ops::Range,
    path::PathBuf,
    process::ExitCode,
    sync::{
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
        mpsc::{channel, Receiver, Sender},
    },
    thread,
};

use anyhow::{ensure, Context, Result};
use clap::Parser;
use shmbuf::{Access, Alloc, Buffer, DmaBuf, Kind, Mapping, Phase, Protection};
use shmbuf_edu::{Direction, Edu, MEMORY};
use shmbuf_verify::Pattern;

/// Lets a device fill slots of a buffer while the program reads others
#[derive(Parser)]
struct Options {
    /// The node that gives private buffers
    #[arg(long, value_name = "PATH", default_value = "/dev/shmbuf")]
    buffer: PathBuf,
    /// The kind of the buffer
    #[arg(long, value_name = "KIND", default_value_t = Kind::Streaming)]
    kind: Kind,
    /// Slots of the ring
    #[arg(long, value_name = "N", default_value_t = 4)]
    slots: u32,
    /// Frames to take
    #[arg(long, value_name = "N", default_value_t = 1000)]
    frames: u32,
    /// This device fills the slots, instead of the machine's DMA engine
    #[arg(long, value_name = "PATH")]
    edu: Option<PathBuf>,
}

/// Bytes of a slot: a page, and what the PCI device holds.
const SLOT: u64 = MEMORY as u64;

/// Where a frame has its sequence number.
const SEQUENCE: Range<usize> = 0..4;
/// Where it has the checksum of the rest.
const CHECKSUM: Range<usize> = 4..8;

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shmbuf-ring: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    ensure!(options.slots > 1, "a ring has two slots at least");
    let node = Buffer::open(&options.buffer)?;
    let make = |slots: u32| node.alloc(&Alloc::new(u64::from(slots) * SLOT, options.kind));
    let (ring, scene) = (make(options.slots)?, make(1)?);
    let slots: Vec<Slot> = (0..options.slots)
        .map(|number| Slot::new(&ring, number))
        .collect::<Result<_>>()?;
    let mut camera = Camera {
        device: match &options.edu {
            Some(path) => Device::Edu(
                Edu::open(path)?,
                DmaBuf::from_fd(scene.export(.., Protection::ReadWrite)?)?,
            ),
            None => Device::Engine,
        },
        view: scene.map(0, SLOT as usize, Protection::ReadWrite)?,
        scene,
    };

    // Slots that are free, and slots with a frame.
    let (free, empty) = channel();
    let (filled, full) = channel();
    (0..options.slots).try_for_each(|number| free.send(number))?;
    let (filling, beside) = (AtomicBool::new(false), AtomicU32::new(0));
    thread::scope(|scope| {
        let (slots, filling, beside) = (&slots, &filling, &beside);
        let camera = scope.spawn(move || -> Result<()> {
            // It ends when nobody takes frames any more.
            for sequence in 0..options.frames {
                let Ok(number) = empty.recv() else { break };
                filling.store(true, SeqCst);
                camera.fill(&ring, &slots[number as usize], sequence)?;
                filling.store(false, SeqCst);
                filled.send(number).context("nobody takes frames")?;
            }
            Ok(())
        });
        let taken = take(&full, &free, |number| {
            if filling.load(SeqCst) {
                beside.fetch_add(1, SeqCst);
            }
            slots[number as usize].take()
        });
        drop(free);
        camera.join().expect("the camera's thread panicked")?;
        ensure!(taken? == options.frames, "frames are missing");
        Ok(())
    })?;
    println!(
        "{} frames through {} slots, {} of them read while the device filled another",
        options.frames,
        options.slots,
        beside.load(SeqCst)
    );
    Ok(())
}

/// Takes frames as long as some come, each from the slot that `take` gets, and says how many there
/// were.
fn take(
    full: &Receiver<u32>,
    free: &Sender<u32>,
    take: impl Fn(u32) -> Result<Vec<u8>>,
) -> Result<u32> {
    let mut count = 0;
    for number in full {
        check(&take(number)?, count)?;
        count += 1;
        // The camera may have gone after the last.
        let _ = free.send(number);
    }
    Ok(count)
}

/// A part of the buffer that goes to the device and comes back by itself.
struct Slot {
    range: Range<u64>,
    dma_buf: DmaBuf,
    view: Mapping,
}

impl Slot {
    fn new(ring: &Buffer, number: u32) -> Result<Self> {
        let start = u64::from(number) * SLOT;
        let range = start..start + SLOT;
        let dma_buf = DmaBuf::from_fd(ring.export(range.clone(), Protection::ReadWrite)?)?;
        Ok(Self {
            view: dma_buf.map(0, SLOT as usize, Protection::Read)?,
            dma_buf,
            range,
        })
    }

    /// The frame that the device has filled the slot with.
    fn take(&self) -> Result<Vec<u8>> {
        let mut bytes = vec![0; SLOT as usize];
        self.dma_buf.sync(Access::Read, Phase::Begin)?;
        self.view.read(0, &mut bytes);
        Ok(bytes)
    }
}

/// A frame as the camera sends it.
fn frame(sequence: u32) -> Vec<u8> {
    let mut bytes = Pattern::new(sequence).bytes(0, SLOT as usize);
    bytes[SEQUENCE].copy_from_slice(&sequence.to_le_bytes());
    let checksum = checksum(&bytes);
    bytes[CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Checks that a frame is whole, and the one that has to come.
fn check(bytes: &[u8], sequence: u32) -> Result<()> {
    let word = |at: Range<usize>| u32::from_le_bytes(bytes[at].try_into().expect("four bytes"));
    ensure!(
        word(CHECKSUM) == checksum(bytes),
        "frame {sequence} is torn: its checksum is wrong"
    );
    let found = word(SEQUENCE);
    ensure!(
        found == sequence,
        "frame {found} came instead of frame {sequence}"
    );
    Ok(())
}

/// That of all bytes of a frame but where it is (FNV-1a).
fn checksum(bytes: &[u8]) -> u32 {
    let (before, after) = (&bytes[..CHECKSUM.start], &bytes[CHECKSUM.end..]);
    before.iter().chain(after).fold(0x811c_9dc5, |sum, byte| {
        (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

/// What fills slots: it takes a picture of a scene.
struct Camera {
    device: Device,
    scene: Buffer,
    view: Mapping,
}

enum Device {
    /// The machine's DMA engine.
    Engine,
    /// The PCI device, and the scene as it imports it.
    Edu(Edu, DmaBuf),
}

impl Camera {
    fn fill(&mut self, ring: &Buffer, slot: &Slot, sequence: u32) -> Result<()> {
        let bytes = frame(sequence);
        self.scene
            .with_cpu_access(.., Access::Write, || self.view.write(0, &bytes))?;
        match &self.device {
            Device::Engine => {
                // COPY is an access of the CPU: the CPU has both.
                self.scene.sync(.., Access::Read, Phase::Begin)?;
                ring.copy_from(slot.range.start, &self.scene, 0..SLOT)?;
            }
            Device::Edu(edu, scene) => {
                edu.attach(scene, Direction::ToDevice)?;
                edu.transfer(Direction::ToDevice, 0, MEMORY)?;
                edu.attach(&slot.dma_buf, Direction::FromDevice)?;
                edu.transfer(Direction::FromDevice, 0, MEMORY)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_right() {
        for sequence in [0, 1, u32::MAX] {
            assert!(check(&frame(sequence), sequence).is_ok());
        }
    }

    #[test]
    fn a_lost_frame_is_found() {
        let error = check(&frame(8), 7).unwrap_err();
        assert_eq!(error.to_string(), "frame 8 came instead of frame 7");
    }

    #[test]
    fn a_torn_frame_is_found() {
        let (old, new) = (frame(3), frame(7));
        for at in [1, 6, 8, 32, new.len() - 1] {
            let torn = [&new[..at], &old[at..]].concat();
            if torn != new {
                assert!(check(&torn, 7).is_err(), "torn at {at}");
            }
        }
    }
}
