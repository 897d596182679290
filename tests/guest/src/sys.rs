// SPDX-License-Identifier: MIT OR Apache-2.0
//! System calls as they are, for what no safe interface would let through:
//! bad pointers, bad numbers, pieces of mappings.

use std::{
    ffi::{c_int, c_long, c_void},
    fmt::Debug,
    io, iter,
    ops::Range,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    ptr::NonNull,
};

use nix::{
    errno::Errno,
    libc,
    sys::mman::{mlockall, MlockAllFlags},
};

/// The size of a page in bytes.
pub fn page() -> usize {
    // SAFETY: no memory is involved.
    let size: c_long = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    size as usize
}

/// Lets the calling thread run before all that have no such right, whenever it can (SCHED_FIFO).
#[track_caller]
pub fn run_first() {
    let parameters = libc::sched_param { sched_priority: 1 };
    // SAFETY: the call reads one such structure.
    let set = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &parameters) };
    assert_eq!(set, 0, "sched_setscheduler: {}", Errno::last());
}

fn result(value: isize) -> Result<usize, Errno> {
    usize::try_from(value).map_err(|_| Errno::last())
}

/// ioctl(2) with any number and any argument.
///
/// # Safety
///
/// What the argument points to is as large as the call reads and writes, or is
/// no memory of this process.
pub unsafe fn ioctl(fd: impl AsFd, number: u32, argument: *mut c_void) -> Result<(), Errno> {
    // SAFETY: the caller has promised it.
    unsafe { ioctl_value(fd, number, argument) }.map(drop)
}

/// ioctl(2) with any number and any argument, and what it returns.
///
/// # Safety
///
/// As [`ioctl`].
pub unsafe fn ioctl_value(
    fd: impl AsFd,
    number: u32,
    argument: *mut c_void,
) -> Result<c_int, Errno> {
    // SAFETY: the caller has promised it.
    let value = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), number as _, argument) };
    Errno::result(value)
}

/// An ioctl's number with another argument size in it.
pub fn resized(number: u32, size: usize) -> u32 {
    const SHIFT: u32 = 16;
    const MASK: u32 = 0x3fff << SHIFT;
    (number & !MASK) | ((size as u32) << SHIFT)
}

/// pread(2) to any address.
///
/// # Safety
///
/// No memory at the address has a Rust reference to it, or there is none.
pub unsafe fn pread(fd: impl AsFd, to: *mut u8, length: usize, at: i64) -> Result<usize, Errno> {
    // SAFETY: the caller has promised it.
    result(unsafe { libc::pread64(fd.as_fd().as_raw_fd(), to.cast(), length, at) })
}

/// read(2) to any address.
///
/// # Safety
///
/// As [`pread`].
pub unsafe fn read(fd: impl AsFd, to: *mut u8, length: usize) -> Result<usize, Errno> {
    // SAFETY: the caller has promised it.
    result(unsafe { libc::read(fd.as_fd().as_raw_fd(), to.cast(), length) })
}

/// pwrite(2) from any address.
pub fn pwrite(fd: impl AsFd, from: *const u8, length: usize, at: i64) -> Result<usize, Errno> {
    // SAFETY: the kernel only reads, and checks the address.
    result(unsafe { libc::pwrite64(fd.as_fd().as_raw_fd(), from.cast(), length, at) })
}

/// preadv2(2) with any flags.
pub fn preadv2(fd: impl AsFd, to: &mut [u8], at: usize, flags: c_int) -> Result<usize, Errno> {
    let iovec = libc::iovec {
        iov_base: to.as_mut_ptr().cast(),
        iov_len: to.len(),
    };
    // SAFETY: the vector is that of a slice.
    result(unsafe { libc::preadv2(fd.as_fd().as_raw_fd(), &iovec, 1, at as _, flags) })
}

/// pwritev2(2) with any flags.
pub fn pwritev2(fd: impl AsFd, from: &[u8], at: usize, flags: c_int) -> Result<usize, Errno> {
    let iovec = libc::iovec {
        iov_base: from.as_ptr().cast_mut().cast(),
        iov_len: from.len(),
    };
    // SAFETY: the kernel only reads, and the vector is that of a slice.
    result(unsafe { libc::pwritev2(fd.as_fd().as_raw_fd(), &iovec, 1, at as _, flags) })
}

