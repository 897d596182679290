// SPDX-License-Identifier: GPL-2.0

//! Copying between the kernel's view of a buffer and whoever reads or writes it.

use super::{
    io_region::IoRegion,
    span::Span,
    task, //
};
use crate::rules::range::Range;
use kernel::{
    bindings,
    iov::{
        IovIterDest,
        IovIterSource, //
    },
};

/// The kernel's view of a range of a buffer.
#[derive(Clone, Copy)]
pub(crate) enum RangeView<'a> {
    /// Memory, by its kernel addresses.
    Memory(Span<'a>),
    /// A range of a device, of whole accesses.
    Io(&'a IoRegion, Range),
}

impl RangeView<'_> {
    /// The length in bytes.
    fn len(&self) -> usize {
        match self {
            Self::Memory(span) => span.len(),
            Self::Io(_, range) => range.len(),
        }
    }

    /// Cleans and invalidates the cache lines of memory, by [`Span::flush`]; a device has none.
    pub(crate) fn flush(&self) {
        if let Self::Memory(span) = self {
            span.flush();
        }
    }
}

/// When what a write leaves in the cache goes to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settle {
    /// Before the write returns: O_SYNC, O_DSYNC, RWF_SYNC, RWF_DSYNC.
    Now,
    /// Some time.
    Later,
}

/// Who reads a buffer, or writes it.
pub(crate) trait Transfer {
    /// Copies all of `view`, and returns how many bytes that were: fewer on a bad address, or if the
    /// process was killed meanwhile. Sleeps on page faults unless they are disabled; then the copy is
    /// short where a page is not there.
    fn copy(&mut self, view: RangeView<'_>) -> usize;

    /// Makes the next `len` bytes present, as far as possible, and returns how many are. May
    /// sleep; no lock may be held that a page fault takes.
    fn fault_in(&mut self, len: usize) -> usize;
}

/// The bytes that go to or come from a device at once.
const CHUNK: usize = 256;

impl Transfer for IovIterDest<'_> {
    #[inline]
    fn copy(&mut self, view: RangeView<'_>) -> usize {
        match view {
            RangeView::Memory(span) => span.copy_to_iter(self),
            RangeView::Io(io, range) => io_to_iter(io, range, self),
        }
    }

    fn fault_in(&mut self, len: usize) -> usize {
        // SAFETY: The iterator is valid.
        len - unsafe { bindings::fault_in_iov_iter_writeable(self.as_raw(), len) }
    }
}

impl Transfer for IovIterSource<'_> {
    #[inline]
    fn copy(&mut self, view: RangeView<'_>) -> usize {
        match view {
            RangeView::Memory(span) => span.copy_from_iter(self),
            RangeView::Io(io, range) => iter_to_io(self, io, range),
        }
    }

    fn fault_in(&mut self, len: usize) -> usize {
        // SAFETY: The iterator is valid.
        len - unsafe { bindings::fault_in_iov_iter_readable(self.as_raw(), len) }
    }
}

/// Copies `range` of `io` to `iter`, as [`Transfer::copy`] does.
fn io_to_iter(io: &IoRegion, range: Range, iter: &mut IovIterDest<'_>) -> usize {
    let mut done = 0;
    for piece in range.pieces(CHUNK) {
        if task::go_on().is_err() {
            break;
        }
        let mut bytes = [0; CHUNK];
        let bytes = &mut bytes[..piece.len()];
        io.read(piece, bytes);
        let copied = iter.copy_to_iter(bytes);
        done += copied;
        if copied < piece.len() {
            break;
        }
    }
    done
}

/// Copies from `iter` to `range` of `io`, as [`Transfer::copy`] does.
fn iter_to_io(iter: &mut IovIterSource<'_>, io: &IoRegion, range: Range) -> usize {
    let mut done = 0;
    for piece in range.pieces(CHUNK) {
        if task::go_on().is_err() {
            break;
        }
        let mut bytes = [0; CHUNK];
        let bytes = &mut bytes[..piece.len()];
        if iter.copy_from_iter(bytes) < piece.len() {
            // Nothing of a piece that is not there whole.
            break;
        }
        io.write(piece, bytes);
        done += piece.len();
    }
    done
}

/// Bytes of the kernel that are transferred one after the other.
pub(crate) struct Bounce<'a> {
    bytes: KernelBytes<'a>,
    done: usize,
}

impl<'a> Bounce<'a> {
    /// A transfer that fills `bytes` from a buffer.
    pub(crate) fn to(bytes: &'a mut [u8]) -> Self {
        Self {
            bytes: KernelBytes::Read(bytes),
            done: 0,
        }
    }

    /// A transfer of `bytes` to a buffer.
    pub(crate) fn from(bytes: &'a [u8]) -> Self {
        Self {
            bytes: KernelBytes::Write(bytes),
            done: 0,
        }
    }
}

impl Transfer for Bounce<'_> {
    fn copy(&mut self, view: RangeView<'_>) -> usize {
        let len = view.len();
        self.bytes
            .copy(Range::between(self.done, self.done + len), view);
        self.done += len;
        len
    }

    fn fault_in(&mut self, len: usize) -> usize {
        len
    }
}

/// Bytes of the kernel, and which way they are copied.
pub(crate) enum KernelBytes<'a> {
    /// Bytes that are read from a buffer.
    Read(&'a mut [u8]),
    /// Bytes that are written to a buffer.
    Write(&'a [u8]),
}

impl KernelBytes<'_> {
    /// The length in bytes.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Read(to) => to.len(),
            Self::Write(from) => from.len(),
        }
    }

    /// Copies the bytes of `part` from or to `view`, which has its length.
    pub(crate) fn copy(&mut self, part: Range, view: RangeView<'_>) {
        match (self, view) {
            (Self::Read(to), RangeView::Memory(span)) => {
                span.copy_to_slice(&mut to[part.start()..part.end()]);
            }
            (Self::Read(to), RangeView::Io(io, range)) => {
                io.read(range, &mut to[part.start()..part.end()]);
            }
            (Self::Write(from), RangeView::Memory(span)) => {
                span.copy_from_slice(&from[part.start()..part.end()]);
            }
            (Self::Write(from), RangeView::Io(io, range)) => {
                io.write(range, &from[part.start()..part.end()]);
            }
        }
    }
}
