// SPDX-License-Identifier: MIT OR Apache-2.0
//! A handle on a buffer.

use std::{
    fs::{self, File, OpenOptions},
    io::{Seek, SeekFrom},
    ops::{Bound, Range, RangeBounds},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::fs::{FileExt, FileTypeExt, MetadataExt},
    },
    path::Path,
    sync::OnceLock,
};

use nix::{errno::Errno, sys::stat};

use crate::{
    abi, cpu_access::Target, ioctl, Access, Alloc, CpuAccess, Error, Info, Mapping, Operation,
    Phase, Policy, Protection, Result,
};

/// An open handle on a buffer. Mappings and dma-bufs made from it live on
/// without it.
#[derive(Debug)]
pub struct Buffer {
    file: File,
    size: u64,
    line: OnceLock<u64>,
}

/// What [`Buffer::sync_lines`] did.
#[must_use = "other bytes than those of the range may have been synced too"]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncedLines {
    /// The lines that hold the range.
    pub lines: Range<u64>,
    /// How many bytes of these lines are not in the range.
    pub others: u64,
}

/// A part of a buffer whose bytes follow each other for its device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The part of the buffer.
    pub range: Range<u64>,
    /// The address of its first byte for the device of the buffer, and for no other.
    pub dma_addr: u64,
}

