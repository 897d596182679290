// SPDX-License-Identifier: MIT OR Apache-2.0
//! Accesses of the CPU, which have a begin and an end.

use crate::{Access, Buffer, DmaBuf, Phase, Result};

/// What is accessed: a range (offset and length) of a buffer, or a dma-buf.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target<'a> {
    Buffer(&'a Buffer, (u64, u64)),
    DmaBuf(&'a DmaBuf),
}

impl Target<'_> {
    fn sync(self, access: Access, phase: Phase) -> Result<()> {
        match self {
            Self::Buffer(buffer, range) => buffer.sync_raw(range, access, phase),
            Self::DmaBuf(dma_buf) => dma_buf.sync(access, phase),
        }
    }
}

/// An access of the CPU that has begun, and ends when this is dropped.
#[derive(Debug)]
#[must_use = "the access ends when this is dropped"]
pub struct CpuAccess<'a> {
    target: Target<'a>,
    access: Access,
}

impl<'a> CpuAccess<'a> {
    pub(crate) fn begin(target: Target<'a>, access: Access) -> Result<Self> {
        target.sync(access, Phase::Begin)?;
        Ok(Self { target, access })
    }

    /// Ends the access.
    ///
    /// # Errors
    ///
    /// As [`Buffer::sync`] or [`DmaBuf::sync`]; dropping the value instead
    /// ignores them.
    pub fn end(self) -> Result<()> {
        let result = self.target.sync(self.access, Phase::End);
        std::mem::forget(self);
        result
    }

    /// Runs a function and ends the access.
    pub(crate) fn with<T>(self, f: impl FnOnce() -> T) -> Result<T> {
        let value = f();
        self.end()?;
        Ok(value)
    }
}

impl Drop for CpuAccess<'_> {
    fn drop(&mut self) {
        // Only where end() was not reached; there is nobody to tell.
        let _ = self.target.sync(self.access, Phase::End);
    }
}