/// lseek(2) with any `whence`.
pub fn lseek(fd: impl AsFd, offset: i64, whence: c_int) -> Result<u64, Errno> {
    // SAFETY: no memory is involved.
    let value = unsafe { libc::lseek64(fd.as_fd().as_raw_fd(), offset, whence) };
    u64::try_from(value).map_err(|_| Errno::last())
}

/// A range of addresses that was mapped. When dropped it is unmapped, except the parts that were
/// unmapped before: others may have something there by then.
#[derive(Debug)]
pub struct Region {
    start: NonNull<u8>,
    length: usize,
    /// Offsets of the parts that were unmapped.
    unmapped: Vec<Range<usize>>,
}

impl Region {
    /// mmap(2) with any protection, flags and offset.
    pub fn map(
        fd: impl AsFd,
        length: usize,
        protection: c_int,
        flags: c_int,
        offset: i64,
    ) -> Result<Self, Errno> {
        Self::mmap(length, protection, flags, fd.as_fd().as_raw_fd(), offset)
    }

    /// Private memory of this process.
    pub fn anonymous(length: usize) -> Self {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        Self::mmap(length, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0).expect("memory")
    }

    /// Memory that forked children share with this process.
    pub fn shared(length: usize) -> Self {
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        Self::mmap(length, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0).expect("memory")
    }

    fn mmap(
        length: usize,
        protection: c_int,
        flags: c_int,
        fd: c_int,
        offset: i64,
    ) -> Result<Self, Errno> {
        assert_eq!(flags & libc::MAP_FIXED, 0, "that could hit memory in use");
        let null = std::ptr::null_mut();
        // SAFETY: without MAP_FIXED no memory that is in use changes.
        let start = unsafe { libc::mmap64(null, length, protection, flags, fd, offset) };
        if start == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        let start = NonNull::new(start.cast()).expect("the kernel maps nothing at zero");
        Ok(Self {
            start,
            length,
            unmapped: Vec::new(),
        })
    }

