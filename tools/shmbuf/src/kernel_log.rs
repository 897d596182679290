// SPDX-License-Identifier: MIT OR Apache-2.0
//! The driver's own sentence about a refusal, which is in the kernel's log.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::OpenOptionsExt,
};

use anyhow::{anyhow, Result};
use nix::{errno::Errno, libc};
use shmbuf::Error;

/// Makes a call. If it is refused, the error has the sentence that the driver has put into the
/// log meanwhile, where this process may read that.
pub fn explained<T>(call: impl FnOnce() -> shmbuf::Result<T>) -> Result<T> {
    let log = Log::from_now();
    call().map_err(|error| {
        let Error::Refused { operation, errno } = &error else {
            return error.into();
        };
        match log.sentence(&operation.to_string()) {
            Some(sentence) => anyhow!("{operation}: {errno:?}: {sentence}"),
            None => error.into(),
        }
    })
}

/// The log from some time on, where this process may read it.
pub struct Log(io::Result<File>);

impl Log {
    pub fn from_now() -> Self {
        let at_end = || {
            let mut log = OpenOptions::new()
                .read(true)
                .custom_flags(libc::O_NONBLOCK)
                .open("/dev/kmsg")?;
            log.seek(SeekFrom::End(0))?;
            Ok(log)
        };
        Self(at_end())
    }

    /// The last sentence of the driver's about a call or a buffer.
    pub fn sentence(self, whom: &str) -> Option<String> {
        let lines = self.0.map(lines).unwrap_or_default();
        sentence(&lines, whom).map(Into::into)
    }
}

/// What the log has had since then, a line for each record.
fn lines(mut log: impl Read) -> Vec<String> {
    let mut found = Vec::new();
    let mut record = [0; 8192];
    loop {
        match log.read(&mut record) {
            Ok(0) => return found,
            Ok(length) => {
                let text = String::from_utf8_lossy(&record[..length]);
                // "level,sequence,time,flags;text", and more lines about the device.
                let text = text.split_once(';').map_or("", |(_, text)| text);
                found.push(text.lines().next().unwrap_or_default().into());
            }
            // Overwritten before it was read: the next one is there.
            Err(error) if error.raw_os_error() == Some(Errno::EPIPE as i32) => {}
            Err(_) => return found,
        }
    }
}

/// The last sentence about a call or a buffer.
fn sentence<'a>(lines: &'a [String], whom: &str) -> Option<&'a str> {
    let head = format!("shmbuf: {whom}: ");
    lines.iter().rev().find_map(|line| line.strip_prefix(&head))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    /// A log that gives a record at a time, as the kernel's does.
    struct Records(VecDeque<&'static str>);

    impl Read for Records {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.0.pop_front() {
                Some("lost") => Err(Errno::EPIPE.into()),
                Some(record) => {
                    buffer[..record.len()].copy_from_slice(record.as_bytes());
                    Ok(record.len())
                }
                None => Err(Errno::EAGAIN.into()),
            }
        }
    }

    #[test]
    fn the_last_sentence_about_the_call_is_found() {
        let records = [
            "5,1,2,-;shmbuf: ALLOC: size=1: an earlier one; of another program",
            "lost",
            "5,2,3,-;shmbuf: ALLOC: size=3: must be more; and so on\n DEVICE=+x\n",
            "6,3,4,-;usb 1-1: new device",
            "nonsense",
        ];
        let lines = lines(Records(records.into()));
        assert_eq!(
            sentence(&lines, "ALLOC"),
            Some("size=3: must be more; and so on")
        );
        assert_eq!(sentence(&lines, "SET_CACHE"), None);
    }

    #[test]
    fn without_a_sentence_the_error_stays() {
        let error = explained(|| shmbuf::Buffer::open("/nonexistent").map(drop)).unwrap_err();
        assert!(error.downcast_ref::<Error>().is_some(), "{error}");
    }
}
