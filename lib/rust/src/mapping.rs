// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bytes of a buffer in the address space of this process.

use std::{
    ffi::c_void,
    num::NonZeroUsize,
    os::fd::BorrowedFd,
    ptr::{self, NonNull},
};

use nix::{
    errno::Errno,
    libc::off_t,
    sys::mman::{mmap, munmap, MapFlags, ProtFlags},
};

use crate::Protection;

type Word = usize;
const WORD: usize = size_of::<Word>();

/// A shared mapping, unmapped when dropped.
///
/// Other processes, the kernel and devices change this memory at any time, so
/// there is no reference to it, only copies to and from. They are made of
/// aligned word accesses, with bytes at the edges: strongly-ordered memory
/// (the policy `noncached` on ARMv6 and later) faults on anything else, which
/// rules memcpy(3) and memset(3) out. No byte outside the range asked for is
/// accessed, and none is accessed twice.
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
        let (head, words) = edges(from.addr(), to.len());
        let (first, rest) = to.split_at_mut(head);
        let (middle, last) = rest.split_at_mut(words * WORD);

        for (i, byte) in first.iter_mut().enumerate() {
            // SAFETY: at() has checked the bounds; so for all below.
            *byte = unsafe { from.add(i).read_volatile() };
        }
        // SAFETY: as above.
        let from = unsafe { from.add(head) };
        for (i, bytes) in middle.chunks_exact_mut(WORD).enumerate() {
            // SAFETY: as above; edges() has made it aligned.
            let word = unsafe { from.cast::<Word>().add(i).read_volatile() };
            bytes.copy_from_slice(&word.to_ne_bytes());
        }
        for (i, byte) in last.iter_mut().enumerate() {
            // SAFETY: as above.
            *byte = unsafe { from.add(words * WORD + i).read_volatile() };
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
                let bytes = from[i..i + WORD].try_into().expect("a word is that long");
                Word::from_ne_bytes(bytes)
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
        self.store(offset, length, |_| value, |_| word);
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

    /// Stores bytes, or words of bytes, that the functions give by their
    /// index from the start.
    #[inline]
    fn store(
        &self,
        offset: usize,
        length: usize,
        byte: impl Fn(usize) -> u8,
        word: impl Fn(usize) -> Word,
    ) {
        self.assert_writable();
        let to = self.at(offset, length);
        let (head, words) = edges(to.addr(), length);
        let tail = head + words * WORD;

        for i in 0..head {
            // SAFETY: at() has checked the bounds; so for all below.
            unsafe { to.add(i).write_volatile(byte(i)) };
        }
        for i in (head..tail).step_by(WORD) {
            // SAFETY: as above; edges() has made it aligned.
            unsafe { to.add(i).cast::<Word>().write_volatile(word(i)) };
        }
        for i in tail..length {
            // SAFETY: as above.
            unsafe { to.add(i).write_volatile(byte(i)) };
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

/// How many single bytes come before the first aligned word, and how many
/// words follow.
fn edges(address: usize, length: usize) -> (usize, usize) {
    let head = ptr::without_provenance::<u8>(address)
        .align_offset(WORD)
        .min(length);
    (head, (length - head) / WORD)
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
    fn words_are_aligned_and_cover_all_but_the_edges() {
        for address in 4096..4096 + 2 * WORD {
            for length in 0..5 * WORD {
                let (head, words) = edges(address, length);
                let tail = length - head - words * WORD;
                assert!(head < WORD && tail < WORD);
                assert!(words == 0 || (address + head) % WORD == 0);
            }
        }
    }

    #[test]
    fn copies_at_any_alignment_leave_the_neighbours_alone() {
        let mapping = mapping(Protection::ReadWrite);
        for offset in 0..2 * WORD {
            for length in 0..5 * WORD {
                let mut model = vec![0xa5; 8 * WORD];
                mapping.fill(0, SIZE, 0xa5);
                let data: Vec<u8> = (1..=length as u8).collect();
                mapping.write(offset, &data);
                model[offset..offset + length].copy_from_slice(&data);

                let mut all = vec![0; 8 * WORD];
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