    /// The first address of the region.
    pub fn start(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// The address at an offset inside the region.
    pub fn at(&self, offset: usize) -> *mut u8 {
        assert!(offset <= self.length);
        // SAFETY: just checked.
        unsafe { self.start.as_ptr().add(offset) }
    }

    /// The length in bytes.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Reads an aligned word at an offset.
    pub fn read(&self, offset: usize) -> u32 {
        assert!(offset % 4 == 0 && offset + 4 <= self.length);
        // SAFETY: inside and aligned; the callers know what is mapped.
        unsafe { self.at(offset).cast::<u32>().read_volatile() }
    }

    /// Writes an aligned word at an offset.
    pub fn write(&self, offset: usize, value: u32) {
        assert!(offset % 4 == 0 && offset + 4 <= self.length);
        // SAFETY: inside and aligned; the callers know what is mapped.
        unsafe { self.at(offset).cast::<u32>().write_volatile(value) }
    }

    /// munmap(2) of a part of the region.
    pub fn unmap(&mut self, offset: usize, length: usize) -> Result<(), Errno> {
        assert!(offset + length <= self.length);
        // SAFETY: it is ours, and nothing has a reference to it.
        Errno::result(unsafe { libc::munmap(self.at(offset).cast(), length) })?;
        self.unmapped.push(offset..offset + length);
        Ok(())
    }

    /// mprotect(2) of the whole region.
    pub fn protect(&self, protection: c_int) -> Result<(), Errno> {
        // SAFETY: it is ours, and nothing has a reference to it.
        let value = unsafe { libc::mprotect(self.start().cast(), self.length, protection) };
        Errno::result(value).map(drop)
    }

    /// madvise(2) of the whole region.
    pub fn advise(&self, advice: c_int) -> Result<(), Errno> {
        // SAFETY: it is ours, and nothing has a reference to it.
        let value = unsafe { libc::madvise(self.start().cast(), self.length, advice) };
        Errno::result(value).map(drop)
    }

    /// mremap(2); the region is what comes out of it.
    pub fn remap(
        &mut self,
        old_length: usize,
        new_length: usize,
        flags: c_int,
    ) -> Result<(), Errno> {
        assert_eq!(flags & libc::MREMAP_FIXED, 0, "see move_over()");
        // SAFETY: it is ours, and nothing has a reference to it.
        let start = unsafe { libc::mremap(self.start().cast(), old_length, new_length, flags) };
        if start == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        self.start = NonNull::new(start.cast()).expect("the kernel maps nothing at zero");
        self.length = new_length;
        self.unmapped.retain(|part| part.end <= new_length);
        Ok(())
    }

    /// mremap(2) to the place of another region, which goes.
    pub fn move_over(&mut self, other: Region) -> Result<(), Errno> {
        assert_eq!(self.length, other.length);
        self.move_into(other, 0)
    }

    /// mremap(2) to an offset of another region, of which nothing else is left.
    pub fn move_into(&mut self, mut other: Region, offset: usize) -> Result<(), Errno> {
        assert!(offset + self.length <= other.length);
        let end = offset + self.length;
        let rest = [0..offset, end..other.length];
        for part in rest.into_iter().filter(|part| !part.is_empty()) {
            other.unmap(part.start, part.len())?;
        }
        let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
        let to = other.at(offset);
        // SAFETY: both are ours, and nothing has a reference to them.
        let start =
            unsafe { libc::mremap(self.start().cast(), self.length, self.length, flags, to) };
        if start == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        self.start = NonNull::new(to).expect("the kernel maps nothing at zero");
        std::mem::forget(other);
        Ok(())
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        self.unmapped.sort_by_key(|part| part.start);
        let ends = self.unmapped.iter().map(|part| part.end);
        let starts = self.unmapped.iter().map(|part| part.start);
        for (from, to) in iter::once(0).chain(ends).zip(starts.chain([self.length])) {
            if from < to {
                // SAFETY: it is ours, and nothing has a reference to it.
                let _ = unsafe { libc::munmap(self.at(from).cast(), to - from) };
            }
        }
    }
}

/// Finds out what is mapped without a signal: the kernel copies for us, and a
/// touch that would be a signal is an errno.
#[derive(Debug)]
pub struct Probe {
    from: OwnedFd,
    to: OwnedFd,
}

impl Probe {
    /// Makes a probe.
    pub fn new() -> Self {
        let (from, to) = nix::unistd::pipe().expect("pipe");
        Self { from, to }
    }

