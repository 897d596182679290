// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writes a pattern through one side of a buffer and reads it through another.

use std::fmt;

use shmbuf::{Access, Buffer, Mapping, Result};

use crate::{mix, pieces, Check, Pattern};

/// A way to reach the contents of a buffer.
#[derive(Debug, Clone, Copy)]
pub enum Side<'a> {
    /// Loads and stores in a mapping of the whole buffer.
    Mapping(&'a Mapping),
    /// read(2) and write(2), in pieces of odd lengths.
    Kernel(&'a Buffer),
    /// Copies by a DMA engine, to and from another buffer of the same size, and
    /// loads and stores in a mapping of that.
    Engine {
        /// The buffer whose contents are reached.
        buffer: &'a Buffer,
        /// The other buffer, which the engine copies from and to.
        other: &'a Buffer,
        /// A mapping of the whole other buffer.
        mapping: &'a Mapping,
    },
}

impl Side<'_> {
    /// Reads the whole buffer, or as many bytes as read(2) gives.
    fn load(self, size: usize, seed: u32) -> Result<Vec<u8>> {
        let mut bytes = vec![0; size];
        match self {
            Self::Mapping(mapping) => mapping.read(0, &mut bytes),
            Self::Kernel(buffer) => {
                for (offset, length) in pieces(seed, size) {
                    let piece = &mut bytes[offset..offset + length];
                    let got = buffer.read_at(piece, offset as u64)?;
                    if got < length {
                        bytes.truncate(offset + got);
                        break;
                    }
                }
            }
            Self::Engine {
                buffer,
                other,
                mapping,
            } => {
                other.copy_from(0, buffer, ..)?;
                mapping.read(0, &mut bytes);
            }
        }
        Ok(bytes)
    }

    /// Writes a pattern over the whole buffer.
    fn store(self, size: usize, pattern: Pattern) -> Result<()> {
        match self {
            Self::Mapping(mapping) => {
                for offset in (0..size).step_by(4) {
                    mapping.write_u32(offset, mix(pattern.seed, offset as u32));
                }
            }
            Self::Kernel(buffer) => {
                for (offset, length) in pieces(pattern.seed, size) {
                    buffer.write_at(&pattern.bytes(offset, length), offset as u64)?;
                }
            }
            Self::Engine {
                buffer,
                other,
                mapping,
            } => {
                Side::Mapping(mapping).store(size, pattern)?;
                buffer.copy_from(0, other, ..)?;
            }
        }
        Ok(())
    }
}

/// Writes a pattern to all of a buffer through one side and reads it through
/// another.
///
/// With `hand_over`, each access of the CPU begins and ends by SYNC, as it does
/// where a device takes the buffer in between; without it, nothing but loads,
/// stores, read(2) and write(2) is done.
///
/// # Errors
///
/// Those of [`Buffer::sync`], [`Buffer::read_at`], [`Buffer::write_at`] and
/// [`Buffer::copy_from`].
pub fn transfer(
    buffer: &Buffer,
    from: Side<'_>,
    to: Side<'_>,
    pattern: Pattern,
    hand_over: bool,
) -> Result<Finding> {
    let size = buffer.size() as usize;
    let before = access(buffer, hand_over, Access::Read, || {
        to.load(size, pattern.seed)
    })?;
    access(buffer, hand_over, Access::Write, || {
        from.store(size, pattern)
    })?;
    let got = access(buffer, hand_over, Access::Read, || {
        to.load(size, pattern.seed)
    })?;

    let mut check = Check::new(pattern, &before);
    check.compare(0, &got);
    let wrong = if pattern.is_in(&before) {
        // It would be there without the write too.
        Some("WRONG: the pattern was there before it was written".into())
    } else if before.len() < size || got.len() < size {
        Some("WRONG: read(2) gave fewer bytes than the buffer has".into())
    } else {
        (!check.is_ok()).then(|| check.to_string())
    };
    let from = match from {
        Side::Mapping(_) => "mapping",
        Side::Kernel(_) => "write(2)",
        Side::Engine { .. } => "engine",
    };
    let to = match to {
        Side::Mapping(_) => "mapping",
        Side::Kernel(_) => "read(2)",
        Side::Engine { .. } => "engine",
    };
    Ok(Finding {
        way: format!("{from} to {to}:"),
        seed: pattern.seed,
        wrong,
    })
}

