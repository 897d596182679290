// SPDX-License-Identifier: MIT OR Apache-2.0
//! `shmbuf write`: copies from a file to a buffer.

use std::{
    fs::File,
    io::{stdin, Read},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{ensure, Context, Result};
use clap::Args;
use shmbuf::Buffer;

use crate::{
    arguments::RangeArguments,
    buffer::BufferArgument,
    file::{self, PIECE},
};

/// Copy from a file to a buffer, by write(2)
///
/// Without --length, all of the file is copied, and has to fit.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    buffer: BufferArgument,
    #[command(flatten)]
    range: RangeArguments,
    /// The file; - is standard input
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    input: PathBuf,
}

impl Options {
    pub fn run(self) -> Result<ExitCode> {
        let buffer = self.buffer.open()?;
        let range = self.range.within(buffer.size())?;
        let mut input = file::open(&self.input, stdin(), |path| File::open(path))?;
        let length = range.end - range.start;
        let got = copy(&buffer, range.start, &mut (&mut input).take(length))?;
        if self.range.length.is_some() {
            ensure!(
                got == length,
                "the input ended after {got} bytes: give that as the length, or a longer input"
            );
        } else {
            let more = input.read(&mut [0]).context(UNREADABLE)?;
            ensure!(
                more == 0,
                "the buffer was full after {got} bytes of the input: give that as the length, or \
                 a shorter input"
            );
        }
        Ok(ExitCode::SUCCESS)
    }
}

const UNREADABLE: &str = "the input cannot be read: give another file";

/// Copies from a file to a buffer, from an offset on, until the file ends. Returns how many bytes.
fn copy(buffer: &Buffer, start: u64, input: &mut impl Read) -> Result<u64> {
    let mut piece = Vec::with_capacity(PIECE);
    let mut at = start;
    loop {
        piece.clear();
        let mut next = input.by_ref().take(PIECE as u64);
        next.read_to_end(&mut piece).context(UNREADABLE)?;
        if piece.is_empty() {
            return Ok(at - start);
        }
        let mut rest = &piece[..];
        while !rest.is_empty() {
            let put = buffer.write_at(rest, at)?;
            ensure!(
                put > 0,
                "the driver took nothing at {at}: see the kernel log"
            );
            rest = &rest[put..];
            at += put as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::tests::plain;

    #[test]
    fn all_of_the_input_arrives_and_nothing_beside_it() {
        let buffer = plain("write", PIECE as u64 * 3);
        let data = vec![7; PIECE * 2 + 3];
        // It comes in two halves, as through a pipe.
        let (first, second) = data.split_at(1000);
        let got = copy(&buffer, 11, &mut first.chain(second)).unwrap();
        assert_eq!(got, data.len() as u64);
        let mut back = vec![0; PIECE * 3];
        buffer.read_at(&mut back, 0).unwrap();
        assert!(back[..11].iter().all(|byte| *byte == 0));
        assert_eq!(back[11..11 + data.len()], data);
        assert!(back[11 + data.len()..].iter().all(|byte| *byte == 0));
    }
}
