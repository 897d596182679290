// SPDX-License-Identifier: MIT OR Apache-2.0
//! `shmbuf read`: copies from a buffer to a file.

use std::{
    fs::File,
    io::{stdout, Write},
    ops::Range,
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{ensure, Context, Result};
use clap::Args;
use shmbuf::Buffer;

use crate::{
    arguments::RangeArguments,
    buffer::{BufferArgument, BufferName},
    file::{self, PIECE},
};

/// Copy from a buffer to a file, by read(2)
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    buffer: BufferArgument,
    #[command(flatten)]
    range: RangeArguments,
    /// The file, which is made or overwritten; - is standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
}

impl Options {
    pub fn run(self) -> Result<ExitCode> {
        let buffer = self
            .buffer
            .open_beside(BufferName::open_read_only, "--output")?;
        let range = self.range.within(buffer.size())?;
        let mut output = file::open(&self.output, stdout(), |path| File::create(path))?;
        copy(&buffer, range, &mut output)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn copy(buffer: &Buffer, range: Range<u64>, output: &mut impl Write) -> Result<()> {
    let mut piece = vec![0; PIECE];
    let mut at = range.start;
    while at < range.end {
        let want = (range.end - at).min(PIECE as u64) as usize;
        let got = buffer.read_at(&mut piece[..want], at)?;
        ensure!(
            got > 0,
            "the driver gave nothing at {at}: see the kernel log"
        );
        output
            .write_all(&piece[..got])
            .context("the output took no more: make room there, or give another file")?;
        at += got as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::tests::plain;

    #[test]
    fn a_range_is_copied_in_pieces() {
        let size = PIECE as u64 * 2 + 100;
        let buffer = plain("read", size);
        buffer.write_at(b"first", 10).unwrap();
        buffer.write_at(b"last", size - 5).unwrap();
        let mut output = Vec::new();
        copy(&buffer, 10..size - 1, &mut output).unwrap();
        assert_eq!(output.len() as u64, size - 11);
        assert!(output.starts_with(b"first") && output.ends_with(b"last"));
    }

    #[test]
    fn an_output_that_is_full_is_an_error() {
        let buffer = plain("full", 100);
        let mut small = [0; 50];
        let error = copy(&buffer, 0..100, &mut &mut small[..]).unwrap_err();
        assert!(error.to_string().contains("took no more"));
    }
}