/// Runs a function; with `hand_over`, between the begin and the end of an access of the CPU.
fn access<T>(
    buffer: &Buffer,
    hand_over: bool,
    access: Access,
    f: impl FnOnce() -> Result<T>,
) -> Result<T> {
    if hand_over {
        buffer.with_cpu_access(.., access, f)?
    } else {
        f()
    }
}

/// What a transfer has shown. Its text is a line for the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    way: String,
    seed: u32,
    wrong: Option<String>,
}

impl Finding {
    /// Whether all of the pattern arrived.
    pub fn is_ok(&self) -> bool {
        self.wrong.is_none()
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = self.wrong.as_deref().unwrap_or("ok");
        write!(f, "{:<20} seed {}: {verdict}", self.way, self.seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shmbuf::Protection;
    use std::{env, fs};

    const SIZE: u64 = 65536;

    /// A plain file as a buffer: it does for all calls but ioctls.
    fn plain(name: &str) -> Buffer {
        let path = env::temp_dir().join(format!("shmbuf-{name}-{}", std::process::id()));
        let file = fs::File::create_new(&path).unwrap();
        fs::remove_file(path).unwrap();
        file.set_len(SIZE).unwrap();
        Buffer::from_any_file(file).unwrap()
    }

    fn map(buffer: &Buffer) -> Mapping {
        buffer.map(0, SIZE as usize, Protection::ReadWrite).unwrap()
    }

    #[test]
    fn a_pattern_arrives_both_ways() {
        let buffer = plain("ways");
        let mapping = map(&buffer);
        let (mapped, kernel) = (Side::Mapping(&mapping), Side::Kernel(&buffer));
        let there = transfer(&buffer, mapped, kernel, Pattern::new(1), false).unwrap();
        let back = transfer(&buffer, kernel, mapped, Pattern::new(2), false).unwrap();
        assert_eq!(there.to_string(), "mapping to read(2):  seed 1: ok");
        assert_eq!(back.to_string(), "write(2) to mapping: seed 2: ok");
        assert!(there.is_ok() && back.is_ok());
    }

    #[test]
    fn what_does_not_arrive_is_wrong() {
        let (buffer, other) = (plain("here"), plain("there"));
        let elsewhere = map(&other);
        let side = Side::Mapping(&elsewhere);
        let kernel = Side::Kernel(&buffer);
        let finding = transfer(&buffer, side, kernel, Pattern::new(3), false).unwrap();
        assert!(!finding.is_ok());
        let text = finding.to_string();
        assert!(
            text.contains("seed 3: WRONG at byte 0x0: expected"),
            "{text}"
        );
    }

    #[test]
    fn what_was_there_before_shows_nothing() {
        let buffer = plain("before");
        let kernel = Side::Kernel(&buffer);
        let first = transfer(&buffer, kernel, kernel, Pattern::new(4), false).unwrap();
        assert!(first.is_ok());
        let again = transfer(&buffer, kernel, kernel, Pattern::new(4), false).unwrap();
        assert!(again.to_string().contains("was there before"));
    }

    #[test]
    fn accesses_begin_and_end_where_asked() {
        let buffer = plain("sync");
        let kernel = Side::Kernel(&buffer);
        let error = transfer(&buffer, kernel, kernel, Pattern::new(5), true).unwrap_err();
        assert_eq!(error.errno(), Some(shmbuf::Errno::ENOTTY));
    }
}