impl Buffer {
    /// Opens a buffer for reading and writing. Nothing else is opened: to open another device
    /// may do something.
    ///
    /// # Errors
    ///
    /// ENOTTY if it is not a buffer; those of open(2): ENOENT without the module, EACCES
    /// without the right.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::with_options(path.as_ref(), OpenOptions::new().read(true).write(true))
    }

    /// Opens a buffer for reading alone: mappings of it are read-only,
    /// [`set_cache`](Self::set_cache) and syncs for writing are refused.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<Self> {
        Self::with_options(path.as_ref(), OpenOptions::new().read(true))
    }

    /// Takes over a handle that came from elsewhere, such as a Unix socket or
    /// the process that started this one.
    ///
    /// # Errors
    ///
    /// ENOTTY if it is not a handle on a buffer, which is closed then.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        let mut buffer = Self {
            file: fd.into(),
            size: 0,
            line: OnceLock::new(),
        };
        buffer.size = buffer.info_raw()?.size;
        Ok(buffer)
    }

    /// Another handle on the same buffer, with the same rights.
    ///
    /// # Errors
    ///
    /// EMFILE if the process has no free file descriptor.
    pub fn try_clone(&self) -> Result<Self> {
        let file = self
            .file
            .try_clone()
            .map_err(Error::io(Operation::Duplicate))?;
        Ok(Self {
            file,
            size: self.size,
            line: self.line.clone(),
        })
    }

    /// Makes a private buffer, zeroed, which lives until its last handle,
    /// mapping and dma-buf are gone. It has nothing to do with the buffer of
    /// this handle, which only has to be open for writing.
    ///
    /// # Errors
    ///
    /// EINVAL for what does not go together (see [`Alloc`]), EOPNOTSUPP if
    /// this kind or machine cannot give the policy or mapping, EDQUOT if the
    /// module's limit or the user's share of it would be exceeded, ENOMEM if there is no memory that
    /// fits, EFBIG for more than the machine can address, EBADF on a read-only
    /// handle, EMFILE and ENFILE without a free file descriptor.
    pub fn alloc(&self, alloc: &Alloc) -> Result<Self> {
        // SAFETY: the call reads one such structure and keeps no pointer.
        let fd = unsafe { ioctl::alloc(self.file.as_raw_fd(), &alloc.raw()) }
            .map_err(Error::sys(Operation::Alloc))?;
        // SAFETY: the call has made it, for us alone.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self {
            file: fd.into(),
            size: alloc.size,
            line: OnceLock::new(),
        })
    }

    /// Makes a dma-buf of whole pages, for an importer to take. It keeps the
    /// memory. With [`Protection::Read`], importers can only let their devices
    /// read; so it is, always, on a read-only handle.
    ///
    /// # Errors
    ///
    /// EINVAL if the range is empty or its ends are not multiples of the page
    /// size, ERANGE if it reaches past the end, EOPNOTSUPP if the memory has
    /// no pages of its own, EMFILE and ENFILE without a free file descriptor.
    pub fn export(&self, range: impl RangeBounds<u64>, rights: Protection) -> Result<OwnedFd> {
        let (offset, length) = self.bounds(&range);
        let raw = abi::shmbuf_export {
            offset,
            length,
            flags: match rights {
                Protection::Read => abi::SHMBUF_EXPORT_READ_ONLY,
                Protection::ReadWrite => 0,
            },
            reserved: 0,
        };
        // SAFETY: the call reads one such structure and keeps no pointer.
        let fd = unsafe { ioctl::export(self.file.as_raw_fd(), &raw) }
            .map_err(Error::sys(Operation::Export))?;
        // SAFETY: the call has made it, for us alone.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// A handle on a dma-buf of another driver, such as a camera's, mapped for the device that this
    /// buffer is for. It keeps the dma-buf. [`Self::segments`] has the addresses, and [`Self::sync`] of
    /// all of it lends it to the device, which has it at first, and takes it back.
    ///
    /// # Errors
    ///
    /// EINVAL if the file is no dma-buf, EOPNOTSUPP if it is one of this driver, or the device does not
    /// reach all of it, EBADF if this handle is not open for writing, EMFILE and ENFILE without a free
    /// file descriptor; what the other driver refuses.
    pub fn import(&self, dma_buf: impl AsFd) -> Result<Self> {
        let raw = abi::shmbuf_import {
            fd: dma_buf.as_fd().as_raw_fd(),
            flags: 0,
        };
        // SAFETY: the call reads one such structure and keeps no pointer.
        let fd = unsafe { ioctl::import(self.file.as_raw_fd(), &raw) }
            .map_err(Error::sys(Operation::Import))?;
        // SAFETY: the call has made it, for us alone.
        Self::from_fd(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// Copies a range of another buffer, or of this one, to an offset of this
    /// one, by a DMA engine. Nobody may access either range meanwhile. If it
    /// fails, a part of the range may have been written.
    ///
    /// # Errors
    ///
    /// EOPNOTSUPP without a DMA engine that copies ([`Info::engine`]), or if
    /// devices do not reach one of the buffers; EBUSY if a device owns one;
    /// EINVAL for an empty range and for ranges that overlap; ERANGE past the
    /// end; EBADF if this handle is not open for writing or the other not for
    /// reading; EACCES if devices may not write to this buffer; EIO and
    /// ETIMEDOUT if the engine fails, EINTR by a signal.
    pub fn copy_from(
        &self,
        offset: u64,
        source: &Self,
        range: impl RangeBounds<u64>,
    ) -> Result<()> {
        self.copy(offset, source, &range, 0, None).map(|_| ())
    }

    /// Begins a copy like that of [`Self::copy_from`], and returns. poll(2) finds this
    /// handle readable again when the copy has ended, and `eventfd`, if one is given,
    /// is added one; then [`Self::copy_result`] says how it ended. The copy is cancelled
    /// when the handle is closed.
    ///
    /// # Errors
    ///
    /// Those of [`Self::copy_from`] that are known at once; EINPROGRESS if this
    /// handle has such a copy whose result was not taken; EBADF and EINVAL if
    /// `eventfd` is none.
    pub fn begin_copy_from(
        &self,
        offset: u64,
        source: &Self,
        range: impl RangeBounds<u64>,
        eventfd: Option<BorrowedFd<'_>>,
    ) -> Result<()> {
        self.copy(offset, source, &range, abi::SHMBUF_COPY_ASYNC, eventfd)
            .map(|_| ())
    }

    /// Begins a copy like that of [`Self::begin_copy_from`], and returns a sync_file: a fence
    /// that other drivers and poll(2) wait for, and that is signalled when the copy has ended.
    ///
    /// # Errors
    ///
    /// Those of [`Self::begin_copy_from`]; EMFILE and ENFILE if there can be no other file.
    pub fn begin_copy_with_fence(
        &self,
        offset: u64,
        source: &Self,
        range: impl RangeBounds<u64>,
    ) -> Result<OwnedFd> {
        let flags = abi::SHMBUF_COPY_ASYNC | abi::SHMBUF_COPY_SYNC_FILE;
        let fd = self.copy(offset, source, &range, flags, None)?;
        // SAFETY: the call has made it, for us alone.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// How the copy ended that [`Self::begin_copy_from`] began.
    ///
    /// # Errors
    ///
    /// EAGAIN if it has not ended, ENODATA if there is none; those of
    /// [`Self::copy_from`].
    pub fn copy_result(&self) -> Result<()> {
        // SAFETY: the call has no argument.
        unsafe { ioctl::copy_result(self.file.as_raw_fd()) }
            .map_err(Error::sys(Operation::CopyResult))?;
        Ok(())
    }

    /// The ranges of this buffer that devices were lent, in order. Nothing in them can be read
    /// or written until SYNC has taken it back. If others use the buffer, it may have changed:
    /// poll(2) reports POLLPRI on this handle when something has come back since this call began.
    ///
    /// # Errors
    ///
    /// ENOTTY with a driver that is older than the call.
    pub fn lent(&self) -> Result<Vec<Range<u64>>> {
        let mut found = Vec::new();
        let mut at = 0;
        while at < self.size {
            let mut raw = abi::shmbuf_lent {
                offset: at,
                length: self.size - at,
            };
            // SAFETY: the call reads and writes one such structure and keeps no pointer.
            unsafe { ioctl::lent(self.file.as_raw_fd(), &mut raw) }
                .map_err(Error::sys(Operation::Lent))?;
            if raw.length == 0 {
                break;
            }
            at = raw.offset + raw.length;
            found.push(raw.offset..at);
        }
        Ok(found)
    }

    /// Where the device of the buffer, [`Info::dma_addr`] of which is the first, sees each part of it:
    /// all of the buffer, in order, in parts as long as the device's addresses follow each other.
    ///
    /// # Errors
    ///
    /// EPERM for callers without CAP_SYS_RAWIO, EOPNOTSUPP if no device has a view of the buffer
    /// (kinds pages and region), ENOTTY with a driver that is older than the call.
    pub fn segments(&self) -> Result<Vec<Segment>> {
        let mut found = Vec::new();
        let mut at = 0;
        while at < self.size {
            let mut raw = abi::shmbuf_segment {
                offset: at,
                ..Default::default()
            };
            // SAFETY: the call reads and writes one such structure and keeps no pointer.
            unsafe { ioctl::segment(self.file.as_raw_fd(), &mut raw) }
                .map_err(Error::sys(Operation::Segment))?;
            found.push(Segment {
                range: at..at + raw.length,
                dma_addr: raw.dma_addr,
            });
            at += raw.length;
        }
        Ok(found)
    }

    fn copy(
        &self,
        offset: u64,
        source: &Self,
        range: &impl RangeBounds<u64>,
        flags: u32,
        eventfd: Option<BorrowedFd<'_>>,
    ) -> Result<i32> {
        let (src_offset, length) = source.bounds(range);
        let (told, eventfd) = match eventfd {
            Some(eventfd) => (abi::SHMBUF_COPY_EVENTFD, eventfd.as_raw_fd()),
            None => (0, 0),
        };
        let raw = abi::shmbuf_copy {
            src_offset,
            dst_offset: offset,
            length,
            src_fd: source.file.as_raw_fd(),
            timeout_ms: 0,
            flags: flags | told,
            eventfd,
        };
        // SAFETY: the call reads one such structure and keeps no pointer.
        unsafe { ioctl::copy(self.file.as_raw_fd(), &raw) }.map_err(Error::sys(Operation::Copy))
    }

    fn with_options(path: &Path, options: &OpenOptions) -> Result<Self> {
        let failed = Error::io(Operation::Open);
        let metadata = fs::metadata(path).map_err(&failed)?;
        if !metadata.file_type().is_char_device() || is_another(metadata.rdev()) {
            return Err(Error::sys(Operation::Open)(Errno::ENOTTY));
        }
        Self::from_fd(options.open(path).map_err(failed)?.into())
    }

    /// Takes a file for a buffer without asking what it is: the node of another driver, for a
    /// program that makes no ioctl, or a plain file in a test.
    ///
    /// # Errors
    ///
    /// Those of lseek(2).
    pub fn from_any_file(mut file: File) -> Result<Self> {
        let size = file
            .seek(SeekFrom::End(0))
            .and_then(|size| file.rewind().map(|()| size))
            .map_err(Error::io(Operation::Seek))?;
        let line = OnceLock::new();
        Ok(Self { file, size, line })
    }

    /// The buffer's size in bytes. It never changes while a handle is open.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What the buffer is, and what is in force now.
    ///
    /// # Errors
    ///
    /// ENOTTY if it is not a shmbuf buffer, [`Error::Newer`] if the driver
    /// speaks of something newer than this crate.
    pub fn info(&self) -> Result<Info> {
        Info::try_from(&self.info_raw()?)
    }

    fn info_raw(&self) -> Result<abi::shmbuf_info> {
        let mut raw = abi::shmbuf_info::default();
        // SAFETY: the call writes one such structure and keeps no pointer.
        unsafe { ioctl::info(self.file.as_raw_fd(), &mut raw) }
            .map_err(Error::sys(Operation::Info))?;
        Ok(raw)
    }

    /// Changes the cache policy. Contents survive; the memory may move.
    ///
    /// # Errors
    ///
    /// EBUSY while anybody has the buffer mapped or exported, or a device owns it,
    /// EOPNOTSUPP if this kind or machine cannot give the policy, EBADF on a
    /// read-only handle, EDQUOT or ENOMEM if the memory has to move and cannot: that of a
    /// private buffer counts twice meanwhile.
    pub fn set_cache(&self, policy: Policy) -> Result<()> {
        let raw = abi::shmbuf_set_cache {
            policy: policy.raw(),
            flags: 0,
        };
        // SAFETY: the call reads one such structure and keeps no pointer.
        unsafe { ioctl::set_cache(self.file.as_raw_fd(), &raw) }
            .map_err(Error::sys(Operation::SetCache))?;
        Ok(())
    }

    /// Begins or ends an access of the CPU to a range of bytes.
    ///
    /// Begin makes what a device wrote visible and takes these bytes of a
    /// streaming buffer back from the device; end makes what the CPU wrote visible
    /// to the device and lends it these bytes. Nobody may access the range
    /// meanwhile. [`with_cpu_access`](Self::with_cpu_access) does both.
    ///
    /// # Errors
    ///
    /// EINVAL if the range is empty or its ends are not multiples of
    /// [`Info::cache_line`], ERANGE if it reaches past the end, EBADF for
    /// writing on a read-only handle, EBUSY if a device was lent some of the
    /// range and the handle is read-only.
    pub fn sync(&self, range: impl RangeBounds<u64>, access: Access, phase: Phase) -> Result<()> {
        self.sync_raw(self.bounds(&range), access, phase)
    }

    /// Begins or ends an access of the CPU to the cache lines that hold a range of bytes, which
    /// need not consist of whole lines.
    ///
    /// What is returned tells of the bytes that are in these lines besides. SYNC did to them what
    /// it did to the range: whoever has them must not access them meanwhile, and afterwards they
    /// have the owner of the range.
    ///
    /// # Errors
    ///
    /// As [`sync`](Self::sync), but EINVAL for an empty range alone.
    pub fn sync_lines(
        &self,
        range: impl RangeBounds<u64>,
        access: Access,
        phase: Phase,
    ) -> Result<SyncedLines> {
        let (offset, length) = self.bounds(&range);
        let end = offset.saturating_add(length);
        if length == 0 {
            return Err(Error::sys(Operation::Sync)(Errno::EINVAL));
        }
        if end > self.size {
            return Err(Error::sys(Operation::Sync)(Errno::ERANGE));
        }
        let line = self.cache_line()?;
        let lines = offset - offset % line..end.next_multiple_of(line).min(self.size);
        self.sync_raw((lines.start, lines.end - lines.start), access, phase)?;
        Ok(SyncedLines {
            others: lines.end - lines.start - length,
            lines,
        })
    }

    /// Bytes of a cache line, which never change.
    fn cache_line(&self) -> Result<u64> {
        if let Some(line) = self.line.get() {
            return Ok(*line);
        }
        let line = self.info_raw()?.cache_line.into();
        Ok(*self.line.get_or_init(|| line))
    }

    pub(crate) fn sync_raw(
        &self,
        (offset, length): (u64, u64),
        access: Access,
        phase: Phase,
    ) -> Result<()> {
        let raw = abi::shmbuf_sync {
            offset,
            length,
            flags: access.raw() | phase.raw(),
            reserved: 0,
        };
        // SAFETY: the call reads one such structure and keeps no pointer.
        unsafe { ioctl::sync(self.file.as_raw_fd(), &raw) }.map_err(Error::sys(Operation::Sync))?;
        Ok(())
    }

    /// Begins an access of the CPU, which ends when the value that is
    /// returned is dropped, also by a panic.
    ///
    /// # Errors
    ///
    /// As [`sync`](Self::sync).
    pub fn begin_cpu_access(
        &self,
        range: impl RangeBounds<u64>,
        access: Access,
    ) -> Result<CpuAccess<'_>> {
        CpuAccess::begin(Target::Buffer(self, self.bounds(&range)), access)
    }

    /// Runs a function between the begin and the end of an access of the CPU
    /// to a range of bytes.
    ///
    /// # Errors
    ///
    /// As [`sync`](Self::sync), of the begin (the function was not run) or of
    /// the end.
    ///
    /// ```no_run
    /// # use shmbuf::{Access, Buffer, Protection};
    /// # fn main() -> shmbuf::Result<()> {
    /// # let buffer = Buffer::open("/dev/shmbuf")?;
    /// # let mapping = buffer.map(0, 4096, Protection::Read)?;
    /// let first = buffer.with_cpu_access(.., Access::Read, || mapping.read_u32(0))?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_cpu_access<T>(
        &self,
        range: impl RangeBounds<u64>,
        access: Access,
        f: impl FnOnce() -> T,
    ) -> Result<T> {
        self.begin_cpu_access(range, access)?.with(f)
    }

    /// Reads through the kernel, at an offset in bytes. Returns how many
    /// bytes were read: fewer across the end of the buffer, none past it.
    ///
    /// # Errors
    ///
    /// EBUSY while a device owns the buffer, EINVAL if offset or length is not
    /// a multiple of [`Info::access_width`].
    pub fn read_at(&self, to: &mut [u8], offset: u64) -> Result<usize> {
        self.file
            .read_at(to, offset)
            .map_err(Error::io(Operation::Read))
    }

    /// Writes through the kernel, at an offset in bytes. Returns how many
    /// bytes were written: fewer across the end of the buffer.
    ///
    /// # Errors
    ///
    /// ENOSPC at or past the end, EBADF on a read-only handle, EBUSY and EINVAL
    /// as [`read_at`](Self::read_at).
    pub fn write_at(&self, from: &[u8], offset: u64) -> Result<usize> {
        self.file
            .write_at(from, offset)
            .map_err(Error::io(Operation::Write))
    }

    /// Brings what the CPU wrote, by whatever means, to memory, and moves no owner. What a device was
    /// lent stays as it is. Waits for other calls, with O_NONBLOCK too.
    ///
    /// # Errors
    ///
    /// ENOMEM if there is no memory for the queue of calls, or for the kernel's window of a large
    /// buffer; EINVAL from a driver that is older than this call.
    pub fn fsync(&self) -> Result<()> {
        self.file.sync_all().map_err(Error::io(Operation::Fsync))
    }

    /// Maps bytes of the buffer. `offset` is a multiple of the page size.
    ///
    /// A touch of a [strict](crate::MappingKind::Strict) mapping while the
    /// device owns the buffer ends the program with SIGBUS.
    ///
    /// # Errors
    ///
    /// EINVAL if the bytes are not inside the buffer, EACCES for writing on a
    /// read-only handle, EOPNOTSUPP for the kind pool, EBUSY where caches are
    /// virtually indexed and this process has a cached mapping of some of the
    /// same bytes.
    pub fn map(&self, offset: u64, length: usize, protection: Protection) -> Result<Mapping> {
        Mapping::new(self.file.as_fd(), offset, length, protection)
            .map_err(Error::sys(Operation::Map))
    }

    /// Maps bytes of the buffer twice, side by side: byte `length + i` of the mapping is byte `i`.
    /// So what goes past the end of a ring goes on at its beginning. `offset` and `length` are
    /// multiples of the page size.
    ///
    /// # Errors
    ///
    /// As [`map`](Self::map): EBUSY where caches are virtually indexed and the buffer is cached,
    /// because the two would not see each other's bytes.
    pub fn map_twice(&self, offset: u64, length: usize, protection: Protection) -> Result<Mapping> {
        Mapping::twice(self.file.as_fd(), offset, length, protection)
            .map_err(Error::sys(Operation::Map))
    }

    /// Offset and length of a range. One that is the wrong way round comes
    /// out empty, which the driver refuses.
    fn bounds(&self, range: &impl RangeBounds<u64>) -> (u64, u64) {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(start) => start.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(end) => end.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => self.size,
        };
        (start, end.saturating_sub(start))
    }
}

