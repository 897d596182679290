// SPDX-License-Identifier: MIT OR Apache-2.0
//! What code of the module a thread has run in the kernel: KCOV.

use std::{
    fs::File,
    os::fd::AsRawFd,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use nix::libc;

use crate::sys::Region;

mod ioctl {
    use nix::libc::c_ulong;

    nix::ioctl_write_int_bad!(enable, nix::request_code_none!(b'c', 100));
    nix::ioctl_write_int_bad!(
        initialize,
        nix::request_code_read!(b'c', 1, size_of::<c_ulong>())
    );
}

/// How many addresses there is room for.
const ADDRESSES: usize = 64 << 10;

/// `KCOV_TRACE_PC`
const TRACE: libc::c_int = 0;

/// The addresses of code that one thread at a time runs. It is made before the fork, and read
/// after the child is gone.
#[derive(Debug)]
pub struct Kcov {
    file: File,
    region: Region,
}

// SAFETY: The region is only accessed by atomic operations.
unsafe impl Sync for Kcov {}

impl Kcov {
    /// Makes room, unless the kernel has no KCOV.
    pub fn new() -> Option<Self> {
        let path = "/sys/kernel/debug/kcov";
        let file = File::options().read(true).write(true).open(path).ok()?;
        // SAFETY: The call takes a number.
        unsafe { ioctl::initialize(file.as_raw_fd(), ADDRESSES as libc::c_int) }.ok()?;
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        let bytes = ADDRESSES * size_of::<usize>();
        let region = Region::map(&file, bytes, protection, flags, 0).ok()?;
        Some(Self { file, region })
    }

    fn word(&self, at: usize) -> &AtomicUsize {
        assert!(at < ADDRESSES);
        // SAFETY: Inside of the mapping, which lives as long and is aligned.
        unsafe { AtomicUsize::from_ptr(self.region.start().cast::<usize>().add(at)) }
    }

    /// Forgets all addresses.
    pub fn clear(&self) {
        self.word(0).store(0, Relaxed);
    }

    /// Begins with the calling thread, until it ends.
    pub fn begin(&self) {
        // SAFETY: The call takes a number.
        unsafe { ioctl::enable(self.file.as_raw_fd(), TRACE) }.expect("KCOV_ENABLE");
    }

    /// The addresses since [`Self::clear`].
    pub fn addresses(&self) -> impl Iterator<Item = usize> + '_ {
        let count = self.word(0).load(Relaxed).min(ADDRESSES - 1);
        (1..=count).map(|at| self.word(at).load(Relaxed))
    }
}
