// SPDX-License-Identifier: MIT OR Apache-2.0
//! The CPU's side of a dma-buf, of this driver or any other.

use std::{
    fs::File,
    io::{Seek, SeekFrom},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use crate::{
    abi, cpu_access::Target, ioctl, Access, CpuAccess, Error, Mapping, Operation, Phase,
    Protection, Result,
};

// One conversion of [`Access`] and [`Phase`] serves SYNC and DMA_BUF_IOCTL_SYNC.
const _: () = assert!(
    abi::SHMBUF_SYNC_READ == abi::DMA_BUF_SYNC_READ
        && abi::SHMBUF_SYNC_WRITE == abi::DMA_BUF_SYNC_WRITE
        && abi::SHMBUF_SYNC_START == abi::DMA_BUF_SYNC_START
        && abi::SHMBUF_SYNC_END == abi::DMA_BUF_SYNC_END
);

/// A dma-buf: memory that drivers hand to each other.
#[derive(Debug)]
pub struct DmaBuf {
    file: File,
    size: u64,
}

impl DmaBuf {
    /// Takes over a dma-buf that [`Buffer::export`](crate::Buffer::export) or
    /// another driver has made.
    ///
    /// # Errors
    ///
    /// ESPIPE if the file is no dma-buf, which is closed then. Some files that are
    /// none, such as those of a file system, show only when they are synced.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        let mut file = File::from(fd);
        let size = file
            .seek(SeekFrom::End(0))
            .map_err(Error::io(Operation::Seek))?;
        Ok(Self { file, size })
    }

    /// The size in bytes. It never changes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Maps bytes of the dma-buf. `offset` is a multiple of the page size.
    ///
    /// # Errors
    ///
    /// EINVAL if the bytes are not inside it, EACCES for writing if it is
    /// read-only, and what its driver refuses.
    pub fn map(&self, offset: u64, length: usize, protection: Protection) -> Result<Mapping> {
        Mapping::new(self.file.as_fd(), offset, length, protection)
            .map_err(Error::sys(Operation::Map))
    }

    /// Begins or ends an access of the CPU to all of the dma-buf.
    /// [`with_cpu_access`](Self::with_cpu_access) does both.
    ///
    /// # Errors
    ///
    /// ENOTTY if it is not a dma-buf, EINTR if a signal came meanwhile, and
    /// what its driver refuses.
    pub fn sync(&self, access: Access, phase: Phase) -> Result<()> {
        let raw = abi::dma_buf_sync {
            flags: (access.raw() | phase.raw()).into(),
        };
        // SAFETY: the call reads one such structure and keeps no pointer.
        unsafe { ioctl::dma_buf_sync(self.file.as_raw_fd(), &raw) }
            .map_err(Error::sys(Operation::DmaBufSync))?;
        Ok(())
    }

    /// Begins an access of the CPU, which ends when the value that is
    /// returned is dropped, also by a panic.
    ///
    /// # Errors
    ///
    /// As [`sync`](Self::sync).
    pub fn begin_cpu_access(&self, access: Access) -> Result<CpuAccess<'_>> {
        CpuAccess::begin(Target::DmaBuf(self), access)
    }

    /// Runs a function between the begin and the end of an access of the CPU.
    ///
    /// # Errors
    ///
    /// As [`sync`](Self::sync), of the begin (the function was not run) or of
    /// the end.
    pub fn with_cpu_access<T>(&self, access: Access, f: impl FnOnce() -> T) -> Result<T> {
        self.begin_cpu_access(access)?.with(f)
    }
}

impl AsFd for DmaBuf {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl From<DmaBuf> for OwnedFd {
    fn from(dma_buf: DmaBuf) -> Self {
        dma_buf.file.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::{
        errno::Errno,
        sys::memfd::{memfd_create, MFdFlags},
    };

    /// A plain file as a dma-buf: it has a size and mappings, and no SYNC.
    fn plain() -> DmaBuf {
        let fd = memfd_create(c"shmbuf", MFdFlags::MFD_CLOEXEC).unwrap();
        nix::unistd::ftruncate(&fd, 8192).unwrap();
        DmaBuf::from_fd(fd).unwrap()
    }

    #[test]
    fn two_mappings_see_the_same() {
        let dma_buf = plain();
        assert_eq!(dma_buf.size(), 8192);
        let whole = dma_buf.map(0, 8192, Protection::ReadWrite).unwrap();
        let half = dma_buf.map(4096, 4096, Protection::Read).unwrap();
        whole.write_u32(4100, 7);
        assert_eq!(half.read_u32(4), 7);
    }

    #[test]
    fn nothing_runs_without_a_begin() {
        let error = plain()
            .with_cpu_access(Access::Read, || panic!("the access has not begun"))
            .unwrap_err();
        assert_eq!(error.errno(), Some(Errno::ENOTTY));
        assert_eq!(
            error.to_string(),
            "DMA_BUF_IOCTL_SYNC: ENOTTY: not a dma-buf"
        );
    }

    #[test]
    fn a_pipe_is_refused() {
        let (end, _) = nix::unistd::pipe().unwrap();
        let error = DmaBuf::from_fd(end).unwrap_err();
        assert_eq!(error.errno(), Some(Errno::ESPIPE));
    }
}
