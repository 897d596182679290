// SPDX-License-Identifier: MIT OR Apache-2.0
//! `shmbuf write`: copies from a file to a buffer.

use std::{
    fs::File,
    io::{stdin, Read},
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

/// Copy from a file to a buffer, by write(2)
///
/// Without --length, all of the file is copied. It is read first: if it does not fit,
/// nothing is written.
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
        let buffer = self.buffer.open_beside(BufferName::open, "--input")?;
        let range = self.range.within(buffer.size())?;
        let mut input = file::open(&self.input, stdin(), |path| File::open(path))?;
        let bytes = all(&mut input, &range, self.range.length.is_some())?;
        put(&buffer, range.start, &bytes)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// What a file has for a range: just as much, if that was asked for, else at most.
fn all(input: &mut impl Read, range: &Range<u64>, exact: bool) -> Result<Vec<u8>> {
    let room = range.end - range.start;
    let more = u64::from(!exact);
    let mut bytes = Vec::new();
    let got = input.take(room + more).read_to_end(&mut bytes);
    got.context("the input cannot be read: give another file")?;
    let got = bytes.len() as u64;
    ensure!(
        got <= room,
        "the input does not fit, so nothing was written: there are {room} bytes from that offset \
         on; give that as the length, or a shorter input"
    );
    ensure!(
        !exact || got == room,
        "the input has no more than {got} bytes, so nothing was written: give that as the length, \
         or a longer input"
    );
    Ok(bytes)
}

/// Writes bytes to a buffer, from an offset on.
fn put(buffer: &Buffer, start: u64, bytes: &[u8]) -> Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        let piece = &bytes[done..bytes.len().min(done + PIECE)];
        let at = start + done as u64;
        let put = buffer.write_at(piece, at)?;
        ensure!(
            put > 0,
            "the driver took nothing at {at}: see the kernel log"
        );
        done += put;
    }
    Ok(())
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
        let got = all(&mut first.chain(second), &(11..buffer.size()), false).unwrap();
        put(&buffer, 11, &got).unwrap();
        let mut back = vec![0; PIECE * 3];
        buffer.read_at(&mut back, 0).unwrap();
        assert!(back[..11].iter().all(|byte| *byte == 0));
        assert_eq!(back[11..11 + data.len()], data);
        assert!(back[11 + data.len()..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn what_does_not_fit_is_refused_before_anything_is_written() {
        let refused = |input: &[u8], exact| {
            let error = all(&mut &*input, &(4..8), exact).unwrap_err();
            assert!(error.to_string().contains("nothing was written"), "{error}");
        };
        refused(b"12345", false);
        refused(b"123", true);
        assert_eq!(all(&mut &b"1234"[..], &(4..8), false).unwrap(), b"1234");
        assert_eq!(all(&mut &b"12345"[..], &(4..8), true).unwrap(), b"1234");
        assert_eq!(all(&mut &b"12"[..], &(4..8), false).unwrap(), b"12");
    }
}
