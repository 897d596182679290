// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bytes of a buffer in the address space of this process.

use std::{
    array, ffi::c_void, mem, num::NonZeroUsize, ops::Range, os::fd::BorrowedFd, ptr::NonNull,
};

use nix::{
    errno::Errno,
    libc::off_t,
    sys::mman::{mmap, mmap_anonymous, mremap, munmap, MRemapFlags, MapFlags, ProtFlags},
};

use crate::{
    burst::{move_burst, Burst, Word, BURST, WORD},
    Protection,
};

/// A shared mapping, unmapped when dropped.
///
/// Other processes, the kernel and devices change this memory at any time, so
/// there is no reference to it, only copies to and from. They are made of
/// aligned word accesses, with bytes at the edges: strongly-ordered memory
/// (the policy `noncached` on ARMv6 and later) faults on anything else, which
/// rules memcpy(3) and memset(3) out. On ARM, words are moved eight at a time
/// by one instruction, since each is a transaction on the bus where memory is
/// not cached. No byte outside the range asked for is accessed, and none twice,
/// unless an interrupt comes in between.
///
/// The accesses are neither atomic as a whole nor ordered against those of
/// others: who writes when is up to the program.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<u8>,
    length: usize,
    protection: Protection,
}

// SAFETY: the mapping belongs to the process, not to a thread.
unsafe impl Send for Mapping {}
// SAFETY: memory that devices and other processes change has no protection
// against races that a thread of this process could break: all accesses are
// volatile, none assumes a value, and what a race leaves is some mix of bytes.
unsafe impl Sync for Mapping {}

impl Mapping {
    pub(crate) fn new(
        fd: BorrowedFd<'_>,
        offset: u64,
        length: usize,
        protection: Protection,
    ) -> Result<Self, Errno> {
        // What off_t cannot hold is past the end of any buffer.
        let offset = off_t::try_from(offset).map_err(|_| Errno::EINVAL)?;
        let mapped = NonZeroUsize::new(length).ok_or(Errno::EINVAL)?;
        let flags = match protection {
            Protection::Read => ProtFlags::PROT_READ,
            Protection::ReadWrite => ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
        };
        // SAFETY: the kernel chooses a free address, so no memory that is in
        // use changes.
        let start = unsafe { mmap(None, mapped, flags, MapFlags::MAP_SHARED, fd, offset) }?;
        Ok(Self {
            start: start.cast(),
            length,
            protection,
        })
    }

    /// The same bytes at two addresses, the second behind the first.
    pub(crate) fn twice(
        fd: BorrowedFd<'_>,
        offset: u64,
        length: usize,
        protection: Protection,
    ) -> Result<Self, Errno> {
        let both = length.checked_mul(2).ok_or(Errno::ENOMEM)?;
        let both = NonZeroUsize::new(both).ok_or(Errno::EINVAL)?;
        let none = ProtFlags::PROT_NONE;
        // SAFETY: the kernel chooses a free address, so no memory that is in use changes.
        let start = unsafe { mmap_anonymous(None, both, none, MapFlags::MAP_PRIVATE) }?;
        // What is reserved goes with it, whatever fails.
        let twice = Self {
            start: start.cast(),
            length: both.get(),
            protection,
        };
        for at in [0, length] {
            // Not made there at once: a call that the driver refuses would leave a hole, which
            // another thread may get.
            let half = Self::new(fd, offset, length, protection)?;
            let flags = MRemapFlags::MREMAP_MAYMOVE | MRemapFlags::MREMAP_FIXED;
            // SAFETY: it is inside of what is reserved, which nobody uses.
            unsafe {
                let there = twice.start.add(at).cast();
                mremap(half.start.cast(), length, length, flags, Some(there))?;
            }
            mem::forget(half);
        }
        Ok(twice)
    }

