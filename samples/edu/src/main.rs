// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sends a shmbuf buffer through QEMU's educational PCI device and back, and says
//! whether all of it arrived; on request without the SYNC that it takes.

use std::{os::fd::AsFd, path::PathBuf, process::ExitCode};

use anyhow::{ensure, Context, Result};
use clap::{Parser, ValueEnum};
use shmbuf::{Access, Alloc, Buffer, Kind, Phase, Protection};
use shmbuf_edu::{Direction, Edu};
use shmbuf_verify::{Check, Pattern};

/// Sends a buffer through a PCI device (samples/edu) and back
#[derive(Parser)]
struct Options {
    /// The buffer to use, or the node that gives private ones with --kind
    #[arg(long, value_name = "PATH", default_value = "/dev/shmbuf")]
    buffer: PathBuf,
    /// Use a private buffer of this kind
    #[arg(long, value_name = "KIND")]
    kind: Option<Kind>,
    /// Bytes of a private buffer
    #[arg(long, value_name = "BYTES", default_value_t = 65536, requires = "kind")]
    size: u64,
    /// The device
    #[arg(long, value_name = "PATH", default_value = "/dev/edu")]
    edu: PathBuf,
    /// Leave out a SYNC, to see what happens
    #[arg(long, value_name = "WHICH")]
    forget: Option<Forget>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Forget {
    /// Around what the program writes, for the device to read
    Write,
    /// Before the program reads what the device has written
    Read,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("shmbuf-edu: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<bool> {
    let mut buffer = Buffer::open(&options.buffer)?;
    if let Some(kind) = options.kind {
        buffer = buffer.alloc(&Alloc::new(options.size, kind))?;
    }
    let info = buffer.info()?;
    println!(
        "buffer: {} bytes, kind {}, {}, {}",
        info.size, info.kind, info.policy, info.memory_type
    );

    let edu = Edu::open(&options.edu).context("insmod edu.ko on a machine with -device edu")?;
    let dma_buf = buffer.export(.., Protection::ReadWrite)?;
    edu.attach(dma_buf.as_fd(), Direction::Bidirectional)
        .context("the device does not take the buffer")?;

    let half = info.size / 2;
    let length = half as usize;
    ensure!(length > 0, "the buffer has no halves");
    let mapping = buffer.map(0, info.size as usize, Protection::ReadWrite)?;
    let [old, new, other] = [1, 2, 3].map(Pattern::new);

    // In memory there is an old pattern in the first half, and another in the second.
    buffer.with_cpu_access(.., Access::ReadWrite, || {
        mapping.write(0, &old.bytes(0, length));
        mapping.write(length, &other.bytes(0, length));
    })?;

    // The program writes a new pattern to the first half, and hands it over.
    let write = || mapping.write(0, &new.bytes(0, length));
    match options.forget {
        Some(Forget::Write) => write(),
        _ => buffer.with_cpu_access(.., Access::Write, write)?,
    }

    // The device copies the first half to the second.
    let (read, written) = edu.copy(0, half, half).context("the device")?;
    println!("device: reads from {read:#x} on, writes from {written:#x} on");

    // The program takes the buffer back, and looks at the second half.
    if options.forget != Some(Forget::Read) {
        buffer.sync(.., Access::Read, Phase::Begin)?;
    }
    let mut got = vec![0; length];
    mapping.read(length, &mut got);

    let before = other.bytes(0, length);
    let mut check = Check::new(new, &before);
    check.compare(0, &got);
    println!("result: {check}");
    if old.is_in(&got) {
        println!("        The device has read what was there before the program wrote.");
    } else if other.is_in(&got) {
        println!("        The program has read what was there before the device wrote.");
    }
    Ok(check.is_ok())
}
