// SPDX-License-Identifier: MIT OR Apache-2.0
//! `shmbuf verify`: writes a pattern through one side and verifies it through the other.

use std::process::ExitCode;

use anyhow::{ensure, Context, Result};
use clap::Args;
use shmbuf::{Access, Buffer, Direction, Info, Kind, Owner, Phase, Protection};
use shmbuf_verify::{mix, transfer, Pattern, Side};

use crate::buffer::BufferArgument;

/// Write a pattern to a buffer through one side and verify it through the other
///
/// The sides are a mapping on the one hand, read(2) and write(2) on the other;
/// a buffer of kind pool, which cannot be mapped, has only the latter. Between
/// them, a buffer of kind streaming or scatter is handed to the device and
/// back, unless its direction is from-device, where that drops what the CPU
/// wrote.
///
/// All of the buffer is written, so nobody else should use it meanwhile. Its
/// contents are restored at the end, but not if this program is killed. A
/// buffer of kind region is refused: there, writes make a device do things.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Options {
    #[command(flatten)]
    buffer: BufferArgument,
    /// Random seed, to reproduce a run
    #[arg(long, value_name = "N", value_parser = seed)]
    seed: Option<u32>,
}

impl Options {
    pub fn run(self) -> Result<ExitCode> {
        let buffer = self.buffer.open()?;
        let info = buffer.info()?;
        refuse_what_is_in_use(&info)?;

        let mut contents = vec![0; buffer.size() as usize];
        let got = buffer.read_at(&mut contents, 0)?;
        ensure!(
            got == contents.len(),
            "read(2) gave {got} bytes of {}: see the kernel log",
            contents.len()
        );
        let seed = self.seed.unwrap_or_else(|| fastrand::u32(..));
        let result = check(&buffer, &info, seed);
        restore(&buffer, &info, &contents).context("the contents could not be restored")?;
        println!("contents: restored");
        result.map(status)
    }
}

fn seed(text: &str) -> Result<u32, String> {
    text.parse()
        .map_err(|_| format!("give a number from 0 to {}, such as 7", u32::MAX))
}

fn restore(buffer: &Buffer, info: &Info, contents: &[u8]) -> shmbuf::Result<()> {
    if info.has_owner() {
        buffer.sync(.., Access::ReadWrite, Phase::Begin)?;
    }
    let mut at = 0;
    while at < contents.len() {
        at += buffer.write_at(&contents[at..], at as u64)?;
    }
    Ok(())
}

fn refuse_what_is_in_use(info: &Info) -> Result<()> {
    ensure!(
        info.kind != Kind::Region,
        "the buffer is device memory, where a pattern could make the device do anything: use \
         shmbuf read and write with values that the device expects"
    );
    ensure!(
        info.owner == Owner::Cpu,
        "a device owns the buffer: when it is done, take the buffer back with shmbuf sync start"
    );
    Ok(())
}

/// The exit status of a check.
pub fn status(ok: bool) -> ExitCode {
    ExitCode::from(u8::from(!ok))
}

/// Whether a buffer that the CPU owns holds what is written to it. Prints what
/// that shows.
pub fn check(buffer: &Buffer, info: &Info, seed: u32) -> Result<bool> {
    let hand_over = info.has_owner() && info.direction != Direction::FromDevice;
    let kernel = Side::Kernel(buffer);
    let mapping;
    let program = if info.kind == Kind::Pool {
        kernel
    } else {
        let length = usize::try_from(buffer.size()).context(
            "the buffer is larger than the address space: verify it in a 64-bit program",
        )?;
        mapping = buffer.map(0, length, Protection::ReadWrite)?;
        Side::Mapping(&mapping)
    };

    let there = transfer(buffer, program, kernel, Pattern::new(seed), hand_over)?;
    println!("{there}");
    let second = Pattern::new(mix(seed, 1));
    let back = transfer(buffer, kernel, program, second, hand_over)?;
    println!("{back}");

    let ok = there.is_ok() && back.is_ok();
    println!(
        "verdict: {}: {} bytes, kind {}, policy {}, {}",
        if ok { "ok" } else { "WRONG" },
        info.size,
        info.kind,
        info.policy,
        info.memory_type
    );
    Ok(ok)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{commands::info::tests::example, file::tests::plain};
    use nix::fcntl::{fcntl, FcntlArg, OFlag};

    /// INFO of a buffer that the CPU owns and no device takes.
    fn pages() -> Info {
        Info {
            kind: Kind::Pages,
            ..example()
        }
    }

    #[test]
    fn good_memory_is_ok_mapped_or_not() {
        let buffer = plain("verify", 8192);
        assert!(check(&buffer, &pages(), 1).unwrap());
        let pool = Info {
            kind: Kind::Pool,
            ..example()
        };
        let small = plain("small", 100);
        assert!(check(&small, &pool, 2).unwrap());
    }

    #[test]
    fn writes_that_end_up_elsewhere_are_found() {
        for kind in [Kind::Pages, Kind::Pool] {
            let buffer = plain("elsewhere", 8192);
            // Now pwrite(2) writes behind the end, wherever it is told to.
            fcntl(&buffer, FcntlArg::F_SETFL(OFlag::O_APPEND)).unwrap();
            let info = Info { kind, ..example() };
            assert!(!check(&buffer, &info, 3).unwrap());
        }
    }

    #[test]
    fn what_devices_take_is_handed_over() {
        // A file refuses SYNC, so that it shows.
        let buffer = plain("owner", 8192);
        assert!(check(&buffer, &example(), 4).is_err());
        let from = Info {
            direction: Direction::FromDevice,
            ..example()
        };
        assert!(check(&buffer, &from, 5).unwrap());
    }

    #[test]
    fn seeds_are_numbers() {
        assert_eq!(seed("7"), Ok(7));
        for text in ["", "zz", "-1", "4294967296"] {
            assert!(seed(text).unwrap_err().contains("such as 7"), "{text}");
        }
    }

    #[test]
    fn contents_are_restored() {
        let buffer = plain("restore", 100);
        restore(&buffer, &pages(), &[5; 100]).unwrap();
        let mut back = [0; 100];
        buffer.read_at(&mut back, 0).unwrap();
        assert_eq!(back, [5; 100]);
    }

    #[test]
    fn devices_are_left_alone() {
        let region = Info {
            kind: Kind::Region,
            ..example()
        };
        let error = refuse_what_is_in_use(&region).unwrap_err().to_string();
        assert!(error.contains("device memory"));
        let owned = Info {
            owner: Owner::Device,
            ..example()
        };
        let error = refuse_what_is_in_use(&owned).unwrap_err().to_string();
        assert!(error.contains("shmbuf sync start"));
        assert!(refuse_what_is_in_use(&example()).is_ok());
    }
}
