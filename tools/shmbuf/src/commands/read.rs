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
///
/// Without --length, all of the buffer from the offset on is copied.
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
        let open = || file::open(&self.output, stdout(), |path| File::create(path));
        copy(&buffer, range, open)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Copies a range to what is opened when there are bytes: a buffer that cannot be read costs no file.
fn copy<W: Write>(
    buffer: &Buffer,
    range: Range<u64>,
    open: impl FnOnce() -> Result<W>,
) -> Result<()> {
    let mut piece = vec![0; PIECE];
    let mut next = |at: u64| -> Result<Vec<u8>> {
        let want = (range.end - at).min(PIECE as u64) as usize;
        let got = buffer.read_at(&mut piece[..want], at)?;
        ensure!(
            got > 0 || want == 0,
            "the driver gave nothing at {at}: see the kernel log"
        );
        Ok(piece[..got].to_vec())
    };
    let mut at = range.start;
    let mut bytes = next(at)?;
    let mut output = open()?;
    while !bytes.is_empty() {
        output
            .write_all(&bytes)
            .context("the output took no more: make room there, or give another file")?;
        at += bytes.len() as u64;
        bytes = next(at)?;
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
        copy(&buffer, 10..size - 1, || Ok(&mut output)).unwrap();
        assert_eq!(output.len() as u64, size - 11);
        assert!(output.starts_with(b"first") && output.ends_with(b"last"));
    }

    #[test]
    fn an_output_that_is_full_is_an_error() {
        let buffer = plain("full", 100);
        let mut small = [0; 50];
        let error = copy(&buffer, 0..100, || Ok(&mut small[..])).unwrap_err();
        assert!(error.to_string().contains("took no more"));
    }

    #[test]
    fn a_buffer_that_cannot_be_read_costs_no_file() {
        let file = std::env::temp_dir().join(format!("shmbuf-no-read-{}", std::process::id()));
        let buffer = Buffer::from_any_file(File::create_new(&file).unwrap()).unwrap();
        std::fs::remove_file(&file).unwrap();
        let none = || -> Result<Vec<u8>> { panic!("no file is to be made") };
        assert!(copy(&buffer, 0..100, none).is_err());
    }
}
