// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's own dma-buf heaps.

use std::{
    fs::File,
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    path::PathBuf,
};

use nix::{errno::Errno, libc};

use crate::drivers;

nix::ioctl_readwrite_bad!(
    alloc,
    drivers::DMA_HEAP_IOCTL_ALLOC,
    drivers::dma_heap_allocation_data
);

/// An open heap.
#[derive(Debug)]
pub struct Heap(File);

impl Heap {
    /// The node of a heap.
    pub fn path(name: &str) -> PathBuf {
        PathBuf::from("/dev/dma_heap").join(name)
    }

    /// Opens a heap.
    ///
    /// # Errors
    ///
    /// Those of open(2): ENOENT if the kernel has no such heap.
    pub fn open(name: &str) -> io::Result<Self> {
        Ok(Self(File::open(Self::path(name))?))
    }

    /// Makes a dma-buf of so many bytes, open for reading and writing.
    ///
    /// # Errors
    ///
    /// What the heap refuses.
    pub fn alloc(&self, bytes: u64) -> Result<OwnedFd, Errno> {
        self.alloc_for(bytes, libc::O_RDWR)
    }

    /// Makes a dma-buf of so many bytes, of a mode of open(2).
    ///
    /// # Errors
    ///
    /// What the heap refuses.
    pub fn alloc_for(&self, bytes: u64, mode: i32) -> Result<OwnedFd, Errno> {
        let mut request = drivers::dma_heap_allocation_data {
            len: bytes,
            fd_flags: (mode | libc::O_CLOEXEC) as u32,
            ..Default::default()
        };
        // SAFETY: the call reads and writes one such structure.
        unsafe { alloc(self.0.as_raw_fd(), &mut request) }?;
        // SAFETY: the call has made it, for us alone.
        Ok(unsafe { OwnedFd::from_raw_fd(request.fd as i32) })
    }
}