    /// The length in bytes.
    // Mappings are never empty.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.length
    }

    /// The address of the first byte, for calls that take one, such as
    /// readv(2). It is valid as long as the mapping.
    pub fn as_ptr(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// Copies from the mapping, from an offset in bytes.
    ///
    /// # Panics
    ///
    /// If the bytes are not inside the mapping.
    pub fn read(&self, offset: usize, to: &mut [u8]) {
        let from = self.at(offset, to.len());
        for (part, unit) in parts(from.addr(), to.len()) {
            // SAFETY: at() has checked the bounds, and each part is aligned for its unit.
            unsafe {
                match unit {
                    Unit::Byte => {
                        for i in part {
                            to[i] = from.add(i).read_volatile();
                        }
                    }
                    Unit::Word => {
                        for i in part.step_by(WORD) {
                            let word = from.add(i).cast::<Word>().read_volatile();
                            to[i..i + WORD].copy_from_slice(&word.to_ne_bytes());
                        }
                    }
                    Unit::Burst => {
                        for i in part.step_by(BURST) {
                            let mut burst = Burst::default();
                            move_burst(&mut burst, from.add(i).cast());
                            let bytes: &mut [u8; BURST] =
                                (&mut to[i..i + BURST]).try_into().expect("it is that long");
                            for (k, word) in burst.into_iter().enumerate() {
                                bytes[k * WORD..][..WORD].copy_from_slice(&word.to_ne_bytes());
                            }
                        }
                    }
                }
            }
        }
    }

    /// Copies into the mapping, at an offset in bytes.
    ///
    /// # Panics
    ///
    /// If the bytes are not inside the mapping, or it is read-only.
    pub fn write(&self, offset: usize, from: &[u8]) {
        self.store(
            offset,
            from.len(),
            |i| from[i],
            |i| {
                let bytes = from[i..i + WORD].try_into().expect("it is that long");
                Word::from_ne_bytes(bytes)
            },
            |i| {
                let bytes: &[u8; BURST] = from[i..i + BURST].try_into().expect("it is that long");
                let word = |k| array::from_fn(|byte| bytes[k * WORD + byte]);
                array::from_fn(|k| Word::from_ne_bytes(word(k)))
            },
        );
    }

    /// Sets `length` bytes of the mapping from an offset in bytes.
    ///
    /// # Panics
    ///
    /// If the bytes are not inside the mapping, or it is read-only.
    pub fn fill(&self, offset: usize, length: usize, value: u8) {
        let word = Word::from_ne_bytes([value; WORD]);
        let burst = [word; BURST / WORD];
        self.store(offset, length, |_| value, |_| word, |_| burst);
    }

    /// Reads 32 bits at an offset in bytes, in one access.
    ///
    /// # Panics
    ///
    /// If they are not inside the mapping, or not aligned.
    pub fn read_u32(&self, offset: usize) -> u32 {
        let at = self.at(offset, 4).cast::<u32>();
        assert!(at.is_aligned(), "{offset} is not a multiple of 4");
        // SAFETY: inside, and aligned.
        unsafe { at.read_volatile() }
    }

    /// Writes 32 bits at an offset in bytes, in one access.
    ///
    /// # Panics
    ///
    /// If they are not inside the mapping, or not aligned, or it is read-only.
    pub fn write_u32(&self, offset: usize, value: u32) {
        self.assert_writable();
        let at = self.at(offset, 4).cast::<u32>();
        assert!(at.is_aligned(), "{offset} is not a multiple of 4");
        // SAFETY: inside, aligned and writable.
        unsafe { at.write_volatile(value) }
    }

    /// Stores bytes, or words or bursts of bytes, that the functions give by
    /// their index from the start.
    #[inline]
    fn store(
        &self,
        offset: usize,
        length: usize,
        byte: impl Fn(usize) -> u8,
        word: impl Fn(usize) -> Word,
        burst: impl Fn(usize) -> Burst,
    ) {
        self.assert_writable();
        let to = self.at(offset, length);
        for (part, unit) in parts(to.addr(), length) {
            // SAFETY: at() has checked the bounds, and each part is aligned for its unit.
            unsafe {
                match unit {
                    Unit::Byte => {
                        for i in part {
                            to.add(i).write_volatile(byte(i));
                        }
                    }
                    Unit::Word => {
                        for i in part.step_by(WORD) {
                            to.add(i).cast::<Word>().write_volatile(word(i));
                        }
                    }
                    Unit::Burst => {
                        for i in part.step_by(BURST) {
                            move_burst(to.add(i).cast(), &burst(i));
                        }
                    }
                }
            }
        }
    }

    fn assert_writable(&self) {
        assert!(
            self.protection == Protection::ReadWrite,
            "the mapping is read-only"
        );
    }

    /// The address of bytes that are inside the mapping.
    fn at(&self, offset: usize, length: usize) -> *mut u8 {
        assert!(
            offset <= self.length && length <= self.length - offset,
            "{length} bytes at {offset} are not inside a mapping of {}",
            self.length
        );
        // SAFETY: just checked.
        unsafe { self.start.as_ptr().add(offset) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this is the whole mapping, and nothing borrows from it. It
        // cannot fail: the address and length are those of mmap().
        let _ = unsafe { munmap(self.start.cast::<c_void>(), self.length) };
    }
}

/// What is moved at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Byte,
    Word,
    Burst,
}