impl AsFd for Buffer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Whether sysfs says that a character device is one of another driver.
fn is_another(device: u64) -> bool {
    let number = format!("{}:{}", stat::major(device), stat::minor(device));
    let Ok(device) = fs::read_link(Path::new("/sys/dev/char").join(number)) else {
        return false;
    };
    let name = device.file_name().unwrap_or_default().as_encoded_bytes();
    name != b"shmbuf" && !name.starts_with(b"shmbuf-")
}

impl From<Buffer> for OwnedFd {
    fn from(buffer: Buffer) -> Self {
        buffer.file.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    /// A plain file as a buffer: it does for all calls but ioctls.
    fn plain(size: u64) -> Buffer {
        let name = format!("shmbuf-{}-{:p}", std::process::id(), &size);
        let path = std::env::temp_dir().join(name);
        let file = File::create_new(&path).unwrap();
        fs::remove_file(path).unwrap();
        file.set_len(size).unwrap();
        Buffer::from_any_file(file).unwrap()
    }

    #[test]
    fn ranges_become_offset_and_length() {
        let buffer = plain(8192);
        assert_eq!(buffer.bounds(&(..)), (0, 8192));
        assert_eq!(buffer.bounds(&(4096..)), (4096, 4096));
        assert_eq!(buffer.bounds(&(32..96)), (32, 64));
        assert_eq!(buffer.bounds(&(0..=31)), (0, 32));
        #[allow(clippy::reversed_empty_ranges)]
        let reversed = 96..32;
        assert_eq!(buffer.bounds(&reversed), (96, 0));
    }

    #[test]
    fn mapping_and_kernel_see_the_same() {
        let buffer = plain(8192);
        let mapping = buffer.map(4096, 4096, Protection::ReadWrite).unwrap();
        mapping.write(5, b"through the mapping");
        let mut back = [0; 19];
        assert_eq!(buffer.read_at(&mut back, 4096 + 5), Ok(19));
        assert_eq!(&back, b"through the mapping");
        assert_eq!(buffer.write_at(b"kernel", 4096), Ok(6));
        let mut back = [0; 6];
        mapping.read(0, &mut back);
        assert_eq!(&back, b"kernel");
    }

    #[test]
    fn twice_side_by_side() {
        let buffer = plain(8192);
        let mapping = buffer.map_twice(4096, 4096, Protection::ReadWrite).unwrap();
        assert_eq!(mapping.len(), 8192);
        mapping.write(4090, b"around the end");
        let mut back = [0; 8];
        mapping.read(0, &mut back);
        assert_eq!(&back, b" the end");
        let mut back = [0; 14];
        assert_eq!(buffer.read_at(&mut back, 8186), Ok(6));
        assert_eq!(&back[..6], b"around");
        let error = buffer.map_twice(0, 0, Protection::Read).unwrap_err();
        assert_eq!(error.errno(), Some(Errno::EINVAL));
        let error = buffer.map_twice(1, 4096, Protection::Read).unwrap_err();
        assert_eq!(error.errno(), Some(Errno::EINVAL));
        let error = buffer
            .map_twice(0, usize::MAX, Protection::Read)
            .unwrap_err();
        assert_eq!(error.errno(), Some(Errno::ENOMEM));
    }

    #[test]
    fn a_clone_outlives_the_handle() {
        let buffer = plain(8192);
        let clone = buffer.try_clone().unwrap();
        buffer.write_at(b"before", 0).unwrap();
        drop(buffer);
        let mut back = [0; 6];
        assert_eq!(clone.read_at(&mut back, 0), Ok(6));
        assert_eq!((&back, clone.size()), (b"before", 8192));
    }

    #[test]
    fn what_is_no_buffer_is_not_taken_for_one() {
        let error = Buffer::from_fd(plain(4096).into()).unwrap_err();
        assert_eq!(error.errno(), Some(Errno::ENOTTY));
        for path in ["/dev/null", "/", "/proc/version"] {
            let error = Buffer::open_read_only(path).unwrap_err();
            assert_eq!(error, Error::sys(Operation::Open)(Errno::ENOTTY), "{path}");
        }
    }

    #[test]
    fn errors_carry_call_and_errno() {
        let buffer = plain(8192);
        let error = buffer.info().unwrap_err();
        assert_eq!(error.errno(), Some(Errno::ENOTTY));
        let error = buffer.alloc(&Alloc::new(4096, Kind::Pages)).unwrap_err();
        assert_eq!(error.errno(), Some(Errno::ENOTTY));
        let error = buffer.export(.., Protection::Read).unwrap_err();
        assert_eq!(error.errno(), Some(Errno::ENOTTY));
        let error = buffer.map(0, 0, Protection::Read).unwrap_err();
        assert_eq!(error.errno(), Some(Errno::EINVAL));
        let error = Buffer::open("/nonexistent/shmbuf").unwrap_err();
        assert_eq!(error.errno(), Some(Errno::ENOENT));
    }
}
