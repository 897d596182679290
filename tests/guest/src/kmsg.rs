// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's log, from a moment on.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::OpenOptionsExt,
};

use nix::libc;

/// A line of the kernel's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The level of the message, from 0 (emergency) to 7 (debug).
    pub level: u8,
    /// The text of the message.
    pub text: String,
}

/// The kernel's log from when this was made.
#[derive(Debug)]
pub struct Log {
    file: Option<File>,
}

impl Log {
    /// A log that begins at the end of the kernel's as it is now. Where the log cannot be
    /// read, no lines come.
    pub fn from_now() -> Self {
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/kmsg")
            .and_then(|mut file| file.seek(SeekFrom::End(0)).map(|_| file));
        Self { file: file.ok() }
    }

    /// The lines since the last call.
    pub fn lines(&mut self) -> Vec<Line> {
        let mut lines = Vec::new();
        let Some(file) = &mut self.file else {
            return lines;
        };
        let mut record = [0; 8192];
        loop {
            match file.read(&mut record) {
                Ok(n) => lines.extend(parse(&String::from_utf8_lossy(&record[..n]))),
                // Overwritten before it was read: the next one is there.
                Err(e) if e.raw_os_error() == Some(libc::EPIPE) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return lines,
            }
        }
    }
}

/// "level,sequence,time,flags;text", then lines of "KEY=value".
fn parse(record: &str) -> Option<Line> {
    let (head, rest) = record.split_once(';')?;
    let number: u32 = head.split(',').next()?.parse().ok()?;
    Some(Line {
        level: (number & 7) as u8,
        text: rest.lines().next().unwrap_or_default().to_string(),
    })
}

/// Lines in which the kernel says that something in it is broken.
pub fn is_trouble(text: &str) -> bool {
    const SIGNS: &[&str] = &[
        "WARNING:",
        "BUG:",
        "BUG ",
        "kernel BUG",
        "Oops",
        "Internal error",
        "Unable to handle kernel",
        "Unhandled fault",
        "DMA-API:",
        "possible circular locking",
        "possible recursive locking",
        "possible irq lock inversion",
        "inconsistent lock state",
        "Invalid wait context",
        "suspicious RCU usage",
        "sleeping function called",
        "scheduling while atomic",
        "blocked for more than",
        "detected stalls",
        "self-detected stall",
        "bad page",
        "Bad page",
        "refcount_t:",
        "list_add corruption",
        "list_del corruption",
        "kernel panic",
        "Kernel panic",
        "rust_kernel: panicked",
        "new suspected memory leaks",
    ];
    SIGNS.iter().any(|sign| text.contains(sign))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_taken_apart() {
        let line = parse("11,339,5140900,-;shmbuf: no, because; of this\n DEVICE=c10:1\n").unwrap();
        assert_eq!(line.level, 3);
        assert_eq!(line.text, "shmbuf: no, because; of this");
        assert_eq!(parse("nonsense"), None);
    }

    #[test]
    fn trouble_is_recognised() {
        assert!(is_trouble("WARNING: CPU: 0 PID: 1 at mm/page_alloc.c:1"));
        assert!(is_trouble(
            "BUG: sleeping function called from invalid context"
        ));
        assert!(!is_trouble(
            "shmbuf: loading out-of-tree module taints kernel."
        ));
    }
}
