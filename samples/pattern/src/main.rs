// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writes a pattern through a mapping and verifies it with read(2), then the
//! other way round with write(2). pattern.c is the same in C.
//!
//! With `--engine` a DMA engine copies patterns from and to the buffer as well:
//! it really is read and written by a device. pattern.c has no such option.
//!
//! Without `--policy` and `--sync` it is the classic program, which makes
//! no ioctl: open, mmap, store, read.
//!
//! Exit status: 0 all right, 1 wrong data, 2 refused by the kernel, 64 usage.

use std::{
    fs::{self, OpenOptions},
    path::PathBuf,
    process::ExitCode,
};

use clap::Parser;
use shmbuf::{Access, Alloc, Buffer, Error, Info, Kind, Mapping, Phase, Policy, Protection};
use shmbuf_verify::{mix, transfer, Pattern, Side};

/// Writes a pattern through one side of a buffer and verifies it through the
/// other: a mapping, and read(2) and write(2).
#[derive(Parser)]
struct Options {
    /// The buffer
    #[arg(
        long,
        alias = "device",
        value_name = "PATH",
        default_value = "/dev/shmbuf"
    )]
    buffer: PathBuf,
    /// Set the cache policy first: writeback, writethrough, writecombine or
    /// noncached
    #[arg(long, alias = "set-cache", value_name = "POLICY")]
    policy: Option<Policy>,
    /// Use INFO, and SYNC if the buffer is one that devices own by turns
    #[arg(long)]
    sync: bool,
    /// Have the machine's DMA engine copy to and from the buffer too
    #[arg(long, requires = "sync")]
    engine: bool,
    /// Random seed, to reproduce a run
    #[arg(long, value_name = "N")]
    seed: Option<u32>,
    /// Print INFO and do nothing else
    #[arg(long)]
    info: bool,
}

fn main() -> ExitCode {
    let options = match Options::try_parse() {
        Ok(options) => options,
        Err(error) => {
            let code = if error.use_stderr() { 64 } else { 0 };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            println!("{error}");
            let policy = options.policy.map_or("-", Policy::name);
            let errno = error
                .errno()
                .map_or("-".into(), |errno| format!("{errno:?}"));
            println!("result: policy={policy} refused={errno}");
            ExitCode::from(2)
        }
    }
}

fn run(options: &Options) -> shmbuf::Result<bool> {
    // Without ioctls it does for the node of any such driver.
    let node = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&options.buffer);
    let buffer = Buffer::from_any_file(node.map_err(Error::open)?)?;
    if let Some(policy) = options.policy {
        buffer.set_cache(policy)?;
    }
    let with_info = options.policy.is_some() || options.sync || options.info;
    let info = with_info.then(|| buffer.info()).transpose()?;
    match &info {
        Some(info) => print_info(info),
        None => println!("size:        {} bytes", buffer.size()),
    }
    if options.info {
        return Ok(true);
    }

    let size = buffer.size() as usize;
    let mapping = buffer.map(0, size, Protection::ReadWrite)?;
    println!("mapping:     {}", maps_line(&mapping));

    // The CPU and a device own buffers of some kinds by turns. Such a buffer is handed to the
    // device after each access, and taken back before the next.
    let hand_over = info.as_ref().is_some_and(Info::has_owner);
    let seed = options.seed.unwrap_or_else(|| fastrand::u32(..));
    let (mapped, kernel) = (Side::Mapping(&mapping), Side::Kernel(&buffer));
    let first = Pattern::new(seed);
    let to_read = transfer(&buffer, mapped, kernel, first, hand_over)?;
    println!("{to_read}");
    let second = Pattern::new(mix(seed, 1));
    let to_mapping = transfer(&buffer, kernel, mapped, second, hand_over)?;
    println!("{to_mapping}");
    let engine = match info.as_ref().filter(|_| options.engine) {
        Some(info) => Some(through_engine(&buffer, &mapping, info, mix(seed, 2))?),
        None => None,
    };
    if hand_over {
        // Leave it to the CPU, as it was.
        buffer.sync(.., Access::ReadWrite, Phase::Begin)?;
    }

    let (kind, policy, memory_type) = match &info {
        Some(info) => (info.kind.name(), info.policy.name(), &*info.memory_type),
        None => ("-", "-", "-"),
    };
    println!(
        "result: kind={kind} policy={policy} type=\"{memory_type}\" bytes={size} \
         mapping-to-read={} write-to-mapping={}{}",
        verdict(to_read.is_ok()),
        verdict(to_mapping.is_ok()),
        engine.map_or(String::new(), |ok| format!(" engine={}", verdict(ok))),
    );
    Ok(to_read.is_ok() && to_mapping.is_ok() && engine != Some(false))
}

/// Has the DMA engine copy a pattern from the buffer, and another to it. Returns whether both
/// arrived.
fn through_engine(
    buffer: &Buffer,
    mapping: &Mapping,
    info: &Info,
    seed: u32,
) -> shmbuf::Result<bool> {
    // What the engine copies from or to at the other end.
    let other = buffer.alloc(&Alloc::new(info.size, Kind::Scatter))?;
    let other_mapping = other.map(0, info.size as usize, Protection::ReadWrite)?;
    let mapped = Side::Mapping(mapping);
    let engine = Side::Engine {
        buffer,
        other: &other,
        mapping: &other_mapping,
    };
    let mut arrived = true;
    for (number, (from, to)) in [(mapped, engine), (engine, mapped)].into_iter().enumerate() {
        let pattern = Pattern::new(mix(seed, number as u32));
        let finding = transfer(buffer, from, to, pattern, info.has_owner())?;
        println!("{finding}");
        arrived &= finding.is_ok();
    }
    Ok(arrived)
}

/// How the last line says whether a part of the run was right.
fn verdict(ok: bool) -> &'static str {
    if ok {
        "ok"
    } else {
        "failed"
    }
}

fn print_info(info: &Info) {
    println!("kind:        {}", info.kind);
    println!("policy:      {}", info.policy);
    println!("memory type: {}", info.memory_type);
    println!("policies:    {}", info.policies);
    println!("size:        {} bytes", info.size);
    println!("owner:       {}", info.owner);
    println!("cache line:  {} bytes", info.cache_line);
    println!("mappings:    {}", info.mappings);
    println!("aliased:     {}", info.aliased);
    if let Some(address) = info.phys_addr {
        println!("physical:    {address:#x}");
    }
    if let Some(dma) = &info.dma_addr {
        println!("dma:         {:#x} for {}", dma.address, dma.device);
    }
}

/// The mapping's line of /proc/self/maps.
fn maps_line(mapping: &Mapping) -> String {
    let start = format!("{:08x}-", mapping.as_ptr().addr());
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let line = maps.lines().find(|line| line.starts_with(&start));
    line.unwrap_or("(not in /proc/self/maps)").to_string()
}