    /// Whether the byte at an address can be read.
    pub fn can_read(&self, address: *const u8) -> bool {
        // SAFETY: the kernel only reads, and checks the address.
        let copied = unsafe { libc::write(self.to.as_raw_fd(), address.cast(), 1) };
        match result(copied) {
            Ok(1) => {
                assert_eq!(nix::unistd::read(&self.from, &mut [0]), Ok(1));
                true
            }
            Err(Errno::EFAULT) => false,
            other => panic!("write to a pipe: {other:?}"),
        }
    }
}

/// splice(2) of `length` bytes, at the offset that is given, or at the file's position. The offset
/// is moved as the position would be.
pub fn splice(
    from: impl AsFd,
    at: Option<&mut i64>,
    to: impl AsFd,
    to_at: Option<&mut i64>,
    length: usize,
) -> Result<usize, Errno> {
    let (from, to) = (from.as_fd().as_raw_fd(), to.as_fd().as_raw_fd());
    let pointer = |at: Option<&mut i64>| at.map_or(std::ptr::null_mut(), std::ptr::from_mut);
    // SAFETY: the kernel reads and writes the two offsets alone.
    result(unsafe { libc::splice(from, pointer(at), to, pointer(to_at), length, 0) })
}

/// sendfile(2) from an offset on.
pub fn sendfile(
    to: impl AsFd,
    from: impl AsFd,
    mut at: i64,
    length: usize,
) -> Result<usize, Errno> {
    let (to, from) = (to.as_fd().as_raw_fd(), from.as_fd().as_raw_fd());
    // SAFETY: the kernel reads and writes the offset alone.
    result(unsafe { libc::sendfile64(to, from, &mut at, length) })
}

/// vmsplice(2) of a whole region.
pub fn vmsplice(to: impl AsFd, region: &Region) -> Result<usize, Errno> {
    let iovec = libc::iovec {
        iov_base: region.start().cast(),
        iov_len: region.len(),
    };
    // SAFETY: the kernel only reads, and checks the addresses.
    result(unsafe { libc::vmsplice(to.as_fd().as_raw_fd(), &iovec, 1, 0) })
}

/// vmsplice(2) of what is in a pipe.
///
/// # Safety
///
/// Nothing has a reference to what the vector points to, or there is no memory.
pub unsafe fn vmsplice_out(from: impl AsFd, to: &libc::iovec) -> Result<usize, Errno> {
    // SAFETY: the caller has promised it.
    result(unsafe { libc::vmsplice(from.as_fd().as_raw_fd(), to, 1, 0) })
}

/// Maps all that the process has at its addresses, so that [`faults`] counts what comes later
/// alone. After a fork its code is not mapped, nor its stack for writing. Faults map code in
/// groups of pages, but leave pages out that the kernel has marked meanwhile.
pub fn settle() {
    mlockall(MlockAllFlags::MCL_CURRENT).expect("mlockall");
}

/// Page faults of this process so far.
pub fn faults() -> c_long {
    use nix::sys::resource::{getrusage, UsageWho};
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("getrusage");
    usage.minor_page_faults() + usage.major_page_faults()
}

/// Errors that have an errno.
pub trait HasErrno: Debug {
    /// The errno of the error, if it has one.
    fn errno(&self) -> Option<Errno>;
}

impl HasErrno for Errno {
    fn errno(&self) -> Option<Errno> {
        Some(*self)
    }
}

impl HasErrno for shmbuf::Error {
    fn errno(&self) -> Option<Errno> {
        self.errno()
    }
}

impl HasErrno for io::Error {
    fn errno(&self) -> Option<Errno> {
        self.raw_os_error().map(Errno::from_raw)
    }
}

/// Asserts that a call was refused with an errno.
#[track_caller]
pub fn refused<T: Debug, E: HasErrno>(result: Result<T, E>, errno: Errno) {
    match result {
        Err(error) if error.errno() == Some(errno) => {}
        other => panic!("expected {errno:?}, got {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shmbuf::abi;

    #[test]
    fn resizing_changes_nothing_else() {
        let size = size_of::<abi::shmbuf_info>();
        assert_eq!(resized(abi::SHMBUF_IOC_INFO, size), abi::SHMBUF_IOC_INFO);
        let other = resized(abi::SHMBUF_IOC_INFO, size + 8);
        assert_eq!(other - abi::SHMBUF_IOC_INFO, 8 << 16);
    }

    #[test]
    fn what_took_the_place_of_an_unmapped_part_stays() {
        let mut region = Region::anonymous(3 * page());
        let hole = region.at(page());
        region.unmap(page(), page()).unwrap();
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
        // SAFETY: nothing that is there is replaced.
        let other = unsafe { libc::mmap(hole.cast(), page(), libc::PROT_READ, flags, -1, 0) };
        assert_eq!(other, hole.cast());
        drop(region);
        assert!(Probe::new().can_read(hole));
        // SAFETY: it was mapped here.
        unsafe { libc::munmap(other, page()) };
    }

    #[test]
    fn probes_tell_what_is_there() {
        let mut region = Region::anonymous(2 * page());
        region.unmap(page(), page()).unwrap();
        let probe = Probe::new();
        assert!(probe.can_read(region.at(page() - 1)));
        assert!(!probe.can_read(region.at(page())));
    }

    #[test]
    fn regions_can_be_cut_and_moved() {
        let mut region = Region::anonymous(4 * page());
        region.write(page(), 7);
        region.unmap(0, page()).unwrap();
        let mut other = Region::anonymous(page());
        other.write(0, 9);
        other.move_over(Region::anonymous(page())).unwrap();
        assert_eq!((region.read(page()), other.read(0)), (7, 9));
        region = Region::anonymous(2 * page());
        region.remap(2 * page(), page(), 0).unwrap();
        assert_eq!(region.len(), page());
    }

    #[test]
    #[should_panic(expected = "expected EBUSY, got Err(EINVAL)")]
    fn another_errno_is_not_the_one() {
        refused(Err::<(), _>(Errno::EINVAL), Errno::EBUSY);
    }
}
