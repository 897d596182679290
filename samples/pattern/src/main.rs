// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writes a pattern through a mapping and verifies it with read(2), then the
//! other way round with write(2). pattern.c is the same in C.
//!
//! Without `--set-cache` and `--sync` it is the classic program, which makes
//! no ioctl: open, mmap, store, read.
//!
//! Exit status: 0 all right, 1 wrong data, 2 refused by the kernel, 64 usage.

use std::{fs, path::PathBuf, process::ExitCode};

use clap::Parser;
use shmbuf::{Access, Buffer, Info, Mapping, Phase, Policy, Protection};
use shmbuf_pattern::{mix, pieces, Check, Pattern};

/// Writes a pattern through one side of a buffer and verifies it through the
/// other: a mapping, and read(2) and write(2).
#[derive(Parser)]
struct Options {
    /// The buffer
    #[arg(long, value_name = "PATH", default_value = "/dev/shmbuf")]
    device: PathBuf,
    /// Set the cache policy first: writeback, writethrough, writecombine or
    /// noncached
    #[arg(long, value_name = "POLICY")]
    set_cache: Option<Policy>,
    /// Use INFO, and SYNC if the buffer is one that devices own by turns
    #[arg(long)]
    sync: bool,
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
            let policy = options.set_cache.map_or("-", Policy::name);
            let errno = error.errno().map_or("-".into(), |e| format!("{e:?}"));
            println!("result: policy={policy} refused={errno}");
            ExitCode::from(2)
        }
    }
}

fn run(options: &Options) -> shmbuf::Result<bool> {
    let buffer = Buffer::open(&options.device)?;
    if let Some(policy) = options.set_cache {
        buffer.set_cache(policy)?;
    }
    let ioctls = options.set_cache.is_some() || options.sync || options.info;
    let info = ioctls.then(|| buffer.info()).transpose()?;
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

    let sides = Sides {
        buffer: &buffer,
        mapping: &mapping,
        owned: info.as_ref().is_some_and(|i| i.kind.has_owner()),
    };
    let seed = options.seed.unwrap_or_else(|| fastrand::u32(..));
    let to_read = sides.mapping_to_read(Pattern::new(seed))?;
    let to_mapping = sides.write_to_mapping(Pattern::new(mix(seed, 1)))?;
    if sides.owned {
        // Leave it to the CPU, as it was.
        buffer.sync(.., Access::ReadWrite, Phase::Begin)?;
    }

    let (kind, policy, memory_type) = match &info {
        Some(info) => (info.kind.name(), info.policy.name(), &*info.memory_type),
        None => ("-", "-", "-"),
    };
    println!(
        "result: kind={kind} policy={policy} type=\"{memory_type}\" bytes={size} \
         mapping-to-read={} write-to-mapping={}",
        if to_read { "ok" } else { "failed" },
        if to_mapping { "ok" } else { "failed" },
    );
    Ok(to_read && to_mapping)
}

/// The two sides of a buffer.
struct Sides<'a> {
    buffer: &'a Buffer,
    mapping: &'a Mapping,
    /// By the CPU and a device by turns.
    owned: bool,
}

impl Sides<'_> {
    /// Writes a pattern through the mapping and verifies it with read(2).
    fn mapping_to_read(&self, pattern: Pattern) -> shmbuf::Result<bool> {
        let before = self.cpu(Access::Read, || self.read_all())??;
        self.cpu(Access::Write, || {
            for offset in (0..self.mapping.len()).step_by(4) {
                let word = mix(pattern.seed, offset as u32);
                self.mapping.write_u32(offset, word);
            }
        })?;
        let mut check = Check::new(pattern, &before);
        self.cpu(Access::Read, || {
            let mut piece = vec![0; 8192];
            pieces(pattern.seed, self.mapping.len()).try_for_each(|(offset, length)| {
                let length = self.buffer.read_at(&mut piece[..length], offset as u64)?;
                check.compare(offset, &piece[..length]);
                Ok(())
            })
        })??;
        Ok(self.report("mapping to read(2):", &before, &check))
    }

    /// Writes a pattern with write(2) and verifies it in the mapping.
    fn write_to_mapping(&self, pattern: Pattern) -> shmbuf::Result<bool> {
        let mut before = vec![0; self.mapping.len()];
        self.cpu(Access::Read, || self.mapping.read(0, &mut before))?;
        self.cpu(Access::Write, || {
            pieces(pattern.seed, self.mapping.len()).try_for_each(|(offset, length)| {
                let piece = pattern.bytes(offset, length);
                self.buffer.write_at(&piece, offset as u64).map(drop)
            })
        })??;
        let mut got = vec![0; self.mapping.len()];
        self.cpu(Access::Read, || self.mapping.read(0, &mut got))?;
        let mut check = Check::new(pattern, &before);
        check.compare(0, &got);
        Ok(self.report("write(2) to mapping:", &before, &check))
    }

    /// Runs a function with the CPU as the owner.
    fn cpu<T>(&self, access: Access, f: impl FnOnce() -> T) -> shmbuf::Result<T> {
        if self.owned {
            self.buffer.with_cpu_access(.., access, f)
        } else {
            Ok(f())
        }
    }

    fn read_all(&self) -> shmbuf::Result<Vec<u8>> {
        let mut bytes = vec![0; self.mapping.len()];
        let length = self.buffer.read_at(&mut bytes, 0)?;
        bytes.truncate(length);
        Ok(bytes)
    }

    /// Prints what a check found. A side that held the pattern before it was
    /// written shows nothing, nor does one that did not give all bytes.
    fn report(&self, direction: &str, before: &[u8], check: &Check) -> bool {
        let all = self.mapping.len();
        let verdict = if check.pattern().is_in(before) {
            "WRONG: the pattern was there before it was written".into()
        } else if before.len() < all || check.checked() < all {
            "WRONG: read(2) gave fewer bytes than the buffer has".into()
        } else {
            check.to_string()
        };
        println!("{direction:<20} seed {}: {verdict}", check.pattern().seed);
        verdict == "ok"
    }
}

fn print_info(info: &Info) {
    println!("kind:        {}", info.kind);
    println!("policy:      {}", info.policy);
    println!("type:        {}", info.memory_type);
    println!("policies:    {}", info.policies);
    println!("size:        {} bytes", info.size);
    println!("owner:       {}", info.owner);
    println!("cache line:  {} bytes", info.cache_line);
    println!("mappings:    {}", info.mappings);
    println!("aliased:     {}", if info.aliased { "yes" } else { "no" });
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