/// The parts of a copy, in order, each with what it moves at once. Bursts begin at a multiple of
/// their size, so that none needs a second transaction.
fn parts(address: usize, length: usize) -> [(Range<usize>, Unit); 5] {
    let up_to = |multiple: usize| (address.wrapping_neg() & (multiple - 1)).min(length);
    let words = up_to(WORD);
    let last = length - (length - words) % WORD;
    let bursts = up_to(BURST).clamp(words, last);
    let rest = last - (last - bursts) % BURST;
    [
        (0..words, Unit::Byte),
        (words..bursts, Unit::Word),
        (bursts..rest, Unit::Burst),
        (rest..last, Unit::Word),
        (last..length, Unit::Byte),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::memfd::{memfd_create, MFdFlags};
    use std::os::fd::AsFd;

    const SIZE: usize = 4096;

    fn mapping(protection: Protection) -> Mapping {
        let fd = memfd_create(c"shmbuf", MFdFlags::MFD_CLOEXEC).unwrap();
        nix::unistd::ftruncate(&fd, SIZE as off_t).unwrap();
        Mapping::new(fd.as_fd(), 0, SIZE, protection).unwrap()
    }

    #[test]
    fn parts_are_aligned_and_cover_all() {
        for address in 4096..4096 + BURST {
            for length in 0..4 * BURST {
                let mut end = 0;
                for (part, unit) in parts(address, length) {
                    assert_eq!(part.start, end);
                    end = part.end;
                    let (bytes, most) = match unit {
                        Unit::Byte => (1, WORD - 1),
                        Unit::Word => (WORD, BURST - WORD),
                        Unit::Burst => (BURST, length),
                    };
                    assert!(part.is_empty() || (address + part.start) % bytes == 0);
                    assert_eq!(part.len() % bytes, 0);
                    assert!(part.len() <= most);
                }
                assert_eq!(end, length);
            }
        }
    }

    #[test]
    fn copies_at_any_alignment_leave_the_neighbours_alone() {
        let mapping = mapping(Protection::ReadWrite);
        for offset in 0..2 * BURST {
            for length in 0..3 * BURST {
                let mut model = vec![0xa5; 6 * BURST];
                mapping.fill(0, SIZE, 0xa5);
                let data: Vec<u8> = (1..=length as u8).collect();
                mapping.write(offset, &data);
                model[offset..offset + length].copy_from_slice(&data);

                let mut all = vec![0; 6 * BURST];
                mapping.read(0, &mut all);
                assert_eq!(all, model);
                let mut back = vec![0; length];
                mapping.read(offset, &mut back);
                assert_eq!(back, data);

                mapping.fill(offset, length, 0x3c);
                model[offset..offset + length].fill(0x3c);
                mapping.read(0, &mut all);
                assert_eq!(all, model);
            }
        }
    }

    #[test]
    fn single_words_are_in_native_order() {
        let mapping = mapping(Protection::ReadWrite);
        mapping.write_u32(8, 0x0102_0304);
        let mut bytes = [0; 4];
        mapping.read(8, &mut bytes);
        assert_eq!(u32::from_ne_bytes(bytes), 0x0102_0304);
        assert_eq!(mapping.read_u32(8), 0x0102_0304);
    }

    #[test]
    #[should_panic(expected = "2 bytes at 4095 are not inside a mapping of 4096")]
    fn outside_panics() {
        mapping(Protection::Read).read(SIZE - 1, &mut [0; 2]);
    }

    #[test]
    #[should_panic(expected = "not inside")]
    fn wrapping_panics() {
        mapping(Protection::Read).read(usize::MAX, &mut [0; 2]);
    }

    #[test]
    #[should_panic(expected = "read-only")]
    fn writing_a_read_only_mapping_panics() {
        mapping(Protection::Read).fill(0, 1, 1);
    }

    #[test]
    #[should_panic(expected = "not a multiple of 4")]
    fn unaligned_word_panics() {
        mapping(Protection::Read).read_u32(2);
    }
}
