// SPDX-License-Identifier: MIT OR Apache-2.0
//! A process that maps the buffer, says where, and stays there, so that the
//! page-table audit can look at it from outside the machine.

use std::{fs::File, io::Write, path::PathBuf, sync::Barrier};

use anyhow::{ensure, Context, Result};
use clap::{Args, ValueEnum};
use nix::{errno::Errno, libc, sys::prctl, unistd::getpid};
use serde_json::{json, Value};
use shmbuf::{abi, Access, Buffer, Phase, Policy, Protection};

use crate::{
    module::DEVICE,
    process::Child,
    procfs::mapped,
    sys::{self, page, Region},
};

/// Options of `hold`.
#[derive(Args)]
pub struct Options {
    /// The buffer
    #[arg(long, value_name = "PATH", default_value = DEVICE)]
    device: PathBuf,
    /// The policy that it has to have: it is set where the kind lets it
    #[arg(long)]
    policy: Option<Policy>,
    /// Bytes, a multiple of the page size
    #[arg(long, default_value_t = 0)]
    offset: u64,
    /// Bytes; all that are there by default
    #[arg(long)]
    length: Option<usize>,
    /// What is done to the mapping first
    #[arg(long, value_enum, default_value_t = Step::Plain)]
    step: Step,
    /// Have entries of pages alone (PR_SET_THP_DISABLE)
    #[arg(long)]
    without_blocks: bool,
    /// Map by a dma-buf of the part
    #[arg(long)]
    dma_buf: bool,
    /// Instead, map and touch so many times while the buffer is given to the
    /// device, and stay with all of these mappings when the device has it
    #[arg(long, value_name = "ROUNDS", conflicts_with_all = ["step", "dma_buf"])]
    withdraw: Option<usize>,
}

/// What is done to the mapping.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Step {
    /// Nothing
    Plain,
    /// It is made read-only, and writable again
    Mprotect,
    /// It is the one that a forked child has inherited
    Fork,
    /// It is shrunk to the half
    Mremap,
}

/// Maps, prints one line of JSON and then "held", and spins without any system
/// call, until it is killed. The nonce is a number of eight bytes in
/// little-endian order. A line that is longer than the standard library's
/// buffer is written in parts: who reads along knows by "held" that it is whole.
pub fn run(options: &Options) -> Result<bool> {
    if options.without_blocks {
        prctl::set_thp_disable(true).context("PR_SET_THP_DISABLE")?;
    }
    let buffer = Buffer::open(&options.device)?;
    if let Some(policy) = options.policy {
        if buffer.info()?.policy != policy {
            buffer.set_cache(policy)?;
        }
    }
    if let Some(rounds) = options.withdraw {
        let regions = withdrawn(&buffer, rounds)?;
        stay(&buffer, &regions, 0);
    }
    let rest = buffer.size().saturating_sub(options.offset) as usize;
    let length = options.length.unwrap_or(rest);
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let mut region = if options.dma_buf {
        let range = options.offset..options.offset + length as u64;
        let dma_buf = buffer.export(range, Protection::ReadWrite)?;
        Region::map(&dma_buf, length, protection, libc::MAP_SHARED, 0)
    } else {
        let offset = i64::try_from(options.offset)?;
        Region::map(&buffer, length, protection, libc::MAP_SHARED, offset)
    }
    .with_context(|| format!("mmap of {length} bytes at {}", options.offset))?;
    touch(&region);

    match options.step {
        Step::Plain => {}
        Step::Mprotect => {
            region.protect(libc::PROT_READ).context("mprotect")?;
            region.protect(protection).context("mprotect")?;
            touch(&region);
        }
        Step::Mremap => {
            let half = length / 2 / page() * page();
            ensure!(half > 0, "one page has no half");
            region.remap(length, half, 0).context("mremap")?;
            touch(&region);
        }
        Step::Fork => {
            let child = Child::run(|| {
                touch(&region);
                stay(&buffer, &[region], options.offset);
            });
            child.wait();
            return Ok(false);
        }
    }
    stay(&buffer, &[region], options.offset)
}

/// Mappings that were made and touched while another thread gave the buffer to
/// the device, which has it when this returns.
fn withdrawn(buffer: &Buffer, rounds: usize) -> Result<Vec<Region>> {
    let length = buffer.size() as usize;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let zero = File::open("/dev/zero").context("/dev/zero")?;
    let start = Barrier::new(2);
    std::thread::scope(|scope| {
        let giver = scope.spawn(|| -> Result<()> {
            for _ in 0..rounds {
                buffer.sync(.., Access::ReadWrite, Phase::Begin)?;
                start.wait();
                buffer.sync(.., Access::ReadWrite, Phase::End)?;
                start.wait();
            }
            Ok(())
        });
        let mut regions = Vec::new();
        for _ in 0..rounds {
            start.wait();
            let map = || Region::map(buffer, length, protection, libc::MAP_SHARED, 0);
            let region = match map() {
                // VIVT caches: one cached mapping at a time.
                Err(Errno::EBUSY) => {
                    regions.clear();
                    map()?
                }
                other => other?,
            };
            // Where a store would be SIGBUS, the kernel's is EFAULT.
            for at in (0..length).step_by(page()) {
                // SAFETY: nobody has a reference to what is mapped.
                let _ = unsafe { sys::read(&zero, region.at(at), 1) };
            }
            regions.push(region);
            start.wait();
        }
        giver.join().expect("the other thread panicked")?;
        Ok(regions)
    })
}

/// Reads and writes every page, as a program would, and changes nothing.
fn touch(region: &Region) {
    for offset in (0..region.len()).step_by(page()) {
        region.write(offset, region.read(offset));
    }
}

fn stay(buffer: &Buffer, regions: &[Region], offset: u64) -> ! {
    // A page of our own whose contents nobody else has: who reads page tables
    // finds out with it whether they are ours.
    let nonce = fastrand::u64(..);
    let own = Region::anonymous(page());
    for (at, byte) in nonce.to_le_bytes().into_iter().enumerate() {
        // SAFETY: in the first page of it, to which there are no references.
        unsafe { own.at(at).write_volatile(byte) };
    }
    let region = |region: &Region| {
        json!({
            "va": region.start().addr(),
            "length": region.len(),
            "protection": mapped(region.start()).map(|mapped| mapped.permissions),
        })
    };
    let line = json!({
        "pid": getpid().as_raw(),
        "regions": regions.iter().map(region).collect::<Vec<_>>(),
        "offset": offset,
        "nonce_va": own.start().addr(),
        "nonce": nonce,
        "info": info(buffer),
    });
    println!("{line}\nheld");
    let _ = std::io::stdout().flush();
    loop {
        std::hint::spin_loop();
    }
}

/// All fields of INFO as JSON, by name where a number has one.
fn info(buffer: &Buffer) -> Value {
    let mut raw = abi::shmbuf_info::default();
    let argument = std::ptr::from_mut(&mut raw).cast();
    // SAFETY: the argument is the structure that the number is for.
    let result = unsafe { sys::ioctl(buffer, abi::SHMBUF_IOC_INFO, argument) };
    match (result, shmbuf::Info::try_from(&raw)) {
        (Ok(()), Ok(info)) => json!({
            "flags": raw.flags,
            "kind": info.kind.name(),
            "policy": info.policy.name(),
            "policies": info.policies.iter().map(Policy::name).collect::<Vec<_>>(),
            "size": raw.size,
            "phys_addr": raw.phys_addr,
            "dma_addr": raw.dma_addr,
            "owner": info.owner.name(),
            "cache_line": raw.cache_line,
            "mappings": raw.mappings,
            "reserved": raw.reserved,
            "memory_type": info.memory_type,
            "dma_device": info.dma_addr.map(|dma| dma.device),
            "aliased": info.aliased,
        }),
        (Err(errno), _) => json!({ "error": errno.to_string() }),
        (_, Err(error)) => json!({ "error": error.to_string() }),
    }
}
